// Error records of firmware: what each section says, and lengths that lie. The records are those
// that tests/cli/cper_encode.py writes from the specifications.
#include "registry/sources/cper.h"

#include <set>

#include "registry/bytes.h"
#include "tests/unit/sources/hostile_input.h"

namespace poisonctl {
namespace {

std::string sample(const std::string& name) {
  return file_content(golden_path("cper/" + name + ".cper"));
}

// Where records end.
std::set<std::size_t> record_ends(std::string_view records) {
  std::set<std::size_t> ends = {0};
  for (std::size_t at = 0; at < records.size();) {
    at += static_cast<std::size_t>(little_endian(records.substr(at + 20, 4)));
    ends.insert(at);
  }
  return ends;
}

std::string with(std::string bytes, std::size_t at, std::string_view change) {
  return bytes.replace(at, change.size(), change);
}

TEST(Cper, Golden) {
  expect_golden(collected_from(collect_cper, sample("records")).lines, "cper/records.events");
  expect_golden(collected_from(collect_cper, sample("bert")).lines, "cper/bert.events");
}

TEST(Cper, OfACutFileOnlyWholeRecordsCount) {
  const std::string records = sample("records");
  const auto ends = record_ends(records);
  ASSERT_GT(ends.size(), 10U);
  const std::size_t all = collected_from(collect_cper, records).events.size();
  for (std::size_t length = 0; length < records.size(); ++length) {
    const Collected got = collected_from(collect_cper, records.substr(0, length));
    const bool whole = length != 0 && ends.count(length) != 0;
    EXPECT_EQ(got.error.empty(), whole) << length << ": " << got.error;
    if (!whole) {
      EXPECT_EQ(got.code, ErrorCode::kBadData) << length;
    }
    EXPECT_LE(got.events.size(), all);
  }
}

TEST(Cper, OfACutRegionNoBlockIsReadInPart) {
  const std::string region = sample("bert");
  // The blocks end where the zeros begin.
  const std::size_t end = region.find_last_not_of('\0') + 1;
  std::size_t accepted = 0;
  for (std::size_t length = 1; length < end; ++length) {
    const Collected got = collected_from(collect_cper, region.substr(0, length));
    if (got.error.empty()) {
      ++accepted;
      EXPECT_EQ(got.events.size(), 1U) << length;
    } else {
      EXPECT_EQ(got.code, ErrorCode::kBadData) << length;
    }
  }
  EXPECT_EQ(accepted, 1U) << "only the length of the first block";
}

TEST(Cper, ARegionWithoutAnErrorIsNoError) {
  const Collected got = collected_from(collect_cper, std::string(64, '\0'));
  EXPECT_TRUE(got.error.empty()) << got.error;
  EXPECT_EQ(got.lines, "");
  const Collected stale = collected_from(collect_cper, std::string(20, '\0') + sample("bert"));
  EXPECT_TRUE(stale.events.empty());
  EXPECT_NE(stale.lines.find("what is behind was not read"), std::string::npos) << stale.lines;
}

TEST(Cper, RefusesWithTheOffset) {
  const std::string record = sample("records").substr(0, 280);
  const std::string block = sample("bert").substr(0, 1024);
  const std::string all_ones(4, '\xff');
  const std::string cases[][2] = {
      {"", "input: offset 0x0: nothing here"},
      {"CPER", "the header of a record of 128 bytes, of which 4 are there"},
      {with(record, 4, "\x01\x02"), "the header is damaged"},
      {with(record, 6, std::string(4, '\0')), "the header is damaged"},
      {with(record, 10, "\xff\xff"), "a record of 280 bytes with 65535 sections"},
      {with(record, 20, std::string("\x10\0\0\0", 4)), "a record of 16 bytes with 1 section"},
      {with(record, 20, all_ones), "a record of 4294967295 bytes"},
      {with(record, 128, std::string(4, '\0')), "section 0 is at 0x0 with 80 bytes"},
      {with(record, 128, all_ones), "section 0 is at 0xffffffff with 80 bytes"},
      {with(record, 132, all_ones), "section 0 is at 0xc8 with 4294967295 bytes"},
      {with(record, 132, std::string("\x48\0\0\0", 4)),
       "offset 0xc8: a memory error section of 72"},
      {with(record, 176, std::string("\x04\0\0\0", 4)), "severity 4: expected 0 to 3"},
      {record + "CPEX" + std::string(40, 'x'), "offset 0x118: expected CPER records"},
      {with(block, 12, all_ones), "an error block of 4294967315 bytes"},
      {with(block, 8, all_ones), "an error block of"},
      {with(block, 12, std::string("\x30\0\0\0", 4)), "offset 0x14: an entry of 48 bytes"},
      {with(block, 20 + 24, all_ones), "an entry of 4294967367 bytes in the"},
      {with(block, 16, "\x04"), "expected CPER records"},
  };
  for (const auto& c : cases) expect_refused(collect_cper, {c[0], c[1]});
}

TEST(Cper, ATimeThatIsNoneIsNotGuessed) {
  const std::string record = sample("records").substr(0, 280);
  for (const std::string_view stamp : {"\xff", "\x61", "\x0a"}) {
    const Collected got = collected_from(collect_cper, with(record, 24, stamp));
    ASSERT_EQ(got.events.size(), 1U) << got.error;
    EXPECT_FALSE(got.events.front().observed);
    EXPECT_NE(got.lines.find("is no time"), std::string::npos) << got.lines;
  }
}

TEST(Cper, HostileInput) {
  expect_nothing_from_hostile_input(collect_cper);
  expect_endless_line_is_refused(collect_cper, 1U << 18U);
}

}  // namespace
}  // namespace poisonctl
