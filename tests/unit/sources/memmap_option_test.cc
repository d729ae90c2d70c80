// memmap= on a kernel command line: what is bad memory, and what only looks like it.
#include "registry/sources/memmap_option.h"

#include "registry/kernel_size.h"
#include "tests/unit/sources/hostile_input.h"

namespace poisonctl {
namespace {

TEST(MemmapOption, TakesNumbersAsTheKernelDoes) {
  struct Case {
    std::string_view text;
    std::optional<std::uint64_t> value;
    std::string_view rest;
  };
  const Case cases[] = {
      {"4096", 4096, ""},
      {"4K$", 4096, "$"},
      {"1m", std::uint64_t{1} << 20, ""},
      {"1G", std::uint64_t{1} << 30, ""},
      {"1t", std::uint64_t{1} << 40, ""},
      {"1P", std::uint64_t{1} << 50, ""},
      {"1E", std::uint64_t{1} << 60, ""},
      {"0x10%0x20", 0x10, "%0x20"},
      {"0X1fK", 0x1f << 10, ""},
      {"010", 8, ""},
      {"0", 0, ""},
      {"08", 0, "8"},    // octal ends before the 8
      {"0xg", 0, "xg"},  // no digit after 0x: an octal 0
      {"16E", std::nullopt, "16E"},
      {"18446744073709551616", std::nullopt, "18446744073709551616"},
      {"", std::nullopt, ""},
      {"K", std::nullopt, "K"},
      {"-1", std::nullopt, "-1"},
  };
  for (const Case& c : cases) {
    std::string_view text = c.text;
    EXPECT_EQ(take_kernel_size(text), c.value) << c.text;
    EXPECT_EQ(text, c.rest) << c.text;
  }
}

TEST(MemmapOption, Golden) { expect_golden_case(collect_memmap_option, "memmap_option/cmdline"); }

TEST(MemmapOption, ReadsBackWhatItsOwnBackendWrites) {
  const auto got =
      collected_from(collect_memmap_option, "memmap=0x1000%0x8000000-1+5,0x2000%0x9000000-1+5");
  EXPECT_EQ(got.lines,
            "ue 0x8000000-0x8000fff evidence=[memmap=0x1000%0x8000000-1+5]\n"
            "ue 0x9000000-0x9001fff evidence=[memmap=0x2000%0x9000000-1+5]\n");
}

TEST(MemmapOption, RefusesWithTheItem) {
  const RefusedInput inputs[] = {
      {"memmap=", "memmap item ''"},
      {"memmap=4K$", "memmap item '4K$'"},
      {"memmap=$0x1000", "memmap item '$0x1000'"},
      {"memmap=4K$0x1000,", "memmap item ''"},
      {"memmap=4K$0x1000x", "memmap item '4K$0x1000x'"},
      {"memmap=4K\\%0x1000-1+5", "memmap item"},
      {"memmap=4K%0x1000-1+5+5", "memmap item"},
      {"memmap=4K%0x1000+5-1", "memmap item"},
      {"quiet\nro memmap=4Q$1M", "input:2: memmap item '4Q$1M'"},
      {"memmap=0$0x1000", "covers no memory: its size is 0"},
      {"memmap=4K$0xffffffffffffffff", "reaches past 0xffffffffffffff"},
      {"memmap=4K$0x10000000000000000", "memmap item"},
      {"memmap=16E$1", "memmap item '16E$1'"},
      {"memmap=4K%0xfffffffffff000-1+5,8K%0xfffffffffff000-1+5", "reaches past"},
      {"badram=0x1000", "input:1: pair 1"},
  };
  for (const RefusedInput& input : inputs) expect_refused(collect_memmap_option, input);
}

TEST(MemmapOption, HostileInput) {
  expect_nothing_from_hostile_input(collect_memmap_option);
  expect_endless_line_is_refused(collect_memmap_option, 1U << 18U);
}

}  // namespace
}  // namespace poisonctl
