// How much a retire list may take. A list that is too long is worse than the frames on it: it can
// leave a machine without memory, and nobody reads a million lines to find out that they are
// forged. Past a bound the worst frames go first; past the hard limit nothing goes at all
// (packaging/doc/decisions/0008).
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "registry/check.h"
#include "registry/range_set.h"
#include "registry/result.h"

namespace poisonctl {

struct Bounds {
  std::uint64_t frames = 1U << 20U;    // most frames, of the pages of the machine
  std::uint64_t per_mille = 10;        // most of all RAM
  std::uint64_t node_per_mille = 20;   // most of the RAM of one NUMA node
  std::uint64_t floor = 32U << 20U;    // bytes of RAM that must be left
  std::uint64_t hard_per_mille = 100;  // of all RAM: a list that takes more is refused whole
  friend bool operator==(const Bounds&, const Bounds&) = default;
};

// A share of a small machine is less than one huge page. Whatever the shares say, so many bytes
// may be taken.
inline constexpr std::uint64_t kLeastShare = 4U << 20U;

// "frames=N,per-mille=N,node-per-mille=N,floor=SIZE,hard-per-mille=N": any of them, in any order,
// each at most once; the others stay as they are by default. Errors: kUsage.
Result<Bounds> parse_bounds(std::string_view text);

// `kept` and `refused` are disjoint and together exactly what was accepted.
struct BoundedList {
  RangeSet kept;
  std::vector<Finding> refused;  // sorted by address; what is past a bound, and which one
};

// The part of `accepted` (what the checks let pass of `claims`, in whole frames) that stays within
// the bounds: uncorrected errors before corrected ones (severity_weight), newer before older, exact
// before vague, lower addresses before higher ones. A range that is not exact is taken whole or not
// at all; others are cut between frames. Depends on nothing else, so the same claims always give
// the same list. Linear when all fits; else it takes a sort.
BoundedList bound_list(std::span<const Claim> claims, RangeSet accepted,
                       const CheckedMachine& machine, const Bounds& bounds);

// Which bound a list passes that takes `bytes` of RAM, and of each range of `machine.nodes` as much
// as is in `of_ranges` at the same place: in words, empty when all of it fits. For counting without
// the list itself.
std::string passed_bound(std::uint64_t bytes, std::span<const std::uint64_t> of_ranges,
                         const CheckedMachine& machine, const Bounds& bounds);

}  // namespace poisonctl
