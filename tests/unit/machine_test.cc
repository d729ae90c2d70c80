// Facts about a machine: whatever word size and byte order it was captured on.
#include "registry/machine.h"

#include <gtest/gtest.h>

#include <utility>

#include "tests/unit/fake_sysroot.h"
#include "tests/unit/temp_tree.h"
#include "tests/unit/test_ranges.h"

namespace poisonctl {
namespace {

using Pairs = std::vector<std::pair<std::uint64_t, std::uint64_t>>;

std::string encode(const Pairs& pairs, std::size_t bytes, bool big_endian) {
  std::string text;
  for (const auto& [key, value] : pairs) {
    for (const std::uint64_t word : {key, value}) {
      for (std::size_t i = 0; i < bytes; ++i) {
        const std::size_t place = big_endian ? bytes - 1 - i : i;
        text += static_cast<char>(word >> (8 * place) & 0xFFU);
      }
    }
  }
  return text;
}

// AT_SYSINFO_EHDR, AT_HWCAP, AT_PAGESZ, AT_CLKTCK, AT_NULL: how a real vector begins and ends.
Pairs vector_with(std::uint64_t page_size) {
  return {{33, 0x7ffc1000}, {16, 0x78bfbff}, {6, page_size}, {17, 100}, {0, 0}};
}

TEST(Auxv, EveryWordForm) {
  for (const std::uint64_t page : {4096U, 16384U, 65536U, 262144U}) {
    for (const auto& [bytes, big] : {std::pair{8U, false}, {8U, true}, {4U, false}}) {
      SCOPED_TRACE(bytes);
      const auto shift = parse_auxv_page_size(encode(vector_with(page), bytes, big), "auxv");
      ASSERT_TRUE(shift.ok()) << shift.error().message;
      EXPECT_EQ(shift->page_size(), page);
    }
  }
}

TEST(Auxv, HostileOrCutIsBadDataThatNamesTheFile) {
  const std::string good = encode(vector_with(4096), 8, false);
  const std::string cases[] = {
      "",
      "\x06",
      good.substr(0, 40),  // the value of AT_PAGESZ is cut off
      good.substr(0, 47),  // by one byte
      encode({{0, 0}}, 8, false),
      encode(vector_with(0), 8, false),
      encode(vector_with(1), 8, false),
      encode(vector_with(2048), 8, false),
      encode(vector_with(4097), 8, false),
      encode(vector_with(1U << 19U), 8, false),
      encode(vector_with(std::uint64_t{1} << 63U), 8, false),
      std::string(4096, '\xff'),
      std::string(1U << 20U, '\x06'),
  };
  for (const std::string& text : cases) {
    const auto shift = parse_auxv_page_size(text, "tree/proc/self/auxv");
    ASSERT_FALSE(shift.ok()) << text.size();
    EXPECT_EQ(shift.error().code, ErrorCode::kBadData);
    EXPECT_NE(shift.error().message.find("tree/proc/self/auxv"), std::string::npos);
    EXPECT_NE(shift.error().message.find(std::to_string(text.size())), std::string::npos);
  }
  EXPECT_TRUE(parse_auxv_page_size(good.substr(0, 48), "auxv").ok());
}

TEST(Auxv, ValueSixIsNotTheKeySix) {
  const auto shift = parse_auxv_page_size(encode({{25, 6}, {6, 65536}, {0, 0}}, 8, false), "auxv");
  ASSERT_TRUE(shift.ok());
  EXPECT_EQ(shift->page_size(), 65536U);
}

void write_machine(const TempTree& tree) {
  tree.write("proc/self/auxv", encode(vector_with(65536), 8, false));
  tree.write("proc/sys/kernel/osrelease", "6.1.0-18-arm64\n");
  tree.write("proc/sys/kernel/random/boot_id", "3f0c8a34-5d0e-4b4e-9a53-0b8d6f3f2c11\n");
}

TEST(LoadMachine, AllOfIt) {
  const TempTree tree;
  write_machine(tree);
  tree.write("proc/sys/kernel/arch", "aarch64\n");
  tree.write("proc/cmdline", "root=/dev/vda1 ro  quiet\n");
  tree.write("etc/machine-id", "0123456789abcdef0123456789abcdef\n");
  tree.write("sys/class/dmi/id/product_uuid", "a1b2c3d4-0000-1111-2222-333344445555\n");
  const auto machine = load_machine(*tree.open());
  ASSERT_TRUE(machine.ok()) << machine.error().message;
  EXPECT_EQ(machine->page_shift.page_size(), 65536U);
  EXPECT_EQ(machine->architecture, "aarch64");
  EXPECT_EQ(machine->kernel_release, "6.1.0-18-arm64");
  EXPECT_EQ(machine->boot_id, "3f0c8a34-5d0e-4b4e-9a53-0b8d6f3f2c11");
  EXPECT_EQ(machine->host_id, "0123456789abcdef0123456789abcdef");
  EXPECT_EQ(machine->product_uuid, "a1b2c3d4-0000-1111-2222-333344445555");
  EXPECT_EQ(machine->command_line, "root=/dev/vda1 ro  quiet");
}

TEST(LoadMachine, WhatIsOptionalMayBeMissing) {
  const TempTree tree;
  write_machine(tree);
  const auto machine = load_machine(*tree.open());
  ASSERT_TRUE(machine.ok()) << machine.error().message;
  EXPECT_EQ(machine->architecture, "");
  EXPECT_EQ(machine->host_id, "");
  EXPECT_EQ(machine->product_uuid, "");
  EXPECT_EQ(machine->command_line, "");
}

TEST(LoadMachine, WhatIsNeededMustBeThere) {
  const TempTree tree;
  write_machine(tree);
  const auto inner = tree.open();
  for (const auto* path :
       {"proc/self/auxv", "proc/sys/kernel/osrelease", "proc/sys/kernel/random/boot_id"}) {
    FakeSysRoot fake(*inner);
    fake.fail(path, {ErrorCode::kNoPrivilege, path, 13});
    const auto machine = load_machine(fake);
    ASSERT_FALSE(machine.ok()) << path;
    EXPECT_EQ(machine.error().code, ErrorCode::kNoPrivilege);
    EXPECT_EQ(machine.error().message, path);
  }
  tree.write("proc/self/auxv", "short");
  EXPECT_EQ(load_machine(*inner).error().code, ErrorCode::kBadData);
}

TEST(HardwareCorrupted, IsInBytes) {
  struct Case {
    std::string_view text;
    std::optional<std::uint64_t> bytes;
  };
  const Case cases[] = {
      {"MemTotal:        1024 kB\nHardwareCorrupted:     4 kB\nAnonHugePages: 0 kB\n", 4096U},
      {"HardwareCorrupted:     0 kB\n", 0U},
      {"HardwareCorrupted: 70368744177664 kB", kPhysAddrLimit},
      {"MemTotal:        1024 kB\n", {}},  // built without CONFIG_MEMORY_FAILURE
      {"", {}},
      {" HardwareCorrupted: 4 kB\n", {}},  // not at the start of the line: another field
  };
  for (const Case& c : cases) {
    const TempTree tree;
    tree.write("proc/meminfo", c.text);
    const auto bytes = read_hardware_corrupted(*tree.open());
    ASSERT_TRUE(bytes.ok()) << bytes.error().message;
    EXPECT_EQ(*bytes, c.bytes) << c.text;
  }
}

TEST(HardwareCorrupted, MalformedNamesTheLine) {
  for (const std::string_view line :
       {"HardwareCorrupted:", "HardwareCorrupted: kB", "HardwareCorrupted: 4",
        "HardwareCorrupted: 4 MB", "HardwareCorrupted: -4 kB", "HardwareCorrupted: 0x4 kB",
        "HardwareCorrupted: 4 kB more", "HardwareCorrupted: 70368744177665 kB",
        "HardwareCorrupted: 18446744073709551616 kB"}) {
    const TempTree tree;
    tree.write("proc/meminfo", "MemTotal: 1 kB\n" + std::string(line) + "\n");
    const auto bytes = read_hardware_corrupted(*tree.open());
    ASSERT_FALSE(bytes.ok()) << line;
    EXPECT_EQ(bytes.error().code, ErrorCode::kBadData);
    EXPECT_NE(bytes.error().message.find("proc/meminfo:2: "), std::string::npos)
        << bytes.error().message;
    EXPECT_NE(bytes.error().message.find(line), std::string::npos) << bytes.error().message;
  }
  const TempTree tree;
  EXPECT_EQ(read_hardware_corrupted(*tree.open()).error().code, ErrorCode::kNoInput);
}

}  // namespace
}  // namespace poisonctl
