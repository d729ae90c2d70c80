#include "registry/sources/csv.h"

#include <gtest/gtest.h>

#include "tests/unit/sources/event_lines.h"

namespace poisonctl {
namespace {

Collected collect(ByteStream& stream, std::uint64_t page_size = 4096) {
  return collected(
      [&](const EventSink& sink) { return collect_csv(stream, test_settings(page_size), sink); });
}

Collected collect_text(std::string_view text, std::uint64_t page_size = 4096) {
  TextStream stream(text, "input");
  return collect(stream, page_size);
}

TEST(Csv, GivesTheSameEvents) {
  for (const std::string name : {"all", "addresses"}) {
    expect_golden(collect_text(file_content(golden_path("csv/" + name + ".csv"))).lines,
                  "csv/" + name + ".events");
  }
}

struct Refused {
  std::string_view input;
  const char* error;
};
class CsvRefused : public ::testing::TestWithParam<Refused> {};

TEST_P(CsvRefused, SaysWhereAndWhy) {
  const Collected all = collect_text(GetParam().input);
  EXPECT_EQ(all.code, ErrorCode::kBadData);
  EXPECT_EQ(all.error.substr(0, all.error.find(';')), GetParam().error);
}

using namespace std::string_view_literals;

INSTANTIATE_TEST_SUITE_P(
    All, CsvRefused,
    ::testing::Values(
        Refused{"", "input: empty"}, Refused{"\n\r\n", "input: empty"},
        Refused{"size\n", "input:1: no column 'address'"},
        Refused{"address,Size\n", "input:1: the column 'Size' is not known"},
        Refused{"address,pfn\n", "input:1: the column 'pfn' is not known"},
        Refused{"0x1000,4096\n", "input:1: the column '0x1000' is not known"},
        Refused{"address,address\n", "input:1: the column 'address' comes twice"},
        Refused{"address,size\n0x1000\n", "input:2: 1 fields"},
        Refused{"address\n0x1000,\n", "input:2: 2 fields"},
        Refused{"address\n,,,,,,,,,,,\n", "input:2: more than 8 fields"},
        Refused{"address\n4096\n", "input:2: address '4096': expected 0x and hexadecimal digits"},
        Refused{"address\n-0x1\n", "input:2: address '-0x1': expected 0x and hexadecimal digits"},
        Refused{"address\n0x10000000000000000\n",
                "input:2: address '0x10000000000000000': expected 0x and hexadecimal digits"},
        Refused{"address\n0x100000000000000\n",
                "input:2: address '0x100000000000000': expected a range below the end of any "
                "physical address space (56 bits)"},
        Refused{"address,size\n0xfffffffffffff000,8K\n",
                "input:2: address '0xfffffffffffff000': expected a range below the end of any "
                "physical address space (56 bits)"},
        Refused{"address,size\n0x1000,0\n",
                "input:2: size '0': expected a number of bytes, at least 1"},
        Refused{"address,size\n0x1000,4 KiB\n",
                "input:2: size '4 KiB': expected a number of bytes, at least 1"},
        Refused{"address,label\n,\n",
                "input:2: address '': expected 0x and hexadecimal digits, or a label or a note "
                "instead"},
        Refused{"address,size,label\n,64,DIMM\n",
                "input:2: address '': expected 0x and hexadecimal digits, or a label or a note "
                "instead"},
        Refused{"address,kind\n0x1000,outcome\n",
                "input:2: kind 'outcome': expected ue, ce, deferred, media, injected or poisoned"},
        Refused{"address,kind\n0x1000,UE\n",
                "input:2: kind 'UE': expected ue, ce, deferred, media, injected or poisoned"},
        Refused{"address,time\n0x1000,yesterday\n",
                "input:2: time 'yesterday': expected RFC 3339, as in 2026-03-01T12:00:00Z"},
        Refused{"address,count\n0x1000,0\n",
                "input:2: count '0': expected a decimal number from 1 to 2^48"},
        Refused{"address,count\n0x1000,99999999999999999999\n",
                "input:2: count '99999999999999999999': expected a decimal number from 1 to 2^48"},
        Refused{"address,note\n0x1000,\"a\nb\nc",
                "input:2: the quote that begins a field here never ends"},
        Refused{"address,note\n0x1000,a\"b\"\n",
                "input:2: field 2: a quote in the middle of a field"},
        Refused{"address,note\n0x1000,\"a\"b\n",
                "input:2: field 2: a quote in the middle of a field"},
        Refused{"address\n0x10\x1b[2J00\n", "input:2: column 5: byte 0x1b is no text"},
        Refused{"a\0d\0"sv, "input:1: column 2: byte 0x00 is no text"},
        Refused{
            "\xff\xfe\x61\x00\x64\x00"sv,
            "input:1: column 4: byte 0x00 is no text (the input is UTF-16: save it as UTF-8)"}));

TEST(Csv, CountsLinesInsideQuotes) {
  EXPECT_EQ(collect_text("address,note\n0x1000,\"a\nb\"\nbad,\n").error.substr(0, 22),
            "input:4: address 'bad'");
}

TEST(Csv, BoundsALine) {
  RepeatedStream line("address\n", "x", std::uint64_t{1} << 30U);
  EXPECT_EQ(collect(line).error, "big:2: a line of more than 65536 bytes");
  EXPECT_LT(line.bytes_read(), std::uint64_t{1} << 20U);
  RepeatedStream quoted("address,note\n0x1000,\"", "x\n", std::uint64_t{1} << 30U);
  EXPECT_EQ(collect(quoted).error, "big:2: a row of more than 65536 bytes; does a quote not end?");
  EXPECT_LT(quoted.bytes_read(), std::uint64_t{1} << 20U);
}

TEST(Csv, KeepsTextsBoundedAndFitForATerminal) {
  const Collected all =
      collect_text("address,label,note\n,\"\xff\xe2\x80\xae" + std::string(1000, 'l') + "\"," +
                   std::string(60000, 'n') + "\n");
  ASSERT_EQ(all.events.size(), 1U) << all.lines;
  EXPECT_LE(all.events[0].label.size(), Event::kLabelLimit);
  EXPECT_EQ(all.events[0].label.substr(0, 16), "\\xff\\xe2\\x80\\xae");
  EXPECT_LE(all.events[0].evidence.size(), Event::kEvidenceLimit);
}

}  // namespace
}  // namespace poisonctl
