#include "registry/sources/own_json.h"

#include <gtest/gtest.h>

#include "tests/unit/sources/event_lines.h"

namespace poisonctl {
namespace {

Collected collect(ByteStream& stream, std::uint64_t page_size = 4096) {
  return collected([&](const EventSink& sink) {
    return collect_own_json(stream, test_settings(page_size), sink);
  });
}

Collected collect_text(std::string_view text, std::uint64_t page_size = 4096) {
  TextStream stream(text, "input");
  return collect(stream, page_size);
}

TEST(OwnJson, GivesTheSameEvents) {
  for (const std::string name : {"records", "events"}) {
    expect_golden(collect_text(file_content(golden_path("own_json/" + name + ".json"))).lines,
                  "own_json/" + name + ".events");
  }
}

std::string record(const std::string& fields) {
  return R"({"schema":"poisonctl/records-v1","records":[)" + fields + "]}";
}
std::string event(const std::string& fields) {
  return R"({"schema":"poisonctl/events-v1","events":[{"kind":"ue",)" + fields + "}]}";
}

struct Refused {
  std::string input;
  const char* error;
};
class OwnJsonRefused : public ::testing::TestWithParam<Refused> {};

TEST_P(OwnJsonRefused, SaysWhereAndWhy) {
  const Collected all = collect_text(GetParam().input);
  EXPECT_EQ(all.code, ErrorCode::kBadData);
  EXPECT_NE(all.error.find(GetParam().error), std::string::npos) << all.error;
}

INSTANTIATE_TEST_SUITE_P(
    All, OwnJsonRefused,
    ::testing::Values(
        Refused{"", "input:1: byte 1: no JSON"}, Refused{"7", "a single value"},
        Refused{"[]", "a list; expected the output of"}, Refused{"{}", "the schema is ''"},
        Refused{R"({"schema":"poisonctl/findings-v1"})",
                R"(the schema is "poisonctl/findings-v1")"},
        Refused{R"({"schema":1})", "the schema is 1"},
        Refused{R"({"schema":"poisonctl/records-v1","events":[]})",
                "its list is missing or another"},
        Refused{R"({"records":[]})", "the schema is ''"},
        Refused{R"({"schema":"poisonctl/records-v1","records":{}})", "'records' is no list"},
        Refused{R"({"schema":"poisonctl/records-v1","records":7})", "'records' is no list"},
        Refused{record("7"), "'records' has a value that is no object"},
        Refused{record("[]"), "a list in a list"},
        Refused{record("{\"x\":{}}"), "'x' is an object"},
        Refused{record("{\"x\":[[]]}"), "a list in a list"},
        Refused{record("{}"), "item 1 of 'records': 'condition' is missing; expected suspect"},
        Refused{record(R"({"condition":"broken"})"), "'condition' is \"broken\"; expected suspect"},
        Refused{record(R"({"condition":"faulty","severity":"outcome","address":0,"size":1})"),
                "'severity' is \"outcome\""},
        Refused{record(R"({"condition":"faulty","severity":"ue"})"), "'address' is missing"},
        Refused{record(R"({"condition":"faulty","severity":"ue","address":"0x1000","size":1})"),
                "'address' is \"0x1000\"; expected a whole number"},
        Refused{record(R"({"condition":"faulty","severity":"ue","address":-1,"size":1})"),
                "'address' is -1"},
        Refused{record(R"({"condition":"faulty","severity":"ue","address":4096,"size":0})"),
                "'size' is 0; expected a range of physical bytes"},
        Refused{
            record(R"({"condition":"faulty","severity":"ue","address":4096,"size":1,"events":0})"),
            "'events' is 0"},
        Refused{event(R"("address":18446744073709551615,"size":4096)"), "expected a range"},
        Refused{event(R"("address":0,"size":4096,"count":1.5)"), "'count' is 1.5"},
        Refused{event(R"("address":0,"size":4096,"granularity":18446744073709551615)"),
                "'granularity' is 18446744073709551615"},
        Refused{event(R"("observed":"yesterday")"), "'observed' is \"yesterday\""},
        Refused{event(R"("dram":"row=1 row=2")"), "'dram' is \"row=1 row=2\""},
        Refused{event(R"("label":[])"), "'label' is []; expected text"},
        Refused{event("\"label\":\"\xff\""), "input:1: byte"},
        Refused{event(R"("label":"a","label":"b")"), "the key 'label' comes twice"},
        Refused{R"({"schema":"poisonctl/events-v1","events":[{"kind":"bad"}]})",
                "'kind' is \"bad\"; expected ue, ce"},
        Refused{event("\"label\":1").substr(0, 60), "input:1: byte"}));

TEST(OwnJson, TakesAnEventWithoutAPlace) {
  const Collected all = collect_text(event(R"("address":null,"size":null,"label":"DIMM")"));
  ASSERT_EQ(all.events.size(), 1U) << all.lines;
  EXPECT_FALSE(all.events[0].range);
}

TEST(OwnJson, NamesTheHost) {
  const Collected all = collect_text(event(R"("address":0,"size":1,"host_id":"abc")"));
  ASSERT_EQ(all.events.size(), 1U) << all.lines;
  EXPECT_EQ(all.events[0].foreign_host, "abc");
}

TEST(OwnJson, BoundsTokensItemsAndDepth) {
  RepeatedStream text("{\"schema\":\"", "x", std::uint64_t{1} << 30U);
  EXPECT_NE(collect(text).error.find("more than 1048576 bytes without the end of a value"),
            std::string::npos);
  EXPECT_LT(text.bytes_read(), std::uint64_t{4} << 20U);
  RepeatedStream blanks("", " ", std::uint64_t{1} << 30U);
  EXPECT_NE(collect(blanks).error.find("without the end of a value"), std::string::npos);
  RepeatedStream item(R"({"schema":"poisonctl/events-v1","events":[{"x":[0)", ",0",
                      std::uint64_t{1} << 30U);
  EXPECT_NE(collect(item).error.find("item 1 has more than"), std::string::npos);
  EXPECT_LT(item.bytes_read(), std::uint64_t{1} << 20U);
  RepeatedStream deep("{\"x\":", "[", std::uint64_t{1} << 30U);
  EXPECT_NE(collect(deep).error.find("more than 32 objects and arrays"), std::string::npos);
  std::string keys = "{";
  for (int i = 0; i < 5000; ++i) keys += "\"k" + std::to_string(i) + "\":0,";
  EXPECT_NE(collect_text(keys).error.find("an object of more than 4096 keys"), std::string::npos);
  // All of those that are open together: each of them is far from its own limits.
  std::string nested;
  for (int i = 0; i < 6; ++i)
    nested += "{\"" + std::string(std::size_t{1} << 19U, 'a') + "\":0,\"b\":";
  EXPECT_EQ(collect_text(nested).error.find("of keys in objects that are not closed"),
            std::string::npos);
  for (int i = 0; i < 3; ++i)
    nested += "{\"" + std::string(std::size_t{1} << 19U, 'a') + "\":0,\"b\":";
  EXPECT_NE(collect_text(nested).error.find(
                "more than 4194304 bytes of keys in objects that are not closed"),
            std::string::npos);
  // Those that are closed count no more.
  std::string one_by_one = R"({"x":[)";
  for (int i = 0; i < 20; ++i)
    one_by_one += "{\"" + std::string(std::size_t{1} << 19U, 'a') + "\":0},";
  EXPECT_EQ(collect_text(one_by_one).error.find("bytes of keys"), std::string::npos);
}

// A registry of any size: what is read does not stay in memory.
TEST(OwnJson, ReadsALongList) {
  std::string item =
      R"({"kind":"ce","address":4096,"size":64,"evidence":")" + std::string(400, 'e') + R"("})";
  RepeatedStream stream(R"({"schema":"poisonctl/events-v1","events":[)" + item, "," + item,
                        std::uint64_t{50} << 20U);
  std::uint64_t events = 0;
  const auto report = collect_own_json(stream, test_settings(),
                                       [&](const Event&, const SourceReport&) -> Result<void> {
                                         ++events;
                                         return {};
                                       });
  ASSERT_FALSE(report);  // it is cut at the end
  EXPECT_GT(events, 100000U);
}

TEST(OwnJson, StopsWhenTheSinkFails) {
  const std::string text = event(R"("address":0,"size":1)");
  TextStream input(text, "input");
  const auto report = collect_own_json(input, test_settings(),
                                       [](const Event&, const SourceReport&) -> Result<void> {
                                         return Error{ErrorCode::kCannotWrite, "full"};
                                       });
  ASSERT_FALSE(report);
  EXPECT_EQ(report.error().message, "full");
}

}  // namespace
}  // namespace poisonctl
