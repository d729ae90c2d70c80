// What lies in RAM beside the map: each place it is read from, and each way that can be wrong.
#include "registry/placement.h"

#include <gtest/gtest.h>

#include "tests/unit/fake_sysroot.h"
#include "tests/unit/temp_tree.h"
#include "tests/unit/test_ranges.h"

namespace poisonctl {
namespace {

std::string little(std::uint64_t value, std::size_t width) {
  std::string bytes;
  for (std::size_t i = 0; i < width; ++i) bytes += static_cast<char>(value >> (8 * i) & 0xFFU);
  return bytes;
}

std::string big(std::uint64_t value, std::size_t width) {
  std::string bytes = little(value, width);
  return {bytes.rbegin(), bytes.rend()};
}

std::string zero_page(std::uint64_t initrd, std::uint64_t size) {
  std::string page(4096, '\0');
  page.replace(0x218, 4, little(initrd & 0xFFFFFFFFU, 4));
  page.replace(0x21c, 4, little(size & 0xFFFFFFFFU, 4));
  page.replace(0xc0, 4, little(initrd >> 32U, 4));
  page.replace(0xc4, 4, little(size >> 32U, 4));
  return page;
}

constexpr const char* kReserved = "sys/firmware/devicetree/base/reserved-memory";

TEST(Placement, AMachineWithoutAnyOfItHasNothing) {
  const TempTree tree;
  const auto placement = load_placement(*tree.open());
  ASSERT_TRUE(placement.ok()) << placement.error().message;
  EXPECT_TRUE(placement->initrd.empty() && placement->kho_scratch.empty());
  EXPECT_TRUE(placement->efi_runtime.empty() && placement->device_tree.empty());
  EXPECT_TRUE(placement->offline_blocks.empty() && placement->not_known.empty());
  EXPECT_EQ(placement->hugetlb_page, 0U);
  EXPECT_FALSE(placement->keeps_first_mib);
}

TEST(Placement, AnX86Machine) {
  const TempTree tree;
  tree.write("sys/kernel/boot_params/data", zero_page(0x17f000000, 0x1234));
  tree.write("sys/kernel/debug/kho/out/scratch_phys", "0x10000000\n0x20000000\n");
  tree.write("sys/kernel/debug/kho/out/scratch_len", "0x1000000\n0x200000\n");
  tree.write("sys/firmware/efi/runtime-map/0/phys_addr", "0x7f000000\n");
  tree.write("sys/firmware/efi/runtime-map/0/num_pages", "0x10\n");
  tree.write("sys/firmware/efi/runtime-map/1/phys_addr", "0x7f010000\n");
  tree.write("sys/firmware/efi/runtime-map/1/num_pages", "0x1\n");
  tree.write("sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", "8\n");
  tree.write("sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages", "0\n");
  tree.write("sys/devices/system/memory/block_size_bytes", "8000000\n");
  tree.write("sys/devices/system/memory/memory0/state", "online\n");
  tree.write("sys/devices/system/memory/memory1/state", "offline\n");
  const auto placement = load_placement(*tree.open());
  ASSERT_TRUE(placement.ok()) << placement.error().message;
  EXPECT_EQ(placement->initrd, set_of({range(0x17f000000, 0x17f001233)}));
  EXPECT_EQ(placement->kho_scratch,
            set_of({range(0x10000000, 0x10ffffff), range(0x20000000, 0x201fffff)}));
  EXPECT_EQ(placement->efi_runtime, set_of({range(0x7f000000, 0x7f010fff)}));
  EXPECT_EQ(placement->hugetlb_page, 2U << 20U);
  EXPECT_EQ(placement->offline_blocks, set_of({range(0x8000000, 0xfffffff)}));
  EXPECT_TRUE(placement->keeps_first_mib);
  EXPECT_TRUE(placement->not_known.empty());
}

TEST(Placement, AMachineWithADeviceTree) {
  const TempTree tree;
  tree.write("sys/firmware/devicetree/base/chosen/linux,initrd-start", big(0x48000000, 8));
  tree.write("sys/firmware/devicetree/base/chosen/linux,initrd-end", big(0x48001000, 4));
  tree.write(std::string(kReserved) + "/#address-cells", big(2, 4));
  tree.write(std::string(kReserved) + "/#size-cells", big(1, 4));
  tree.write(std::string(kReserved) + "/ranges", "");
  tree.write(std::string(kReserved) + "/dma@50000000/compatible", "shared-dma-pool");
  tree.write(std::string(kReserved) + "/dma@50000000/reg",
             big(0x50000000, 8) + big(0x1000, 4) + big(0x150000000, 8) + big(0x2000, 4));
  // A plain exclusion, perhaps of the frames on the list: it must be made again.
  tree.write(std::string(kReserved) + "/bad@60000000/reg", big(0x60000000, 8) + big(0x1000, 4));
  const auto placement = load_placement(*tree.open());
  ASSERT_TRUE(placement.ok()) << placement.error().message;
  EXPECT_EQ(placement->initrd, set_of({range(0x48000000, 0x48000fff)}));
  EXPECT_EQ(placement->device_tree,
            set_of({range(0x50000000, 0x50000fff), range(0x150000000, 0x150001fff)}));
  EXPECT_FALSE(placement->keeps_first_mib);
}

TEST(Placement, WhatThisUserMayNotSeeIsSaid) {
  const TempTree tree;
  tree.write("proc/cmdline", "quiet\n");
  const auto root = tree.open();
  FakeSysRoot fake(*root);
  for (const char* path : {"sys/kernel/boot_params/data", "sys/firmware/efi/runtime-map",
                           "sys/kernel/debug/kho/out/scratch_phys"}) {
    fake.fail(path, {ErrorCode::kNoPrivilege, "cannot read it"});
  }
  const auto placement = load_placement(fake);
  ASSERT_TRUE(placement.ok());
  ASSERT_EQ(placement->not_known.size(), 3U);
  for (const std::string& missing : placement->not_known) {
    EXPECT_NE(missing.find("was not checked; run it as root"), std::string::npos) << missing;
  }
}

TEST(Placement, KhoWithoutDebugfsIsSaid) {
  for (const std::string_view line : {"quiet kho=on\n", "kho=1", "kho=off kho=y", "kho=true"}) {
    const TempTree tree;
    tree.write("proc/cmdline", line);
    const auto placement = load_placement(*tree.open());
    ASSERT_TRUE(placement.ok());
    ASSERT_EQ(placement->not_known.size(), 1U) << line;
    EXPECT_NE(placement->not_known[0].find("although KHO is on"), std::string::npos);
  }
  for (const std::string_view line : {"quiet\n", "kho=off", "kho=on kho=0", "xkho=on"}) {
    const TempTree tree;
    tree.write("proc/cmdline", line);
    EXPECT_TRUE(load_placement(*tree.open())->not_known.empty()) << line;
  }
}

TEST(Placement, AKernelThatIsBuiltWithKhoOnNeedsNoOption) {
  for (const std::string_view line : {"quiet\n", "quiet kho=off\n"}) {
    const TempTree tree;
    tree.write("proc/cmdline", line);
    tree.write("proc/sys/kernel/osrelease", "7.2.13\n");
    tree.write("boot/config-7.2.13", "CONFIG_KEXEC_HANDOVER_ENABLE_DEFAULT=y\n");
    const bool off = line.find("off") != std::string_view::npos;
    EXPECT_EQ(load_placement(*tree.open())->not_known.empty(), off) << line;
  }
}

TEST(Placement, ANodeThatIsNotEnabledReservesNothing) {
  for (const auto& [status, reserves] : {std::pair<std::string, bool>("okay", true),
                                         {"ok", true},
                                         {"disabled", false},
                                         {"reserved", false}}) {
    const TempTree tree;
    tree.write(std::string(kReserved) + "/#address-cells", big(1, 4));
    tree.write(std::string(kReserved) + "/#size-cells", big(1, 4));
    tree.write(std::string(kReserved) + "/x@1000000/compatible", "x");
    tree.write(std::string(kReserved) + "/x@1000000/reg", big(0x1000000, 4) + big(0x1000, 4));
    tree.write(std::string(kReserved) + "/x@1000000/status", status + '\0');
    EXPECT_NE(load_placement(*tree.open())->device_tree.empty(), reserves) << status;
  }
}

// A machine whose RAM is all below 4 GiB has a global scratch area of no bytes
// (kho_reserve_scratch() in kernel/liveupdate/kexec_handover.c): its list could not be planned at
// all.
TEST(Placement, AScratchAreaOfNoBytesIsNone) {
  const TempTree tree;
  tree.write("sys/kernel/debug/kho/out/scratch_phys", "0x1000000\n0x27fe00000\n0x0\n0x20000000\n");
  tree.write("sys/kernel/debug/kho/out/scratch_len", "0x1000000\n0x0\n0x0\n0x200000\n");
  const auto placement = load_placement(*open_sysroot(tree.path()).value());
  ASSERT_TRUE(placement.ok()) << placement.error().message;
  EXPECT_EQ(placement->kho_scratch,
            RangeSet::from_ranges({range(0x1000000, 0x1ffffff), range(0x20000000, 0x201fffff)}));
}

TEST(Placement, WhatIsMalformedIsAnErrorThatNamesTheFile) {
  struct Case {
    std::string path;
    std::string content;
  };
  const Case cases[] = {
      {"sys/kernel/boot_params/data", "short"},
      {"sys/kernel/boot_params/data", zero_page(kPhysAddrLimit, 1)},
      {"sys/kernel/debug/kho/out/scratch_phys", "zzz\n"},
      {"sys/kernel/debug/kho/out/scratch_phys", "0x1000\n0x2000\n"},
      {"sys/firmware/efi/runtime-map/0/phys_addr", "12\n"},
      {"sys/firmware/efi/runtime-map/0/num_pages", "0xffffffffffffffff\n"},
      {"sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", "many\n"},
      {"sys/kernel/mm/hugepages/hugepages-0kB/nr_hugepages", "1\n"},
      {"sys/kernel/mm/hugepages/hugepages-18446744073709551615kB/nr_hugepages", "1\n"},
      {"sys/firmware/devicetree/base/chosen/linux,initrd-start", "123"},
      {std::string(kReserved) + "/#address-cells", big(3, 4)},
      {std::string(kReserved) + "/#size-cells", big(0, 4)},
      {std::string(kReserved) + "/x@1/reg", "123"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.path + " " + c.content.substr(0, 20));
    const TempTree tree;
    tree.write("sys/kernel/debug/kho/out/scratch_phys", "0x1000\n");
    tree.write("sys/kernel/debug/kho/out/scratch_len", "0x1000\n");
    tree.write("sys/firmware/efi/runtime-map/0/phys_addr", "0x1000\n");
    tree.write("sys/firmware/efi/runtime-map/0/num_pages", "0x1\n");
    tree.write(std::string(kReserved) + "/#address-cells", big(1, 4));
    tree.write(std::string(kReserved) + "/#size-cells", big(1, 4));
    tree.write(std::string(kReserved) + "/x@1/compatible", "x");
    ASSERT_TRUE(load_placement(*tree.open()).ok());
    tree.write(c.path, c.content);
    const auto placement = load_placement(*tree.open());
    ASSERT_FALSE(placement.ok());
    EXPECT_EQ(placement.error().code, ErrorCode::kBadData) << placement.error().message;
    EXPECT_NE(placement.error().message.find(tree.path()), std::string::npos);
  }
}

}  // namespace
}  // namespace poisonctl
