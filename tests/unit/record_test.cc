// A record is the fold of its events: which of them decides what.
#include "registry/record.h"

#include <gtest/gtest.h>

#include <limits>

#include "tests/unit/sample_events.h"

namespace poisonctl {
namespace {

using enum EventKind;

const ByteRange kFrame = frame_at(7);

Record fold(const std::vector<std::pair<Event, Provenance>>& events) {
  Record record = empty_record(41, kFrame, events.front().second.time);
  for (const auto& [event, by] : events) fold_event(record, event, by, {}, false);
  return record;
}

TEST(Record, ConditionAndSeverityAreThoseOfTheWorstEventInAnyOrder) {
  struct Case {
    std::vector<EventKind> kinds;
    Condition condition;
    EventKind severity;
  };
  const Case cases[] = {
      {{kCorrected}, Condition::kSuspect, kCorrected},
      {{kCorrected, kCorrected}, Condition::kSuspect, kCorrected},
      {{kUncorrected}, Condition::kFaulty, kUncorrected},
      {{kPoisoned}, Condition::kFaulty, kPoisoned},
      {{kCorrected, kPoisoned}, Condition::kFaulty, kPoisoned},
      {{kPoisoned, kCorrected}, Condition::kFaulty, kPoisoned},
      {{kCorrected, kUncorrected}, Condition::kFaulty, kUncorrected},
      {{kUncorrected, kCorrected}, Condition::kFaulty, kUncorrected},
      {{kPoisoned, kUncorrected}, Condition::kFaulty, kUncorrected},
      {{kUncorrected, kPoisoned}, Condition::kFaulty, kUncorrected},
      {{kDeferred}, Condition::kFaulty, kDeferred},
      {{kMedia}, Condition::kFaulty, kMedia},
      {{kInjected}, Condition::kFaulty, kInjected},
      {{kCorrected, kInjected}, Condition::kFaulty, kInjected},
      {{kPoisoned, kInjected}, Condition::kFaulty, kPoisoned},
      {{kMedia, kPoisoned}, Condition::kFaulty, kMedia},
      {{kMedia, kDeferred}, Condition::kFaulty, kDeferred},
      {{kUncorrected, kDeferred}, Condition::kFaulty, kUncorrected},
  };
  for (const Case& c : cases) {
    std::vector<std::pair<Event, Provenance>> events;
    for (const EventKind kind : c.kinds) {
      events.emplace_back(event_of(kind, kFrame), provenance_of("operator", "boot-1", Time()));
    }
    const Record record = fold(events);
    EXPECT_EQ(record.condition, c.condition);
    EXPECT_EQ(record.severity, c.severity);
    EXPECT_EQ(record.events, c.kinds.size());
    EXPECT_EQ(record.id, 41);
    EXPECT_EQ(record.range, kFrame);
  }
}

TEST(Record, SourcesAreSortedAndNamedOnce) {
  std::vector<std::pair<Event, Provenance>> events;
  for (const char* source : {"operator", "kernel", "zzz", "operator", "edac", "kernel"}) {
    events.emplace_back(event_of(kCorrected, kFrame), provenance_of(source, "boot-1", Time()));
  }
  EXPECT_EQ(fold(events).sources, (std::vector<std::string>{"edac", "kernel", "operator", "zzz"}));
}

TEST(Record, SeenFromTheEarliestToTheLatestTimeNotTheFirstAndLastEvent) {
  const auto seen = [](int second) {
    return std::pair(event_of(kCorrected, kFrame),
                     provenance_of("operator", "boot-1", at_second(second)));
  };
  const Record record = fold({seen(20), seen(10), seen(30), seen(25)});
  EXPECT_EQ(record.first_seen, at_second(10));
  EXPECT_EQ(record.last_seen, at_second(30));
}

TEST(Record, ACountEndsAtWhatTheRegistryCanHold) {
  constexpr auto kMost = std::uint64_t{std::numeric_limits<std::int64_t>::max()};
  const Provenance by = provenance_of("kernel", "boot-1", Time());
  Event many = event_of(kCorrected, kFrame);
  many.count = kMost - 1;
  Event one = event_of(kCorrected, kFrame);
  EXPECT_EQ(fold({{many, by}, {one, by}}).events, kMost);
  EXPECT_EQ(fold({{many, by}, {one, by}, {one, by}, {many, by}}).events, kMost);
  many.count = std::numeric_limits<std::uint64_t>::max();
  EXPECT_EQ(fold({{one, by}, {many, by}}).events, kMost);
}

TEST(Record, ItIsAsExactAsItsMostExactEvent) {
  const PageShift shift = shift_of(4096);
  Event vague = event_of(kPoisoned, kFrame);
  vague.granularity = std::uint64_t{2} << 20U;
  Event exact = event_of(kPoisoned, kFrame);
  exact.granularity = 64;
  Event silent = event_of(kPoisoned, kFrame);
  const Provenance by = provenance_of("kernel", "boot-1", Time());
  EXPECT_FALSE(fold({{vague, by}, {vague, by}}).is_exact(shift));
  EXPECT_EQ(fold({{vague, by}, {exact, by}}).granularity, 64U);
  EXPECT_EQ(fold({{exact, by}, {vague, by}}).granularity, 64U);
  EXPECT_TRUE(fold({{exact, by}, {vague, by}}).is_exact(shift));
  // A source that does not say means its range as it stands.
  EXPECT_EQ(fold({{vague, by}, {silent, by}}).granularity, 0U);
  // What is one frame of a kernel with large pages is many of one with small pages.
  Event large = event_of(kPoisoned, kFrame);
  large.granularity = 65536;
  EXPECT_FALSE(fold({{large, by}}).is_exact(shift));
  EXPECT_TRUE(fold({{large, by}}).is_exact(shift_of(65536)));
}

TEST(Record, AnOutcomeIsNoObservation) {
  const Provenance first = provenance_of("operator", "boot-1", at_second(0));
  const Provenance later = provenance_of("kernel", "boot-1", at_second(50));
  const Record record = fold({{event_of(kCorrected, kFrame), first},
                              {outcome_of(Retirement::kEffective, kFrame, "how"), later}});
  EXPECT_EQ(record.events, 1U);
  EXPECT_EQ(record.condition, Condition::kSuspect);
  EXPECT_EQ(record.severity, kCorrected);
  EXPECT_EQ(record.last_seen, at_second(0));
  EXPECT_EQ(record.sources, std::vector<std::string>{"operator"});
  EXPECT_EQ(record.outcome_how, "how");
}

TEST(Record, AnOutcomeHoldsInItsOwnBootOnly) {
  const Provenance boot1 = provenance_of("kernel", "boot-1", Time());
  const Provenance boot2 = provenance_of("kernel", "boot-2", Time());
  Record record = fold({{event_of(kUncorrected, kFrame), boot1}});
  EXPECT_EQ(record.retirement_in("boot-1"), Retirement::kUnknown);
  fold_event(record, outcome_of(Retirement::kEffective, kFrame, "poisoned"), boot1, {}, false);
  EXPECT_EQ(record.retirement_in("boot-1"), Retirement::kEffective);
  EXPECT_EQ(record.retirement_in("boot-2"), Retirement::kUnknown);
  EXPECT_EQ(record.retirement_in(""), Retirement::kUnknown);
  fold_event(record, outcome_of(Retirement::kPending, kFrame, "free"), boot2, {}, false);
  EXPECT_EQ(record.retirement_in("boot-1"), Retirement::kUnknown);
  EXPECT_EQ(record.retirement_in("boot-2"), Retirement::kPending);
}

TEST(Record, ConditionsHaveTheseWords) {
  EXPECT_EQ(to_word(Condition::kFaulty), "faulty");
  EXPECT_EQ(to_word(Condition::kSuspect), "suspect");
  EXPECT_EQ(condition_from("faulty"), Condition::kFaulty);
  EXPECT_EQ(condition_from("suspect"), Condition::kSuspect);
  EXPECT_EQ(to_word(Condition::kResolved), "resolved");
  EXPECT_EQ(condition_from("resolved"), Condition::kResolved);
  EXPECT_FALSE(condition_from(""));
  EXPECT_FALSE(condition_from("Faulty"));
}

}  // namespace
}  // namespace poisonctl
