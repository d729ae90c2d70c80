// The SMBIOS table: what a real one and a made-up one say, and each way a table can be cut.
#include "registry/smbios.h"

#include <gtest/gtest.h>

#include "tests/unit/smbios_samples.h"
#include "tests/unit/test_ranges.h"

namespace poisonctl {
namespace {

TEST(Smbios, DevicesAndWhereTheyAnswer) {
  const std::string table =
      memory_device({.handle = 0x1100, .array = 0x1000, .locator = "A1", .serial = " 12AB "}) +
      structure(2, 0x0200, std::string(8, '\0'), {"a board"}) +
      memory_device({.handle = 0x1101, .array = 0x1000, .size = 0x7fff, .extended_mib = 65536}) +
      memory_device({.handle = 0x1102, .array = 0x1000, .size = 0}) +
      memory_device({.handle = 0x1103, .array = 0x1000, .size = 0x8000 | 512}) +
      array_range(0x1000, 0, 0x3fffff) + device_range(0x1101, 0x400000, 0x7fffff, 1, 2) +
      end_of_table();
  const auto memory = parse_smbios(table, "test");
  ASSERT_TRUE(memory.ok()) << memory.error().message;
  ASSERT_EQ(memory->devices.size(), 4U);
  EXPECT_EQ(memory->devices[0].locator, "A1");
  EXPECT_EQ(memory->devices[0].serial, "12AB");
  EXPECT_EQ(memory->devices[0].bytes, std::uint64_t{1024} << 20U);
  EXPECT_EQ(memory->devices[0].speed, 3200U);
  EXPECT_EQ(memory->devices[1].bytes, std::uint64_t{65536} << 20U);
  EXPECT_EQ(memory->devices[2].bytes, 0U);
  EXPECT_EQ(memory->devices[3].bytes, 512U << 10U);
  ASSERT_EQ(memory->array_ranges.size(), 1U);
  EXPECT_EQ(memory->array_ranges[0].range, range(0, 0xffffffff));
  ASSERT_EQ(memory->device_ranges.size(), 1U);
  EXPECT_EQ(memory->device_ranges[0].device, 0x1101);
  EXPECT_EQ(memory->device_ranges[0].range, range(0x100000000, 0x1ffffffff));
  EXPECT_EQ(memory->device_ranges[0].interleave_position, 1);
  EXPECT_EQ(memory->device_ranges[0].interleave_depth, 2);
}

TEST(Smbios, AddressesThatNeed64Bits) {
  std::string body = little(0xffffffff, 4) + little(0xffffffff, 4) + little(0x1000, 2) +
                     little(1, 1) + little(0x100000000000, 8) + little(0x1fffffffffff, 8);
  const auto memory = parse_smbios(structure(19, 1, body, {}) + end_of_table(), "test");
  ASSERT_TRUE(memory.ok());
  ASSERT_EQ(memory->array_ranges.size(), 1U);
  EXPECT_EQ(memory->array_ranges[0].range, range(0x100000000000, 0x1fffffffffff));
}

// A firmware of SMBIOS 2.1 has shorter structures; what they do not have is not known.
TEST(Smbios, ShortStructuresOfOldFirmware) {
  const std::string body = little(0x1000, 2) + little(0, 6) + little(1024, 2);
  const auto memory = parse_smbios(structure(17, 1, body, {}) + end_of_table(), "test");
  ASSERT_TRUE(memory.ok());
  ASSERT_EQ(memory->devices.size(), 1U);
  EXPECT_EQ(memory->devices[0].bytes, std::uint64_t{1024} << 20U);
  EXPECT_EQ(memory->devices[0].serial, "");
}

TEST(Smbios, ATextNumberWithoutATextIsEmpty) {
  std::string device = memory_device({.handle = 1, .array = 2, .locator = "A1", .serial = "S"});
  device[0x18] = 99;
  const auto memory = parse_smbios(device + end_of_table(), "test");
  ASSERT_TRUE(memory.ok());
  EXPECT_EQ(memory->devices[0].serial, "");
  EXPECT_EQ(memory->devices[0].locator, "A1");
}

TEST(Smbios, ARangeThatIsNoneSaysNothing) {
  const auto memory = parse_smbios(array_range(1, 0x2000, 0x1000) + end_of_table(), "test");
  ASSERT_TRUE(memory.ok());
  EXPECT_TRUE(memory->array_ranges.empty());
}

TEST(Smbios, EveryCutTableIsAnErrorOrEndsBetweenStructures) {
  const std::string first = memory_device({.handle = 1, .array = 2, .locator = "A1"});
  const std::string table = first + array_range(2, 0, 0xfffff);
  for (std::size_t size = 0; size < table.size(); ++size) {
    const auto memory = parse_smbios(table.substr(0, size), "FILE");
    // Less than a header after the end of a structure is padding.
    const bool between = size < 4 || (size >= first.size() && size < first.size() + 4);
    EXPECT_EQ(memory.ok(), between) << size;
    if (!memory.ok()) {
      EXPECT_TRUE(memory.error().message.starts_with("FILE: the SMBIOS structure at offset "));
    }
  }
  EXPECT_TRUE(parse_smbios("", "FILE").ok());
  EXPECT_FALSE(parse_smbios(std::string(16, '\1'), "FILE").ok());
  EXPECT_FALSE(parse_smbios(std::string(16, '\0'), "FILE").ok());
}

// Two modules of a MiB each, then one MiB that both answer in turn, and nobody's memory after it.
SmbiosMemory two_modules(const std::string& second_locator) {
  const auto memory = parse_smbios(
      memory_device({.handle = 7, .array = 2, .locator = "A1"}) +
          memory_device({.handle = 8, .array = 2, .locator = second_locator}) +
          device_range(7, 0, 1023, 1, 0) + device_range(8, 1024, 2047, 1, 0) +
          device_range(7, 2048, 3071, 1, 2) + device_range(8, 2048, 3071, 2, 2) + end_of_table(),
      "test");
  return memory ? *memory : SmbiosMemory();
}

TEST(Smbios, TheModuleToBlame) {
  const SmbiosMemory memory = two_modules("B1");
  ASSERT_EQ(memory.devices.size(), 2U);
  constexpr std::uint64_t kMiB = std::uint64_t{1} << 20U;
  const auto at = [&](std::uint64_t address, std::string_view label, std::uint64_t size = 4096) {
    return device_at(memory, *ByteRange::from_size(PhysAddr(address), size), label);
  };
  EXPECT_EQ(at(0, ""), 0U);
  EXPECT_EQ(at(kMiB, ""), 1U);
  EXPECT_EQ(at(kMiB, "A1"), 1U) << "where one answers, a label does not count";
  EXPECT_EQ(at(2 * kMiB, ""), std::nullopt) << "two answer in turn";
  EXPECT_EQ(at(2 * kMiB, "B1"), 1U);
  EXPECT_EQ(at(0, "", 2 * kMiB), std::nullopt) << "it reaches into both";
  EXPECT_EQ(at(16 * kMiB, ""), std::nullopt);
  EXPECT_EQ(at(16 * kMiB, "A1"), 0U);
  EXPECT_EQ(at(16 * kMiB, "C1"), std::nullopt);
}

TEST(Smbios, NoModuleWhereTwoHaveTheName) {
  const SmbiosMemory memory = two_modules("A1");
  const ByteRange shared = *ByteRange::from_size(PhysAddr(std::uint64_t{2} << 20U), 4096);
  EXPECT_EQ(device_at(memory, shared, "A1"), std::nullopt);
  EXPECT_EQ(device_at(memory, shared, ""), std::nullopt);
}

TEST(Smbios, ADeviceWithTwoRangesIsOneDevice) {
  const auto memory = parse_smbios(memory_device({.handle = 7, .array = 2, .locator = "A1"}) +
                                       device_range(7, 0, 1023, 1, 0) +
                                       device_range(7, 1024, 2047, 1, 0) + end_of_table(),
                                   "test");
  ASSERT_TRUE(memory.ok());
  const ByteRange both = *ByteRange::from_size(PhysAddr(0), std::uint64_t{2} << 20U);
  EXPECT_EQ(device_at(*memory, both, ""), 0U);
}

}  // namespace
}  // namespace poisonctl
