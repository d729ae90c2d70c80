// Number and line parsing that must not guess, and text that must not reach a terminal raw.
#include "registry/text.h"

#include <gtest/gtest.h>

#include <limits>

namespace poisonctl {
namespace {

constexpr std::uint64_t kMax = std::numeric_limits<std::uint64_t>::max();
using Number = std::optional<std::uint64_t>;
using Words = std::vector<std::string_view>;

TEST(Text, ParseUnsigned) {
  struct Case {
    std::string_view text;
    int base;
    Number expected;
  };
  const Case cases[] = {
      {"0", 10, 0U},
      {"007", 10, 7U},
      {"18446744073709551615", 10, kMax},
      {"18446744073709551616", 10, {}},
      {"ffffffffffffffff", 16, kMax},
      {"10000000000000000", 16, {}},
      {"DeadBeef", 16, 0xdeadbeefU},
      {"", 10, {}},
      {"-1", 10, {}},
      {"+1", 10, {}},
      {" 1", 10, {}},
      {"1 ", 10, {}},
      {"1,000", 10, {}},
      {"a", 10, {}},
      {"g", 16, {}},
      {"0x10", 16, {}},
      {"0x10", 10, {}},
      {std::string_view("1\0", 2), 10, {}},
  };
  for (const Case& c : cases) EXPECT_EQ(parse_unsigned(c.text, c.base), c.expected) << c.text;
}

TEST(Text, Counted) {
  EXPECT_EQ(counted(0, "range"), "0 ranges");
  EXPECT_EQ(counted(1, "range"), "1 range");
  EXPECT_EQ(counted(2, "more range"), "2 more ranges");
  EXPECT_EQ(counted(1, "entry"), "1 entry");
  EXPECT_EQ(counted(kMax, "entry"), "18446744073709551615 entries");
}

TEST(Text, ParsePrefixedHex) {
  struct Case {
    std::string_view text;
    Number expected;
  };
  const Case cases[] = {
      {"0x0", 0U},       {"0x1000", 0x1000U},
      {"0XabC", 0xabcU}, {"0xffffffffffffffff", kMax},
      {"0x", {}},        {"", {}},
      {"x10", {}},       {"10", {}},
      {"1x10", {}},      {"0x-1", {}},
      {"0x0x1", {}},     {"0x1 ", {}},
      {" 0x1", {}},      {"0x10000000000000000", {}},
  };
  for (const Case& c : cases) EXPECT_EQ(parse_prefixed_hex(c.text), c.expected) << c.text;
}

TEST(Text, ParseSize) {
  struct Case {
    std::string_view text;
    Number expected;
  };
  const Case cases[] = {
      {"0", 0U},
      {"4096", 4096U},
      {"0x1000", 4096U},
      {"4K", 4096U},
      {"4k", 4096U},
      {"2M", 2U << 20U},
      {"2m", 2U << 20U},
      {"1G", 1U << 30U},
      {"1g", 1U << 30U},
      {"3T", std::uint64_t{3} << 40U},
      {"3t", std::uint64_t{3} << 40U},
      {"0x10K", 0x4000U},
      {"16777215T", std::uint64_t{16777215} << 40U},
      {"16777216T", {}},  // 2^64
      {"18014398509481984K", {}},
      {"18446744073709551615", kMax},
      {"18446744073709551616", {}},
      {"", {}},
      {"K", {}},
      {"0x", {}},
      {"0xK", {}},
      {"4KB", {}},
      {"4KK", {}},
      {"4 K", {}},
      {"-4K", {}},
      {"1.5G", {}},
      {"4P", {}},
  };
  for (const Case& c : cases) EXPECT_EQ(parse_size(c.text), c.expected) << c.text;
}

TEST(Text, Trim) {
  EXPECT_EQ(trim(" \t a b\r\n"), "a b");
  EXPECT_EQ(trim("a"), "a");
  EXPECT_EQ(trim(" \r\n\t"), "");
  EXPECT_EQ(trim(""), "");
  EXPECT_EQ(trim("\va"), "\va");
}

TEST(Text, SplitLines) {
  EXPECT_EQ(split_lines(""), Words{});
  EXPECT_EQ(split_lines("a"), (Words{"a"}));
  EXPECT_EQ(split_lines("a\n"), (Words{"a"}));
  EXPECT_EQ(split_lines("a\n\nb"), (Words{"a", "", "b"}));
  EXPECT_EQ(split_lines("a\r\nb\r"), (Words{"a", "b"}));
  EXPECT_EQ(split_lines("\n\n"), (Words{"", ""}));
  EXPECT_EQ(split_lines("a\rb\n"), (Words{"a\rb"}));
}

TEST(Text, SplitWords) {
  EXPECT_EQ(split_words(""), Words{});
  EXPECT_EQ(split_words(" \t\r\n"), Words{});
  EXPECT_EQ(split_words("HardwareCorrupted:     4 kB\n"), (Words{"HardwareCorrupted:", "4", "kB"}));
  EXPECT_EQ(split_words("  a\tb  "), (Words{"a", "b"}));
}

TEST(Text, ToHexReadsBack) {
  for (const std::uint64_t value : {std::uint64_t{0}, std::uint64_t{0x1000}, kMax}) {
    EXPECT_EQ(parse_prefixed_hex(to_hex(value)), value);
  }
  EXPECT_EQ(to_hex(0xABC), "0xabc");
  EXPECT_EQ(to_hex(0), "0x0");
}

TEST(Text, ToHumanSize) {
  struct Case {
    std::uint64_t bytes;
    std::string_view expected;
  };
  constexpr Case kCases[] = {
      {0, "0 B"},
      {1, "1 B"},
      {1023, "1023 B"},
      {1024, "1 KiB"},
      {4096, "4 KiB"},
      {1536, "1.5 KiB"},
      {std::uint64_t{3} << 29U, "1.5 GiB"},
      {std::uint64_t{1} << 40U, "1 TiB"},
      {std::uint64_t{1} << 56U, "64 PiB"},
      {std::uint64_t{1} << 63U, "8 EiB"},
      {kMax, "16.0 EiB"},
  };
  for (const Case& c : kCases) EXPECT_EQ(to_human_size(c.bytes), c.expected);
}

TEST(Text, PrintableKeepsWhatPeopleWrite) {
  for (const std::string_view text :
       {"", "plain", "tab-free ~ text", "\xc3\xa9t\xc3\xa9", "\xe6\xb8\xa9\xe5\xba\xa6",
        "\xf0\x9f\x94\xa5", "\xc2\xa0", "\xe2\x80\x93", "\xee\x80\x80", "\xef\xbf\xbd",
        "\xf4\x8f\xbf\xbf"}) {
    EXPECT_EQ(printable(text), text);
  }
}

TEST(Text, PrintableEscapesWhatMovesACursorOrIsNotUtf8) {
  struct Case {
    std::string_view text;
    std::string_view expected;
  };
  const Case cases[] = {
      {"\x1b[2Jx", "\\x1b[2Jx"},
      {"a\nb\r\t", "a\\x0ab\\x0d\\x09"},
      {std::string_view("\0", 1), "\\x00"},
      {"\x7f", "\\x7f"},
      {"\xc2\x9b", "\\xc2\\x9b"},           // CSI as a C1 control
      {"\xe2\x80\xae", "\\xe2\\x80\\xae"},  // right-to-left override
      {"\xe2\x80\xa8", "\\xe2\\x80\\xa8"},  // line separator
      {"\xe2\x81\xa6", "\\xe2\\x81\\xa6"},  // left-to-right isolate
      {"\xe2\x81\xa9", "\\xe2\\x81\\xa9"},  // pop directional isolate
      {"\xff", "\\xff"},                    // never in UTF-8
      {"\x80", "\\x80"},                    // a continuation without a lead
      {"\xc3", "\\xc3"},                    // cut
      {"\xe2\x82", "\\xe2\\x82"},           // cut
      {"\xf0\x9f\x94", "\\xf0\\x9f\\x94"},  // cut
      {"\xc3(", "\\xc3("},                  // a lead without its continuation
      {"\xc0\xaf", "\\xc0\\xaf"},           // overlong '/'
      {"\xe0\x80\xaf", "\\xe0\\x80\\xaf"},  // overlong '/'
      {"\xf0\x80\x80\xaf", "\\xf0\\x80\\x80\\xaf"},
      {"\xed\xa0\x80", "\\xed\\xa0\\x80"},           // a surrogate
      {"\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80"},  // past U+10FFFF
      {"\xf5\x80\x80\x80", "\\xf5\\x80\\x80\\x80"},
  };
  for (const Case& c : cases) EXPECT_EQ(printable(c.text), c.expected) << c.expected;
}

TEST(Text, PrintableCutsBetweenCharacters) {
  EXPECT_EQ(printable(std::string(80, 'a')), std::string(80, 'a'));
  EXPECT_EQ(printable(std::string(81, 'a')), std::string(80, 'a') + "...");
  EXPECT_EQ(printable(std::string(1U << 20U, 'a'), 4), "aaaa...");
  // Neither a character nor an escape is cut in half.
  EXPECT_EQ(printable("ab\xc3\xa9", 3), "ab...");
  EXPECT_EQ(printable("ab\xc3\xa9", 4), "ab\xc3\xa9");
  EXPECT_EQ(printable("a\x1b", 4), "a...");
  EXPECT_EQ(printable("a", 0), "...");
}

}  // namespace
}  // namespace poisonctl
