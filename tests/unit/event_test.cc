// The words of events: what is written today must be read back by every later version.
#include "registry/event.h"

#include <gtest/gtest.h>

#include "registry/record.h"
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
      {at_second(0) - nanoseconds(1), "2025-12-31T23:59:59.999999999Z"},
      {at_second(0) + nanoseconds(120'000'000), "2026-01-01T00:00:00.12Z"},
      {at_second(0) + nanoseconds(1), "2026-01-01T00:00:00.000000001Z"},
      {Time(seconds(951'782'400)), "2000-02-29T00:00:00Z"},
      {Time(seconds(4'102'444'799)), "2099-12-31T23:59:59Z"},
      {Time(seconds(-1)), "1969-12-31T23:59:59Z"},
  };
  for (const Case& c : cases) {
    EXPECT_EQ(to_rfc3339(c.time), c.expected);
    const auto back = c.time < Time() ? std::nullopt : std::optional(c.time);
    EXPECT_EQ(time_from_rfc3339(c.expected), back) << c.expected;
  }
}

TEST(Event, TimesAreReadInAnyZone) {
  struct Case {
    std::string_view text;
    Time time;
  };
  const Case cases[] = {
      {"2026-01-01T01:00:00+01:00", at_second(0)},
      {"2025-12-31T18:30:00-05:30", at_second(0)},
      {"2026-01-01T00:00:07.5Z", at_second(7) + nanoseconds(500'000'000)},
      {"1970-01-01T00:00:00Z", Time()},
      {"1970-01-01T05:00:00+05:00", Time()},
      {"2261-12-31T23:59:59.999999999-23:59",
       Time(seconds(9'214'646'399 + 23 * 3600 + 59 * 60) + nanoseconds(999'999'999))},
  };
  for (const Case& c : cases) EXPECT_EQ(time_from_rfc3339(c.text), c.time) << c.text;
  for (const std::string_view text :
       {"", "2026-01-01", "2026-01-01T00:00:00", "2026-01-01 00:00:00Z", "2026-02-29T00:00:00Z",
        "2026-13-01T00:00:00Z", "2026-01-01T24:00:00Z", "2026-01-01T00:60:00Z",
        "2026-01-01T00:00:60Z", "2026-01-01T00:00:00.Z", "2026-01-01T00:00:00.1234567890Z",
        "2026-01-01T00:00:00z", "2026-01-01T00:00:00Z ", "2026-01-01T00:00:00+0100",
        "2026-01-01T00:00:00+24:00", "1969-12-31T23:59:59Z", "1970-01-01T00:00:00+00:01",
        "2262-01-01T00:00:00Z", "+026-01-01T00:00:00Z"}) {
    EXPECT_FALSE(time_from_rfc3339(text)) << text;
  }
}

TEST(Event, KindsHaveTheseWords) {
  const std::pair<EventKind, std::string_view> cases[] = {
      {EventKind::kUncorrected, "ue"},        {EventKind::kCorrected, "ce"},
      {EventKind::kDeferred, "deferred"},     {EventKind::kMedia, "media"},
      {EventKind::kInjected, "injected"},     {EventKind::kPoisoned, "poisoned"},
      {EventKind::kOutcome, "outcome"},       {EventKind::kResolution, "resolution"},
      {EventKind::kUnpoisoned, "unpoisoned"},
  };
  for (const auto& [kind, word] : cases) {
    EXPECT_EQ(to_word(kind), word);
    EXPECT_EQ(event_kind_from(word), kind);
    EXPECT_EQ(is_observation(kind), severity_weight(kind) != 0) << word;
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

TEST(Event, ResolutionsHaveTheseWords) {
  const std::pair<Resolution, std::string_view> cases[] = {
      {Resolution::kRepaired, "repaired"},
      {Resolution::kReplaced, "replaced"},
      {Resolution::kCleared, "cleared"},
      {Resolution::kAcquitted, "acquitted"},
  };
  for (const auto& [resolution, word] : cases) {
    EXPECT_EQ(to_word(resolution), word);
    EXPECT_EQ(resolution_from(word), resolution);
  }
  for (const std::string_view word : {"", "Repaired", "gone"}) {
    EXPECT_FALSE(resolution_from(word)) << word;
  }
}

TEST(Event, CoordinatesAreTextInOneOrder) {
  DramCoordinates all;
  all.socket = 0;
  all.controller = 1;
  all.channel = 2;
  all.sub_channel = 3;
  all.slot = 4;
  all.rank = 5;
  all.device = 6;
  all.bank_group = 7;
  all.bank = 8;
  all.row = 4294967295U;
  all.column = 10;
  constexpr std::string_view kAll =
      "socket=0 controller=1 channel=2 sub_channel=3 slot=4 rank=5 device=6 bank_group=7 bank=8 "
      "row=4294967295 column=10";
  EXPECT_EQ(to_text(all), kAll);
  EXPECT_EQ(dram_coordinates_from(kAll), all);
  DramCoordinates some;
  some.channel = 1;
  some.row = 0;
  EXPECT_EQ(to_text(some), "channel=1 row=0");
  EXPECT_EQ(dram_coordinates_from("channel=1 row=0"), some);
  EXPECT_EQ(to_text(DramCoordinates()), "");
  EXPECT_EQ(dram_coordinates_from(""), DramCoordinates());
  for (const std::string_view text : {"row", "row=", "row=-1", "row=4294967296", "row=1 row=1",
                                      "row=1 channel=1", "Row=1", "row=0x1", "rows=1", "=1"}) {
    EXPECT_FALSE(dram_coordinates_from(text)) << text;
  }
}

// Half a character of UTF-8 is none, and would make the text unfit for JSON.
TEST(Event, CoordinatesThatAreMissingAreFilledAndOthersStay) {
  DramCoordinates mine = *dram_coordinates_from("socket=1 row=7");
  fill_missing(mine, *dram_coordinates_from("socket=0 controller=2 column=5"));
  EXPECT_EQ(to_text(mine), "socket=1 controller=2 row=7 column=5");
}

TEST(Event, TextsAreCutBetweenCharacters) {
  const std::string_view characters[] = {"a", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x92\xa9"};
  for (const std::string_view character : characters) {
    // Whatever part of a character the limit falls on.
    for (std::size_t lead = 0; lead < 4; ++lead) {
      std::string text(lead, 'x');
      while (text.size() <= Event::kEvidenceLimit) text += character;
      Event event;
      event.evidence = event.label = event.result = text;
      limit_texts(event);
      for (const auto& [cut, limit] : {std::pair(&event.evidence, Event::kEvidenceLimit),
                                       std::pair(&event.label, Event::kLabelLimit),
                                       std::pair(&event.result, Event::kResultLimit)}) {
        EXPECT_LE(cut->size(), limit);
        EXPECT_GT(cut->size(), limit - 4) << "no more is cut than must be";
        ASSERT_TRUE(cut->ends_with("[cut]"));
        const std::string kept = cut->substr(0, cut->size() - 5);
        EXPECT_TRUE(text.starts_with(kept));
        EXPECT_EQ((kept.size() - lead) % character.size(), 0U) << character << lead;
      }
    }
  }
}

TEST(Event, TextsWithinTheirLimitsStayAsTheyAre) {
  Event event;
  event.evidence = std::string(Event::kEvidenceLimit, 'e');
  event.label = std::string(Event::kLabelLimit, 'l');
  event.result = std::string(Event::kResultLimit, 'r');
  const Event before = event;
  limit_texts(event);
  EXPECT_EQ(event.evidence, before.evidence);
  EXPECT_EQ(event.label, before.label);
  EXPECT_EQ(event.result, before.result);
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
