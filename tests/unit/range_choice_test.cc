// What goes first, and how few gaps are closed.
#include "backends/range_choice.h"

#include <gtest/gtest.h>

#include <random>

#include "tests/unit/test_ranges.h"

namespace poisonctl {
namespace {

constexpr std::uint64_t kPage = 4096;

ByteRange frames(std::uint64_t first, std::uint64_t count) {
  return ByteRange::from_frames(Pfn(first), count, shift_of(kPage)).value();
}

RetireList list_of(std::vector<ByteRange> ranges) {
  return {.generation = 1,
          .page_shift = shift_of(kPage),
          .frames = RangeSet::from_ranges(std::move(ranges)),
          .refused = {}};
}

const RangeSet kAll = set_of({range(0, kPhysAddrLimit - 1)});

TEST(RangeChoice, OnlyAsManyGapsAsItTakesAreClosedAndTheNarrowestFirst) {
  // Gaps of 1, 9, 3 and 1 frames.
  const std::vector<ByteRange> wanted = {frames(10, 1), frames(12, 1), frames(22, 1), frames(26, 1),
                                         frames(28, 1)};
  const RetireList list = list_of(wanted);
  struct Case {
    std::size_t room;
    std::uint64_t gap;  // frames
    std::vector<ByteRange> taken;
  };
  const Case cases[] = {
      {5, 100, wanted},
      {4, 100, {frames(10, 3), wanted[2], wanted[3], wanted[4]}},
      {3, 100, {frames(10, 3), wanted[2], frames(26, 3)}},
      {2, 100, {frames(10, 3), frames(22, 7)}},
      {1, 100, {frames(10, 19)}},
      {0, 100, {}},
      // Not enough: all that may be closed are, then the runs with more bad frames go first.
      {2, 4, {frames(10, 3), frames(22, 7)}},
      {1, 4, {frames(22, 7)}},
      {1, 2, {frames(10, 3)}},
      {1, 1, {wanted[0]}},  // a gap of one frame is not less than one frame
      {1, 0, {wanted[0]}},
  };
  for (const Case& c : cases) {
    const Choice choice = choose_ranges(list, list.frames, {c.gap * kPage, kAll},
                                        {.ranges = c.room, .no_range_left = "full"});
    EXPECT_EQ(choice.taken, set_of(c.taken)) << c.room << " " << c.gap;
    EXPECT_EQ(choice.covered, choice.taken.intersected_with(list.frames));
    EXPECT_EQ(choice.healthy_bytes(), choice.taken.minus(list.frames).bytes());
    std::vector<ByteRange> refused;
    for (const Refusal& refusal : choice.refused) {
      refused.push_back(refusal.range);
      EXPECT_EQ(refusal.reason, "full");
    }
    EXPECT_EQ(set_of(refused), list.frames.minus(choice.covered));
  }
}

TEST(RangeChoice, NoMoreThanTheFewestGapsAreEverClosed) {
  std::mt19937_64 random(9);
  for (int round = 0; round < 300; ++round) {
    std::vector<ByteRange> wanted;
    for (std::uint64_t i = random() % 40; i != 0; --i) wanted.push_back(frames(random() % 400, 1));
    const RetireList list = list_of(wanted);
    const std::size_t room = random() % 20;
    const Choice choice =
        choose_ranges(list, list.frames, {random() % 30 * kPage, kAll}, {.ranges = room});
    ASSERT_LE(choice.taken.ranges().size(), room);
    if (choice.healthy_bytes() == 0) continue;
    // One run fewer would have been one gap too many.
    ASSERT_TRUE(choice.taken.ranges().size() == room || !choice.refused.empty());
  }
}

TEST(RangeChoice, AGapThatIsNotMemoryStaysOpen) {
  const RetireList list = list_of({frames(10, 1), frames(12, 1), frames(14, 1)});
  const RangeSet ram = kAll.minus(set_of({frames(11, 1)}));
  const Choice choice = choose_ranges(list, list.frames, {100 * kPage, ram}, {.ranges = 1});
  EXPECT_EQ(choice.taken, set_of({frames(12, 3)}));
}

TEST(RangeChoice, AHundredThousandRangesAreChosenFrom) {
  std::vector<ByteRange> wanted;
  for (std::uint64_t i = 0; i < 100'000; ++i) wanted.push_back(frames(3 * i, 1));
  const RetireList list = list_of(std::move(wanted));
  const Choice choice = choose_ranges(list, list.frames, {kPage * 2, kAll}, {.ranges = 50});
  EXPECT_EQ(choice.covered.ranges().size(), 50U);
  EXPECT_EQ(choice.refused.size(), 99'950U);
}

}  // namespace
}  // namespace poisonctl
