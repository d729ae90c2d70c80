// BadRAM patterns: what they match, and bounds before anything is expanded.
#include "registry/sources/badram.h"

#include <random>

#include "tests/unit/sources/hostile_input.h"
#include "tests/unit/test_ranges.h"

namespace poisonctl {
namespace {

// All bytes below `end` that match, one after the other.
RangeSet brute_force(const BadramPattern& pattern, std::uint64_t end) {
  std::vector<ByteRange> ranges;
  for (std::uint64_t byte = 0; byte < end; ++byte) {
    if ((byte & pattern.mask) == (pattern.address & pattern.mask)) {
      ranges.push_back(range(byte, byte));
    }
  }
  return set_of(std::move(ranges));
}

std::vector<ByteRange> expanded(const BadramPattern& pattern, std::uint64_t end) {
  std::vector<ByteRange> ranges;
  const auto done = for_each_matching_range(pattern, PhysAddr(end), [&](const ByteRange& part) {
    ranges.push_back(part);
    return Result<void>();
  });
  EXPECT_TRUE(done.ok());
  return ranges;
}

TEST(Badram, ExpandsToWhatBruteForceFinds) {
  std::mt19937_64 random(1);  // the same patterns in every run
  for (int i = 0; i < 3000; ++i) {
    const std::uint64_t end = random() % 5000;
    // Few mask bits above the memory, so that most patterns match something.
    const std::uint64_t mask = random() & random() & 0x1fff;
    const BadramPattern pattern{random() & 0x1fff,
                                i % 3 == 0 ? mask | ~std::uint64_t{0x1fff} : mask};
    const auto ranges = expanded(pattern, end);
    const RangeSet expected = brute_force(pattern, end);
    ASSERT_EQ(set_of(ranges), expected) << pattern.address << " " << pattern.mask << " " << end;
    ASSERT_EQ(ranges, expected.ranges()) << "sorted and coalesced";
    ASSERT_EQ(matching_bytes(pattern, PhysAddr(end)), expected.bytes());
  }
}

TEST(Badram, MatchesUpToTheEndOfTheAddressSpace) {
  EXPECT_EQ(matching_bytes({0, 0}, PhysAddr(kPhysAddrLimit)), kPhysAddrLimit);
  EXPECT_EQ(matching_bytes({0, 0}, PhysAddr(~std::uint64_t{0})), kPhysAddrLimit);
  EXPECT_EQ(matching_bytes({~std::uint64_t{0}, ~std::uint64_t{0}}, PhysAddr(kPhysAddrLimit)), 0U);
  EXPECT_EQ(matching_bytes({0, std::uint64_t{1} << 63}, PhysAddr(16)), 16U);
  EXPECT_EQ(expanded({0, std::uint64_t{1} << 63}, 16), (std::vector{range(0, 15)}));
  EXPECT_EQ(expanded({kPhysAddrLimit - 8, ~std::uint64_t{7}}, kPhysAddrLimit),
            (std::vector{range(kPhysAddrLimit - 8, kPhysAddrLimit - 1)}));
  EXPECT_TRUE(expanded({0, 0}, 0).empty());
}

TEST(Badram, Golden) {
  expect_golden_case(collect_badram, "badram/grub");
  SourceSettings settings = test_settings();
  settings.memory_end = PhysAddr(std::uint64_t{3} << 32);
  expect_golden_case(collect_badram, "badram/masks", settings);
}

TEST(Badram, RefusesWithTheLineAndThePair) {
  const RefusedInput inputs[] = {
      {"badram=", "input:1: pair 1 (''): expected 0xADDR,0xMASK"},
      {"badram=0x1000", "pair 1 ('0x1000')"},
      {"\n\nbadram=0x1000,0xfffffffffffff000,0x2000", "input:3: pair 2 ('0x2000')"},
      {"badram=0x1000,0xfffffffffffff000,", "pair 2 ('')"},
      {"badram=1000,fffffffffffff000", "pair 1"},  // Linux takes them as decimal
      {"badram=0x1000, 0xfffffffffffff000", "no blank between"},
      {"badram=0x10000000000000000,0xfff", "at most 64 bits"},
      {"badram=0x1000,0xfffffffffffffffff", "at most 64 bits"},
      {"badram=0x,0x", "pair 1"},
      {"badram=-0x1,0xffff", "pair 1"},
      {"GRUB_BADRAM=\"0x1000,0xfffffffffffff000", "the quotes do not match"},
      {"GRUB_BADRAM='0x1000,0xfffffffffffff000\"", "the quotes do not match"},
      {"GRUB_BADRAM=\"0x1000\"\"0x2000\"", "the quotes do not match"},
      {"badram 0x1000", "input:1: pair 1"},
      // too much of memory
      {"badram=0x0,0x0", "mask 0x0 takes 64 GiB of 64 GiB"},
      {"badram=0x0,0xff00000000000000", "more than 1/16"},
      {"badram=0x0,0xff8", "takes 64 GiB of 64 GiB"},  // a word of every page
      {"badram=0x0,0xffffffc000000000", "more than 1/16"},
      {"badram=0x0,0x1000", "more than 1/16"},
      // cutmem
      {"cutmem 1M", "expected cutmem FROM TO"},
      {"cutmem 1M 2M 3M", "expected cutmem FROM TO"},
      {"cutmem 1M--2M", "expected cutmem FROM TO"},
      {"cutmem 1M2M", "expected cutmem FROM TO"},
      {"cutmem 2M 1M", "expected FROM below TO"},
      {"cutmem 1M 1M", "expected FROM below TO"},
      {"cutmem 0 0x100000000000001", "both below 0x100000000000000"},
      {"cutmem 0 32G", "that is a limit, not bad memory"},
      {"cutmem 0x10000000000000000 1", "expected cutmem FROM TO"},
      {"badram=0x1000,0xfff\x01", "column 20: byte 0x01 is no text"},
  };
  for (const RefusedInput& input : inputs) expect_refused(collect_badram, input);
}

TEST(Badram, BoundsTheRangesOfOneInputBeforeExpanding) {
  // 2^20 places of one byte, all in the same 1/16 of memory.
  const std::string mask = to_hex(~std::uint64_t{0} << 21 | 1);
  expect_refused(collect_badram, {"badram=0x0," + mask, "expands to 1048576 ranges"});
  // Half of that twice: the second is too many.
  const std::string half = to_hex(~std::uint64_t{0} << 20 | 1);
  const std::string text = "badram=0x0," + half + "\nbadram=0x100000," + half + "\n";
  TextStream stream(text, "input");
  std::uint64_t events = 0;
  const auto report = collect_badram(stream, test_settings(),
                                     [&](const Event&, const SourceReport&) -> Result<void> {
                                       ++events;
                                       return {};
                                     });
  EXPECT_EQ(events, std::uint64_t{1} << 19);
  ASSERT_FALSE(report.ok());
  EXPECT_NE(report.error().message.find("input:2: pair 1"), std::string::npos)
      << report.error().message;
}

TEST(Badram, HostileInput) {
  expect_nothing_from_hostile_input(collect_badram);
  expect_endless_line_is_refused(collect_badram, 1U << 18U);
}

}  // namespace
}  // namespace poisonctl
