// The retire list: what must be kept out of the next kernel, checked against this machine and
// bounded. Backends turn it into artifacts; they see nothing else of the registry.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "registry/bounds.h"
#include "registry/check.h"
#include "registry/range_set.h"

namespace poisonctl {

struct RetireList {
  std::uint64_t generation = 0;  // Store::generation() of the registry it was made from
  PageShift page_shift;          // of the machine it is for
  RangeSet frames;               // whole frames that are RAM of this machine
  std::vector<Refusal> refused;  // what the records ask for and no backend is to do
  // Which of `frames` come first where not all fit: those that lost data (every kind of error but
  // corrected and injected ones),
  RangeSet uncorrected = {};
  // and those that retiring after the boot does not reach: what this kernel itself holds (its
  // image, the crash kernel's area, the initrd) or does not manage now (offline blocks, what an
  // option keeps out), and what somebody had when it was last looked at.
  RangeSet beyond_replay = {};
};

// What a list is made by, other than the claims and the machine.
struct ListPolicy {
  CheckOptions checks;
  Bounds bounds;
};

// A list, and all that the checks and the bounds have to say.
struct CheckedList {
  RetireList list;
  std::vector<Finding> findings;
};

// Checks, then bounds. `frames` and `refused` are disjoint and together exactly the frames of the
// faulty records, or claims.
CheckedList make_retire_list(std::span<const Record> records, const CheckedMachine& machine,
                             const ListPolicy& policy, std::uint64_t generation);
CheckedList make_retire_list(std::span<const Claim> claims, const CheckedMachine& machine,
                             const ListPolicy& policy, std::uint64_t generation);

}  // namespace poisonctl
