#include "registry/sources/pfn_list.h"

#include <gtest/gtest.h>

#include "tests/unit/sources/event_lines.h"

namespace poisonctl {
namespace {

Collected collect(ByteStream& stream, std::uint64_t page_size = 4096) {
  return collected([&](const EventSink& sink) {
    return collect_pfn_list(stream, test_settings(page_size), sink);
  });
}

Collected collect_text(std::string_view text, std::uint64_t page_size = 4096) {
  TextStream stream(text, "input");
  return collect(stream, page_size);
}

TEST(PfnList, GivesTheSameEvents) {
  const std::string text = file_content(golden_path("pfn_list/mixed.txt"));
  expect_golden(collect_text(text).lines, "pfn_list/mixed.events");
}

TEST(PfnList, MeansPagesOfTheMachine) {
  const Collected all = collect_text("0x20\n", 65536);
  ASSERT_EQ(all.events.size(), 1U);
  EXPECT_EQ(to_text(*all.events[0].range), "0x200000-0x20ffff");
}

struct Refused {
  std::string_view input;
  const char* error;
};
class PfnListRefused : public ::testing::TestWithParam<Refused> {};

TEST_P(PfnListRefused, SaysWhereAndWhy) {
  const Collected all = collect_text(GetParam().input);
  EXPECT_EQ(all.code, ErrorCode::kBadData);
  EXPECT_EQ(all.error.substr(0, all.error.find(';')), GetParam().error);
}

using namespace std::string_view_literals;

INSTANTIATE_TEST_SUITE_P(
    All, PfnListRefused,
    ::testing::Values(
        Refused{"0x1\n1000\n", "input:2: '1000' has no 0x, and could be decimal or hexadecimal"},
        Refused{"0x\n", "input:1: '0x' is no hexadecimal number of at most 64 bits"},
        Refused{"0x1 0x2\n", "input:1: '0x1 0x2' is no hexadecimal number of at most 64 bits"},
        Refused{"0x1,0x2\n", "input:1: '0x1,0x2' is no hexadecimal number of at most 64 bits"},
        Refused{"0x10000000000000000\n",
                "input:1: '0x10000000000000000' is no hexadecimal number of at most 64 bits"},
        Refused{"0x10000000000\n",
                "input:1: frame 0x10000000000 lies beyond 52 bits of physical address in pages of "
                "4096 bytes"},
        Refused{"0x1..0x10000000000\n",
                "input:1: frame 0x10000000000 lies beyond 52 bits of physical address in pages of "
                "4096 bytes"},
        Refused{"0x2a..0x20\n", "input:1: '0x2a..0x20' ends before it begins"},
        Refused{"0x2a-\n", "input:1: '' is no hexadecimal number of at most 64 bits"},
        Refused{"..0x2\n", "input:1: '' is no hexadecimal number of at most 64 bits"},
        Refused{"0x1..0x2..0x3\n",
                "input:1: '0x2..0x3' is no hexadecimal number of at most 64 bits"},
        Refused{"\x7f\x45LF", "input:1: column 1: byte 0x7f is no text"},
        Refused{"0\0x\0"sv, "input:1: column 2: byte 0x00 is no text"}));

TEST(PfnList, IsEmptyWithoutFrames) { EXPECT_EQ(collect_text("# none\n\n").lines, ""); }

TEST(PfnList, BoundsALine) {
  RepeatedStream line("0x1 #", "x", std::uint64_t{1} << 30U);
  EXPECT_EQ(collect(line).error, "big:1: a line of more than 65536 bytes");
  EXPECT_LT(line.bytes_read(), std::uint64_t{1} << 20U);
}

}  // namespace
}  // namespace poisonctl
