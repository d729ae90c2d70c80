// A handover that a registry takes over: what is new of it, and nothing twice.
#include "registry/adoption.h"

#include <gtest/gtest.h>

#include "registry/store.h"
#include "tests/unit/handover_samples.h"
#include "tests/unit/test_store.h"

namespace poisonctl {
namespace {

Record record_of(const ByteRange& where, Condition condition) {
  Record record = empty_record(1, where, at_second(0));
  record.condition = condition;
  return record;
}

std::vector<std::string> lines_of(const Adoption& adoption) {
  std::vector<std::string> lines;
  for (const Event& event : adoption.events) {
    lines.push_back(std::string(to_word(event.kind)) + " " + to_text(*event.range));
  }
  return lines;
}

using Lines = std::vector<std::string>;

TEST(Adoption, AnEmptyRegistryTakesEverythingAndResolvesWhatWasResolved) {
  const Adoption adoption = adopt(sample_handover(), {});
  EXPECT_EQ(lines_of(adoption), Lines({"ue 0x1000000-0x1000fff", "poisoned 0x1002000-0x1005fff",
                                       "ce 0x2000000-0x2000fff", "media 0x3000000-0x3000fff",
                                       "resolution 0x3000000-0x3000fff"}));
}

TEST(Adoption, WhatTheRegistryHasIsNotSaidAgain) {
  const std::vector<Record> records = {
      record_of(range(0x1000000, 0x1000fff), Condition::kFaulty),
      record_of(range(0x1003000, 0x1003fff), Condition::kFaulty),
      record_of(range(0x2000000, 0x2000fff), Condition::kSuspect),
      record_of(range(0x3000000, 0x3000fff), Condition::kResolved)};
  EXPECT_EQ(lines_of(adopt(sample_handover(), records)),
            Lines({"poisoned 0x1002000-0x1002fff", "poisoned 0x1004000-0x1005fff"}));
}

TEST(Adoption, WhatWasResolvedSinceIsResolvedAndWhatCameBackIsFaultyAgain) {
  const std::vector<Record> records = {record_of(range(0x1000000, 0x1000fff), Condition::kResolved),
                                       record_of(range(0x1002000, 0x1005fff), Condition::kFaulty),
                                       record_of(range(0x2000000, 0x2000fff), Condition::kFaulty),
                                       record_of(range(0x3000000, 0x3000fff), Condition::kFaulty)};
  EXPECT_EQ(lines_of(adopt(sample_handover(), records)),
            Lines({"ue 0x1000000-0x1000fff", "resolution 0x3000000-0x3000fff"}));
}

TEST(Adoption, AFrameThatCorrectedErrorsMadeFaultyStaysFaulty) {
  Handover handover = sample_handover();
  handover.ranges = {{range(0x1000, 0x1fff), Condition::kFaulty, EventKind::kCorrected}};
  EXPECT_EQ(lines_of(adopt(handover, {})), Lines({"poisoned 0x1000-0x1fff"}));
}

TEST(Adoption, WhatIsInQuarantineIsCountedAndNotTaken) {
  Handover handover = sample_handover();
  handover.ranges = {{range(0x1000, 0x1fff), Condition::kQuarantined, EventKind::kUncorrected}};
  const Adoption adoption = adopt(handover, {});
  EXPECT_TRUE(adoption.events.empty());
  EXPECT_EQ(adoption.quarantined, 1U);
}

TEST(Adoption, TheVersionOfAnImportNamesItsGeneration) {
  EXPECT_EQ(adopted_generation(adopted_version(42)), 42U);
  for (const std::string_view text : {"", "42", "generation ", "generation x", "generation -1"}) {
    EXPECT_EQ(adopted_generation(text), 0U) << text;
  }
}

// A registry in memory begins anew at each boot; its list must not look older than the one that it
// goes on from, or the next boot takes an old copy for the newest.
TEST(Adoption, TheGenerationOfANewRegistryGoesOnFromTheHandover) {
  const TempTree tree;
  auto store = Store::open(tree.path("registry.db"), Store::Mode::kCreate).value();
  EXPECT_EQ(store.generation().value(), 0U);
  auto provenance = provenance_of(std::string(kHandoverSource), "boot", at_second(10));
  provenance.source_version = adopted_version(1000);
  {
    auto import = store.begin_import(provenance, Store::Repeats::kCount).value();
    for (const Event& event : adopt(sample_handover(), {}).events) {
      const auto added = import.add(event);
      ASSERT_TRUE(added.ok()) << added.error().message;
    }
    ASSERT_TRUE(import.commit().ok());
  }
  EXPECT_EQ(store.newest_change().value(), 5U);
  EXPECT_EQ(store.generation().value(), 1005U);
  // And the records are those of the handover.
  const auto records = store.records().value();
  ASSERT_EQ(records.size(), 4U);
  EXPECT_EQ(records[0].condition, Condition::kFaulty);
  EXPECT_EQ(records[2].condition, Condition::kSuspect);
  EXPECT_EQ(records[3].condition, Condition::kResolved);
  // Read again, there is nothing new.
  EXPECT_TRUE(adopt(sample_handover(), records).events.empty());
}

}  // namespace
}  // namespace poisonctl
