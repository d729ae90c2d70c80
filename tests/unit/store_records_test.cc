// What events add up to once they are stored: the life of a record, by frame and by DRAM row, for
// kernels with any page size; what belongs to other hosts or to no place; and that to hear nothing
// new writes nothing.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <random>

#include "registry/sqlite.h"
#include "registry/store.h"
#include "tests/unit/checked_machine.h"
#include "tests/unit/sample_events.h"
#include "tests/unit/temp_tree.h"
#include "tests/unit/test_store.h"

namespace poisonctl {
namespace {

using enum EventKind;
using std::chrono::hours;

class StoreRecordsTest : public ::testing::Test {
 protected:
  [[nodiscard]] std::string path() const { return tree_.path("registry.db"); }
  // Long after all that is observed here: nothing is seen after it was recorded.
  ImportSummary add(const std::vector<Event>& events, Time time = at_second(100'000'000),
                    Store::Repeats repeats = Store::Repeats::kCount) const {
    return append_at(path(), provenance_of("edac", "boot-1", time), events, repeats);
  }
  // The one record of frame `number`.
  [[nodiscard]] Record record(std::uint64_t number) const {
    for (const Record& record : records_at(path())) {
      if (record.range == frame_at(number)) return record;
    }
    ADD_FAILURE() << "no record of frame " << number;
    return empty_record(0, frame_at(number), Time());
  }
  // That the derived tables are what the events give when they are folded at once.
  void expect_rebuilt_the_same() const {
    auto store = Store::open(path(), Store::Mode::kWrite);
    EXPECT_EQ(store->count_wrong_records().value(), 0U);
  }

  TempTree tree_;
};

Event corrected(std::uint64_t frame, std::uint64_t count, Time when) {
  Event event = event_of(kCorrected, frame_at(frame));
  event.count = count;
  event.observed = when;
  return event;
}

Event in_row(Event event, std::uint32_t row, std::uint32_t column = 0) {
  event.label = "CPU0_DIMM_A1";
  event.dram.channel = 0;
  event.dram.bank = 3;
  event.dram.row = row;
  event.dram.column = column;
  return event;
}

// ---- suspect, faulty

TEST_F(StoreRecordsTest, AFrameIsFaultyAfterMoreThanFiftyCorrectedErrorsInADay) {
  struct Case {
    std::string_view what;
    std::vector<Event> events;
    Condition condition;
  };
  const Time t = at_second(0);
  const Case cases[] = {
      {"one", {corrected(1, 1, t)}, Condition::kSuspect},
      {"fifty at once", {corrected(1, 50, t)}, Condition::kSuspect},
      {"fifty-one at once", {corrected(1, 51, t)}, Condition::kFaulty},
      {"fifty and one", {corrected(1, 50, t), corrected(1, 1, t)}, Condition::kFaulty},
      {"one leaks away in 1728 seconds",
       {corrected(1, 50, t), corrected(1, 1, t + std::chrono::seconds(1728))},
       Condition::kSuspect},
      {"and not before",
       {corrected(1, 50, t), corrected(1, 1, t + std::chrono::seconds(1727))},
       Condition::kFaulty},
      {"fifty a day",
       {corrected(1, 50, t), corrected(1, 50, t + hours(24)), corrected(1, 50, t + hours(48))},
       Condition::kSuspect},
      {"thirty in half a day, again and again",
       {corrected(1, 30, t), corrected(1, 30, t + hours(12)), corrected(1, 30, t + hours(24)),
        corrected(1, 30, t + hours(36)), corrected(1, 30, t + hours(48)),
        corrected(1, 30, t + hours(60))},
       Condition::kFaulty},
      {"told late, in the wrong order",
       {corrected(1, 30, t + hours(1)), corrected(1, 30, t)},
       Condition::kFaulty},
      {"in two frames", {corrected(1, 50, t), corrected(2, 50, t)}, Condition::kSuspect},
      {"lost data", {event_of(kUncorrected, frame_at(1))}, Condition::kFaulty},
      {"lost data after mended data",
       {corrected(1, 1, t), event_of(kUncorrected, frame_at(1))},
       Condition::kFaulty},
      {"and mended after lost",
       {event_of(kUncorrected, frame_at(1)), corrected(1, 1, t + hours(9999))},
       Condition::kFaulty},
      {"deferred", {event_of(kDeferred, frame_at(1))}, Condition::kFaulty},
      {"the list of a device", {event_of(kMedia, frame_at(1))}, Condition::kFaulty},
      {"a test", {event_of(kInjected, frame_at(1))}, Condition::kFaulty},
      {"flagged", {event_of(kPoisoned, frame_at(1))}, Condition::kFaulty},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.what);
    // All in one import, and each in its own: the fold is the same.
    for (const bool together : {true, false}) {
      std::filesystem::remove_all(tree_.path());
      tree_.make_folder("");
      if (together) {
        add(c.events);
      } else {
        for (const Event& event : c.events) add({event});
      }
      EXPECT_EQ(record(1).condition, c.condition);
      expect_rebuilt_the_same();
    }
  }
}

TEST_F(StoreRecordsTest, CountsAreObservationsNotRows) {
  add({corrected(1, 7, at_second(0)), corrected(1, 5, at_second(1))});
  EXPECT_EQ(record(1).events, 12U);
  EXPECT_EQ(record(1).corrected.level, 12U);
  EXPECT_EQ(record(1).first_seen, at_second(0));
  EXPECT_EQ(record(1).last_seen, at_second(1));
}

TEST_F(StoreRecordsTest, TenThousandErrorsOfOneFrameAreOneRecord) {
  std::vector<Event> events;
  for (int i = 0; i < 10000; ++i) {
    events.push_back(in_row(corrected(1, 1, at_second(i)), 5, static_cast<std::uint32_t>(i)));
  }
  const ImportSummary summary = add(events);
  EXPECT_EQ(summary.added, 10000U);
  EXPECT_EQ(summary.new_records, 1U);
  const auto records = records_at(path());
  ASSERT_EQ(records.size(), 1U);
  EXPECT_EQ(records[0].events, 10000U);
  EXPECT_EQ(records[0].condition, Condition::kFaulty);
  EXPECT_EQ(records[0].last_seen, at_second(9999));
  expect_rebuilt_the_same();
}

TEST_F(StoreRecordsTest, MoreRecordsThanAreHeldInMemoryAreAllKept) {
  std::vector<Event> events;
  for (std::uint64_t i = 0; i < 40000; ++i) events.push_back(corrected(i % 20000, 1, at_second(0)));
  const ImportSummary summary = add(events);
  EXPECT_EQ(summary.new_records, 20000U);
  const auto records = records_at(path());
  ASSERT_EQ(records.size(), 20000U);
  for (const Record& record : records) ASSERT_EQ(record.events, 2U);
}

TEST_F(StoreRecordsTest, ARowIsFaultyAfterMoreThanAHundredErrorsInAnyOfItsFrames) {
  const Time t = at_second(0);
  add({in_row(corrected(1, 40, t), 5, 1), in_row(corrected(2, 40, t), 5, 2),
       in_row(corrected(9, 40, t), 6)});
  EXPECT_EQ(record(1).condition, Condition::kSuspect);
  add({in_row(corrected(3, 20, t), 5, 3)});
  EXPECT_EQ(record(2).condition, Condition::kSuspect);  // 100 are not more than 100
  add({in_row(corrected(3, 1, t), 5, 3)});
  for (const std::uint64_t frame : {1U, 2U, 3U}) {
    EXPECT_EQ(record(frame).condition, Condition::kFaulty) << frame;
  }
  EXPECT_EQ(record(9).condition, Condition::kSuspect) << "another row";
  // Whatever errs in that row from now on is faulty at once.
  add({in_row(corrected(4, 1, t), 5, 4), in_row(corrected(5, 1, t), 7)});
  EXPECT_EQ(record(4).condition, Condition::kFaulty);
  EXPECT_EQ(record(5).condition, Condition::kSuspect);
  expect_rebuilt_the_same();
}

// The row is condemned within the import that renews it, and again errs in it later.
TEST_F(StoreRecordsTest, ARowIsCondemnedForWhatWasSuspectThenAndForNothingAfterItsRepair) {
  const Time t = at_second(0);
  const Event repaired = resolution_of(Resolution::kRepaired, frame_at(1), "ppr");
  add({in_row(corrected(1, 40, t), 5, 1), in_row(corrected(2, 40, t), 5, 2),
       in_row(corrected(3, 21, t), 5, 3), repaired, in_row(corrected(4, 1, t), 5, 4)});
  EXPECT_EQ(record(1).condition, Condition::kResolved);
  EXPECT_EQ(record(2).condition, Condition::kFaulty);
  EXPECT_EQ(record(3).condition, Condition::kFaulty);
  EXPECT_EQ(record(4).condition, Condition::kSuspect);
  expect_rebuilt_the_same();
}

// Nothing leaked away until the time that one import with a wrong clock had told.
TEST_F(StoreRecordsTest, AClockThatWasAheadOnceDoesNotHoldTheErrorsBack) {
  const auto day = [](int number) { return at_second(number * 86400); };
  Event error = event_of(kCorrected, frame_at(1));
  add({error}, day(4000));
  for (int number = 1; number <= 200; ++number) add({error}, day(number));
  EXPECT_EQ(record(1).condition, Condition::kSuspect);
  // And what is read late from an old file still counts.
  add({corrected(2, 30, day(1))}, day(100));
  add({corrected(2, 30, day(1))}, day(101));
  EXPECT_EQ(record(2).condition, Condition::kFaulty);
  expect_rebuilt_the_same();
}

// It stayed quarantined for a change of before.
TEST_F(StoreRecordsTest, WhatFailsUnderATopologyThatCannotBeToldIsAboutTheMemoryThatIsThere) {
  Provenance known = provenance_of("kernel", "boot-1", at_second(1));
  known.topology = "a topology";
  append_at(path(), known, {event_of(kUncorrected, frame_at(1))});
  EXPECT_EQ(record(1).topologies.size(), 1U);
  add({event_of(kUncorrected, frame_at(1))});
  EXPECT_TRUE(record(1).topologies.empty());
  expect_rebuilt_the_same();
}

TEST_F(StoreRecordsTest, RowsOfOtherDimmsBanksAndHostsAreOtherRows) {
  const Time t = at_second(0);
  std::vector<Event> events;
  for (std::uint64_t i = 0; i < 8; ++i) {
    Event event = in_row(corrected(i, 40, t), 5);
    if (i == 0) event.label = "CPU1_DIMM_A1";
    if (i == 1) event.dram.bank = 4;
    if (i == 2) event.dram.channel = 1;
    if (i == 3) event.dram.row.reset();
    if (i == 4) event.foreign_host = "other";
    if (i == 5) event.dram.socket = 1;
    if (i == 6) event.dram.rank = 1;
    events.push_back(event);
  }
  add(events);
  for (const Record& record : records_at(path())) {
    EXPECT_EQ(record.condition, Condition::kSuspect) << record.id;
  }
  expect_rebuilt_the_same();
}

// The log says what came after what, whatever the clock said.
TEST_F(StoreRecordsTest, AFailureAfterAResolutionOpensItWhenTheClockWasSetBack) {
  const Event failure = event_of(kUncorrected, frame_at(1), "again");
  add({failure}, at_second(100));
  add({resolution_of(Resolution::kRepaired, frame_at(1), "")}, at_second(200));
  EXPECT_EQ(add({failure}, at_second(50)).reopened.size(), 1U);
  EXPECT_EQ(record(1).condition, Condition::kFaulty);
  add({resolution_of(Resolution::kRepaired, frame_at(1), "")}, at_second(300));
  Event dated = failure;
  dated.observed = at_second(60);
  EXPECT_EQ(add({dated}, at_second(60)).reopened.size(), 1U);
  // What is read late from an old file says nothing.
  add({resolution_of(Resolution::kRepaired, frame_at(1), "")}, at_second(400));
  EXPECT_TRUE(add({dated}, at_second(500)).reopened.empty());
  EXPECT_EQ(record(1).condition, Condition::kResolved);
  expect_rebuilt_the_same();
}

// A source whose clock runs ahead would otherwise outlive every resolution.
TEST_F(StoreRecordsTest, NothingIsSeenAfterItWasRecorded) {
  add({corrected(1, 1, at_second(500))}, at_second(20));
  EXPECT_EQ(record(1).last_seen, at_second(20));
  EXPECT_EQ(record(1).corrected.filled, at_second(20));
  add({resolution_of(Resolution::kRepaired, frame_at(1), "")}, at_second(30));
  EXPECT_TRUE(add({corrected(1, 1, at_second(500))}, at_second(30)).reopened.empty());
  EXPECT_EQ(record(1).condition, Condition::kResolved);
  EXPECT_EQ(add({corrected(1, 1, at_second(500))}, at_second(31)).reopened.size(), 1U);
  // The log has what the source said.
  auto store = Store::open(path(), Store::Mode::kRead);
  EXPECT_EQ(events_of(*store)[0].event.observed, at_second(500));
}

// ---- resolved, and again

TEST_F(StoreRecordsTest, AResolutionEndsARecordAndALaterErrorOpensItAgain) {
  add({event_of(kUncorrected, frame_at(1))}, at_second(0));
  add({resolution_of(Resolution::kRepaired, frame_at(1), "PPR done")}, at_second(100));
  Record resolved = record(1);
  EXPECT_EQ(resolved.condition, Condition::kResolved);
  EXPECT_EQ(resolved.resolution, Resolution::kRepaired);
  EXPECT_EQ(resolved.resolution_reason, "PPR done");
  EXPECT_EQ(resolved.resolved, at_second(100));
  EXPECT_EQ(resolved.events, 1U) << "a resolution is no observation";

  // Told now, but seen before or at that time: says nothing against it.
  Event old = event_of(kUncorrected, frame_at(1), "old");
  for (const Time when : {at_second(50), at_second(100)}) {
    old.observed = when;
    const ImportSummary summary = add({old}, at_second(200));
    EXPECT_TRUE(summary.reopened.empty());
    EXPECT_EQ(record(1).condition, Condition::kResolved);
  }
  EXPECT_EQ(record(1).events, 3U) << "and counts all the same";

  old.observed = at_second(101);
  const ImportSummary summary = add({old}, at_second(200));
  EXPECT_EQ(summary.reopened, std::vector<ByteRange>{frame_at(1)});
  EXPECT_EQ(record(1).condition, Condition::kFaulty);
  EXPECT_EQ(record(1).reopened, 1U);
  EXPECT_EQ(record(1).resolution, Resolution::kRepaired);
  expect_rebuilt_the_same();
}

TEST_F(StoreRecordsTest, ACorrectedErrorOpensItAsSuspectAndCountsFromThere) {
  add({corrected(1, 51, at_second(0))}, at_second(0));
  EXPECT_EQ(record(1).condition, Condition::kFaulty);
  add({resolution_of(Resolution::kAcquitted, frame_at(1), "a loose module")}, at_second(10));
  EXPECT_EQ(record(1).condition, Condition::kResolved);
  const ImportSummary first = add({corrected(1, 50, at_second(11))}, at_second(20));
  EXPECT_EQ(first.reopened.size(), 1U);
  EXPECT_EQ(record(1).condition, Condition::kSuspect);
  const ImportSummary second = add({corrected(1, 1, at_second(12))}, at_second(20));
  EXPECT_TRUE(second.reopened.empty()) << "it is open already";
  EXPECT_EQ(record(1).condition, Condition::kFaulty);
  EXPECT_EQ(record(1).reopened, 1U);
  expect_rebuilt_the_same();
}

TEST_F(StoreRecordsTest, OnlyTheRecordOfExactlyThatRangeIsResolved) {
  add({event_of(kUncorrected, frame_at(1)), event_of(kUncorrected, range(0x1000, 0x2fff)),
       event_of(kUncorrected, frame_at(2))});
  add({resolution_of(Resolution::kCleared, frame_at(1), "")}, at_second(9));
  int resolved = 0;
  for (const Record& record : records_at(path())) {
    if (record.condition == Condition::kResolved) ++resolved;
  }
  EXPECT_EQ(resolved, 1);
  EXPECT_EQ(record(1).condition, Condition::kResolved);
}

TEST_F(StoreRecordsTest, WhatHasNoRecordIsNeitherResolvedNorLookedAt) {
  add({event_of(kUncorrected, frame_at(1))});
  auto store = Store::open(path(), Store::Mode::kWrite);
  ASSERT_TRUE(store.ok());
  const std::string before = tree_.content("registry.db");
  for (const Event& event : {resolution_of(Resolution::kCleared, frame_at(2), ""),
                             resolution_of(Resolution::kCleared, range(0x1000, 0x2fff), ""),
                             outcome_of(Retirement::kEffective, frame_at(2), "")}) {
    const auto done = append(*store, provenance_of("operator", "boot-1", Time()), {{event}});
    ASSERT_FALSE(done.ok());
    EXPECT_EQ(done.error().code, ErrorCode::kUsage);
    EXPECT_TRUE(tree_.content("registry.db") == before);
  }
}

TEST_F(StoreRecordsTest, ResolutionsAreInTheGenerationAndOutcomesAreNot) {
  add({event_of(kUncorrected, frame_at(1))});
  const auto generation = [&] {
    return Store::open(path(), Store::Mode::kRead)->generation().value();
  };
  EXPECT_EQ(generation(), 1U);
  add({outcome_of(Retirement::kEffective, frame_at(1), "free")});
  EXPECT_EQ(generation(), 1U);
  add({resolution_of(Resolution::kReplaced, frame_at(1), "new DIMM")}, at_second(5));
  EXPECT_EQ(generation(), 3U);
}

// ---- page sizes

// Bytes are what is stored: whatever kernel reads the registry, it keeps out whole frames of its
// own that hold every bad byte, and not one frame more.
TEST_F(StoreRecordsTest, EveryPageSizeCoversTheSameBytesWidenedOutward) {
  std::mt19937_64 random(20260303);
  const MemoryMap map(parse_iomem("00000000-3fffffff : System RAM\n", "iomem").value(), {});
  std::vector<ByteRange> bad;
  for (const std::uint64_t from : {4096U, 16384U, 65536U}) {
    Provenance by = provenance_of("kernel", "boot-1", at_second(static_cast<int>(from)));
    by.page_shift = shift_of(from);
    std::vector<Event> events;
    for (int i = 0; i < 60; ++i) {
      const std::uint64_t begin = random() % 0x3f000000;
      // A byte, a cache line, a frame of that kernel, or a range at odd addresses.
      const std::uint64_t sizes[] = {1, 64, from, 1 + random() % 300000};
      const std::uint64_t size = sizes[random() % 4];
      const std::uint64_t aligned = size == from ? begin / from * from : begin;
      bad.push_back(range(aligned, aligned + size - 1));
      events.push_back(event_of(kUncorrected, bad.back(), fmt::format("{}", i)));
    }
    append_at(path(), by, events);
  }
  const auto records = records_at(path());
  RangeSet smaller;
  for (const std::uint64_t page : {4096U, 16384U, 65536U}) {
    SCOPED_TRACE(page);
    const CheckResult result = check_on(map, shift_of(page), records);
    EXPECT_TRUE(result.refused.empty());
    EXPECT_EQ(result.accepted, RangeSet::from_ranges(bad).widened_to(shift_of(page)));
    for (const ByteRange& byte : bad) EXPECT_TRUE(result.accepted.contains(byte));
    EXPECT_EQ(smaller.minus(result.accepted), RangeSet()) << "never inward";
    smaller = result.accepted;
  }
}

TEST_F(StoreRecordsTest, EventsInOneSmallestFrameAreOneRecordOfThatFrame) {
  add({event_of(kUncorrected, range(0x1004, 0x1004)), event_of(kUncorrected, range(0x1ff0, 0x1fff)),
       event_of(kUncorrected, range(0x1fff, 0x2000))});
  const auto records = records_at(path());
  ASSERT_EQ(records.size(), 2U);
  EXPECT_EQ(records[0].range, frame_at(1));
  EXPECT_EQ(records[0].events, 2U);
  EXPECT_EQ(records[1].range, range(0x1000, 0x2fff));
  // The log has it as the source told it.
  auto store = Store::open(path(), Store::Mode::kRead);
  EXPECT_EQ(events_of(*store)[0].event.range, range(0x1004, 0x1004));
}

// ---- of other hosts, and of no place

TEST_F(StoreRecordsTest, WhatIsOfAnotherHostIsKeptAndNeverActedOn) {
  Event foreign = event_of(kUncorrected, frame_at(1), "theirs");
  foreign.foreign_host = "another-host";
  const ImportSummary summary = add({foreign, event_of(kUncorrected, frame_at(2), "ours")});
  EXPECT_EQ(summary.added, 2U);
  EXPECT_EQ(summary.new_records, 1U);
  EXPECT_EQ(summary.without_place, 1U);
  const auto records = records_at(path());
  ASSERT_EQ(records.size(), 1U);
  EXPECT_EQ(records[0].range, frame_at(2));
  auto store = Store::open(path(), Store::Mode::kRead);
  const auto apart = visited(
      [&](const EventVisitor& visit) { return store->for_each_event_without_place(visit); });
  ASSERT_EQ(apart.size(), 1U);
  EXPECT_EQ(apart[0].event.foreign_host, "another-host");
  EXPECT_EQ(apart[0].event.range, frame_at(1));
  expect_rebuilt_the_same();
}

// A list that this host wrote, sent to it again.
TEST_F(StoreRecordsTest, TheHostItselfIsNotForeign) {
  Event own = event_of(kUncorrected, frame_at(1));
  own.foreign_host = "host";  // as provenance_of has it
  EXPECT_EQ(add({own}).new_records, 1U);
  auto store = Store::open(path(), Store::Mode::kRead);
  EXPECT_EQ(events_of(*store)[0].event.foreign_host, "");
  EXPECT_EQ(record(1).condition, Condition::kFaulty);
  // And is known as what it told about itself before.
  EXPECT_EQ(add({own}, at_second(5), Store::Repeats::kSkip).known, 1U);
}

TEST_F(StoreRecordsTest, EvidenceWithoutAPlaceIsKeptAndMakesNoRecord) {
  Event nowhere = event_of(kCorrected, frame_at(1), "a counter");
  nowhere.range.reset();
  nowhere.count = 1000;
  nowhere.label = "CPU0_DIMM_A1";
  nowhere.dram.row = 5;
  const ImportSummary summary = add({nowhere});
  EXPECT_EQ(summary.added, 1U);
  EXPECT_EQ(summary.without_place, 1U);
  EXPECT_TRUE(records_at(path()).empty());
  auto store = Store::open(path(), Store::Mode::kRead);
  const auto apart = visited(
      [&](const EventVisitor& visit) { return store->for_each_event_without_place(visit); });
  ASSERT_EQ(apart.size(), 1U);
  EXPECT_FALSE(apart[0].event.range);
  EXPECT_EQ(apart[0].event.count, 1000U);
  EXPECT_TRUE(events_about(*store, range(0, kPhysAddrLimit - 1)).empty());
  expect_rebuilt_the_same();
}

// ---- nothing new

TEST_F(StoreRecordsTest, AFileThatIsReadAgainIsKnown) {
  Event dated = corrected(1, 3, at_second(7));
  dated.label = "DIMM";
  Event nowhere = event_of(kUncorrected, frame_at(1), "no place");
  nowhere.range.reset();
  Event foreign = event_of(kUncorrected, frame_at(3), "theirs");
  foreign.foreign_host = "other";
  const std::vector<Event> file = {dated, nowhere, foreign, event_of(kMedia, frame_at(4), "list"),
                                   event_of(kMedia, frame_at(4), "list")};
  // Twice in one file is twice seen.
  EXPECT_EQ(add(file, at_second(10), Store::Repeats::kSkip).added, 5U);
  const ImportSummary again = add(file, at_second(20), Store::Repeats::kSkip);
  EXPECT_EQ(again.added, 0U);
  EXPECT_EQ(again.known, 5U);
  // One field that differs makes it another event.
  std::vector<Event> others(8, dated);
  others[0].kind = kUncorrected;
  others[1].range = frame_at(2);
  others[2].range = range(0x1000, 0x2fff);
  others[3].count = 4;
  others[4].observed = at_second(8);
  others[5].label = "other";
  others[6].result = "Recovered";
  others[7].evidence = "other";
  EXPECT_EQ(add(others, at_second(30), Store::Repeats::kSkip).added, 8U);
  // As does another source, and that somebody says it again.
  EXPECT_EQ(
      append_at(path(), provenance_of("csv", "boot-1", at_second(40)), file, Store::Repeats::kSkip)
          .added,
      5U);
  EXPECT_EQ(add(file, at_second(50)).added, 5U);
}

// More of one place and time than are compared one by one.
TEST_F(StoreRecordsTest, ACrowdOfOneMomentIsToldApart) {
  constexpr int kCrowd = 200;
  for (const bool placed : {true, false}) {
    for (const bool dated : {true, false}) {
      std::vector<Event> file;
      for (int i = 0; i < kCrowd; ++i) {
        Event event = event_of(kMedia, frame_at(1), std::to_string(i));
        if (!placed) event.range.reset();
        if (dated) event.observed = at_second(7);
        file.push_back(event);
      }
      EXPECT_EQ(add(file, at_second(10), Store::Repeats::kSkip).added, kCrowd);
      EXPECT_EQ(add(file, at_second(20), Store::Repeats::kSkip).known, kCrowd);
      std::vector<Event> others(7, file.back());
      others[0].kind = kUncorrected;
      others[1].range = placed ? range(0x1000, 0x2fff) : range(0x5000, 0x5fff);
      others[2].count = 4;
      others[3].label = "other";
      others[4].result = "Recovered";
      others[5].foreign_host = "other";
      // Not one text that ends where the next one begins.
      others[6].label = others[6].evidence.substr(0, 1);
      others[6].evidence.erase(0, 1);
      EXPECT_EQ(add(others, at_second(30), Store::Repeats::kSkip).added, others.size());
      EXPECT_EQ(append_at(path(), provenance_of("csv", "boot-1", at_second(40)), file,
                          Store::Repeats::kSkip)
                    .added,
                kCrowd);
    }
  }
}

TEST_F(StoreRecordsTest, AnImportWithoutNewsLeavesEveryFileToTheByte) {
  const std::vector<Event> states = {event_of(kPoisoned, frame_at(1), "flags"),
                                     outcome_of(Retirement::kEffective, frame_at(1), "isolated")};
  const std::vector<Event> file = {corrected(2, 1, at_second(1))};
  add(states);
  add(file, at_second(1), Store::Repeats::kSkip);
  const auto content = [&] {
    std::string all;
    for (const auto& entry : std::filesystem::directory_iterator(tree_.path())) {
      all += entry.path().filename().string() + tree_.content(entry.path().filename().string());
    }
    return all;
  };
  const std::string before = content();
  EXPECT_EQ(add(states, at_second(90)).known, 2U);
  EXPECT_EQ(add(file, at_second(90), Store::Repeats::kSkip).known, 1U);
  EXPECT_EQ(add({}, at_second(90)).known, 0U);
  EXPECT_TRUE(content() == before);
}

// ---- states

TEST_F(StoreRecordsTest, PoisonIsNewsOnceABootUntilItWasSeenToBeGone) {
  const Event poisoned = event_of(kPoisoned, frame_at(1), "flags");
  const Event gone = event_of(kUnpoisoned, frame_at(1), "no flag");
  add({poisoned});
  const Record before = record(1);
  EXPECT_EQ(add({poisoned}).known, 1U);
  EXPECT_EQ(add({gone}).added, 1U);
  EXPECT_EQ(add({gone}).known, 1U);
  EXPECT_EQ(record(1).condition, Condition::kFaulty);
  EXPECT_EQ(record(1).events, before.events);
  add({resolution_of(Resolution::kReplaced, frame_at(1), "new DIMM")});
  EXPECT_EQ(add({gone}).known, 1U);
  EXPECT_EQ(record(1).condition, Condition::kResolved);
  EXPECT_EQ(add({poisoned}).reopened.size(), 1U);
  EXPECT_EQ(record(1).condition, Condition::kFaulty);
  EXPECT_EQ(add({poisoned}).known, 1U);
  // One whose flag was there all the time stays as somebody ended it.
  add({resolution_of(Resolution::kAcquitted, frame_at(1), "a test")});
  EXPECT_EQ(add({poisoned}).known, 1U);
  EXPECT_EQ(record(1).condition, Condition::kResolved);
  expect_rebuilt_the_same();
}

TEST_F(StoreRecordsTest, AStateIsThatOfItsSourceBootHostAndRange) {
  const Event poisoned = event_of(kPoisoned, frame_at(1), "flags");
  Event theirs = poisoned;
  theirs.foreign_host = "other";
  const Event wider = event_of(kPoisoned, range(0x1000, 0x2fff), "flags");
  EXPECT_EQ(add({theirs}).added, 1U);
  EXPECT_EQ(add({poisoned, wider, poisoned, wider, theirs}).added, 2U);
  const Time later = at_second(100'000'000);
  for (const auto& by :
       {provenance_of("edac", "boot-2", later), provenance_of("kernel", "boot-1", later)}) {
    EXPECT_EQ(append_at(path(), by, {event_of(kUnpoisoned, frame_at(1))}).known, 1U);
    EXPECT_EQ(append_at(path(), by, {poisoned}).added, 1U);
    EXPECT_EQ(append_at(path(), by, {event_of(kUnpoisoned, frame_at(1))}).added, 1U);
  }
  EXPECT_EQ(add({poisoned, wider, theirs}).known, 3U);
  auto store = Store::open(path(), Store::Mode::kRead);
  EXPECT_EQ(store->poisoned_in("edac", "boot-1").value(),
            (std::vector<ByteRange>{frame_at(1), range(0x1000, 0x2fff)}));
  EXPECT_EQ(store->poisoned_in("edac", "boot-2").value(), std::vector<ByteRange>());
  EXPECT_EQ(store->poisoned_in("edac", "boot-3").value(), std::vector<ByteRange>());
}

// More at one address than are read again for each.
TEST_F(StoreRecordsTest, ManySizesAtOneAddressAreToldApart) {
  constexpr std::uint64_t kSizes = 200;
  std::vector<Event> poisoned;
  std::vector<Event> gone;
  for (std::uint64_t size = 1; size <= kSizes; ++size) {
    const auto where = *ByteRange::from_size(PhysAddr(0x100000), size * 0x1000);
    poisoned.push_back(event_of(kPoisoned, where, "flags"));
    gone.push_back(event_of(kUnpoisoned, where, "no flag"));
  }
  std::vector<Event> twice = poisoned;
  twice.insert(twice.end(), poisoned.begin(), poisoned.end());
  const ImportSummary first = add(twice);
  EXPECT_EQ(first.added, kSizes);
  EXPECT_EQ(first.known, kSizes);
  // All in one import: what it has stored itself counts.
  std::vector<Event> flapping = poisoned;
  flapping.insert(flapping.end(), gone.begin(), gone.end());
  flapping.insert(flapping.end(), poisoned.begin(), poisoned.end());
  const ImportSummary second = add(flapping);
  EXPECT_EQ(second.known, kSizes);
  EXPECT_EQ(second.added, 2 * kSizes);
  EXPECT_EQ(add(poisoned).known, kSizes);
}

// More than are read in one go.
TEST_F(StoreRecordsTest, PoisonedIsWhatTheWholeLogLeaves) {
  add({event_of(kPoisoned, frame_at(1)), event_of(kPoisoned, frame_at(2))});
  add(std::vector<Event>(20'000, corrected(5, 1, at_second(0))));
  add({event_of(kUnpoisoned, frame_at(1)), event_of(kPoisoned, frame_at(3))});
  auto store = Store::open(path(), Store::Mode::kRead);
  EXPECT_EQ(store->poisoned_in("edac", "boot-1").value(),
            (std::vector<ByteRange>{frame_at(2), frame_at(3)}));
}

TEST_F(StoreRecordsTest, NothingIsUnpoisonedThatHasNoRecord) {
  auto store = Store::open(path(), Store::Mode::kCreate);
  const Event gone[] = {event_of(kUnpoisoned, frame_at(1))};
  const auto summary = append(*store, provenance_of("kernel", "boot-1", at_second(0)), gone);
  ASSERT_FALSE(summary.ok());
  EXPECT_EQ(summary.error().code, ErrorCode::kUsage);
}

// ---- derived tables

TEST_F(StoreRecordsTest, WhatDiffersIsCountedAndMendedOnlyWhenAsked) {
  add({in_row(corrected(1, 101, at_second(0)), 5), corrected(2, 1, at_second(0))});
  const std::string sound = tree_.content("registry.db");
  const auto wrong = [&] {
    return Store::open(path(), Store::Mode::kRead)->count_wrong_records().value();
  };
  EXPECT_EQ(wrong(), 0U);
  const std::string damages[] = {"UPDATE record SET condition = 'suspect'",
                                 "DELETE FROM record WHERE address = 8192",
                                 "UPDATE dram_row SET level = 7", "DELETE FROM dram_row",
                                 "UPDATE record SET id = 9, address = 0 WHERE address = 8192"};
  for (const std::string& damage : damages) {
    tree_.write("registry.db", sound);
    const auto good = records_at(path());
    edit(path(), damage);
    const std::string damaged = tree_.content("registry.db");
    EXPECT_GT(wrong(), 0U) << damage;
    EXPECT_TRUE(tree_.content("registry.db") == damaged) << damage;
    EXPECT_TRUE(Store::open(path(), Store::Mode::kWrite)->rebuild().ok());
    EXPECT_EQ(wrong(), 0U) << damage;
    const auto mended = records_at(path());
    ASSERT_EQ(mended.size(), good.size());
    for (std::size_t i = 0; i < good.size(); ++i) {
      EXPECT_EQ(mended[i].range, good[i].range);
      EXPECT_EQ(mended[i].condition, good[i].condition);
    }
  }
}

}  // namespace
}  // namespace poisonctl
