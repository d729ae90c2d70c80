// RangeSet against a bitmap that is too slow to be wrong.
#include "registry/range_set.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bitset>
#include <random>
#include <type_traits>

#include "tests/unit/test_ranges.h"

namespace poisonctl {
namespace {

TEST(RangeSet, CoalescesWhateverTheOrder) {
  const RangeSet expected = set_of({range(0x1000, 0x3fff), range(0x5000, 0x5fff)});
  EXPECT_EQ(set_of({range(0x1000, 0x1fff), range(0x2000, 0x3fff), range(0x5000, 0x5fff)}),
            expected);
  EXPECT_EQ(set_of({range(0x5000, 0x5fff), range(0x1000, 0x2fff), range(0x2000, 0x3fff),
                    range(0x5000, 0x5fff), range(0x1800, 0x18ff)}),
            expected);
  EXPECT_EQ(expected.ranges().size(), 2U);
  EXPECT_EQ(expected.bytes(), 0x4000U);
  // One byte apart is apart.
  EXPECT_EQ(set_of({range(0x1000, 0x1ffe), range(0x2000, 0x2fff)}).ranges().size(), 2U);
}

// A loop over the ranges of a set that nobody holds must not read what is gone.
TEST(RangeSet, GivesAwayTheRangesOfASetThatGoes) {
  static_assert(std::is_same_v<decltype(RangeSet().ranges()), std::vector<ByteRange>>);
  const RangeSet some = set_of({range(0x1000, 0x1fff), range(0x5000, 0x5fff)});
  EXPECT_EQ(some.minus(set_of({range(0x1000, 0x1fff)})).ranges(),
            (std::vector<ByteRange>{range(0x5000, 0x5fff)}));
  EXPECT_EQ(some.ranges().size(), 2U);
}

TEST(RangeSet, OfNothing) {
  const RangeSet empty;
  const RangeSet some = set_of({range(0x1000, 0x1fff)});
  EXPECT_EQ(set_of({}), empty);
  EXPECT_TRUE(empty.empty());
  EXPECT_FALSE(some.empty());
  EXPECT_EQ(empty.bytes(), 0U);
  EXPECT_EQ(empty.united_with(some), some);
  EXPECT_EQ(some.united_with(empty), some);
  EXPECT_EQ(some.minus(empty), some);
  EXPECT_EQ(empty.minus(some), empty);
  EXPECT_EQ(some.minus(some), empty);
  EXPECT_EQ(some.intersected_with(empty), empty);
  EXPECT_EQ(empty.widened_to(shift_of(4096)), empty);
  EXPECT_FALSE(empty.contains(range(0, 0)));
  EXPECT_FALSE(empty.overlaps(range(0, 0)));
}

TEST(RangeSet, MinusOneCutAcrossManyRangesAndManyCutsInOne) {
  const RangeSet many =
      set_of({range(0x1000, 0x1fff), range(0x3000, 0x3fff), range(0x5000, 0x5fff)});
  EXPECT_EQ(many.minus(set_of({range(0x1800, 0x57ff)})),
            set_of({range(0x1000, 0x17ff), range(0x5800, 0x5fff)}));
  EXPECT_EQ(set_of({range(0x0, 0xffff)}).minus(many),
            set_of({range(0x0, 0xfff), range(0x2000, 0x2fff), range(0x4000, 0x4fff),
                    range(0x6000, 0xffff)}));
}

TEST(RangeSet, WidenedRangesThatMeetAreOne) {
  const RangeSet bytes = set_of(
      {range(0x1000, 0x1000), range(0x1fff, 0x1fff), range(0x2000, 0x2001), range(0x9000, 0x9000)});
  EXPECT_EQ(bytes.widened_to(shift_of(4096)),
            set_of({range(0x1000, 0x2fff), range(0x9000, 0x9fff)}));
  EXPECT_EQ(bytes.widened_to(shift_of(65536)), set_of({range(0x0, 0xffff)}));
}

TEST(RangeSet, NarrowsInwardToWholeFrames) {
  const RangeSet bytes = set_of(
      {range(0x1000, 0x1fff), range(0x2800, 0x57ff), range(0x6001, 0x6fff), range(0x7fff, 0x8fff)});
  EXPECT_EQ(bytes.narrowed_to(shift_of(4096)),
            set_of({range(0x1000, 0x1fff), range(0x3000, 0x4fff), range(0x8000, 0x8fff)}));
  EXPECT_TRUE(bytes.narrowed_to(shift_of(65536)).empty());
}

TEST(RangeSet, WithinCutsAtBothEnds) {
  const RangeSet many =
      set_of({range(0x1000, 0x1fff), range(0x3000, 0x3fff), range(0x5000, 0x5fff)});
  EXPECT_EQ(many.within(range(0x1800, 0x5000)),
            set_of({range(0x1800, 0x1fff), range(0x3000, 0x3fff), range(0x5000, 0x5000)}));
  EXPECT_EQ(many.within(range(0x3400, 0x34ff)), set_of({range(0x3400, 0x34ff)}));
  EXPECT_TRUE(many.within(range(0x2000, 0x2fff)).empty());
  EXPECT_TRUE(many.within(range(0x6000, 0x6000)).empty());
}

TEST(RangeSet, HoldsAllOfTheAddressSpace) {
  const RangeSet all = set_of({range(0, kPhysAddrLimit - 1)});
  EXPECT_EQ(all.bytes(), kPhysAddrLimit);
  EXPECT_EQ(all.widened_to(shift_of(65536)), all);
  EXPECT_TRUE(all.contains(range(kPhysAddrLimit - 1, kPhysAddrLimit - 1)));
  EXPECT_EQ(all.minus(set_of({range(0, kPhysAddrLimit - 2)})),
            set_of({range(kPhysAddrLimit - 1, kPhysAddrLimit - 1)}));
}

// A window of the address space, one bit for every `unit` bytes from `base`.
struct Window {
  std::uint64_t base;
  std::uint64_t unit;
};
constexpr std::size_t kUnits = 512;
using Bits = std::bitset<kUnits>;

ByteRange units(const Window& window, std::size_t first, std::size_t count) {
  return ByteRange::from_size(PhysAddr(window.base + first * window.unit), count * window.unit)
      .value();
}

// The bits of a set, and its invariants: sorted, disjoint, with a gap between neighbours.
Bits bits_of(const Window& window, const RangeSet& set) {
  Bits bits;
  std::uint64_t bytes = 0;
  const ByteRange* before = nullptr;
  for (const ByteRange& part : set.ranges()) {
    if (before != nullptr) {
      EXPECT_LT(before->end(), part.begin()) << "not coalesced";
    }
    before = &part;
    EXPECT_LT(part.begin(), part.end()) << "an empty range";
    bytes += part.size();
    EXPECT_EQ((part.begin().value() - window.base) % window.unit, 0U);
    EXPECT_EQ(part.size() % window.unit, 0U);
    const std::size_t first = (part.begin().value() - window.base) / window.unit;
    for (std::size_t i = first; i < first + part.size() / window.unit; ++i) bits.set(i);
  }
  EXPECT_EQ(set.bytes(), bytes);
  EXPECT_EQ(bytes, bits.count() * window.unit);
  return bits;
}

class RandomSets {
 public:
  RandomSets(const Window& window, std::uint32_t seed) : window_(window), random_(seed) {}

  std::size_t below(std::size_t limit) {
    // Not uniform_int_distribution: its sequence differs between standard libraries.
    return static_cast<std::size_t>(random_()) % limit;
  }
  ByteRange any_range(std::size_t longest, Bits& bits) {
    const std::size_t first = below(kUnits);
    const std::size_t count = 1 + below(std::min(longest, kUnits - first));
    for (std::size_t i = first; i < first + count; ++i) bits.set(i);
    return units(window_, first, count);
  }
  RangeSet any_set(Bits& bits) {
    // Few long ranges, many short ones, or none at all.
    const std::size_t longest = std::size_t{1} << below(7);
    std::vector<ByteRange> ranges;
    for (std::size_t left = below(60); left != 0; --left)
      ranges.push_back(any_range(longest, bits));
    return RangeSet::from_ranges(std::move(ranges));
  }

 private:
  Window window_;
  std::mt19937 random_;
};

Bits widened(const Bits& bits, std::size_t units_per_page) {
  Bits wide;
  for (std::size_t page = 0; page < kUnits; page += units_per_page) {
    bool any = false;
    for (std::size_t i = page; i < page + units_per_page; ++i) any = any || bits.test(i);
    for (std::size_t i = page; any && i < page + units_per_page; ++i) wide.set(i);
  }
  return wide;
}

// How GoogleTest names the parameter.
void PrintTo(const Window& window, std::ostream* out) {
  *out << "base " << window.base << " unit " << window.unit;
}

class RangeSetOracle : public ::testing::TestWithParam<Window> {};

TEST_P(RangeSetOracle, AgreesOnEveryOperation) {
  const Window window = GetParam();
  RandomSets random(window, 20240601);
  for (int round = 0; round < 2000; ++round) {
    SCOPED_TRACE(round);
    Bits a_bits;
    Bits b_bits;
    const RangeSet a = random.any_set(a_bits);
    const RangeSet b = random.any_set(b_bits);
    ASSERT_EQ(bits_of(window, a), a_bits);
    ASSERT_EQ(bits_of(window, b), b_bits);
    ASSERT_EQ(bits_of(window, a.united_with(b)), a_bits | b_bits);
    ASSERT_EQ(bits_of(window, a.minus(b)), a_bits & ~b_bits);
    ASSERT_EQ(bits_of(window, a.intersected_with(b)), a_bits & b_bits);
    ASSERT_EQ(a.minus(b).united_with(a.intersected_with(b)), a) << "covered + refused = input";
    for (int query = 0; query < 8; ++query) {
      Bits asked_bits;
      const ByteRange asked = random.any_range(16, asked_bits);
      ASSERT_EQ(a.contains(asked), (asked_bits & ~a_bits).none()) << to_text(asked);
      ASSERT_EQ(a.overlaps(asked), (asked_bits & a_bits).any()) << to_text(asked);
      ASSERT_EQ(bits_of(window, a.within(asked)), asked_bits & a_bits) << to_text(asked);
    }
    for (const std::uint64_t page : {4096U, 16384U, 65536U}) {
      if (window.unit * 4 != 4096) break;  // only that window is fine enough and aligned
      ASSERT_EQ(bits_of(window, a.widened_to(shift_of(page))), widened(a_bits, page / window.unit));
      ASSERT_EQ(bits_of(window, a.narrowed_to(shift_of(page))),
                ~widened(~a_bits, page / window.unit));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Windows, RangeSetOracle,
                         ::testing::Values(Window{0, 1}, Window{kPhysAddrLimit - kUnits, 1},
                                           Window{0, 1024},
                                           Window{kPhysAddrLimit - kUnits * 1024, 1024}),
                         [](const auto& window) {
                           return std::string(window.param.base == 0 ? "Bottom" : "Top") +
                                  (window.param.unit == 1 ? "Bytes" : "Kilobytes");
                         });

}  // namespace
}  // namespace poisonctl
