// The report model and what is made of it: counted right, of bounded size, and harmless whatever
// firmware and files put into names and notes.
#include <gtest/gtest.h>

#include <algorithm>

#include "cli/report/list_check.h"
#include "cli/report/map_text.h"
#include "cli/report/markup.h"
#include "cli/report/metrics.h"
#include "cli/report/model.h"
#include "cli/report/page.h"
#include "tests/unit/checked_machine.h"
#include "tests/unit/sample_events.h"
#include "tests/unit/temp_tree.h"
#include "tests/unit/test_store.h"

namespace poisonctl {
namespace {

constexpr std::uint64_t kMib = 1U << 20U;
constexpr std::string_view kBoot = "11111111-2222-3333-4444-555555555555";

Machine host() {
  return {.page_shift = shift_of(4096),
          .architecture = "x86_64",
          .kernel_release = "6.1.0",
          .boot_id = std::string(kBoot),
          .host_id = "0123456789abcdef",
          .product_uuid = {},
          .product_serial = {},
          .command_line = {}};
}

// A registry and the machine of 64 MiB that it is about.
class ReportTest : public ::testing::Test {
 protected:
  void add(const std::vector<Event>& events, int second = 0, std::string source = "kernel") {
    append_at(tree_.path("registry.db"),
              provenance_of(std::move(source), std::string(kBoot), at_second(second)), events);
  }
  ReportModel model(ReportDepth depth = ReportDepth::kAll) {
    const CheckedMachine view = machine_.view();
    ReportModel made = empty_report({.machine = view,
                                     .host = host_,
                                     .topology = topology_,
                                     .blocks = {},
                                     .now = at_second(1000)});
    auto store = Store::open(tree_.path("registry.db"), Store::Mode::kRead).value();
    const auto quarantine = Quarantine::prepare({}, topology_);
    const auto added =
        add_registry(made, view, quarantine.value(), store, store.generation().value(), depth);
    EXPECT_TRUE(added.ok()) << added.error().message;
    return made;
  }

  TempTree tree_;
  TestMachine machine_ = {
      .map = MemoryMap({{range(0, 64 * kMib - 1), 0, "System RAM"}}, {}),
      .nodes = {{range(0, 32 * kMib - 1), 0}, {range(32 * kMib, 64 * kMib - 1), 1}}};
  Machine host_ = host();
  Topology topology_;
};

TEST_F(ReportTest, CountsWhatIsThere) {
  topology_.modules = {{.slot = "A1",
                        .manufacturer = "Maker",
                        .serial = "S1",
                        .part = "P",
                        .bytes = 32 * kMib,
                        .mappings = {{range(0, 32 * kMib - 1), ""}}},
                       {.slot = "B1",
                        .manufacturer = "Maker",
                        .serial = "S2",
                        .part = "P",
                        .bytes = 64 * kMib,
                        .mappings = {{range(16 * kMib, 64 * kMib - 1), ""}}}};
  add({event_of(EventKind::kUncorrected, frame_at(1)),
       event_of(EventKind::kUncorrected, frame_at(2)),
       event_of(EventKind::kUncorrected, frame_at(0x1400)),
       event_of(EventKind::kCorrected, frame_at(0x3000)),
       event_of(EventKind::kUncorrected, range(0x1000, 0x2fff))});
  add({outcome_of(Retirement::kEffective, frame_at(1), "poisoned and isolated"),
       outcome_of(Retirement::kPending, frame_at(2), "free: can be allocated")},
      1);
  add({resolution_of(Resolution::kReplaced, frame_at(0x3000), "new")}, 2);
  const ReportModel made = model();
  const auto check = [&](Standing standing, std::uint64_t records, std::uint64_t frames) {
    SCOPED_TRACE(to_word(standing));
    EXPECT_EQ(made.of(standing).records, records);
    EXPECT_EQ(made.of(standing).bytes, frames * 4096);
  };
  check(Standing::kOutOfUse, 1, 1);
  check(Standing::kInUse, 1, 1);
  check(Standing::kNotLooked, 2, 3);
  check(Standing::kResolved, 1, 1);
  check(Standing::kSuspect, 0, 0);
  EXPECT_EQ(made.records(), 5U);
  EXPECT_EQ(made.list.accepted, 3U * 4096);
  EXPECT_EQ(made.nodes.at(0).faulty, 3U * 4096);
  EXPECT_EQ(made.nodes.at(1).faulty, 0U);
  ASSERT_FALSE(made.huge_pages.empty());
  EXPECT_EQ(made.huge_pages[0].size, 2 * kMib);
  EXPECT_EQ(made.huge_pages[0].touched, 2U);
  const auto index = static_cast<std::size_t>(Standing::kNotLooked);
  EXPECT_EQ(made.modules.at(0).alone.at(index).records, 1U);
  EXPECT_EQ(made.modules.at(0).shared.at(index).records, 1U);
  EXPECT_EQ(made.modules.at(1).shared.at(index).records, 1U);
  EXPECT_EQ(made.modules.at(1).alone.at(static_cast<std::size_t>(Standing::kResolved)).records, 1U);
  EXPECT_EQ(made.how.at("poisoned and isolated"), 1U);
  EXPECT_EQ(made.sources.at("kernel").entries, 8U);
  EXPECT_EQ(made.sources.at("kernel").errors, 5U);
  EXPECT_EQ(made.shown.front().standing, Standing::kInUse);
  EXPECT_EQ(made.shown.front().events.size(), 2U);
  EXPECT_TRUE(std::any_of(made.findings.begin(), made.findings.end(),
                          [](const RuleFacts& facts) { return facts.rule->id == "overlap"; }));
}

TEST_F(ReportTest, MuchIsAggregatedAndNothingDroppedSilently) {
  std::vector<Event> events;
  // Of one frame in two: no two are neighbours.
  constexpr std::uint64_t kRecords = 5000;
  for (std::uint64_t i = 0; i < kRecords; ++i) {
    Event event = event_of(EventKind::kUncorrected, frame_at(2 * i), std::string(400, 'x'));
    event.label = "DIMM " + std::to_string(i);
    events.push_back(std::move(event));
  }
  for (int i = 0; i < 100; ++i) events.push_back(event_of(EventKind::kUncorrected, frame_at(0)));
  add(events);
  const ReportModel made = model();
  EXPECT_EQ(made.records(), kRecords);
  EXPECT_EQ(made.shown.size(), kMostShownRecords);
  EXPECT_EQ(made.records_left_out, kRecords - kMostShownRecords);
  EXPECT_EQ(made.devices.size(), kMostDevices);
  EXPECT_EQ(made.devices_left_out, kRecords - kMostDevices);
  const auto& first = made.shown.front();
  EXPECT_EQ(first.record.range, frame_at(0));
  EXPECT_EQ(first.events.size(), kFirstEvents + kNewestEvents);
  EXPECT_EQ(first.events_between, 101 - kFirstEvents - kNewestEvents);
  EXPECT_EQ(first.events.back().id, static_cast<std::int64_t>(kRecords + 100));
  const std::string page = render_page(made);
  EXPECT_LT(page.size(), 600'000U);
  for (const std::string_view said : {"The other 4,800 are in the counts", "95 entries between",
                                      "4,984 errors at other devices", "Of the first 40 records"}) {
    EXPECT_NE(page.find(said), std::string::npos) << said;
  }
}

TEST_F(ReportTest, TextOfOthersIsHarmlessEverywhere) {
  const std::string nasty =
      "</title><script>alert(1)</script>\" onload='x' & \x1b[31m\x07\n}\\ 1\n"
      "# HELP \u202e\u2066\xff{";
  topology_.modules = {{.slot = nasty,
                        .manufacturer = nasty,
                        .serial = nasty,
                        .part = nasty,
                        .mappings = {{range(0, 64 * kMib - 1), nasty}}}};
  host_.host_id = host_.kernel_release = host_.product_serial = nasty;
  Event event = event_of(EventKind::kUncorrected, frame_at(1), nasty + std::string(1U << 20U, '<'));
  event.label = event.result = nasty;
  add({event});
  add({outcome_of(Retirement::kPending, frame_at(1), nasty)}, 1);
  add({resolution_of(Resolution::kReplaced, frame_at(1), nasty)}, 2);
  const ReportModel made = model();
  const std::string page = render_page(made);
  const std::string metrics = metrics_text(made);
  EXPECT_EQ(page.find("<script"), std::string::npos);
  EXPECT_EQ(page.find("onload='"), std::string::npos);
  EXPECT_LT(page.size(), 60'000U);
  for (const std::string& text : {page, metrics}) {
    for (const std::string_view raw : {"\x1b", "\x07", "\u202e", "\u2066", "\xff"}) {
      EXPECT_EQ(text.find(raw), std::string::npos);
    }
  }
  // One line stays one line, and a value stays inside of its quotes.
  EXPECT_EQ(metrics.find("\n}"), std::string::npos);
  EXPECT_NE(metrics.find("serial=\"</title><script>alert(1)</script>\\\" onload="),
            std::string::npos);
  for (const auto& line : map_lines(made, Glyphs::kAscii)) {
    for (const Cell& cell : line) EXPECT_EQ(cell.text.find('\x1b'), std::string::npos);
  }
}

TEST_F(ReportTest, EventsAreNotReadForWhatNeedsThemNot) {
  add({event_of(EventKind::kUncorrected, frame_at(1))});
  const ReportModel made = model(ReportDepth::kRecords);
  EXPECT_TRUE(made.sources.empty());
  EXPECT_EQ(made.records(), 1U);
}

// Sources that name frames one bit apart are compared within a piece of the check; that not all
// were is said.
TEST_F(ReportTest, ManyRecordsAreCheckedInPiecesAndThatIsSaid) {
  std::vector<Event> events;
  for (std::uint64_t i = 0; i < ListCheck::kPiece + 1; ++i) {
    events.push_back(event_of(EventKind::kUncorrected, frame_at(i)));
  }
  add(events);
  const ReportModel made = model();
  EXPECT_TRUE(made.checked_in_parts);
  EXPECT_EQ(made.list.accepted, (ListCheck::kPiece + 1) * 4096);
  EXPECT_NE(made.list.bound.find("limit is 100 per mille"), std::string::npos);
  EXPECT_NE(render_page(made).find("checked piece by piece"), std::string::npos);
}

TEST(Markup, TextAndNumbers) {
  EXPECT_EQ(html_text("a<b> & \"c\" 'd'\n"), "a&lt;b&gt; &amp; &quot;c&quot; &#39;d&#39;\\x0a");
  EXPECT_EQ(html_text("\u00e9\u202e"), "\u00e9\\xe2\\x80\\xae");
  EXPECT_EQ(html_text(std::string(500, '<'), 10), "&lt;&lt;&lt;&lt;&lt;&lt;&lt;&lt;&lt;&lt;...");
  EXPECT_EQ(grouped(0), "0");
  EXPECT_EQ(grouped(999), "999");
  EXPECT_EQ(grouped(1000), "1,000");
  EXPECT_EQ(grouped(1234567), "1,234,567");
  EXPECT_EQ(grouped_count(1, "frame"), "1 frame");
  EXPECT_EQ(grouped_count(2, "frame"), "2 frames");
  EXPECT_EQ(label_value("a\"b\\c\nd"), "a\\\"b\\\\c\\\\x0ad");
}

}  // namespace
}  // namespace poisonctl
