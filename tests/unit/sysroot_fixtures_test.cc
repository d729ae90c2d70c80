// The captured machines under tests/sysroots: everything that reads a machine, on each of them.
#include <gtest/gtest.h>

#include "registry/machine.h"
#include "registry/memory_map.h"
#include "registry/page_flags.h"
#include "tests/unit/test_files.h"
#include "tests/unit/test_ranges.h"

namespace poisonctl {
namespace {

class Captured {
 public:
  explicit Captured(const std::string& name)
      : root_(open_sysroot(checkout_path("tests/sysroots/" + name)).value()),
        machine(load_machine(*root_).value()),
        map(load_memory_map(*root_).value()) {}

  [[nodiscard]] std::uint64_t hardware_corrupted() const {
    return read_hardware_corrupted(*root_).value().value();
  }
  [[nodiscard]] std::vector<FlaggedFrame> flagged() const {
    return scan_poisoned_frames(*root_, map.system_ram(), machine.page_shift, {.threads = 2})
        .value();
  }
  // What becomes of one frame.
  [[nodiscard]] Retirement retirement(std::uint64_t pfn) const {
    const auto frame = ByteRange::from_frames(Pfn(pfn), 1, machine.page_shift).value();
    return read_retirement(*root_, RangeSet::from_ranges({frame}), map, machine.page_shift)
        .value()
        .at(0)
        .retirement;
  }
  [[nodiscard]] std::vector<MemoryBlock> blocks() const {
    return load_memory_blocks(*root_).value();
  }

 private:
  std::unique_ptr<SysRoot> root_;

 public:
  Machine machine;
  MemoryMap map;
};

TEST(CapturedMachine, QemuX86With96Megabytes) {
  const Captured captured("qemu-x86_64-96m");
  EXPECT_EQ(captured.machine.page_shift.page_size(), 4096U);
  EXPECT_EQ(captured.machine.architecture, "x86_64");
  EXPECT_EQ(captured.machine.kernel_release.find("6.1."), 0U) << captured.machine.kernel_release;
  EXPECT_EQ(captured.machine.boot_id.size(), 36U);
  EXPECT_EQ(captured.machine.product_uuid, "3c1d8a52-5f0e-4b0a-9d6e-6f1b0c7a2e11");
  EXPECT_NE(captured.machine.command_line.find("memmap=0x1000%0x4800000-1+5"), std::string::npos);

  const ByteRange excluded = range(0x4800000, 0x4800fff);
  EXPECT_EQ(captured.map.system_ram(), set_of({range(0x1000, 0x9fbff), range(0x100000, 0x47fffff),
                                               range(0x4801000, 0x5fdffff)}));
  // The firmware counts frame 0 as RAM; the kernel never uses it.
  EXPECT_EQ(captured.map.installed_ram(), set_of({range(0, 0x9fbff), range(0x100000, 0x5fdffff)}));
  EXPECT_TRUE(captured.map.installed_ram().contains(excluded));
  EXPECT_TRUE(captured.map.kernel_image().contains(range(0x1000000, 0x1000fff)));

  EXPECT_EQ(captured.hardware_corrupted(), 2 * 4096U);
  const auto flagged = captured.flagged();
  ASSERT_EQ(flagged.size(), 2U);
  EXPECT_EQ(flagged[0].range, range(0x3ff000, 0x3fffff));
  EXPECT_EQ(flagged[1].range, range(0x1000000, 0x1000fff));
  EXPECT_TRUE(flagged[0].exact && flagged[1].exact);
  EXPECT_EQ(captured.retirement(0x3ff), Retirement::kEffective);
  EXPECT_EQ(captured.retirement(0x1000), Retirement::kFailed);  // kernel code, flagged in vain
  EXPECT_EQ(captured.retirement(0x4800), Retirement::kEffective);
  EXPECT_EQ(captured.retirement(0x100), Retirement::kPending);

  const auto blocks = captured.blocks();
  ASSERT_EQ(blocks.size(), 1U);
  EXPECT_EQ(blocks[0].range, range(0, 0x7ffffff));
  EXPECT_TRUE(blocks[0].online);
  EXPECT_EQ(blocks[0].node, 0U);
}

TEST(CapturedMachine, Arm64With64KilobytePages) {
  const Captured captured("arm64-64k");
  EXPECT_EQ(captured.machine.page_shift.page_size(), 65536U);
  EXPECT_EQ(captured.machine.architecture, "aarch64");
  EXPECT_TRUE(captured.map.firmware().empty());
  EXPECT_EQ(captured.map.system_ram(),
            set_of({range(0x40000000, 0x47feffff), range(0x48000000, 0x4fffffff)}));
  EXPECT_TRUE(captured.map.firmware_reserved().intersected_with(captured.map.system_ram()).empty());

  EXPECT_EQ(captured.hardware_corrupted(), 2 * 65536U);
  const auto flagged = captured.flagged();
  ASSERT_EQ(flagged.size(), 2U);
  EXPECT_EQ(flagged[0].range, range(0x48000000, 0x4800ffff));
  EXPECT_TRUE(flagged[0].exact);
  EXPECT_EQ(flagged[1].range, range(0x48200000, 0x483fffff));
  EXPECT_FALSE(flagged[1].exact);
  EXPECT_EQ(captured.retirement(0x4800), Retirement::kEffective);
  EXPECT_EQ(captured.retirement(0x4801), Retirement::kPending);
  EXPECT_EQ(captured.retirement(0x4840), Retirement::kPending);
  EXPECT_EQ(captured.retirement(0x47ff), Retirement::kEffective);  // no-map
  EXPECT_EQ(captured.retirement(0x9000), Retirement::kEffective);  // past the end

  const auto blocks = captured.blocks();
  ASSERT_EQ(blocks.size(), 1U);
  EXPECT_EQ(blocks[0].range, range(0x40000000, 0x5fffffff));
}

TEST(CapturedMachine, CxlHost) {
  const Captured captured("cxl-host");
  EXPECT_EQ(captured.map.system_ram(), set_of({range(0x1000, 0x9fbff), range(0x100000, 0x3fdffff),
                                               range(0x8000000, 0xfffffff)}));
  EXPECT_EQ(captured.map.device_memory(), set_of({range(0x10000000, 0x17ffffff)}));

  const auto flagged = captured.flagged();
  ASSERT_EQ(flagged.size(), 2U);
  EXPECT_EQ(flagged[0].range, range(0x2400000, 0x2400fff));
  EXPECT_EQ(flagged[1].range, range(0x9000000, 0x9000fff));
  EXPECT_EQ(captured.retirement(0x2400), Retirement::kFailed);
  EXPECT_EQ(captured.retirement(0x9000), Retirement::kEffective);
  EXPECT_EQ(captured.retirement(0x9001), Retirement::kPending);

  const auto blocks = captured.blocks();
  ASSERT_EQ(blocks.size(), 3U);
  EXPECT_TRUE(blocks[1].online);
  EXPECT_EQ(blocks[1].node, 1U);
  EXPECT_FALSE(blocks[2].online);
  EXPECT_EQ(blocks[2].node, 1U);
}

}  // namespace
}  // namespace poisonctl
