// RANGE: the four forms, and errors that name the range and say what to write instead.
#include "registry/range_text.h"

#include <gtest/gtest.h>

#include "tests/unit/test_ranges.h"

namespace poisonctl {
namespace {

TEST(ParseRange, TakesTheFourForms) {
  struct Case {
    std::string_view text;
    std::uint64_t page;
    ByteRange expected;
  };
  const Case cases[] = {
      {"0x0", 4096, range(0, 0xfff)},
      {"0x1000", 4096, range(0x1000, 0x1fff)},
      {"0X1000", 4096, range(0x1000, 0x1fff)},
      {"0x10000", 65536, range(0x10000, 0x1ffff)},
      {"0x4000", 16384, range(0x4000, 0x7fff)},
      {"0x1000+4096", 4096, range(0x1000, 0x1fff)},
      {"0x1000+0x2000", 4096, range(0x1000, 0x2fff)},
      {"0x1000+8K", 4096, range(0x1000, 0x2fff)},
      {"0x100000+1M", 4096, range(0x100000, 0x1fffff)},
      {"0x0+2g", 65536, range(0, 0x7fffffff)},
      {"0x0+1T", 4096, range(0, 0xffffffffff)},
      {"0x1000-0x1fff", 4096, range(0x1000, 0x1fff)},
      {"0x10000-0x2FFFF", 65536, range(0x10000, 0x2ffff)},
      {"pfn:0x1", 4096, range(0x1000, 0x1fff)},
      {"pfn:0x1", 65536, range(0x10000, 0x1ffff)},
      {"pfn:0x10+16", 4096, range(0x10000, 0x1ffff)},
      {"pfn:0x10+0x10", 4096, range(0x10000, 0x1ffff)},
      {"0xfffffffffff000", 4096, range(kPhysAddrLimit - 0x1000, kPhysAddrLimit - 1)},
      {"0x0-0xffffffffffffff", 4096, range(0, kPhysAddrLimit - 1)},
      {"pfn:0xfffffffffff", 4096, range(kPhysAddrLimit - 0x1000, kPhysAddrLimit - 1)},
  };
  for (const Case& c : cases) {
    const auto parsed = parse_range(c.text, shift_of(c.page));
    ASSERT_TRUE(parsed.ok()) << c.text << ": " << parsed.error().message;
    EXPECT_EQ(*parsed, c.expected) << c.text;
  }
}

TEST(ParseRange, RefusesAndSaysWhatToWriteInstead) {
  struct Case {
    std::string_view text;
    std::uint64_t page;
    std::string_view advice;  // must be part of the message
  };
  constexpr std::string_view kForms = "expected 0xADDR, 0xADDR+SIZE, 0xFIRST-0xLAST or pfn:";
  const Case cases[] = {
      // malformed
      {"", 4096, kForms},
      {"0x", 4096, kForms},
      {"0xzz", 4096, kForms},
      {" 0x1000", 4096, kForms},
      {"0x1000 ", 4096, kForms},
      {"-0x1000", 4096, kForms},
      {"+4K", 4096, kForms},
      {"0x1000-", 4096, kForms},
      {"0x1000-0x1fff+4K", 4096, kForms},
      {"pfn:", 4096, kForms},
      {"pfn:+1", 4096, kForms},
      {"PFN:0x1", 4096, kForms},
      {"0x10000000000000000", 4096, kForms},
      {"0x1000+", 4096, "size '' is not a number of bytes (K, M, G or T may follow)"},
      {"0x1000+4X", 4096, "size '4X' is not a number of bytes"},
      {"0x1000+-1", 4096, "size '-1' is not a number of bytes"},
      {"0x1000+1.5M", 4096, "size '1.5M' is not a number of bytes"},
      {"pfn:0x1+", 4096, "the count after '+' is not a number"},
      {"pfn:0x1+x", 4096, "the count after '+' is not a number"},
      // nothing covered
      {"0x1000+0", 4096, "a size of 0 covers no memory"},
      {"0x1000+0K", 4096, "a size of 0 covers no memory"},
      {"pfn:0x1+0", 4096, "a count of 0 names no frame"},
      {"0x2000-0x1fff", 4096, "the last address lies before the first"},
      // decimal, or hexadecimal without its prefix
      {"4096", 4096, "write 0x4096 if that is what was meant, or 0x1000 for decimal 4096"},
      {"4096+4K", 4096, "0x1000 for decimal 4096"},
      {"0x1000-8191", 4096, "'8191' has no 0x"},
      {"0x1000-8191", 4096, "0x1fff for decimal 8191"},
      {"pfn:16", 4096, "write 0x16 if that is what was meant, or 0x10 for decimal 16"},
      {"1f000", 4096, "'1f000' has no 0x; write 0x1f000"},
      // past the address space, and past 64 bits
      {"0x100000000000000", 4096, "reaches past 0xffffffffffffff"},
      {"0xfffffffffff000+8K", 4096, "reaches past 0xffffffffffffff"},
      {"0x0-0x100000000000fff", 4096, "(56 bits)"},
      {"0x0-0xffffffffffffffff", 4096, "reaches past 0xffffffffffffff"},
      {"0xfffffffffffff000", 4096, "reaches past 0xffffffffffffff"},
      {"0x1000+0xfffffffffffff000", 4096, "reaches past 0xffffffffffffff"},
      {"0xfffffffffffff000+0x2000", 4096, "reaches past 0xffffffffffffff"},
      {"pfn:0x100000000000", 4096, "reaches past 0xffffffffffffff"},
      {"pfn:0x10000000000", 65536, "reaches past 0xffffffffffffff"},
      {"pfn:0xffffffffffffffff+2", 4096, "reaches past 0xffffffffffffff"},
      {"pfn:0x10000000000001", 4096, "reaches past 0xffffffffffffff"},  // << 12 wraps to 0x1000
      {"pfn:0x1+18446744073709551615", 4096, "reaches past 0xffffffffffffff"},
      // not whole frames: never rounded, the frames that were meant are named
      {"0x1001", 4096,
       "not aligned to the 4096-byte page; the frame that holds it is: 0x1000+0x1000"},
      {"0x1fff", 4096, "0x1000+0x1000"},
      {"0x1000", 65536,
       "not aligned to the 65536-byte page; the frame that holds it is: 0x0+0x10000"},
      {"0x1000", 16384, "0x0+0x4000"},
      {"0x1000+4095", 4096, "0x1000+0x1000"},
      {"0x1800+4K", 4096, "the frames that hold it are: 0x1000+0x2000"},
      {"0x1000-0x2000", 4096, "the frames that hold it are: 0x1000+0x2000"},
      {"0xf000-0x10fff", 65536, "0x0+0x20000"},
  };
  for (const Case& c : cases) {
    const auto parsed = parse_range(c.text, shift_of(c.page));
    ASSERT_FALSE(parsed.ok()) << c.text << " is " << to_text(*parsed);
    EXPECT_EQ(parsed.error().code, ErrorCode::kUsage) << c.text;
    EXPECT_NE(parsed.error().message.find("range '" + std::string(c.text) + "'"), std::string::npos)
        << parsed.error().message;
    EXPECT_NE(parsed.error().message.find(c.advice), std::string::npos)
        << c.text << ": " << parsed.error().message;
  }
}

TEST(ParseRange, AdviceOfAnErrorIsItselfARange) {
  for (const std::string_view text : {"0x1801", "0x1801+1", "0x1801-0x3001"}) {
    const auto parsed = parse_range(text, shift_of(4096));
    ASSERT_FALSE(parsed.ok());
    const std::string& message = parsed.error().message;
    const auto advice = parse_range(message.substr(message.rfind(' ') + 1), shift_of(4096));
    ASSERT_TRUE(advice.ok()) << message;
    EXPECT_TRUE(advice->contains(range(0x1801, 0x1801))) << message;
  }
}

TEST(ParseRange, HostileTextIsShownHarmless) {
  for (const std::string_view text :
       {"0x1000\x1b[2J", "0x1000+\x1b[2J", "pfn:\x1b[2J", "0x1000-\xe2\x80\xae", "\x1b]0;x\x07"}) {
    const auto parsed = parse_range(text, shift_of(4096));
    ASSERT_FALSE(parsed.ok());
    EXPECT_EQ(parsed.error().message.find('\x1b'), std::string::npos);
    EXPECT_EQ(parsed.error().message.find('\x07'), std::string::npos);
    EXPECT_EQ(parsed.error().message.find("\xe2\x80\xae"), std::string::npos);
  }
  const auto parsed = parse_range("0x" + std::string(1U << 20U, 'z'), shift_of(4096));
  ASSERT_FALSE(parsed.ok());
  EXPECT_LT(parsed.error().message.size(), 400U);
}

TEST(ToText, ReadsBackOnEveryPageSize) {
  EXPECT_EQ(to_text(range(0x1000, 0x1fff)), "0x1000-0x1fff");
  EXPECT_EQ(to_text(range(0, kPhysAddrLimit - 1)), "0x0-0xffffffffffffff");
  for (const std::uint64_t page : {4096U, 16384U, 65536U}) {
    const ByteRange whole = range(3 * page, 7 * page - 1);
    const auto parsed = parse_range(to_text(whole), shift_of(page));
    ASSERT_TRUE(parsed.ok());
    EXPECT_EQ(*parsed, whole);
  }
}

}  // namespace
}  // namespace poisonctl
