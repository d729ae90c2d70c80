// The physical address space as kernels of several kinds tell it, and as nobody should.
#include "registry/memory_map.h"

#include <gtest/gtest.h>

#include <tuple>

#include "tests/unit/fake_sysroot.h"
#include "tests/unit/temp_tree.h"
#include "tests/unit/test_ranges.h"

namespace poisonctl {
namespace {

constexpr std::string_view kPc =
    "00000000-00000fff : Reserved\n"
    "00001000-0009fbff : System RAM\n"
    "0009fc00-0009ffff : Reserved\n"
    "000a0000-000bffff : PCI Bus 0000:00\n"
    "00100000-3ffdefff : System RAM\n"
    "  01000000-01ffffff : Kernel code\n"
    "  02000000-0276dfff : Kernel rodata\n"
    "  02800000-02b2ecff : Kernel data\n"
    "  02e5b000-031fffff : Kernel bss\n"
    "3ffdf000-3ffdffff : ACPI Non-volatile Storage\n"
    "3ffe0000-3fffffff : Reserved\n"
    "fec00000-fec003ff : IOAPIC 0\n";

MemoryMap map_of(std::string_view iomem, std::vector<FirmwareEntry> firmware = {}) {
  return {parse_iomem(iomem, "iomem").value(), std::move(firmware)};
}

TEST(ParseIomem, KeepsDepthNameAndOrder) {
  const auto parsed = parse_iomem(kPc, "iomem");
  ASSERT_TRUE(parsed.ok()) << parsed.error().message;
  ASSERT_EQ(parsed->size(), 12U);
  EXPECT_EQ((*parsed)[3].name, "PCI Bus 0000:00");
  EXPECT_EQ((*parsed)[4].depth, 0U);
  EXPECT_EQ((*parsed)[5].depth, 1U);
  EXPECT_EQ((*parsed)[5].name, "Kernel code");
  EXPECT_EQ((*parsed)[5].range, range(0x1000000, 0x1ffffff));
}

TEST(ParseIomem, RefusesWithTheLine) {
  struct Case {
    std::string_view text;
    std::string_view message;
  };
  const Case cases[] = {
      {"00000000-00000fff : Reserved\nnonsense\n", "iomem:2: expected 'FIRST-LAST : NAME'"},
      {"00001000 : Reserved\n", "iomem:1: "},
      {"00001000-00001fff\n", "iomem:1: "},
      {"00001000-00001fff:Reserved\n", "iomem:1: "},
      {"-00001fff : Reserved\n", "iomem:1: "},
      {"00001000- : Reserved\n", "iomem:1: "},
      {"0x1000-0x1fff : Reserved\n", "iomem:1: "},
      {"00001000-00001fffg : Reserved\n", "iomem:1: "},
      {"00001000-00001fff-00002fff : Reserved\n", "iomem:1: "},
      {"00001000-10000000000000000 : Reserved\n", "iomem:1: "},
      {"\t00001000-00001fff : Reserved\n", "iomem:1: "},
      {"     : Reserved\n", "iomem:1: "},
      {"00002000-00001fff : Reserved\n", "iomem:1: expected a last address after the first"},
      {"00000000-00000fff : Reserved\n\n\x1b[2J\n", "iomem:3: "},
      {"", "iomem: empty"},
  };
  for (const Case& c : cases) {
    const auto parsed = parse_iomem(c.text, "iomem");
    ASSERT_FALSE(parsed.ok()) << c.text;
    EXPECT_EQ(parsed.error().code, ErrorCode::kBadData) << c.text;
    EXPECT_NE(parsed.error().message.find(c.message), std::string::npos) << parsed.error().message;
    EXPECT_EQ(parsed.error().message.find('\x1b'), std::string::npos);
  }
}

TEST(ParseIomem, OnlyZerosMeansNoPrivilege) {
  const auto parsed = parse_iomem(
      "00000000-00000000 : System RAM\n  00000000-00000000 : Kernel code\n", "tree/proc/iomem");
  ASSERT_FALSE(parsed.ok());
  EXPECT_EQ(parsed.error().code, ErrorCode::kNoPrivilege);
  EXPECT_NE(parsed.error().message.find("tree/proc/iomem"), std::string::npos);
  EXPECT_NE(parsed.error().message.find("CAP_SYS_ADMIN"), std::string::npos);
  // One that is not set up among others is no lack of privilege.
  const auto some =
      parse_iomem("00000000-00000000 : PCI Bus\n00001000-00001fff : System RAM\n", "iomem");
  ASSERT_TRUE(some.ok());
  EXPECT_EQ(some->size(), 1U);
}

TEST(ParseIomem, WhatNoFrameCanReachIsCutOrLeftOut) {
  const auto parsed = parse_iomem(
      "00001000-ffffffffffffffff : PCI Bus 0000:00\n"
      "  100000000000000-1ffffffffffffff : beyond\n"
      "ffffffffffffffff-ffffffffffffffff : beyond too\n"
      "ffffffffffffff-ffffffffffffff : last byte\n",
      "iomem");
  ASSERT_TRUE(parsed.ok()) << parsed.error().message;
  ASSERT_EQ(parsed->size(), 2U);
  EXPECT_EQ((*parsed)[0].range, range(0x1000, kPhysAddrLimit - 1));
  EXPECT_EQ((*parsed)[1].range, range(kPhysAddrLimit - 1, kPhysAddrLimit - 1));
}

TEST(ParseIomem, NamesMayHoldTheSeparator) {
  const auto parsed = parse_iomem("00001000-00001fff : a : b\n", "iomem");
  ASSERT_TRUE(parsed.ok());
  EXPECT_EQ((*parsed)[0].name, "a : b");
}

TEST(MemoryMap, OfAPc) {
  const MemoryMap map = map_of(kPc);
  EXPECT_EQ(map.system_ram(), set_of({range(0x1000, 0x9fbff), range(0x100000, 0x3ffdefff)}));
  EXPECT_EQ(map.installed_ram(), map.system_ram());
  EXPECT_EQ(map.kernel_image(), set_of({range(0x1000000, 0x276dfff), range(0x2800000, 0x2b2ecff),
                                        range(0x2e5b000, 0x31fffff)}));
  EXPECT_EQ(map.firmware_reserved(),
            set_of({range(0, 0xfff), range(0x9fc00, 0x9ffff), range(0x3ffdf000, 0x3fffffff)}));
  EXPECT_TRUE(map.device_memory().empty());
  EXPECT_EQ(map.end(), PhysAddr(0xfec00400));
}

TEST(MemoryMap, OfNothing) {
  const MemoryMap map({}, {});
  EXPECT_TRUE(map.installed_ram().empty());
  EXPECT_EQ(map.end(), PhysAddr(0));
}

TEST(MemoryMap, CxlMemoryUnderDaxIsSystemRamAndNoDevice) {
  const MemoryMap map = map_of(
      "00001000-3fffffff : System RAM\n"
      "190000000-28fffffff : CXL Window 0\n"
      "  190000000-1afffffff : region0\n"
      "    190000000-1afffffff : dax0.0\n"
      "      190000000-19fffffff : System RAM (kmem)\n"
      "300000000-30fffffff : Persistent Memory\n"
      "  300000000-300ffffff : namespace0.0\n"
      "400000000-40fffffff : Soft Reserved\n");
  EXPECT_EQ(map.system_ram(), set_of({range(0x1000, 0x3fffffff), range(0x190000000, 0x19fffffff)}));
  EXPECT_EQ(map.installed_ram(), map.system_ram());
  EXPECT_EQ(map.device_memory(),
            set_of({range(0x1a0000000, 0x28fffffff), range(0x300000000, 0x30fffffff),
                    range(0x400000000, 0x40fffffff)}));
}

TEST(MemoryMap, ReservedInsideSystemRamIsTheKernelsOwn) {
  // arm64 shows its own reservations below System RAM, in lower case; some kernels capitalize.
  const MemoryMap map = map_of(
      "40000000-7fffffff : System RAM\n"
      "  40200000-4148ffff : Kernel code\n"
      "  41490000-4195ffff : reserved\n"
      "  48000000-483f0fff : Reserved\n");
  EXPECT_TRUE(map.firmware_reserved().empty());
  EXPECT_EQ(map.system_ram(), set_of({range(0x40000000, 0x7fffffff)}));
}

TEST(MemoryMap, FramesTakenOutTodayStayInstalled) {
  constexpr std::string_view kExcluded =
      "00001000-07ffffff : System RAM\n"
      "08000000-08000fff : Unusable memory\n"
      "08001000-3fffffff : System RAM\n";
  const ByteRange excluded = range(0x8000000, 0x8000fff);
  // The firmware says that it is RAM: memmap= of this boot took it out.
  const MemoryMap with = map_of(kExcluded, {{range(0x1000, 0x3fffffff), "System RAM"}});
  EXPECT_FALSE(with.system_ram().overlaps(excluded));
  EXPECT_TRUE(with.installed_ram().contains(excluded));
  EXPECT_EQ(with.installed_ram(), set_of({range(0x1000, 0x3fffffff)}));
  // The firmware itself calls it unusable: then no memory of ours is there.
  const MemoryMap broken = map_of(kExcluded, {{range(0x1000, 0x7ffffff), "System RAM"},
                                              {excluded, "Unusable memory"},
                                              {range(0x8001000, 0x3fffffff), "System RAM"}});
  EXPECT_FALSE(broken.installed_ram().overlaps(excluded));
  EXPECT_TRUE(broken.firmware_reserved().contains(excluded));
  // No firmware map: kept, as the safe mistake.
  EXPECT_TRUE(map_of(kExcluded).installed_ram().contains(excluded));
}

TEST(MemoryMap, FirmwareReservedIsWhatBothSayAndNoRam) {
  const MemoryMap map = map_of(
      "00001000-3fffffff : System RAM\n40000000-400fffff : Reserved\n",
      {{range(0x1000, 0x4fffffff), "System RAM"}, {range(0x50000000, 0x500fffff), "ACPI Tables"}});
  EXPECT_EQ(map.installed_ram(), set_of({range(0x1000, 0x4fffffff)}));
  EXPECT_EQ(map.firmware_reserved(), set_of({range(0x50000000, 0x500fffff)}));
  EXPECT_EQ(map.end(), PhysAddr(0x50100000));
}

void write_firmware(const TempTree& tree, std::string_view number, std::string_view start,
                    std::string_view end, std::string_view type) {
  const std::string folder = "sys/firmware/memmap/" + std::string(number);
  tree.write(folder + "/start", start);
  tree.write(folder + "/end", end);
  tree.write(folder + "/type", type);
}

TEST(LoadMemoryMap, ReadsTheFirmwareMapSorted) {
  const TempTree tree;
  tree.write("proc/iomem", kPc);
  write_firmware(tree, "0", "0x0\n", "0x9fbff\n", "System RAM\n");
  write_firmware(tree, "10", "0x100000\n", "0x3ffdefff\n", "System RAM\n");
  write_firmware(tree, "2", "0xfffc0000\n", "0xffffffff\n", "Reserved\n");
  write_firmware(tree, "3", "0xfd00000000\n", "0xffffffffffffffff\n", "Reserved\n");
  write_firmware(tree, "4", "0xff00000000000000\n", "0xffffffffffffffff\n", "Reserved\n");
  const auto map = load_memory_map(*tree.open());
  ASSERT_TRUE(map.ok()) << map.error().message;
  ASSERT_EQ(map->firmware().size(), 4U);
  EXPECT_EQ(map->firmware()[1].range, range(0x100000, 0x3ffdefff));
  EXPECT_EQ(map->firmware()[2].type, "Reserved");
  EXPECT_EQ(map->firmware()[3].range, range(0xfd00000000, kPhysAddrLimit - 1));
  EXPECT_EQ(map->installed_ram(), set_of({range(0, 0x9fbff), range(0x100000, 0x3ffdefff)}));
}

TEST(LoadMemoryMap, BadFirmwareEntryNamesItsFile) {
  struct Case {
    std::string_view start;
    std::string_view end;
    std::string_view message;
  };
  constexpr Case kCases[] = {
      {"1000\n", "0x1fff\n", "memmap/0/start:1: expected an address such as 0x9fbff"},
      {"0x1000\n", "\n", "memmap/0/end:1: "},
      {"0x1000\n", "0x10000000000000000\n", "memmap/0/end:1: "},
      {"0x2000\n", "0x1fff\n", "memmap/0: end 0x1fff lies before start 0x2000"},
  };
  for (const Case& c : kCases) {
    const TempTree tree;
    tree.write("proc/iomem", kPc);
    write_firmware(tree, "0", c.start, c.end, "System RAM\n");
    const auto map = load_memory_map(*tree.open());
    ASSERT_FALSE(map.ok()) << c.message;
    EXPECT_EQ(map.error().code, ErrorCode::kBadData);
    EXPECT_NE(map.error().message.find(c.message), std::string::npos) << map.error().message;
  }
}

TEST(LoadMemoryMap, PassesErrorsOn) {
  const TempTree tree;
  tree.write("proc/iomem", kPc);
  write_firmware(tree, "0", "0x0\n", "0x9fbff\n", "System RAM\n");
  const auto inner = tree.open();
  for (const auto* path : {"proc/iomem", "sys/firmware/memmap", "sys/firmware/memmap/0/start",
                           "sys/firmware/memmap/0/end", "sys/firmware/memmap/0/type"}) {
    FakeSysRoot fake(*inner);
    fake.fail(path, {ErrorCode::kIo, path, 5});
    const auto map = load_memory_map(fake);
    ASSERT_FALSE(map.ok()) << path;
    EXPECT_EQ(map.error().message, path);
  }
  const TempTree empty;
  EXPECT_EQ(load_memory_map(*empty.open()).error().code, ErrorCode::kNoInput);
  const TempTree none;
  none.write("proc/iomem", "fec00000-fec003ff : IOAPIC 0\n");
  const auto map = load_memory_map(*none.open());
  ASSERT_FALSE(map.ok());
  EXPECT_EQ(map.error().code, ErrorCode::kBadData);
  EXPECT_NE(map.error().message.find("no 'System RAM'"), std::string::npos);
}

void write_block(const TempTree& tree, std::uint64_t number, std::string_view state,
                 std::optional<unsigned> node = {}) {
  const std::string name = "memory" + std::to_string(number);
  tree.write("sys/devices/system/memory/" + name + "/state", state);
  if (node) {
    tree.link("sys/devices/system/node/node" + std::to_string(*node) + "/" + name,
              "../../memory/" + name);
  }
}

using BlockView = std::tuple<std::uint64_t, std::uint64_t, bool, std::optional<unsigned>>;
std::vector<BlockView> views(const std::vector<MemoryBlock>& blocks) {
  std::vector<BlockView> all;
  for (const MemoryBlock& block : blocks) {
    all.emplace_back(block.number, block.range.begin().value(), block.online, block.node);
  }
  return all;
}

TEST(MemoryBlocks, SizeIsHexadecimalAndNumbersSort) {
  const TempTree tree;
  tree.write("sys/devices/system/memory/block_size_bytes", "8000000\n");  // 128 MiB, not 8 MB
  tree.write("sys/devices/system/memory/auto_online_blocks", "offline\n");
  tree.make_folder("sys/devices/system/memory/power");
  write_block(tree, 0, "online\n", 0);
  write_block(tree, 2, "offline\n", 0);
  write_block(tree, 10, "online\n", 1);
  write_block(tree, 3, "going-offline\n");
  const auto blocks = load_memory_blocks(*tree.open());
  ASSERT_TRUE(blocks.ok()) << blocks.error().message;
  EXPECT_EQ(views(*blocks), (std::vector<BlockView>{{0, 0, true, 0},
                                                    {2, 0x10000000, false, 0},
                                                    {3, 0x18000000, false, {}},
                                                    {10, 0x50000000, true, 1}}));
  EXPECT_EQ((*blocks)[1].range, range(0x10000000, 0x17ffffff));
}

TEST(MemoryBlocks, NoneWithoutHotPlug) {
  const TempTree tree;
  EXPECT_TRUE(load_memory_blocks(*tree.open()).value().empty());
  EXPECT_TRUE(load_nodes(*tree.open()).value().empty());
  tree.make_folder("sys/devices/system/node/node0");
  EXPECT_TRUE(load_nodes(*tree.open()).value().empty());
}

TEST(MemoryBlocks, RefusesWhatIsNoBlock) {
  struct Case {
    std::string_view size;
    std::uint64_t number;
    std::string_view message;
  };
  constexpr Case kCases[] = {
      {"0\n", 0, "block_size_bytes:1: expected a hexadecimal size without 0x"},
      {"0x8000000\n", 0, "block_size_bytes:1: "},
      {"\n", 0, "block_size_bytes:1: "},
      {"128M\n", 0, "block_size_bytes:1: "},
      {"10000000000000000\n", 0, "block_size_bytes:1: "},
      {"8000000\n", 536870912, "block 536870912 of 0x8000000 bytes lies beyond"},  // 2^56 / 2^27
      {"200000000000000\n", 0, "lies beyond"},
      {"8000000000000000\n", 0, "lies beyond"},
      {"8000000\n", 137438953472, "lies beyond"},  // number * size wraps to 0
  };
  for (const Case& c : kCases) {
    const TempTree tree;
    tree.write("sys/devices/system/memory/block_size_bytes", c.size);
    write_block(tree, c.number, "online\n");
    const auto blocks = load_memory_blocks(*tree.open());
    ASSERT_FALSE(blocks.ok()) << c.size;
    EXPECT_EQ(blocks.error().code, ErrorCode::kBadData);
    EXPECT_NE(blocks.error().message.find(c.message), std::string::npos) << blocks.error().message;
  }
}

TEST(MemoryBlocks, PassesErrorsOn) {
  const TempTree tree;
  tree.write("sys/devices/system/memory/block_size_bytes", "8000000\n");
  write_block(tree, 0, "online\n", 0);
  const auto inner = tree.open();
  for (const auto* path : {"sys/devices/system/memory/block_size_bytes",
                           "sys/devices/system/memory", "sys/devices/system/memory/memory0/state",
                           "sys/devices/system/node", "sys/devices/system/node/node0"}) {
    FakeSysRoot fake(*inner);
    fake.fail(path, {ErrorCode::kIo, path, 5});
    const auto blocks = load_memory_blocks(fake);
    ASSERT_FALSE(blocks.ok()) << path;
    EXPECT_EQ(blocks.error().message, path);
  }
}

TEST(Nodes, InterleavedBlocksStayApartAndNeighboursJoin) {
  const TempTree tree;
  tree.write("sys/devices/system/memory/block_size_bytes", "8000000\n");
  tree.write("sys/devices/system/node/possible", "0-1\n");
  for (const unsigned number : {0U, 1U, 4U, 6U}) write_block(tree, number, "online\n", 0);
  for (const unsigned number : {2U, 5U, 7U, 8U}) write_block(tree, number, "online\n", 1);
  const auto nodes = load_nodes(*tree.open());
  ASSERT_TRUE(nodes.ok()) << nodes.error().message;
  std::vector<std::tuple<std::uint64_t, std::uint64_t, unsigned>> seen;
  for (const NodeRange& node : *nodes) {
    seen.emplace_back(node.range.begin().value() >> 27U, node.range.size() >> 27U, node.node);
  }
  EXPECT_EQ(seen,
            (decltype(seen){{0, 2, 0}, {2, 1, 1}, {4, 1, 0}, {5, 1, 1}, {6, 1, 0}, {7, 2, 1}}));

  struct Case {
    std::uint64_t address;
    std::optional<unsigned> node;
  };
  const Case cases[] = {
      {0, 0U},          {0xfffffff, 0U},  {0x10000000, 1U}, {0x17ffffff, 1U}, {0x18000000, {}},
      {0x1fffffff, {}}, {0x20000000, 0U}, {0x47ffffff, 1U}, {0x48000000, {}}, {kPhysAddrLimit, {}},
  };
  for (const Case& c : cases) EXPECT_EQ(node_of(*nodes, PhysAddr(c.address)), c.node) << c.address;
  EXPECT_EQ(node_of({}, PhysAddr(0)), std::nullopt);
}

TEST(Nodes, ReadOneFolderANode) {
  const TempTree tree;
  tree.write("sys/devices/system/memory/block_size_bytes", "8000000\n");
  for (unsigned number = 0; number < 100; ++number)
    write_block(tree, number, "online\n", number % 2);
  const auto inner = tree.open();
  const FakeSysRoot fake(*inner);
  ASSERT_TRUE(load_nodes(fake).ok());
  EXPECT_EQ(fake.used().size(), 4U);  // block size, the nodes, and each of two
}

}  // namespace
}  // namespace poisonctl
