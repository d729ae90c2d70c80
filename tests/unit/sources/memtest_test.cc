// memtest86+: its three kinds of lists, over lines as the screen breaks them.
#include "registry/sources/memtest.h"

#include "tests/unit/sources/hostile_input.h"

namespace poisonctl {
namespace {

TEST(Memtest, Golden) {
  for (const char* name : {"v7-badram", "v6-badram", "memmap", "pages", "unknown-version"}) {
    expect_golden_case(collect_memtest, std::string("memtest/") + name);
  }
}

TEST(Memtest, PagesAreOf4KiBOnEveryKernel) {
  const auto got =
      collected_from(collect_memtest, "Memtest86+ v7.00\n0x20..0x21\n", test_settings(65536));
  EXPECT_EQ(got.lines, "ue 0x20000-0x21fff granularity=4096 evidence=[0x20..0x21]\n");
}

TEST(Memtest, RefusesWithTheLine) {
  const RefusedInput inputs[] = {
      {"badram=0x1000,0xfffffffffffff000,", "input:1: the input ends inside the list"},
      {"badram=", "the input ends inside the list that input:1: began with"},
      {"badram=0x1000,\nPass 1", "input:2: 'Pass 1': expected the rest of the list that input:1:"},
      {"badram=0x1000", "input:1: pair 1 ('0x1000')"},
      {"a\nb\n0x20,0x30", "input:3: '0x20,0x30' does not say what it is a list of"},
      {"BadRAM Patterns\n0x20,0x30", "does not say what it is a list of"},
      {"0x2a..0x20", "bad pages '0x2a..0x20': expected 0xN or 0xFIRST..0xLAST"},
      {"0x20..", "bad pages '0x20..'"},
      {"0x20...0x30", "bad pages"},
      {"0x20..0x30..0x40", "bad pages"},
      {"0x20..0x10000000000000000", "bad pages"},
      {"0x0..0xffffffffffffffff", "bad pages"},  // 2^64 pages: the count wraps to 0
      {"0x100000000000..0x100000000001", "bad pages"},
      {"0x0..0xffffff", "more than 1/16"},
  };
  for (const RefusedInput& input : inputs) expect_refused(collect_memtest, input);
}

TEST(Memtest, ListOfEndlessLinesIsRefused) {
  RepeatedStream stream("badram=", "0x1000,0xfffffffffffff000,\n", std::uint64_t{1} << 30);
  const Collected got = collected(
      [&](const EventSink& sink) { return collect_memtest(stream, test_settings(), sink); });
  EXPECT_NE(got.error.find("more than 65536 bytes"), std::string::npos) << got.error;
  EXPECT_LE(stream.bytes_read(), 1U << 18U);
}

TEST(Memtest, HostileInput) {
  expect_nothing_from_hostile_input(collect_memtest);
  expect_endless_line_is_refused(collect_memtest, 1U << 18U);
}

}  // namespace
}  // namespace poisonctl
