#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <cstdint>
#include <random>
#include <vector>

#include "registry/cxl/interleave.h"

namespace poisonctl {
namespace {

using std::uint64_t;

constexpr std::array<uint64_t, 8> kWays = {1, 2, 3, 4, 6, 8, 12, 16};
constexpr std::array<uint64_t, 7> kGranularities = {256, 512, 1024, 2048, 4096, 8192, 16384};
constexpr unsigned kRoundTrips = 10000;
constexpr uint64_t kBase = uint64_t{768} << 30U;  // aligned to any stripe

// The encodings IW and IG of CXL 3.1, table "CXL HDM Decoder n Control Register" (8.2.4.20.7).
unsigned encoded_ways(uint64_t ways) {
  if (ways % 3 == 0) return 8 + static_cast<unsigned>(std::countr_zero(ways / 3));
  return static_cast<unsigned>(std::countr_zero(ways));
}
unsigned encoded_granularity(uint64_t granularity) {
  return static_cast<unsigned>(std::countr_zero(granularity)) - 8;
}

uint64_t bits(uint64_t value, unsigned high, unsigned low) {
  return (value >> low) & ((uint64_t{1} << (high - low + 1)) - 1);
}

// "DPAOffset" of 8.2.4.20.13, from HPAOffset, IG and IW, as the specification has it.
uint64_t device_offset(uint64_t host_offset, unsigned ig, unsigned iw) {
  const uint64_t upper =
      iw < 8 ? bits(host_offset, 51, ig + 8 + iw) : bits(host_offset, 51, ig + iw) / 3;
  return upper << (ig + 8) | bits(host_offset, ig + 7, 0);
}

// The target of 9.18.1.3, modulo and XOR: "n" of the interleave target list. Without maps their
// bits are those of the address.
uint64_t target(uint64_t host, unsigned ig, unsigned iw, const std::vector<uint64_t>& maps) {
  const unsigned binary = iw < 8 ? iw : iw - 8;
  uint64_t position = 0;
  for (unsigned bit = 0; bit < binary; ++bit) {
    const uint64_t map = bit < maps.size() ? maps[bit] : uint64_t{1} << (ig + 8 + bit);
    position |= static_cast<uint64_t>(std::popcount(host & map) & 1) << bit;
  }
  if (iw >= 8) position |= (bits(host, 51, ig + 8 + binary) % 3) << binary;
  return position;
}

CxlInterleave set_of(uint64_t ways, uint64_t granularity, std::vector<uint64_t> maps = {},
                     uint64_t base = kBase) {
  constexpr uint64_t stripes = uint64_t{1} << 20U;
  auto made = CxlInterleave::make(
      {.range = *ByteRange::from_size(PhysAddr(base), ways * granularity * stripes),
       .ways = ways,
       .granularity = granularity,
       .xor_maps = std::move(maps)});
  EXPECT_TRUE(made.ok()) << (made.ok() ? "" : made.error().message);
  return *made;
}

void expect_round_trips(const CxlInterleave& set, const std::vector<uint64_t>& maps) {
  const unsigned ig = encoded_granularity(set.shape().granularity);
  const unsigned iw = encoded_ways(set.shape().ways);
  const uint64_t base = set.shape().range.begin().value();
  std::mt19937_64 random(set.shape().ways * set.shape().granularity);
  for (unsigned i = 0; i < kRoundTrips; ++i) {
    const uint64_t offset = random() % set.shape().range.size();
    const auto place = set.place_at(PhysAddr(base + offset));
    ASSERT_TRUE(place.has_value());
    ASSERT_EQ(place->position, target(base + offset, ig, iw, maps)) << std::hex << offset;
    ASSERT_EQ(place->offset, device_offset(offset, ig, iw)) << std::hex << offset;
    ASSERT_EQ(set.address_of(*place), PhysAddr(base + offset)) << std::hex << offset;
    const CxlInterleave::Place other{random() % set.shape().ways, random() % set.share()};
    const auto address = set.address_of(other);
    ASSERT_TRUE(address.has_value());
    ASSERT_EQ(set.place_at(*address), other) << std::hex << address->value();
  }
}

TEST(CxlInterleave, AgreesWithTheFormulaForAllWaysAndGranularities) {
  for (const uint64_t ways : kWays) {
    for (const uint64_t granularity : kGranularities) {
      SCOPED_TRACE(testing::Message() << ways << " ways by " << granularity);
      expect_round_trips(set_of(ways, granularity), {});
      // 256 MiB further on, where an address is no multiple of 3 granules any more.
      expect_round_trips(set_of(ways, granularity, {}, kBase + (uint64_t{256} << 20U)), {});
    }
  }
}

// Maps that tie each bit of the position to several bits above it, and, for the second pattern, to
// the other bits of the position.
TEST(CxlInterleave, AgreesWithTheFormulaForXorMaps) {
  for (const uint64_t ways : kWays) {
    const auto count = static_cast<unsigned>(std::countr_zero(ways % 3 == 0 ? ways / 3 : ways));
    for (const uint64_t granularity : kGranularities) {
      for (const bool crossed : {false, true}) {
        SCOPED_TRACE(testing::Message() << ways << " ways by " << granularity << crossed);
        std::vector<uint64_t> maps;
        for (unsigned bit = 0; bit < count; ++bit) {
          const uint64_t lowest = granularity << bit;
          uint64_t map = lowest | lowest << 8U | lowest << 13U;
          if (crossed && bit + 1 < count) map |= lowest << 1U;
          maps.push_back(map);
        }
        expect_round_trips(set_of(ways, granularity, maps), maps);
      }
    }
  }
}

// From drivers/cxl/core/region.c, cxl_dpa_to_hpa(), and seen with QEMU: 2 ways by 256 bytes, byte
// 0x3140 of the region is byte 0x1840 of the second device.
TEST(CxlInterleave, TwoWaysAsTheKernelAnswers) {
  const CxlInterleave set = set_of(2, 256);
  EXPECT_EQ(set.place_at(PhysAddr(kBase + 0x3140)), (CxlInterleave::Place{1, 0x1840}));
  EXPECT_EQ(set.address_of({1, 0x1840}), PhysAddr(kBase + 0x3140));
}

// drivers/cxl/core/region.c, unaligned_dpa_to_hpa(): 3 host bridges by 256 bytes from 1 GiB on,
// which is granule 0x400000, and that is 1 modulo 3.
TEST(CxlInterleave, ThreeWaysWhereTheRegionBeginsInATurn) {
  const CxlInterleave set = set_of(3, 256, {}, uint64_t{1} << 30U);
  EXPECT_EQ(set.address_of({1, 0}), PhysAddr(0x40000000));
  EXPECT_EQ(set.address_of({2, 0x10}), PhysAddr(0x40000110));
  EXPECT_EQ(set.address_of({0, 0x100}), PhysAddr(0x40000500));
  EXPECT_EQ(set.place_at(PhysAddr(0x40000500)), (CxlInterleave::Place{0, 0x100}));
}

TEST(CxlInterleave, ARangeOfTheDeviceIsInPieces) {
  const auto bytes = set_of(4, 256).host_bytes_of({2, 0x1c0}, 0x180);
  ASSERT_TRUE(bytes.has_value());
  EXPECT_TRUE(bytes->exact);
  const std::vector<ByteRange> expected = {
      *ByteRange::from_size(PhysAddr(kBase + 0x400 + 0x200 + 0xc0), 0x40),
      *ByteRange::from_size(PhysAddr(kBase + 0x800 + 0x200), 0x100),
      *ByteRange::from_size(PhysAddr(kBase + 0xc00 + 0x200), 0x40)};
  EXPECT_EQ(bytes->bytes.ranges(), expected);
}

TEST(CxlInterleave, EveryByteOfARangeIsFoundAgain) {
  for (const uint64_t ways : kWays) {
    const CxlInterleave set = set_of(ways, 512);
    const CxlInterleave::Place first{ways - 1, 0x1300};
    const auto host = set.host_bytes_of(first, 0x2100);
    ASSERT_TRUE(host.has_value());
    EXPECT_EQ(host->bytes.bytes(), 0x2100U) << "not one byte more or less";
    for (const ByteRange& range : host->bytes.ranges()) {
      for (uint64_t at = range.begin().value(); at < range.end().value(); ++at) {
        const auto place = set.place_at(PhysAddr(at));
        ASSERT_TRUE(place && place->position == first.position && place->offset >= first.offset &&
                    place->offset < first.offset + 0x2100)
            << ways << " ways at " << std::hex << at;
      }
    }
  }
}

TEST(CxlInterleave, ALongRangeIsWholeStripes) {
  const CxlInterleave set = set_of(2, 256);
  const uint64_t size = 256 * (CxlInterleave::kMostPieces + 1);
  const auto host = set.host_bytes_of({1, 0}, size);
  ASSERT_TRUE(host.has_value());
  EXPECT_FALSE(host->exact);
  const std::vector<ByteRange> expected = {*ByteRange::from_size(PhysAddr(kBase), 2 * size)};
  EXPECT_EQ(host->bytes.ranges(), expected);
  EXPECT_TRUE(set.host_bytes_of({1, 0}, size - 256)->exact);
}

TEST(CxlInterleave, NothingOutsideTheSet) {
  const CxlInterleave set = set_of(3, 256);
  EXPECT_FALSE(set.place_at(PhysAddr(kBase - 1)));
  EXPECT_FALSE(set.place_at(set.shape().range.end()));
  EXPECT_FALSE(set.address_of({3, 0}));
  EXPECT_FALSE(set.address_of({0, set.share()}));
  EXPECT_FALSE(set.host_bytes_of({0, set.share() - 64}, 65));
  EXPECT_FALSE(set.host_bytes_of({0, 0}, 0));
  EXPECT_FALSE(set.host_bytes_of({0, 64}, ~uint64_t{0}));
}

TEST(CxlInterleave, RefusesWhatNoDecoderCanBe) {
  const auto range = *ByteRange::from_size(PhysAddr(kBase), uint64_t{1} << 30U);
  const auto refused = [](CxlInterleave::Shape shape, std::string_view why) {
    const auto made = CxlInterleave::make(std::move(shape));
    ASSERT_FALSE(made.ok()) << why;
    EXPECT_EQ(made.error().code, ErrorCode::kBadData);
    EXPECT_NE(made.error().message.find(why), std::string::npos) << made.error().message;
  };
  for (const uint64_t ways : std::vector<uint64_t>{0, 5, 7, 9, 10, 24, 32}) {
    refused({.range = range, .ways = ways}, "expected 1, 2, 3");
  }
  for (const uint64_t granularity : std::vector<uint64_t>{0, 64, 128, 300, 32768}) {
    refused({.range = range, .ways = 2, .granularity = granularity}, "expected a granularity");
  }
  refused({.range = range, .ways = 3}, "not a multiple of the stripe");
  refused({.range = *ByteRange::from_size(PhysAddr(kBase + 256), 1024), .ways = 2},
          "begins within a stripe");
  refused({.range = range, .ways = 2, .granularity = 256, .xor_maps = {0x100, 0x200}},
          "more than the position has bits");
  refused({.range = range, .ways = 2, .granularity = 256, .xor_maps = {0x4200}}, "XOR map 0");
  refused({.range = range, .ways = 2, .granularity = 256, .xor_maps = {0}}, "XOR map 0");
}

TEST(CxlInterleave, NestedDecodersActLikeOne) {
  const auto flat = [](std::vector<DecoderLevel> levels) { return *flattened(levels); };
  EXPECT_EQ(flat({{1, 0}, {1, 256}}), (DecoderLevel{1, 0}));
  EXPECT_EQ(flat({{2, 256}, {1, 0}, {4, 512}}), (DecoderLevel{8, 256}));
  EXPECT_EQ(flat({{2, 512}, {2, 256}}), (DecoderLevel{4, 256})) << "coarse at the root";
  // CXL 3.1, 9.13.1.1: 12 ways by 256 bytes are 3 host bridges by 1 KiB, 4 devices each.
  EXPECT_EQ(flat({{3, 1024}, {4, 256}}), (DecoderLevel{12, 256}));

  for (const std::vector<DecoderLevel>& levels : std::vector<std::vector<DecoderLevel>>{
           {{2, 256}, {2, 256}},    // both look at the same bit
           {{2, 256}, {2, 1024}},   // bit 9 chooses nothing
           {{3, 256}, {2, 256}},    // a factor of 3 divides all bits above it
           {{3, 256}, {3, 768}},    // 9 ways
           {{16, 256}, {2, 4096}},  // 32 ways
           {{5, 256}}}) {
    EXPECT_FALSE(flattened(levels).ok());
  }
}

// Each level chooses by its own bits; together they must come to what the flat set says.
TEST(CxlInterleave, NestedDecodersChooseTheSameDevice) {
  const CxlInterleave set = set_of(12, 256);
  std::mt19937_64 random(12);
  for (unsigned i = 0; i < kRoundTrips; ++i) {
    const uint64_t offset = random() % set.shape().range.size();
    const uint64_t bridge = target(kBase + offset, encoded_granularity(1024), 8, {});
    const uint64_t port = target(kBase + offset, encoded_granularity(256), 2, {});
    ASSERT_EQ(set.place_at(PhysAddr(kBase + offset))->position, bridge * 4 + port);
  }
}

}  // namespace
}  // namespace poisonctl
