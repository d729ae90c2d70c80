// Short ways to write addresses and ranges in tests.
#pragma once

#include <cstdint>
#include <ostream>
#include <vector>

#include "registry/address.h"
#include "registry/range_set.h"
#include "registry/range_text.h"

namespace poisonctl {

inline PageShift shift_of(std::uint64_t page_size) {
  return PageShift::from_page_size(page_size).value();
}

// [first, last], both inclusive as in /proc/iomem. Throws when that is no range.
inline ByteRange range(std::uint64_t first, std::uint64_t last) {
  return ByteRange::from_last(PhysAddr(first), PhysAddr(last)).value();
}

inline RangeSet set_of(std::vector<ByteRange> ranges) {
  return RangeSet::from_ranges(std::move(ranges));
}

// How GoogleTest shows a range that differs.
inline void PrintTo(const ByteRange& shown, std::ostream* out) { *out << to_text(shown); }
inline void PrintTo(const RangeSet& shown, std::ostream* out) {
  *out << '{';
  for (const ByteRange& part : shown.ranges()) *out << ' ' << to_text(part);
  *out << " }";
}

}  // namespace poisonctl
