// Log entries of a Redfish service: the records in them, and answers of the wrong shape.
#include "registry/sources/redfish.h"

#include "tests/unit/sources/hostile_input.h"

namespace poisonctl {
namespace {

TEST(Redfish, Golden) {
  const std::string text = file_content(golden_path("redfish/log.json"));
  expect_golden(collected_from(collect_redfish, text).lines, "redfish/log.events");
}

TEST(Redfish, ModulesWithTheirMetrics) {
  const std::string text = file_content(golden_path("redfish/memory.json"));
  expect_golden(collected_from(collect_redfish, text).lines, "redfish/memory.events");
}

TEST(Redfish, ACutAnswerGivesNothing) {
  const std::string text = file_content(golden_path("redfish/log.json"));
  for (std::size_t length = 0; length + 2 < text.size(); length += 7) {
    const Collected got = collected_from(collect_redfish, text.substr(0, length));
    EXPECT_EQ(got.code, ErrorCode::kBadData) << length;
    EXPECT_TRUE(got.events.empty()) << length;
  }
}

TEST(Redfish, RefusesWhatHasNoEntry) {
  for (const char* const text :
       {"{}", "[]", "7", R"({"Members":[]})", R"({"Members":{"a":1}})",
        R"({"error":{"code":"Base.1.0.GeneralError","message":"no session"}})"}) {
    expect_refused(collect_redfish, {text, "no log entry here"});
  }
  expect_refused(collect_redfish, {"<html>", "input:1: "});
}

TEST(Redfish, OnlyWholeBase64IsDecoded) {
  const std::string head =
      R"({"EntryType":"Event","Severity":"Critical","DiagnosticDataType":"CPER","DiagnosticData":)";
  for (const char* const data : {R"("")", R"("Q1BF")", R"("Q1BFU")", R"("====")", R"(" Q1B")",
                                 R"("Q1B\n")", R"("Q*BF")", R"("Q===")", "7", "null", "{}"}) {
    const Collected got = collected_from(collect_redfish, head + data + "}");
    ASSERT_EQ(got.events.size(), 1U) << data << got.error;
    EXPECT_FALSE(got.events.front().range) << data;
    EXPECT_NE(got.lines.find("kept as evidence without a place"), std::string::npos) << got.lines;
  }
}

TEST(Redfish, HostileInput) {
  expect_nothing_from_hostile_input(collect_redfish);
  expect_endless_line_is_refused(collect_redfish, std::uint64_t{80} << 20U);
}

}  // namespace
}  // namespace poisonctl
