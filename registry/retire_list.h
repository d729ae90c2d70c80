// The retire list: what must be kept out of the next kernel, checked against this machine. Backends
// turn it into artifacts; they see nothing else of the registry.
#pragma once

#include <cstdint>
#include <vector>

#include "registry/check.h"
#include "registry/range_set.h"

namespace poisonctl {

struct RetireList {
  std::uint64_t generation = 0;  // Store::generation() of the registry it was made from
  PageShift page_shift;          // of the machine it is for
  RangeSet frames;               // whole frames that are RAM of this machine
  std::vector<Refusal> refused;  // what the records ask for and no backend can do
};

}  // namespace poisonctl
