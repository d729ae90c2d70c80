// bcdedit: the list in every language and encoding that Windows writes.
#include "registry/sources/bcdedit.h"

#include "tests/unit/sources/hostile_input.h"

namespace poisonctl {
namespace {

TEST(Bcdedit, Golden) {
  for (const char* name : {"english", "german-utf8", "french-utf16", "empty-list"}) {
    expect_golden_case(collect_bcdedit, std::string("bcdedit/") + name);
  }
}

TEST(Bcdedit, PagesAreOf4KiBOnEveryKernel) {
  const auto got = collected_from(collect_bcdedit, "badmemorylist 0x10\n", test_settings(65536));
  EXPECT_EQ(got.lines, "ue 0x10000-0x10fff granularity=4096 evidence=[badmemorylist 0x10]\n");
}

TEST(Bcdedit, RefusesWithTheLine) {
  const RefusedInput inputs[] = {
      {"Windows Boot Manager\nidentifier {bootmgr}\n", "input: no {badmemory} in 2 lines"},
      {"x\nbadmemorylist b7", "input:2: 'b7' in badmemorylist: expected 0xN"},
      {"badmemorylist 0xb7\n  12\n", "input:2: '12' in badmemorylist"},
      {"badmemorylist 0xb7,0xb8", "'0xb7,0xb8'"},
      {"badmemorylist 0x100000000000", "below 0x100000000000000"},
      {"badmemorylist 0x10000000000000000", "expected 0xN"},
      {"badmemorylist 0xffffffffffffffff", "expected 0xN"},
      {std::string_view("badmemorylist 0xb7\0", 19), "input:1: column 19: byte 0x00 is no text"},
      {std::string_view("\xff\xfe"
                        "b\0a",
                        5),
       "no whole number of UTF-16 characters"},
      {std::string_view("\xfe\xff\0b", 4), "UTF-16 with the upper byte first"},
      {"", "no {badmemory} in 0 lines"},
  };
  for (const RefusedInput& input : inputs) expect_refused(collect_bcdedit, input);
}

TEST(Bcdedit, HostileInput) {
  expect_nothing_from_hostile_input(collect_bcdedit);
  expect_endless_line_is_refused(collect_bcdedit, 17U << 20U);
}

}  // namespace
}  // namespace poisonctl
