// The report of a replay: what is written reads back, and what is malformed is an error.
#include <gtest/gtest.h>
#include <sys/file.h>

#include "cli/replay/report.h"
#include "cli/replay/run.h"
#include "tests/unit/sample_events.h"
#include "tests/unit/temp_tree.h"
#include "tests/unit/test_ranges.h"

namespace poisonctl {
namespace {

ReplayReport sample() {
  ReplayReport report;
  report.stage = ReplayStage::kInitramfs;
  report.time = at_second(5);
  report.boot_id = "a-boot";
  report.kernel_release = "7.2";
  report.page_size = 4096;
  report.generation = 42;
  report.orders = 2;
  report.duration = std::chrono::microseconds(1234);
  report.handovers = {
      {"/poisonctl/handover", "accept", 42, true, {{"host-not-known", "which \"machine\" \xff"}}}};
  report.runs = {{range(0x1000, 0x2fff), ReplayState::kEffective, FrameUse::kNone,
                  Retirement::kEffective, 0, "poisoned and on no list"},
                 {range(0x5000, 0x5fff), ReplayState::kTaken, FrameUse::kSlab, Retirement::kFailed,
                  16, "in use as kernel slab"},
                 {range(0x7000, 0x7fff), ReplayState::kTaken, FrameUse::kAnonymous,
                  Retirement::kPending, 0, "in use by a process"}};
  report.refused = {{range(0x9000, 0x9fff), "is a hole"}};
  report.doubts = {set_of({range(0x5000, 0x5fff)}), set_of({range(0xb000, 0xbfff)})};
  return report;
}

TEST(ReplayReport, WhatIsWrittenReadsBack) {
  ReplayReport everything = sample();
  everything.dry_run = everything.stopped = true;
  everything.flags_read = false;
  everything.not_replayed = "the kernel would panic";
  ReplayReport nothing;
  nothing.page_size = 65536;
  for (const ReplayReport& report : {sample(), everything, nothing}) {
    const std::string text = to_text(report);
    const auto read = parse_report(text, "test");
    ASSERT_TRUE(read.ok()) << read.error().message << text;
    EXPECT_EQ(to_text(*read), text);
  }
}

TEST(ReplayReport, CountsFramesAndKnowsWhatIsSettled) {
  const ReplayReport report = sample();
  EXPECT_EQ(count_states(report), (std::vector<std::uint64_t>{2, 0, 0, 0, 2, 0, 0, 0}));
  EXPECT_EQ(settled_by(report), set_of({range(0x1000, 0x2fff)}));
  // What is absent can come, and then somebody has to look.
  ReplayReport hotplug = report;
  hotplug.runs.push_back({range(0x10000, 0x10fff), ReplayState::kAbsent, FrameUse::kNone,
                          Retirement::kEffective, 0, "its memory block is offline"});
  EXPECT_EQ(settled_by(hotplug), settled_by(report));
  EXPECT_EQ(summary_of(report), "2 retired, 2 in use; 1 range refused");
}

TEST(ReplayReport, WhatIsMalformedIsAnError) {
  const std::string good = to_text(sample());
  struct Case {
    std::string_view what;
    std::string_view from;
    std::string_view to;
    ErrorCode code;
    std::string_view told;
  };
  const Case cases[] = {
      {"no JSON", "{\"schema\"", "schema", ErrorCode::kBadData, "one JSON object"},
      {"another schema", "replay-v1", "replay-v2", ErrorCode::kUnknownForm, "replay-v2"},
      {"an unknown state", "\"taken\",\"use\"", "\"eaten\",\"use\"", ErrorCode::kBadData,
       "'state'"},
      {"an unknown use", "\"slab\"", "\"slob\"", ErrorCode::kBadData, "'use'"},
      {"a range past all memory", "\"address\":4096", "\"address\":18446744073709551615",
       ErrorCode::kBadData, "'address'"},
      {"no number", "\"orders\":2", "\"orders\":-2", ErrorCode::kBadData, "'orders'"},
      {"no page size", "\"page_size\":4096", "\"page_size\":4095", ErrorCode::kBadData,
       "'page_size'"},
      {"no errno", "\"errno\":16", "\"errno\":99999999999", ErrorCode::kBadData, "'errno'"},
      {"no list", "\"refused\":[", "\"refuse\":[", ErrorCode::kBadData, "'refused'"},
      {"no time", "2026-", "26-", ErrorCode::kBadData, "'time'"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.what);
    std::string text = good;
    const auto at = text.find(c.from);
    ASSERT_NE(at, std::string::npos) << text;
    text.replace(at, c.from.size(), c.to);
    const auto read = parse_report(text, "the report");
    ASSERT_FALSE(read.ok());
    EXPECT_EQ(read.error().code, c.code);
    EXPECT_NE(read.error().message.find(c.told), std::string::npos) << read.error().message;
  }
  for (std::size_t size = 0; size < good.size() - 1; ++size) {
    ASSERT_FALSE(parse_report(std::string_view(good).substr(0, size), "test").ok()) << size;
  }
}

TEST(ReplayReport, OneOfAnotherBootIsNone) {
  TempTree tree;
  const auto root = tree.open();
  EXPECT_FALSE(read_report(*root, "a-boot").value().has_value());
  ASSERT_TRUE(write_report(*root, sample()).ok());
  EXPECT_TRUE(read_report(*root, "a-boot").value().has_value());
  EXPECT_FALSE(read_report(*root, "another").value().has_value());
  tree.write(kReportPath, "rubbish");
  EXPECT_FALSE(read_report(*root, "a-boot").ok());
}

// A lock of another descriptor is held out even inside one process (flock(2)).
TEST(ReplayTurn, KnowsWhetherTheOneBeforeWasCutOff) {
  TempTree tree;
  const auto root = tree.open();
  EXPECT_FALSE(is_replay_unreported(*root, "a-boot").value());
  {
    auto turn = ReplayTurn::take(*root, "a-boot").value();
    EXPECT_FALSE(turn.was_cut_off());
    EXPECT_FALSE(is_replay_unreported(*root, "a-boot").value());
    ASSERT_TRUE(turn.begin().ok());
    EXPECT_TRUE(is_replay_unreported(*root, "a-boot").value());
    EXPECT_FALSE(is_replay_unreported(*root, "another").value());
    const UniqueFd other = root->open_lock(kTurnPath).value();
    EXPECT_NE(::flock(other.get(), LOCK_EX | LOCK_NB), 0);
  }
  auto turn = ReplayTurn::take(*root, "a-boot").value();
  EXPECT_TRUE(turn.was_cut_off());
  ReplayReport report = sample();
  report.not_replayed = "the kernel would panic";
  ASSERT_TRUE(end_turn(turn, report).ok());
  EXPECT_TRUE(is_replay_unreported(*root, "a-boot").value());
  ASSERT_TRUE(end_turn(turn, sample()).ok());
  EXPECT_FALSE(is_replay_unreported(*root, "a-boot").value());
}

}  // namespace
}  // namespace poisonctl
