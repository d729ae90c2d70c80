#include "registry/sources/trace/event_queue.h"

#include <gtest/gtest.h>

#include "tests/unit/sample_events.h"

namespace poisonctl {
namespace {

using namespace std::chrono_literals;
using Clock = EventQueue::Clock;

const Clock::time_point kStart{1000s};

Event corrected(std::uint64_t frame, std::uint64_t count = 1) {
  Event event = event_of(EventKind::kCorrected, frame_at(frame));
  event.count = count;
  return event;
}
Event uncorrected(std::uint64_t frame) {
  return event_of(EventKind::kUncorrected, frame_at(frame));
}

std::uint64_t total(const std::vector<Event>& events) {
  std::uint64_t sum = 0;
  for (const Event& event : events) sum += event.count;
  return sum;
}

// Of the 100 ms that are promised the disk may need all.
TEST(EventQueue, AnErrorIsDueAtOnce) {
  EventQueue queue;
  EXPECT_EQ(queue.due(), std::nullopt);
  queue.add(uncorrected(1), kStart);
  EXPECT_EQ(queue.due(), kStart);
  queue.add(uncorrected(2), kStart + 10ms);
  EXPECT_EQ(queue.due(), kStart);
  EXPECT_EQ(queue.take(kStart + 10ms).size(), 2U);
  EXPECT_EQ(queue.due(), std::nullopt);
}

TEST(EventQueue, ABatchHas256EventsAndTheNextIsDueAtOnce) {
  EventQueue queue;
  for (std::uint64_t i = 0; i < 300; ++i) queue.add(uncorrected(i), kStart);
  EXPECT_TRUE(queue.full());
  EXPECT_EQ(queue.take(kStart).size(), 256U);
  EXPECT_EQ(queue.due(), kStart);
  EXPECT_EQ(queue.take(kStart).size(), 44U);
}

TEST(EventQueue, LostDataComesBeforeListsAndCounts) {
  EventQueue queue;
  queue.add(corrected(1), kStart);
  queue.add(event_of(EventKind::kMedia, frame_at(2)), kStart);
  queue.add(uncorrected(3), kStart);
  const auto batch = queue.take(kStart + 1s);
  ASSERT_EQ(batch.size(), 3U);
  EXPECT_EQ(batch[0].kind, EventKind::kUncorrected);
  EXPECT_EQ(batch[1].kind, EventKind::kMedia);
  EXPECT_EQ(batch[2].kind, EventKind::kCorrected);
}

TEST(EventQueue, TheFirstCorrectedErrorIsStoredAtOnceAndTheRestIsCounted) {
  EventQueue queue;
  queue.add(corrected(1), kStart);
  EXPECT_EQ(queue.due(), kStart);
  EXPECT_EQ(total(queue.take(kStart)), 1U);
  for (int i = 0; i < 100; ++i) queue.add(corrected(1, 2), kStart + 100ms);
  EXPECT_TRUE(queue.take(kStart + 1s).empty());
  const auto counted = queue.take(kStart + 6s);
  ASSERT_EQ(counted.size(), 1U);
  EXPECT_EQ(counted.front().count, 200U);
  EXPECT_EQ(counted.front().range, frame_at(1));
}

TEST(EventQueue, AnotherDimmAtNoAddressIsAnotherPlace) {
  EventQueue queue;
  for (const char* const label : {"A1", "A2", "A1"}) {
    Event event = corrected(1);
    event.range.reset();
    event.label = label;
    queue.add(event, kStart);
  }
  EXPECT_EQ(queue.take(kStart + 1s).size(), 2U);
}

// 10,000 errors a second for a minute: few rows, and not one error forgotten.
TEST(EventQueue, AStormOnOneFrameIsAFewRows) {
  EventQueue queue;
  std::uint64_t rows = 0;
  std::uint64_t stored = 0;
  for (int i = 0; i < 600'000; ++i) {
    const auto now = kStart + i * 100us;
    queue.add(corrected(7), now);
    if (*queue.due() > now) continue;
    const auto batch = queue.take(now);
    rows += batch.size();
    stored += total(batch);
  }
  const auto rest = queue.take(kStart + 60s, true);
  EXPECT_EQ(stored + total(rest), 600'000U);
  EXPECT_LE(rows + rest.size(), 8U);
}

TEST(EventQueue, AStormOnEveryFrameIsBoundedToo) {
  EventQueue queue;
  std::uint64_t rows = 0;
  std::uint64_t stored = 0;
  for (int i = 0; i < 600'000; ++i) {
    const auto now = kStart + i * 100us;
    queue.add(corrected(static_cast<std::uint64_t>(i)), now);
    if (i == 300'000) queue.add(uncorrected(1), now);
    if (*queue.due() > now) continue;
    const auto batch = queue.take(now);
    EXPECT_LE(batch.size(), EventQueue::kBatch);
    rows += batch.size();
    stored += total(batch);
  }
  for (auto rest = queue.take(kStart + 60s, true); !rest.empty();
       rest = queue.take(kStart + 60s, true)) {
    rows += rest.size();
    stored += total(rest);
  }
  EXPECT_EQ(stored, 600'001U);
  EXPECT_LE(rows, 20'000U);
}

TEST(EventQueue, APlaceThatWasQuietIsStoredAtOnceAgain) {
  EventQueue queue;
  queue.add(corrected(1), kStart);
  queue.take(kStart + 1s);
  queue.take(*queue.due());  // it was quiet until here, and is forgotten
  EXPECT_EQ(queue.due(), std::nullopt);
  queue.add(corrected(1), kStart + 20s);
  EXPECT_LE(*queue.due(), kStart + 20s + 100ms);
}

}  // namespace
}  // namespace poisonctl
