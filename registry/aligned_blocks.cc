#include "registry/aligned_blocks.h"

#include <algorithm>
#include <bit>

namespace poisonctl {

std::vector<ByteRange> aligned_blocks(const ByteRange& range, std::uint64_t most) {
  std::vector<ByteRange> blocks;
  for (std::uint64_t at = range.begin().value(); at < range.end().value();) {
    std::uint64_t size = std::bit_floor(std::min(range.end().value() - at, most));
    if (at != 0) size = std::min(size, std::uint64_t{1} << std::countr_zero(at));
    blocks.push_back(*ByteRange::from_size(PhysAddr(at), size));
    at += size;
  }
  return blocks;
}

}  // namespace poisonctl
