#include "registry/sources/cxl_json.h"

#include <gtest/gtest.h>

#include "tests/unit/sources/event_lines.h"

namespace poisonctl {
namespace {

Collected collect(ByteStream& stream, std::uint64_t page_size = 4096) {
  return collected([&](const EventSink& sink) {
    return collect_cxl_json(stream, test_settings(page_size), sink);
  });
}

Collected collect_text(std::string_view text, std::uint64_t page_size = 4096) {
  TextStream stream(text, "input");
  return collect(stream, page_size);
}

class CxlJsonGolden : public ::testing::TestWithParam<std::string> {};

TEST_P(CxlJsonGolden, GivesTheSameEvents) {
  const std::string text = file_content(golden_path("cxl_json/" + GetParam() + ".json"));
  expect_golden(collect_text(text).lines, "cxl_json/" + GetParam() + ".events");
}

INSTANTIATE_TEST_SUITE_P(All, CxlJsonGolden,
                         ::testing::Values("memdev", "region-human", "everything", "ndctl"));

// One entry of a region of two or more devices, and its range and granularity.
struct Interleaved {
  const char* region;  // the rest of its keys
  const char* entry;
  const char* event;
};
class CxlJsonRegion : public ::testing::TestWithParam<Interleaved> {};

TEST_P(CxlJsonRegion, HasAPlace) {
  const std::string text = std::string(R"({"region":"r","resource":1048576,)") + GetParam().region +
                           R"(,"media_errors":[)" + GetParam().entry + "]}";
  const Collected all = collect_text(text);
  std::string places;
  for (const Event& event : all.events) {
    const std::string line = event_line(event);
    places += (places.empty() ? "" : ", ") + line.substr(0, line.find(" label"));
  }
  EXPECT_EQ(places, GetParam().event) << all.lines;
}

INSTANTIATE_TEST_SUITE_P(
    All, CxlJsonRegion,
    ::testing::Values(
        Interleaved{R"("interleave_ways":2,"interleave_granularity":256)",
                    R"({"offset":12608,"length":64})", "media 0x103140-0x10317f granularity=64"},
        // Two granules of stripes of 512 bytes: one of them is bad in each.
        Interleaved{R"("interleave_ways":2,"interleave_granularity":256)",
                    R"({"offset":256,"length":512})", "media 0x100100-0x1003ff granularity=512"},
        Interleaved{R"("interleave_ways":2,"interleave_granularity":256)",
                    R"({"offset":192,"length":128})", "media 0x1000c0-0x1003ff granularity=512"},
        Interleaved{R"("interleave_ways":3,"interleave_granularity":16384)",
                    R"({"offset":0,"length":16384})", "media 0x100000-0x103fff granularity=64"},
        Interleaved{
            R"("interleave_ways":3,"interleave_granularity":16384)",
            R"({"offset":0,"length":16385})",
            "media 0x100000-0x103fff granularity=64, media 0x10c000-0x117fff granularity=49152"},
        // The stripe ends with the region.
        Interleaved{R"("size":700,"interleave_ways":2,"interleave_granularity":256)",
                    R"({"offset":0,"length":512})", "media 0x100000-0x1002bb granularity=512"},
        Interleaved{R"("interleave_ways":1)", R"({"offset":"0x0","length":1048576})",
                    "media 0x100000-0x1fffff granularity=64"},
        // What no region can have says nothing.
        Interleaved{R"("interleave_ways":2,"interleave_granularity":3)",
                    R"({"offset":64,"length":512})", "media 0x100040-0x1000ff granularity=64"},
        Interleaved{R"("interleave_ways":99,"interleave_granularity":256)",
                    R"({"offset":0,"length":256})", "media 0x100000-0x1000ff granularity=64"},
        Interleaved{R"("interleave_ways":1)", R"({"offset":-1,"length":64})", "media nowhere"},
        Interleaved{R"("interleave_ways":1)", R"({"offset":0,"length":0})", "media nowhere"},
        Interleaved{R"("interleave_ways":1)", R"({"offset":18446744073709551615,"length":64})",
                    "media nowhere"},
        Interleaved{R"("interleave_ways":1)", R"({"offset":72057594037927935,"length":64})",
                    "media nowhere"},
        Interleaved{R"("interleave_ways":2,"interleave_granularity":16384)",
                    R"({"offset":0,"length":72057594037927936})", "media nowhere"},
        Interleaved{R"("interleave_ways":1)", R"({"offset":1e3,"length":64})", "media nowhere"}));

struct Refused {
  const char* input;
  const char* error;
};
class CxlJsonRefused : public ::testing::TestWithParam<Refused> {};

TEST_P(CxlJsonRefused, SaysWhereAndWhy) {
  const Collected all = collect_text(GetParam().input);
  EXPECT_EQ(all.code, ErrorCode::kBadData);
  EXPECT_NE(all.error.find(GetParam().error), std::string::npos) << all.error;
}

INSTANTIATE_TEST_SUITE_P(
    All, CxlJsonRefused,
    ::testing::Values(
        Refused{"", "input:1: byte 1: no JSON"}, Refused{"[\n{\"memdev\":\n", "input:3: byte"},
        Refused{"\x7f"
                "ELF\x02\x01",
                "input:1: byte 1: no JSON at '\\x7f'"},
        Refused{"\xff\xfe[\x00", "input:1: byte 1"}, Refused{"[\"\xc3\x28\"]", "input:1: byte 4"},
        Refused{"[] []", "input:1: byte 4"},
        Refused{"{\"a\":1,\"a\":2}", "the key 'a' comes twice"},
        Refused{"[1e999]", "input:1: byte"}, Refused{"[]", "neither memdevs nor regions"},
        Refused{"{\"schema\":\"poisonctl/records-v1\"}", "neither memdevs nor regions"},
        Refused{"{\"memdev\":\"mem0\",\"media_errors\":{}}", "'media_errors' is not an array"},
        Refused{"{\"memdev\":\"mem0\",\"media_errors\":[7]}", "'media_errors' is not an array"},
        Refused{"{\"dev\":\"region0\",\"badblocks\":[7]}", "'badblocks' is not an array"},
        Refused{"{\"dev\":\"region0\",\"media_errors\":[]}", "neither a memdev nor a region"},
        Refused{"{\"memdev\":\"m\",\"region\":\"r\",\"media_errors\":[]}",
                "neither a memdev nor a region"}));

TEST(CxlJson, SaysThatNothingWasListed) {
  const Collected all = collect_text(R"([{"memdev":"mem0"}])");
  EXPECT_EQ(all.lines,
            "warning: input: no media_errors and no badblocks: there are none, or it was "
            "listed without --media-errors\n");
}

TEST(CxlJson, BoundsDepthSizeAndValues) {
  EXPECT_NE(collect_text(std::string(1000000, '[')).error.find("more than 32 objects"),
            std::string::npos);
  RepeatedStream text("[\"", "x", std::uint64_t{1} << 30U);
  EXPECT_NE(collect(text).error.find("larger than"), std::string::npos);
  EXPECT_LT(text.bytes_read(), std::uint64_t{20} << 20U);
  RepeatedStream values("[0", ",0", std::uint64_t{10} << 20U);
  EXPECT_NE(collect(values).error.find("more than 2097152 values"), std::string::npos);
}

TEST(CxlJson, KeepsTextsBoundedAndFitForATerminal) {
  const Collected all =
      collect_text("{\"memdev\":\"\\u001b[2J" + std::string(50000, 'm') +
                   "\",\"media_errors\":[{\"offset\":0,\"length\":64,\"source\":\"\\u202e\"}]}");
  ASSERT_EQ(all.events.size(), 1U);
  EXPECT_LE(all.events[0].label.size(), Event::kLabelLimit);
  EXPECT_LE(all.events[0].evidence.size(), Event::kEvidenceLimit);
  EXPECT_EQ(printable(all.events[0].evidence, Event::kEvidenceLimit), all.events[0].evidence);
}

}  // namespace
}  // namespace poisonctl
