// The kernel's command line: taken apart as the kernel does, and merged without a trace.
#include "backends/command_line.h"

#include <gtest/gtest.h>

#include <random>

namespace poisonctl {
namespace {

TEST(CommandLine, ArgumentsAreThoseThatTheKernelSees) {
  struct Case {
    std::string_view text;
    std::vector<std::pair<std::string_view, std::string_view>> arguments;
  };
  const Case cases[] = {
      {"", {}},
      {" \t\n", {}},
      {"ro quiet", {{"ro", ""}, {"quiet", ""}}},
      {"  a=1\t\tb=2\n", {{"a", "1"}, {"b", "2"}}},
      {R"(dyndbg="file a +p" x)", {{"dyndbg", "file a +p"}, {"x", ""}}},
      {R"("name=a b" x)", {{"name", "a b"}, {"x", ""}}},
      {R"("a b")", {{"a b", ""}}},
      {R"(a="b"c=d)", {{"a", R"(b"c=d)"}}},
      {R"(a=b"c d"e)", {{"a", R"(b"c d"e)"}}},
      {"=a=b", {{"=a", "b"}}},
      {"a==b", {{"a", "=b"}}},
      {"a=", {{"a", ""}}},
      {"ro -- quiet \"", {{"ro", ""}}},
      {"ro \"--\" quiet", {{"ro", ""}}},
      {"ro --x=1 --", {{"ro", ""}, {"--x", "1"}}},
      {"ro --=1 x", {{"ro", ""}, {"--", "1"}, {"x", ""}}},
      {"a\xa0"
       "b",
       {{"a", ""}, {"b", ""}}},  // lib/ctype.c: a blank
      {"a\vb\fc\rd", {{"a", ""}, {"b", ""}, {"c", ""}, {"d", ""}}},
  };
  for (const Case& c : cases) {
    const auto line = parse_command_line(c.text, "it");
    ASSERT_TRUE(line.ok()) << c.text;
    std::vector<std::pair<std::string_view, std::string_view>> seen;
    for (const Argument& argument : line->arguments)
      seen.emplace_back(argument.name, argument.value);
    EXPECT_EQ(seen, c.arguments) << c.text;
  }
}

TEST(CommandLine, WhatWouldSwallowTheOptionIsRefusedWithItsPlace) {
  struct Case {
    std::string text;
    std::string_view said;
  };
  const Case cases[] = {
      {"ro dyndbg=\"file a quiet", "it, byte 10: a double quote without an end"},
      {"\"", "it, byte 0: "},
      {"a=\"b\" c=\"d\"\" e", "it, byte 11: "},
      {std::string("ro\0quiet", 8), "it, byte 2: a NUL"},
      {std::string(kCommandLineLimit + 1, 'x'), "longer than any kernel's"},
  };
  for (const Case& c : cases) {
    const auto line = parse_command_line(c.text, "it");
    ASSERT_FALSE(line.ok()) << c.text;
    EXPECT_EQ(line.error().code, ErrorCode::kBadData);
    EXPECT_NE(line.error().message.find(c.said), std::string::npos) << line.error().message;
  }
}

TEST(CommandLine, OurOwnOptionsGoAndAllElseStaysByteForByte) {
  struct Case {
    std::string_view given;
    std::string_view kept;
  };
  constexpr Case kCases[] = {
      {"", ""},
      {"ro quiet", "ro quiet"},
      {"ro memmap=0x1000%0x8000000-1+5 quiet", "ro quiet"},
      {"memmap=0x1000%0x8000000-1+5,0x2000%0x9000000-1+5", ""},
      {"memmap=0x1000%0x1000-1+5 memmap=0x1000%0x3000-1+5 ro", "ro"},
      {"ro memmap=0x1000%0x1000-1+5\tmemmap=0x1000%0x3000-1+5", "ro"},
      {"  ro \t quiet  ", "  ro \t quiet  "},
      {"  ro \t memmap=0x1000%0x8000000-1+5  ", "  ro \t  "},
      {"a=\"b  c\" memmap=0x1000%0x8000000-1+5 -- x  y", "a=\"b  c\" -- x  y"},
      // Anybody else's stay.
      {"memmap=exactmap memmap=640K@0", "memmap=exactmap memmap=640K@0"},
      {"memmap=4G!12G", "memmap=4G!12G"},
      {"memmap=10M$0x18690000", "memmap=10M$0x18690000"},
      {"memmap=64K#0x18690000", "memmap=64K#0x18690000"},
      {"memmap=512M", "memmap=512M"},
      {"memmap=0x1000%0x1000-1+2", "memmap=0x1000%0x1000-1+2"},
      {"memmap=0x1000%0x1000+5", "memmap=0x1000%0x1000+5"},
      {"memmap=0x1000%0x1000-1", "memmap=0x1000%0x1000-1"},
      {"memmap=0x1000%0x1000", "memmap=0x1000%0x1000"},
      {"memmap=4K%0x1000-1+5", "memmap=4K%0x1000-1+5"},
      {"memmap=0x1000%4096-1+5", "memmap=0x1000%4096-1+5"},
      {"memmap=0x1000%0x1000-1+55", "memmap=0x1000%0x1000-1+55"},
      {"memmap=0x1000%0x1000-1+5,", "memmap=0x1000%0x1000-1+5,"},
      {"memmap=", "memmap="},
      {"memmap", "memmap"},
      {"memmap=%-1+5", "memmap=%-1+5"},
      {"memmap=\"0x1000%0x1000-1+5\"", "memmap=\"0x1000%0x1000-1+5\""},
      {"-- memmap=0x1000%0x1000-1+5", "-- memmap=0x1000%0x1000-1+5"},
      // A list that somebody else has added to is theirs.
      {"memmap=0x1000%0x1000-1+5,4G!12G", "memmap=0x1000%0x1000-1+5,4G!12G"},
      {"memmap=exactmap,0x1000%0x1000-1+5", "memmap=exactmap,0x1000%0x1000-1+5"},
      {"xmemmap=0x1000%0x1000-1+5", "xmemmap=0x1000%0x1000-1+5"},
  };
  for (const Case& c : kCases) {
    const auto base = merge_base(c.given, "it");
    ASSERT_TRUE(base.ok()) << c.given;
    EXPECT_EQ(base->text, c.kept) << c.given;
  }
}

TEST(CommandLine, TheOptionComesLastButBeforeWhatInitGets) {
  constexpr std::string_view kOption = "memmap=0x1000%0x8000000-1+5";
  const std::pair<std::string_view, std::string> cases[] = {
      {"", std::string(kOption)},
      {"ro", "ro " + std::string(kOption)},
      {"ro -- init", "ro " + std::string(kOption) + " -- init"},
      {"-- init", std::string(kOption) + " -- init"},
      {"memmap=exactmap memmap=1G@0", "memmap=exactmap memmap=1G@0 " + std::string(kOption)},
  };
  for (const auto& [given, expected] : cases) {
    EXPECT_EQ(merged(*merge_base(given, "it"), kOption), expected);
    EXPECT_EQ(merged(*merge_base(given, "it"), ""), given);
  }
}

TEST(CommandLine, WhatElseChangesMemoryIsRemarkedOn) {
  struct Case {
    std::string_view text;
    std::string_view remark;  // empty: none
    std::size_t items = 0;
  };
  constexpr Case kCases[] = {
      {"ro memtest=1", ""},
      {"mem=512M", "mem=512M is a limit"},
      {"mem=nopentium", ""},
      {"memmap=exactmap", "throws the firmware's memory map away", 1},
      {"memmap=exactmapx", "throws the firmware's memory map away", 1},
      {"memmap=512M", "memmap=512M is a limit: the kernel leaves all RAM from 512 MiB on", 1},
      {"memmap=10M\\$1G", "takes the size in front for a limit: it leaves all RAM from 10 MiB", 1},
      {"memmap=10M$1G,4G!8G", "", 2},
      {"memmap=10M$1Gx", "something after its address", 1},
      {"memmap=1M%2M-1+2", "", 1},
      {"memmap=hello", "has no size: the kernel ignores it", 1},
      {"memmap=", "has no size", 1},
      {"memmap", ""},
      {"memmap=kilo", "leaves all RAM from 0 B on", 1},  // memparse() takes a bare K
      {"memmap=0x1000%0x1000-1+5", ""},
      {"-- mem=512M", ""},
  };
  for (const Case& c : kCases) {
    const auto base = merge_base(c.text, "it");
    ASSERT_TRUE(base.ok()) << c.text;
    EXPECT_EQ(base->foreign_items, c.items) << c.text;
    ASSERT_EQ(base->remarks.size(), c.remark.empty() ? 0U : 1U) << c.text;
    if (!c.remark.empty()) {
      EXPECT_NE(base->remarks[0].find(c.remark), std::string::npos) << base->remarks[0];
    }
  }
  EXPECT_TRUE(merge_base("crashkernel=256M", "it")->crash_kernel);
  EXPECT_FALSE(merge_base("-- crashkernel=256M", "it")->crash_kernel);
}

// Whatever somebody has written: what is merged and taken out again is what was there.
TEST(CommandLine, MergingLeavesNoTrace) {
  constexpr std::string_view kPieces[] = {"ro",
                                          " ",
                                          "  ",
                                          "\t",
                                          "\n",
                                          "\"",
                                          "a=\"b c\"",
                                          "--",
                                          " -- ",
                                          "memmap=",
                                          "memmap=4G!12G",
                                          "memmap=0x1000%0x1000-1+5",
                                          "mem=1G",
                                          "=",
                                          "\xa0",
                                          "memmap=exactmap",
                                          ","};
  std::mt19937_64 random(6);
  std::size_t good = 0;
  for (int round = 0; round < 20000; ++round) {
    std::string text;
    for (std::uint64_t i = random() % 8; i != 0; --i)
      text += kPieces[random() % std::size(kPieces)];
    const auto base = merge_base(text, "it");
    if (!base) continue;
    ++good;
    for (const std::string_view option :
         {"memmap=0x1000%0x8000000-1+5", "memmap=0x2000%0x1000-1+5,0x1000%0x9000-1+5"}) {
      const std::string whole = merged(*base, option);
      const auto again = merge_base(whole, "it");
      ASSERT_TRUE(again.ok()) << whole;
      ASSERT_EQ(again->text, base->text) << text;
      ASSERT_EQ(merged(*again, option), whole) << text;
      ASSERT_EQ(again->remarks, base->remarks) << text;
    }
  }
  EXPECT_GT(good, 5000U);
}

}  // namespace
}  // namespace poisonctl
