// The words of events: what is written today must be read back by every later version.
#include "registry/event.h"

#include <gtest/gtest.h>

#include "tests/unit/sample_events.h"

namespace poisonctl {
namespace {

using std::chrono::nanoseconds;
using std::chrono::seconds;

TEST(Event, TimesAreRfc3339) {
  struct Case {
    Time time;
    std::string_view expected;
  };
  const Case cases[] = {
      {Time(), "1970-01-01T00:00:00Z"},
      {at_second(0), "2026-01-01T00:00:00Z"},
      {at_second(0) - nanoseconds(1), "2025-12-31T23:59:59Z"},
      {at_second(0) + nanoseconds(999'999'999), "2026-01-01T00:00:00Z"},
      {Time(seconds(951'782'400)), "2000-02-29T00:00:00Z"},
      {Time(seconds(4'102'444'799)), "2099-12-31T23:59:59Z"},
      {Time(seconds(-1)), "1969-12-31T23:59:59Z"},
  };
  for (const Case& c : cases) EXPECT_EQ(to_rfc3339(c.time), c.expected);
}

TEST(Event, KindsHaveTheseWords) {
  const std::pair<EventKind, std::string_view> cases[] = {
      {EventKind::kUncorrected, "ue"},
      {EventKind::kCorrected, "ce"},
      {EventKind::kPoisoned, "poisoned"},
      {EventKind::kOutcome, "outcome"},
  };
  for (const auto& [kind, word] : cases) {
    EXPECT_EQ(to_word(kind), word);
    EXPECT_EQ(event_kind_from(word), kind);
  }
  for (const std::string_view word : {"", "UE", "ue ", "u", "outcomes"}) {
    EXPECT_FALSE(event_kind_from(word)) << word;
  }
}

TEST(Event, RetirementsHaveTheseWords) {
  const std::pair<Retirement, std::string_view> cases[] = {
      {Retirement::kPending, "pending"},
      {Retirement::kEffective, "effective"},
      {Retirement::kFailed, "failed"},
      {Retirement::kUnknown, "unknown"},
  };
  for (const auto& [retirement, word] : cases) {
    EXPECT_EQ(to_word(retirement), word);
    EXPECT_EQ(retirement_from(word), retirement);
  }
  for (const std::string_view word : {"", "Pending", "retired"}) {
    EXPECT_FALSE(retirement_from(word)) << word;
  }
}

TEST(Event, SourceNames) {
  const std::string longest(32, 'a');
  for (const std::string_view name :
       {std::string_view("kernel"), std::string_view("memtest86-7.0_x"), std::string_view("0"),
        std::string_view(longest)}) {
    EXPECT_TRUE(is_source_name(name)) << name;
  }
  const std::string too_long(33, 'a');
  for (const std::string_view name :
       {std::string_view(""), std::string_view("Kernel"), std::string_view("a,b"),
        std::string_view("a b"), std::string_view("a/b"), std::string_view("\xc3\xa9"),
        std::string_view("a\n"), std::string_view("a\0", 2), std::string_view(too_long)}) {
    EXPECT_FALSE(is_source_name(name)) << name;
  }
}

}  // namespace
}  // namespace poisonctl
