#include "registry/audit/bundle.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "registry/audit/bundle_check.h"
#include "registry/audit/log_lines.h"
#include "registry/audit/restore.h"
#include "registry/audit/ustar.h"
#include "tests/throwaway_key.h"
#include "tests/unit/sample_events.h"
#include "tests/unit/temp_tree.h"
#include "tests/unit/test_store.h"

namespace poisonctl {
namespace {

std::string exported(const TempTree& tree, const SigningKey& key, const ExportRequest& request) {
  auto store = Store::open(tree.path("registry.db"), Store::Mode::kRead);
  EXPECT_TRUE(store.ok());
  auto file = FileInTheMaking::begin(tree.path("bundle"));
  EXPECT_TRUE(file.ok());
  const auto done = export_bundle(*store, tree.path("registry.db"), key, request, *file);
  EXPECT_TRUE(done.ok()) << done.error().message;
  EXPECT_TRUE(file->commit(0600).ok());
  return tree.content("bundle");
}

BundleReport checked(const std::string& bundle, const SigningKey& key) {
  const BundleTrust trust{.keys = {key.public_key()}, .ca_pem = {}};
  TextStream stream(bundle, "bundle");
  auto report = check_bundle(stream, trust);
  EXPECT_TRUE(report.ok()) << report.error().message;
  return report ? *std::move(report) : BundleReport();
}

ImportLine an_import() {
  ImportLine line{.id = 1,
                  .provenance = provenance_of("operator", "boot", at_second(0)),
                  .topology = 1,
                  .digest = Digest{},
                  .redacted = false};
  line.provenance.origin = "a \"file\"\n";
  return line;
}

TEST(LogLine, IsReadBackAsItWasWritten) {
  EventLine event{.id = 7,
                  .import = 1,
                  .event = event_of(EventKind::kCorrected, frame_at(3), "\xff\xfe no text \x01"),
                  .hash = Digest{1, 2, 3},
                  .redacted = false};
  event.event.observed = at_second(5) + std::chrono::nanoseconds(1);
  event.event.dram.row = 17;
  EventLine placeless = event;
  placeless.event.range.reset();
  placeless.event.evidence = "\xe2\x80\xae turned around";
  for (const LogLine& line :
       {LogLine(an_import()), LogLine(event), LogLine(placeless),
        LogLine(EventLine{.event = outcome_of(Retirement::kFailed, frame_at(1), "flags")}),
        LogLine(OmittedLine{.first = 1, .last = 9, .hash = {}})}) {
    const std::string text = to_text(line);
    ASSERT_TRUE(text.ends_with("\n"));
    EXPECT_EQ(text.find_first_not_of(" !\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                     "[\\]^_`abcdefghijklmnopqrstuvwxyz{|}~"),
              text.size() - 1);
    const auto again = parse_log_line(std::string_view(text).substr(0, text.size() - 1), "log:1");
    ASSERT_TRUE(again.ok()) << again.error().message;
    EXPECT_EQ(to_text(*again), text);
  }
}

TEST(LogLine, HasOneForm) {
  const std::string good = to_text(LogLine(an_import()));
  const std::string line = good.substr(0, good.size() - 1);
  for (const std::string& bad :
       {std::string(), std::string("[]"), line + " ", " " + line, line.substr(0, line.size() - 1),
        "{\"id\":2," + line.substr(1), line.substr(0, line.size() - 1) + ",\"more\":1}",
        std::string(R"({"type":"omitted","first":1.0,"last":2,"hash":""})"),
        std::string(R"({"type":"omitted","first":-1,"last":2,"hash":""})")}) {
    EXPECT_FALSE(parse_log_line(bad, "log:1").ok()) << bad;
  }
}

TEST(BundleInfo, IsReadBackAsItWasWritten) {
  BundleInfo info;
  info.tool = "poisonctl 1";
  info.time = at_second(3);
  info.head.id = 9;
  info.public_key = std::string(32, 'k');
  info.filter.since = at_second(1);
  info.filter.dimm = "A1 \"left\"";
  info.filter.ranges = {frame_at(1), frame_at(7)};
  info.redacted = true;
  const std::string text = to_text(info);
  const auto again = parse_bundle_info(text, "bundle");
  ASSERT_TRUE(again.ok()) << again.error().message;
  EXPECT_EQ(to_text(*again), text);
  EXPECT_EQ(again->filter.ranges, info.filter.ranges);
  EXPECT_FALSE(parse_bundle_info(text + " ", "bundle").ok());
  EXPECT_FALSE(parse_bundle_info("{}", "bundle").ok());
  // Deeper than the stack, and more keys than can be looked for one by one.
  constexpr std::size_t kMany = 500'000;
  const std::string deep = "{\"filter\":" + std::string(kMany, '[') + std::string(kMany, ']') + "}";
  EXPECT_FALSE(parse_bundle_info(deep, "bundle").ok());
  EXPECT_FALSE(parse_log_line(deep, "line").ok());
  std::string keys = "{\"filter\":{\"k\":0";
  for (std::size_t i = 0; i < kMany; ++i) keys += ",\"" + std::to_string(i) + "\":0";
  EXPECT_FALSE(parse_bundle_info(keys + "}}", "bundle").ok());
}

// The blocks that POSIX has for a file of one byte, and nothing else.
TEST(Tar, TakesOnlyWhatItWrites) {
  const std::string good = tar_header("a", 1) + "x" + tar_padding(1) + tar_end();
  ASSERT_EQ(good.size(), 4U * 512);
  const auto reads = [](const std::string& text) {
    TextStream stream(text, "file");
    TarReader reader(stream);
    for (;;) {
      const auto member = reader.next();
      if (!member) return false;
      if (!*member) return true;
    }
  };
  EXPECT_TRUE(reads(good));
  EXPECT_FALSE(reads(good + "x"));
  for (std::size_t i = 0; i < good.size(); ++i) {
    std::string bad = good;
    bad[i] = static_cast<char>(bad[i] ^ 4);
    // The content itself is for the digests.
    EXPECT_EQ(reads(bad), i == 512) << i;
    EXPECT_FALSE(reads(good.substr(0, i))) << i;
  }
}

TEST(Tar, DoesNotAllocateByALengthThatItWasTold) {
  const std::string header = tar_header("a", kMostMemberBytes + 1);
  TextStream stream(header, "file");
  const auto member = TarReader(stream).next();
  ASSERT_FALSE(member.ok());
  EXPECT_NE(member.error().message.find("at most"), std::string::npos);
}

// A clock that was set back, and one that was set within a boot, are told and are no defect.
TEST(Bundle, TellsThatAClockWasSet) {
  const TempTree tree;
  const SigningKey key = throwaway_key();
  Provenance first = provenance_of("operator", "boot", at_second(1000));
  first.monotonic_ns = 1'000'000'000;
  Provenance back = first;
  back.time = at_second(0);
  Provenance forth = back;
  forth.time = at_second(90);
  forth.monotonic_ns += 2'000'000'000;
  append_at(tree.path("registry.db"), first, {event_of(EventKind::kUncorrected, frame_at(1))});
  EXPECT_TRUE(checked(exported(tree, key, {}), key).notes.empty());
  append_at(tree.path("registry.db"), back, {event_of(EventKind::kUncorrected, frame_at(2))});
  append_at(tree.path("registry.db"), forth, {event_of(EventKind::kUncorrected, frame_at(3))});
  const BundleReport report = checked(exported(tree, key, {}), key);
  EXPECT_TRUE(report.findings.empty());
  ASSERT_EQ(report.notes.size(), 2U);
  EXPECT_NE(report.notes[0].find("import 2"), std::string::npos) << report.notes[0];
  EXPECT_NE(report.notes[0].find("set back"), std::string::npos) << report.notes[0];
  EXPECT_NE(report.notes[1].find("set by 88 seconds"), std::string::npos) << report.notes[1];
}

// One text that names the host makes its whole import unverifiable by content, and no other.
TEST(Bundle, WithholdsOnlyWhatNamesTheHost) {
  const TempTree tree;
  const SigningKey key = throwaway_key();
  Provenance by = provenance_of("operator", "boot", at_second(0));
  by.host_id = "0123456789ABCDEF";
  append_at(tree.path("registry.db"), by,
            {event_of(EventKind::kUncorrected, frame_at(1), "a note")});
  append_at(tree.path("registry.db"), by,
            {event_of(EventKind::kUncorrected, frame_at(2), "on 0123456789abcdef"),
             event_of(EventKind::kUncorrected, frame_at(3), "another note")});
  ExportRequest request;
  request.redact = true;
  const std::string bundle = exported(tree, key, request);
  EXPECT_EQ(bundle.find("0123456789"), std::string::npos);
  EXPECT_NE(bundle.find("another note"), std::string::npos);
  const BundleReport report = checked(bundle, key);
  EXPECT_TRUE(report.findings.empty());
  EXPECT_EQ(report.events, 3U);
  EXPECT_EQ(report.withheld, 2U);
  // Another host has other names for the same.
  EXPECT_NE(bundle, exported(tree, throwaway_key(), request));
}

TEST(Bundle, BecomesARegistryWithTheSameHashes) {
  const TempTree tree;
  const SigningKey key = throwaway_key();
  const Provenance by = provenance_of("operator", "boot", at_second(0));
  append_at(tree.path("registry.db"), by,
            {event_of(EventKind::kUncorrected, frame_at(1)),
             outcome_of(Retirement::kEffective, frame_at(1), "isolated")});
  // Two imports by the same hand at the same time stay two.
  append_at(tree.path("registry.db"), by, {event_of(EventKind::kCorrected, frame_at(2))});
  const BundleReport report = checked(exported(tree, key, {}), key);
  const auto entries = restore_bundle(tree.path("bundle"), report, tree.path("again.db"));
  ASSERT_TRUE(entries.ok()) << entries.error().message;
  EXPECT_EQ(*entries, 3U);
  auto again = Store::open(tree.path("again.db"), Store::Mode::kRead);
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->head()->hash, report.info.head.hash);
  EXPECT_FALSE(restore_bundle(tree.path("bundle"), report, tree.path("again.db")).ok());
}

}  // namespace
}  // namespace poisonctl
