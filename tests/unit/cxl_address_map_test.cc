#include <gtest/gtest.h>

#include <random>

#include "registry/cxl/address_map.h"
#include "tests/unit/cedt_samples.h"
#include "tests/unit/cxl_tree.h"

namespace poisonctl {
namespace {

using std::uint64_t;

CxlAddressMap load(const CxlTree& tree) {
  const auto root = tree.open();
  auto map = CxlAddressMap::load(*root);
  if (!map) throw std::runtime_error(map.error().message);
  return *std::move(map);
}

DeviceRange bytes_at(uint64_t begin, uint64_t size) {
  return *DeviceRange::from_size(DeviceAddr(begin), size);
}

uint64_t only_address(const CxlAddressMap& map, uint64_t serial, uint64_t address) {
  const auto located = map.locate(serial, bytes_at(address, 64));
  EXPECT_TRUE(located.ok()) << (located.ok() ? "" : located.error().message);
  EXPECT_EQ(located->host.ranges().size(), 1U);
  return located->host.empty() ? 0 : located->host.ranges().front().begin().value();
}

void expect_problem(const CxlTree& tree, std::string_view why) {
  const auto map = load(tree);
  EXPECT_TRUE(map.shares().empty());
  ASSERT_EQ(map.problems().size(), 1U) << why;
  EXPECT_NE(map.problems()[0].find(why), std::string::npos) << map.problems()[0];
}

TEST(CxlAddressMap, OneDevice) {
  const CxlTree tree({.skip = 0x10000000});
  const auto map = load(tree);
  EXPECT_TRUE(map.problems().empty()) << map.problems()[0];
  ASSERT_EQ(map.shares().size(), 1U);
  EXPECT_EQ(map.shares()[0].serial, CxlTree::serial_at(0));
  EXPECT_EQ(only_address(map, CxlTree::serial_at(0), 0x10001000), 0x300001000U);
  EXPECT_EQ(map.device_byte_at(PhysAddr(0x300001000)),
            (CxlAddressMap::DeviceByte{CxlTree::serial_at(0), DeviceAddr(0x10001000)}));
  EXPECT_FALSE(map.device_byte_at(PhysAddr(0x2ffffffff)));
}

TEST(CxlAddressMap, DevicesGoBySerialNumber) {
  const CxlTree tree({.bridges = 2});
  const auto map = load(tree);
  const auto second = map.device(CxlTree::serial_at(1));
  ASSERT_TRUE(second.ok());
  EXPECT_EQ((*second)->memdev, "mem0") << "numbered in the other order";
  EXPECT_EQ(only_address(map, CxlTree::serial_at(1), 0x1840), 0x300003140U);
}

TEST(CxlAddressMap, NestedDecoders) {
  const CxlTree tree({.bridges = 2, .ports = 4, .granularity = 1024});
  const auto map = load(tree);
  EXPECT_TRUE(map.problems().empty()) << map.problems()[0];
  std::mt19937_64 random(8);
  for (int i = 0; i < 2000; ++i) {
    const uint64_t position = random() % 8;
    const uint64_t at = random() % (uint64_t{256} << 20U) / 64 * 64;
    const uint64_t host = only_address(map, CxlTree::serial_at(position), at);
    ASSERT_EQ(host, 0x300000000 + (at / 1024 * 8 + position) * 1024 + at % 1024);
    ASSERT_EQ(map.device_byte_at(PhysAddr(host)),
              (CxlAddressMap::DeviceByte{CxlTree::serial_at(position), DeviceAddr(at)}));
  }
}

TEST(CxlAddressMap, XorWhereThePlatformDeclaresIt) {
  const CxlTree tree({.bridges = 2});
  const SampleWindow window{
      .begin = 0x300000000, .size = uint64_t{64} << 30U, .ways = 1, .arithmetic = 1, .targets = 2};
  tree.write("sys/firmware/acpi/tables/CEDT", cedt_of({cfmws(window), cxims(0, {0x4100})}));
  const auto map = load(tree);
  EXPECT_TRUE(map.problems().empty()) << map.problems()[0];
  // Bit 14 of the address turns the choice of the host bridge around.
  EXPECT_EQ(only_address(map, CxlTree::serial_at(1), 0x1840), 0x300003140U);
  EXPECT_EQ(only_address(map, CxlTree::serial_at(1), 0x2040), 0x300004040U);
  EXPECT_EQ(only_address(map, CxlTree::serial_at(0), 0x2040), 0x300004140U);
}

TEST(CxlAddressMap, WithoutTheMapsOfItsWindowARegionIsLeftOut) {
  const CxlTree tree({.bridges = 2});
  const SampleWindow window{
      .begin = 0x300000000, .size = uint64_t{64} << 30U, .ways = 1, .arithmetic = 1, .targets = 2};
  tree.write("sys/firmware/acpi/tables/CEDT", cedt_of({cfmws(window)}));
  expect_problem(tree, "no CXIMS with 1 maps");
  tree.write("sys/firmware/acpi/tables/CEDT",
             cedt_of({cfmws({.begin = 0x300000000, .size = uint64_t{64} << 30U})}));
  expect_problem(tree, "the CEDT has 1 host bridges by 256 bytes there, the kernel's decoder 2");
}

TEST(CxlAddressMap, ARangeOverTheEndOfTheRegion) {
  const CxlTree tree({.bridges = 2, .share = 0x1000, .skip = 0x2000, .capacity = 0x10000});
  const auto located = load(tree).locate(CxlTree::serial_at(0), bytes_at(0x1f00, 0x1200));
  ASSERT_TRUE(located.ok());
  EXPECT_EQ(located->host.bytes(), 0x1000U);
  const std::vector<DeviceRange> expected = {bytes_at(0x1f00, 0x100), bytes_at(0x3000, 0x100)};
  EXPECT_EQ(located->unplaced, expected);
}

TEST(CxlAddressMap, ExtendedLinearCacheGivesTwoAddresses) {
  const CxlTree tree({});
  tree.set("region0/size", "0x20000000");
  tree.set("region0/extended_linear_cache_size", "0x10000000");
  tree.set("decoder40.0/size", "0x20000000");
  tree.set("decoder1.0/size", "0x20000000");
  const auto map = load(tree);
  const auto located = map.locate(CxlTree::serial_at(0), bytes_at(0x40, 64));
  ASSERT_TRUE(located.ok());
  const std::vector<ByteRange> expected = {*ByteRange::from_size(PhysAddr(0x300000040), 64),
                                           *ByteRange::from_size(PhysAddr(0x310000040), 64)};
  EXPECT_EQ(located->host.ranges(), expected);
  for (const ByteRange& range : expected) {
    EXPECT_EQ(map.device_byte_at(range.begin())->address, DeviceAddr(0x40));
  }
}

TEST(CxlAddressMap, RefusesWhatNoDeviceHas) {
  const CxlTree tree({.bridges = 2});
  const auto map = load(tree);
  const auto beyond = map.locate(CxlTree::serial_at(0), bytes_at(0x1fffffc0, 128));
  ASSERT_FALSE(beyond.ok());
  EXPECT_EQ(beyond.error().code, ErrorCode::kRefused);
  EXPECT_NE(beyond.error().message.find("lies beyond"), std::string::npos);
  EXPECT_EQ(map.locate(0x77, bytes_at(0, 64)).error().code, ErrorCode::kNotAvailable);
  EXPECT_EQ(map.locate(0, bytes_at(0, 64)).error().code, ErrorCode::kRefused);
  tree.set("mem0/serial", "0xabcd0001");
  const auto twice = load(tree).locate(CxlTree::serial_at(0), bytes_at(0, 64));
  ASSERT_FALSE(twice.ok());
  EXPECT_NE(twice.error().message.find("mem0 and mem1 have the same serial"), std::string::npos);
}

TEST(CxlAddressMap, DecodersThatLie) {
  struct Lie {
    const char* attribute;
    const char* text;
    const char* why;
  };
  for (const Lie& lie : std::vector<Lie>{
           {"decoder40.0/start", "0x340000000", "decoder40.0 answers at other addresses"},
           {"decoder41.0/interleave_ways", "4", "decoder41.0 has 4 ways"},
           {"decoder41.0/interleave_granularity", "512", "2 ways by 512 bytes"},
           {"decoder41.0/dpa_size", "0x10000", "where 0x10000000 bytes are its share"},
           {"decoder41.0/dpa_resource", "0x1fff0000", "which has 0x20000000 bytes"},
           {"decoder41.0/dpa_resource", "-", "dpa_resource is missing or no number"},
           {"decoder1.0/interleave_ways", "2", "the decoders above endpoint40 make 4 ways"},
           {"decoder0.0/interleave_granularity", "4096", "make 2 ways by 4096 bytes"},
           {"decoder0.0/size", "0x1000", "no decoder of the root"},
           {"region0/interleave_ways", "5", "expected 1, 2, 3, 4, 6, 8, 12 or 16 ways"},
           {"region0/resource", "0x300000100", "begins within a stripe"},
           {"region0/target1", "", "target1 is not the decoder of an endpoint"}}) {
    const CxlTree tree({.bridges = 2});
    tree.set(lie.attribute, lie.text);
    SCOPED_TRACE(lie.attribute);
    expect_problem(tree, lie.why);
  }
}

TEST(CxlAddressMap, ARegionInTheMakingIsNone) {
  const CxlTree tree({});
  tree.set("region0/commit", "0");
  const auto map = load(tree);
  EXPECT_TRUE(map.problems().empty());
  const auto located = map.locate(CxlTree::serial_at(0), bytes_at(0x1000, 64));
  ASSERT_TRUE(located.ok());
  EXPECT_TRUE(located->host.empty());
  EXPECT_EQ(located->unplaced, std::vector<DeviceRange>{bytes_at(0x1000, 64)});
}

TEST(CxlAddressMap, AMachineWithoutCxl) {
  const TempTree tree;
  const auto map = CxlAddressMap::load(*tree.open());
  ASSERT_FALSE(map.ok());
  EXPECT_EQ(map.error().code, ErrorCode::kNotAvailable);
}

}  // namespace
}  // namespace poisonctl
