// A record is the fold of its events: which of them decides what.
#include "registry/record.h"

#include <gtest/gtest.h>

#include "tests/unit/sample_events.h"

namespace poisonctl {
namespace {

using enum EventKind;

const ByteRange kFrame = frame_at(7);

Record fold(const std::vector<std::pair<Event, Provenance>>& events) {
  Record record = new_record(41, events.front().first, events.front().second);
  for (std::size_t i = 1; i < events.size(); ++i) {
    fold_event(record, events[i].first, events[i].second);
  }
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

TEST(Record, OneExactEventMakesItExact) {
  Event vague = event_of(kPoisoned, kFrame);
  vague.exact = false;
  const Provenance by = provenance_of("kernel", "boot-1", Time());
  EXPECT_FALSE(fold({{vague, by}, {vague, by}}).exact);
  EXPECT_TRUE(fold({{vague, by}, {event_of(kPoisoned, kFrame), by}}).exact);
  EXPECT_TRUE(fold({{event_of(kPoisoned, kFrame), by}, {vague, by}}).exact);
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
  fold_event(record, outcome_of(Retirement::kEffective, kFrame, "poisoned"), boot1);
  EXPECT_EQ(record.retirement_in("boot-1"), Retirement::kEffective);
  EXPECT_EQ(record.retirement_in("boot-2"), Retirement::kUnknown);
  EXPECT_EQ(record.retirement_in(""), Retirement::kUnknown);
  fold_event(record, outcome_of(Retirement::kPending, kFrame, "free"), boot2);
  EXPECT_EQ(record.retirement_in("boot-1"), Retirement::kUnknown);
  EXPECT_EQ(record.retirement_in("boot-2"), Retirement::kPending);
}

TEST(Record, ConditionsHaveTheseWords) {
  EXPECT_EQ(to_word(Condition::kFaulty), "faulty");
  EXPECT_EQ(to_word(Condition::kSuspect), "suspect");
  EXPECT_EQ(condition_from("faulty"), Condition::kFaulty);
  EXPECT_EQ(condition_from("suspect"), Condition::kSuspect);
  EXPECT_FALSE(condition_from(""));
  EXPECT_FALSE(condition_from("Faulty"));
}

}  // namespace
}  // namespace poisonctl
