#include "registry/aligned_blocks.h"

#include <gtest/gtest.h>

#include <bit>
#include <random>

namespace poisonctl {
namespace {

ByteRange of(std::uint64_t begin, std::uint64_t size) {
  return *ByteRange::from_size(PhysAddr(begin), size);
}

TEST(AlignedBlocks, ASmallTable) {
  EXPECT_EQ(aligned_blocks(of(0x1000, 0x1000)), std::vector({of(0x1000, 0x1000)}));
  EXPECT_EQ(aligned_blocks(of(0x3fff000, 0x2000)),
            std::vector({of(0x3fff000, 0x1000), of(0x4000000, 0x1000)}));
  EXPECT_EQ(aligned_blocks(of(0, 0x3000)), std::vector({of(0, 0x2000), of(0x2000, 0x1000)}));
  EXPECT_EQ(aligned_blocks(of(0x4000, 0x4000), 0x2000),
            std::vector({of(0x4000, 0x2000), of(0x6000, 0x2000)}));
}

TEST(AlignedBlocks, TogetherAreTheRangeAndEachIsAligned) {
  std::mt19937_64 random(1);
  for (unsigned i = 0; i < 1000; ++i) {
    const ByteRange range = of(random() >> 14U, 1 + (random() >> (14U + i % 50U)));
    std::uint64_t next = range.begin().value();
    const auto blocks = aligned_blocks(range);
    for (const ByteRange& block : blocks) {
      EXPECT_EQ(block.begin().value(), next);
      EXPECT_TRUE(std::has_single_bit(block.size()));
      EXPECT_EQ(block.begin().value() % block.size(), 0U);
      next = block.end().value();
    }
    EXPECT_EQ(next, range.end().value());
    EXPECT_LE(blocks.size(), 102U);
  }
}

}  // namespace
}  // namespace poisonctl
