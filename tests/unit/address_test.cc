// Limits, wrap and widening of addresses: the arithmetic that everything else takes for granted.
#include "registry/address.h"

#include <gtest/gtest.h>

#include <limits>

#include "tests/unit/test_ranges.h"

namespace poisonctl {
namespace {

constexpr std::uint64_t kMax = std::numeric_limits<std::uint64_t>::max();

TEST(PageShift, TakesThePowersOfTwoThatLinuxUses) {
  struct Case {
    std::uint64_t bytes;
    unsigned bits;  // 0: refused
  };
  constexpr Case kCases[] = {
      {4096, 12}, {8192, 13}, {16384, 14}, {65536, 16}, {262144, 18}, {0, 0},    {1, 0},
      {2048, 0},  {4095, 0},  {4097, 0},   {12288, 0},  {524288, 0},  {kMax, 0}, {kMax / 2 + 1, 0},
  };
  for (const Case& c : kCases) {
    const auto shift = PageShift::from_page_size(c.bytes);
    ASSERT_EQ(shift.has_value(), c.bits != 0) << c.bytes;
    if (shift) {
      EXPECT_EQ(shift->bits(), c.bits);
      EXPECT_EQ(shift->page_size(), c.bytes);
      EXPECT_TRUE(shift->is_aligned(3 * c.bytes));
      EXPECT_FALSE(shift->is_aligned(3 * c.bytes + c.bytes / 2));
      EXPECT_FALSE(shift->is_aligned(c.bytes - 1));
    }
  }
}

TEST(PageShift, SameAddressIsAnotherFrameOnAnotherPageSize) {
  const PhysAddr address(0x12345678);
  EXPECT_EQ(shift_of(4096).pfn_of(address), Pfn(0x12345));
  EXPECT_EQ(shift_of(16384).pfn_of(address), Pfn(0x48d1));
  EXPECT_EQ(shift_of(65536).pfn_of(address), Pfn(0x1234));
}

TEST(ByteRange, FromSizeEndsAtTheLimit) {
  struct Case {
    std::uint64_t begin;
    std::uint64_t size;
    bool valid;
  };
  constexpr Case kCases[] = {
      {0, 1, true},
      {0, kPhysAddrLimit, true},
      {kPhysAddrLimit - 1, 1, true},
      {0, 0, false},
      {0x1000, 0, false},
      {0, kPhysAddrLimit + 1, false},
      {1, kPhysAddrLimit, false},
      {kPhysAddrLimit - 1, 2, false},
      {kPhysAddrLimit, 1, false},
      {0x1000, kMax, false},          // the sum wraps past 2^64 to 0xfff
      {0x1000, kMax - 0xfff, false},  // wraps to 0
      {kMax, 1, false},
      {kMax, kMax, false},
  };
  for (const Case& c : kCases) {
    const auto made = ByteRange::from_size(PhysAddr(c.begin), c.size);
    ASSERT_EQ(made.has_value(), c.valid) << std::hex << c.begin << '+' << c.size;
    if (made) {
      EXPECT_EQ(made->begin(), PhysAddr(c.begin));
      EXPECT_EQ(made->size(), c.size);
      EXPECT_EQ(made->end().value(), c.begin + c.size);
      EXPECT_EQ(made->last().value(), c.begin + c.size - 1);
    }
  }
}

TEST(ByteRange, FromLastIsInclusive) {
  EXPECT_EQ(ByteRange::from_last(PhysAddr(0x1000), PhysAddr(0x1fff)),
            ByteRange::from_size(PhysAddr(0x1000), 0x1000));
  EXPECT_EQ(ByteRange::from_last(PhysAddr(7), PhysAddr(7))->size(), 1U);
  EXPECT_EQ(ByteRange::from_last(PhysAddr(0), PhysAddr(kPhysAddrLimit - 1))->size(),
            kPhysAddrLimit);
  EXPECT_FALSE(ByteRange::from_last(PhysAddr(0x2000), PhysAddr(0x1fff)));
  EXPECT_FALSE(ByteRange::from_last(PhysAddr(0), PhysAddr(kPhysAddrLimit)));
  EXPECT_FALSE(ByteRange::from_last(PhysAddr(0), PhysAddr(kMax)));
}

TEST(ByteRange, FromFramesNeverShiftsBitsOut) {
  for (const std::uint64_t page : {4096U, 16384U, 65536U}) {
    const PageShift shift = shift_of(page);
    const std::uint64_t frames = kPhysAddrLimit / page;
    EXPECT_EQ(ByteRange::from_frames(Pfn(2), 3, shift), range(2 * page, 5 * page - 1));
    EXPECT_EQ(ByteRange::from_frames(Pfn(0), frames, shift), range(0, kPhysAddrLimit - 1));
    EXPECT_EQ(ByteRange::from_frames(Pfn(frames - 1), 1, shift),
              range(kPhysAddrLimit - page, kPhysAddrLimit - 1));
    EXPECT_FALSE(ByteRange::from_frames(Pfn(0), 0, shift));
    EXPECT_FALSE(ByteRange::from_frames(Pfn(frames), 1, shift));
    EXPECT_FALSE(ByteRange::from_frames(Pfn(frames - 1), 2, shift));
    EXPECT_FALSE(ByteRange::from_frames(Pfn(0), frames + 1, shift));
    EXPECT_FALSE(ByteRange::from_frames(Pfn(1), kMax, shift));  // 1 + kMax is 0
    // A frame number whose address wraps to a small one.
    EXPECT_FALSE(ByteRange::from_frames(Pfn(kMax / page + 2), 1, shift));
    EXPECT_FALSE(ByteRange::from_frames(Pfn(kMax), 1, shift));
  }
}

TEST(ByteRange, ContainsAndOverlapsAreExactToTheByte) {
  const ByteRange middle = range(0x2000, 0x2fff);
  struct Case {
    ByteRange other;
    bool contains;
    bool overlaps;
  };
  const Case cases[] = {
      {range(0x2000, 0x2fff), true, true},   {range(0x2000, 0x2000), true, true},
      {range(0x2fff, 0x2fff), true, true},   {range(0x1fff, 0x2000), false, true},
      {range(0x2fff, 0x3000), false, true},  {range(0x0, 0x9fff), false, true},
      {range(0x1000, 0x1fff), false, false}, {range(0x3000, 0x3fff), false, false},
  };
  for (const Case& c : cases) {
    EXPECT_EQ(middle.contains(c.other), c.contains) << to_text(c.other);
    EXPECT_EQ(middle.overlaps(c.other), c.overlaps) << to_text(c.other);
    EXPECT_EQ(c.other.overlaps(middle), c.overlaps) << to_text(c.other);
  }
}

TEST(ByteRange, WidensOutwardToWholeFrames) {
  struct Case {
    std::uint64_t page;
    ByteRange given;
    ByteRange widened;
    std::uint64_t frames;
    bool aligned;
  };
  const Case cases[] = {
      {4096, range(0x1000, 0x1fff), range(0x1000, 0x1fff), 1, true},
      {4096, range(0x1001, 0x1001), range(0x1000, 0x1fff), 1, false},
      {4096, range(0x1fff, 0x2000), range(0x1000, 0x2fff), 2, false},
      {4096, range(0x1000, 0x1ffe), range(0x1000, 0x1fff), 1, false},
      {4096, range(0x1001, 0x1fff), range(0x1000, 0x1fff), 1, false},
      {16384, range(0x5000, 0x5fff), range(0x4000, 0x7fff), 1, false},
      {16384, range(0x7000, 0x8fff), range(0x4000, 0xbfff), 2, false},
      {65536, range(0x5000, 0x5fff), range(0x0, 0xffff), 1, false},
      {65536, range(0xf000, 0x10fff), range(0x0, 0x1ffff), 2, false},
      {65536, range(0x10000, 0x2ffff), range(0x10000, 0x2ffff), 2, true},
      {65536, range(kPhysAddrLimit - 1, kPhysAddrLimit - 1),
       range(kPhysAddrLimit - 0x10000, kPhysAddrLimit - 1), 1, false},
  };
  for (const Case& c : cases) {
    const PageShift shift = shift_of(c.page);
    EXPECT_EQ(c.given.widened_to(shift), c.widened);
    EXPECT_EQ(c.given.frame_count(shift), c.frames) << to_text(c.given);
    EXPECT_EQ(c.given.is_aligned(shift), c.aligned) << to_text(c.given);
  }
  EXPECT_EQ(range(0, kPhysAddrLimit - 1).frame_count(shift_of(4096)), kPhysAddrLimit / 4096);
}

TEST(ByteRange, OrdersByBeginThenEnd) {
  EXPECT_LT(range(0x1000, 0x1fff), range(0x1000, 0x2fff));
  EXPECT_LT(range(0x1000, 0x9fff), range(0x2000, 0x2fff));
  EXPECT_EQ(range(0x1000, 0x1fff), range(0x1000, 0x1fff));
}

}  // namespace
}  // namespace poisonctl
