// The handover: a retire list, signed, in the form in which it travels to the next kernel in any
// carrier (an initrd, KHO memory, a reserved region, a disk). A flattened device tree; registry/
// README.md has each property. Whether a handover is believed is decided in trust.h.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "registry/check.h"
#include "registry/event.h"
#include "registry/machine_digest.h"
#include "registry/record.h"
#include "registry/result.h"
#include "registry/retire_list.h"
#include "registry/signing.h"

namespace poisonctl {

// One range: whole pages, and what is known of them.
struct HandoverRange {
  ByteRange range;
  Condition condition = Condition::kFaulty;  // only kFaulty is to be retired
  EventKind kind = EventKind::kUncorrected;  // the worst that was seen
  friend bool operator==(const HandoverRange&, const HandoverRange&) = default;
};

struct Handover {
  std::uint64_t generation = 0;
  Time created{};
  MachineDigest host{};      // host_digest() of the machine that it is for
  MachineDigest topology{};  // memory_digest(): what gives the addresses their meaning
  PageShift page_shift = PageShift::smallest();
  // Sorted by address, disjoint, each a multiple of the page, at most kMostHandoverRanges.
  std::vector<HandoverRange> ranges;
  // Properties that a later version of this form may have: kept, and otherwise ignored.
  struct Unknown {
    std::string name;
    std::string value;
    friend bool operator==(const Unknown&, const Unknown&) = default;
  };
  std::vector<Unknown> unknown;
  friend bool operator==(const Handover&, const Handover&) = default;
};

inline constexpr std::size_t kMostHandoverRanges = 1U << 20U;
// 14 bytes a range, and room for the rest.
inline constexpr std::size_t kMostHandoverBytes = 16U << 20U;

// What was read, and whether it was signed by the holder of `public_key` (32 bytes), which may be
// anybody.
struct SignedHandover {
  Handover content;
  std::string public_key;
  bool signature_fits = false;
};

// The same handover and key always give the same bytes. Errors: kUsage for ranges that are not as
// above, kBug.
Result<std::string> write_handover(const Handover& handover, const SigningKey& key);

// `blob` may be longer than the handover in it, as a memory region is. Errors: kBadData;
// kUnknownForm for what is no handover or one of a later version.
Result<SignedHandover> read_handover(std::string_view blob, const std::string& shown);

// The ranges of a handover: of the faulty claims what is on the list, and of the others what there
// is room for, the lowest first. Where claims overlap, faulty ones come first, then quarantined,
// suspect, and resolved ones; then the worst.
struct HandoverRanges {
  std::vector<HandoverRange> ranges;
  std::size_t left_out = 0;  // ranges, none of them to be retired
};
HandoverRanges handover_ranges(std::span<const Claim> claims, const RetireList& list);

// The same back, for the checks before the list is acted on.
std::vector<Claim> claims_in(const Handover& handover);

}  // namespace poisonctl
