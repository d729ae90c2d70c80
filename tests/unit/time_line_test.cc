// The time line: no event is lost when its steps grow, whatever time they span.
#include "cli/report/time_line.h"

#include <gtest/gtest.h>

#include <limits>

#include "tests/unit/sample_events.h"

namespace poisonctl {
namespace {

std::uint64_t total(const TimeLine& line) {
  std::uint64_t sum = 0;
  for (const auto& [number, counts] : line.steps()) {
    for (const std::uint64_t count : counts) sum += count;
  }
  return sum;
}

TEST(TimeLine, StepsGrowWithTheTimeTheySpan) {
  struct Case {
    std::chrono::minutes span;
    std::chrono::minutes step;
  };
  using std::chrono::hours;
  using std::chrono::minutes;
  const Case cases[] = {{minutes(0), minutes(1)},
                        {minutes(119), minutes(1)},
                        {minutes(120), minutes(10)},
                        {hours(24), hours(1)},
                        {hours(24 * 30), hours(24)},
                        {hours(24 * 365), hours(24 * 5)},
                        {hours(24 * 365 * 10), hours(24 * 150)}};
  for (const Case& c : cases) {
    SCOPED_TRACE(c.span.count());
    TimeLine line;
    line.add(at_second(0), Lane::kLost, 1);
    line.add(at_second(0) + c.span, Lane::kCorrected, 2);
    EXPECT_EQ(line.step().count(), c.step.count());
    EXPECT_EQ(total(line), 3U);
    EXPECT_LE(line.begin_of(line.steps().begin()->first), at_second(0));
    EXPECT_GT(line.begin_of(line.steps().begin()->first) + line.step(), at_second(0));
  }
}

TEST(TimeLine, StepsThatAreJoinedAddUp) {
  TimeLine line;
  line.add(at_second(0), Lane::kLost, 1);
  line.add(at_second(60), Lane::kLost, 2);
  line.add(at_second(120), Lane::kDone, 4);
  EXPECT_EQ(line.steps().size(), 3U);
  line.add(at_second(0) + std::chrono::hours(4), Lane::kLost, 8);
  EXPECT_EQ(line.steps().size(), 2U);
  EXPECT_EQ(line.steps().begin()->second, (TimeLine::Counts{3, 0, 4}));
}

TEST(TimeLine, AllTheTimeThereCanBeFits) {
  TimeLine line;
  for (const auto nanoseconds : {std::numeric_limits<std::int64_t>::min(), std::int64_t{-1},
                                 std::int64_t{0}, std::numeric_limits<std::int64_t>::max()}) {
    line.add(Time(std::chrono::nanoseconds(nanoseconds)), Lane::kDone, 1);
  }
  EXPECT_EQ(total(line), 4U);
  EXPECT_LT(line.steps().rbegin()->first - line.steps().begin()->first, TimeLine::kMostSteps);
}

}  // namespace
}  // namespace poisonctl
