// A set of physical bytes, kept as sorted, disjoint, non-adjacent ranges. Everything that must not
// lose or invent a byte (covered, refused, RAM, the retire list) is a RangeSet.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "registry/address.h"

namespace poisonctl {

// Value type. All operations are exact; their cost is linear in the number of ranges of both sides,
// plus a sort where the input of from_ranges is not sorted.
class RangeSet {
 public:
  RangeSet() = default;
  // Ranges in any order, overlapping, adjacent or repeated: all become one coalesced set.
  static RangeSet from_ranges(std::vector<ByteRange> ranges);

  [[nodiscard]] const std::vector<ByteRange>& ranges() const& { return ranges_; }
  // Of a set that is about to go: a loop over a reference into it would read what is gone.
  [[nodiscard]] std::vector<ByteRange> ranges() && { return std::move(ranges_); }
  [[nodiscard]] bool empty() const { return ranges_.empty(); }
  // Number of bytes in the set: at most kPhysAddrLimit.
  [[nodiscard]] std::uint64_t bytes() const;

  [[nodiscard]] RangeSet united_with(const RangeSet& other) const;
  [[nodiscard]] RangeSet minus(const RangeSet& other) const;
  [[nodiscard]] RangeSet intersected_with(const RangeSet& other) const;
  // Every frame that holds a byte of the set, whole.
  [[nodiscard]] RangeSet widened_to(PageShift shift) const;

  // Only the frames that are in the set from their first byte to their last.
  [[nodiscard]] RangeSet narrowed_to(PageShift shift) const;
  // The part of the set that lies in `range`. Logarithmic in the number of ranges, plus the answer.
  [[nodiscard]] RangeSet within(const ByteRange& range) const;

  // How many bytes both have. Linear in the number of ranges of both.
  [[nodiscard]] std::uint64_t bytes_shared_with(const RangeSet& other) const;

  // Logarithmic in the number of ranges.
  [[nodiscard]] bool contains(const ByteRange& range) const;
  [[nodiscard]] bool overlaps(const ByteRange& range) const;

  friend bool operator==(const RangeSet&, const RangeSet&) = default;

 private:
  // Calls visit(begin, end) for each piece that both have, by address.
  template <typename Visit>
  void for_each_shared(const RangeSet& other, const Visit& visit) const;
  // Adds at the end; `range` must not begin before the last one does.
  void append_coalescing(const ByteRange& range);

  std::vector<ByteRange> ranges_;
};

}  // namespace poisonctl
