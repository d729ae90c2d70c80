// A range as blocks that are powers of two in size and aligned to it: what formats have that give
// an address with a mask or an order instead of a length.
#pragma once

#include <cstdint>
#include <vector>

#include "registry/address.h"

namespace poisonctl {

// The fewest such blocks, in order, that are together exactly `range`; none is larger than `most`
// bytes, a power of two. Without a limit there are some 100 at the most.
std::vector<ByteRange> aligned_blocks(const ByteRange& range,
                                      std::uint64_t most = std::uint64_t{1} << 63U);

}  // namespace poisonctl
