// Backends that carry the list: "initrd" and "reserve-mem". What they write is what another program
// reads, and they never say that they keep anything out.
#include <gtest/gtest.h>

#include <string>

#include "backends/cpio.h"
#include "backends/initrd.h"
#include "backends/reserve_mem.h"
#include "registry/text.h"
#include "tests/unit/temp_tree.h"
#include "tests/unit/test_ranges.h"

namespace poisonctl {
namespace {

RetireList list_of(std::vector<ByteRange> frames) {
  return {.generation = 1,
          .page_shift = shift_of(4096),
          .frames = RangeSet::from_ranges(std::move(frames)),
          .refused = {{range(0x9000, 0x9fff), "was refused before"}}};
}

struct Unpacked {
  std::string name;
  std::uint64_t mode;
  std::string content;
};

// As the kernel reads an archive (init/initramfs.c): headers at multiples of four.
std::vector<Unpacked> unpack(const std::string& archive, std::size_t& at) {
  std::vector<Unpacked> entries;
  for (;;) {
    EXPECT_EQ(at % 4, 0U);
    EXPECT_EQ(archive.substr(at, 6), "070701");
    const auto field = [&](std::size_t number) {
      return parse_unsigned(archive.substr(at + 6 + 8 * number, 8), 16).value();
    };
    const std::uint64_t mode = field(1);
    const std::size_t size = field(6);
    const std::size_t name_size = field(11);
    std::string name = archive.substr(at + 110, name_size - 1);
    at = (at + 110 + name_size + 3) / 4 * 4;
    entries.push_back({name, mode, archive.substr(at, size)});
    at = (at + size + 3) / 4 * 4;
    if (name == "TRAILER!!!") return entries;
  }
}

TEST(Cpio, AFileInAFolderAndNothingOfThisMachine) {
  for (const std::size_t size : {0U, 1U, 2U, 3U, 4U, 511U, 512U, 100000U}) {
    SCOPED_TRACE(size);
    const std::string content(size, 'x');
    const std::string archive = cpio_with_file("folder", "file", content);
    EXPECT_EQ(archive, cpio_with_file("folder", "file", content));
    EXPECT_EQ(archive.size() % kCpioBlock, 0U);
    std::size_t at = 0;
    const auto entries = unpack(archive, at);
    ASSERT_EQ(entries.size(), 3U);
    EXPECT_EQ(entries[0].name, "folder");
    EXPECT_EQ(entries[0].mode, 0040700U);
    EXPECT_EQ(entries[1].name, "folder/file");
    EXPECT_EQ(entries[1].mode, 0100400U);
    EXPECT_EQ(entries[1].content, content);
    EXPECT_EQ(archive.find_first_not_of('\0', at), std::string::npos);
  }
}

TEST(Initrd, CarriesTheHandoverAndSaysThatItKeepsNothingOut) {
  const TempTree tree;
  const InitrdBackend backend;
  EXPECT_EQ(backend.reach(), Reach::kCarries);
  EXPECT_TRUE(backend.probe(*tree.open()).available);
  const RetireList list = list_of({range(0x1000, 0x1fff)});
  const auto plan = backend.plan({.list = list, .handover = "signed"}, *tree.open());
  ASSERT_TRUE(plan.ok());
  EXPECT_EQ(plan->covered, list.frames);
  ASSERT_EQ(plan->refused.size(), 1U);
  EXPECT_EQ(plan->refused[0].reason, "was refused before");
  EXPECT_TRUE(backend.is_binary({}));
  std::size_t at = 0;
  const auto entries = unpack(plan->artifact, at);
  EXPECT_EQ(entries.at(1).name, "poisonctl/handover");
  EXPECT_EQ(entries.at(1).content, "signed");
  EXPECT_NE(plan->side_effects.at(0).find("keeps nothing out"), std::string::npos);
  // An empty list takes the place of an older one.
  const RetireList none = list_of({});
  const auto empty = backend.plan({.list = none, .handover = "empty"}, *tree.open());
  ASSERT_TRUE(empty.ok());
  EXPECT_TRUE(empty->side_effects.empty());
  EXPECT_NE(empty->artifact.find("empty"), std::string::npos);
}

TEST(ReserveMem, ProbeNamesTheOptionThatIsLacking) {
  struct Case {
    const char* release;
    const char* config;  // null: not there
    bool available;
    std::string_view told;
  };
  const Case cases[] = {
      {"6.12.0-1", "CONFIG_PSTORE_RAM=y\nCONFIG_PSTORE_PMSG=y\n", true, "KHO"},
      {"7.2.13", "CONFIG_PSTORE_RAM=m\nCONFIG_PSTORE_PMSG=y\n", true, "KHO"},
      {"6.12", "CONFIG_PSTORE_RAM=y\n# CONFIG_PSTORE_PMSG is not set\n", false,
       "CONFIG_PSTORE_PMSG"},
      {"6.12", "CONFIG_PSTORE_PMSG=y\n", false, "CONFIG_PSTORE_RAM"},
      {"6.12", nullptr, false, "boot/config-6.12"},
      {"6.11.9", "CONFIG_PSTORE_RAM=y\nCONFIG_PSTORE_PMSG=y\n", false, "reserve_mem="},
      {"6.1.0-50-amd64", "CONFIG_PSTORE_RAM=y\nCONFIG_PSTORE_PMSG=y\n", false, "6.12"},
      {"strange", "CONFIG_PSTORE_RAM=y\nCONFIG_PSTORE_PMSG=y\n", false, "strange"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.release);
    const TempTree tree;
    tree.write("proc/sys/kernel/osrelease", std::string(c.release) + "\n");
    if (c.config != nullptr) tree.write(std::string("boot/config-") + c.release, c.config);
    const Availability availability = ReserveMemBackend().probe(*tree.open());
    EXPECT_EQ(availability.available, c.available);
    EXPECT_NE(availability.reason.find(c.told), std::string::npos) << availability.reason;
  }
}

TEST(ReserveMem, TheRegionHoldsTheHandoverTwice) {
  EXPECT_EQ(reserve_mem_bytes(0), 0x40000U);
  EXPECT_EQ(reserve_mem_bytes(0x20000), 0x40000U);
  EXPECT_EQ(reserve_mem_bytes(0x20001), 0x80000U);
  EXPECT_EQ(reserve_mem_bytes(16U << 20U), 32U << 20U);
  const TempTree tree;
  const RetireList list = list_of({range(0x1000, 0x1fff)});
  const std::string handover(0x30000, 'x');
  const auto plan = ReserveMemBackend().plan({.list = list, .handover = handover}, *tree.open());
  ASSERT_TRUE(plan.ok());
  EXPECT_EQ(plan->artifact,
            "reserve_mem=0x80000:4096:poison ramoops.mem_name=poison ramoops.pmsg_size=0x80000 "
            "ramoops.record_size=0 ramoops.console_size=0 ramoops.ftrace_size=0\n");
  EXPECT_EQ(plan->covered, list.frames);
  EXPECT_NE(plan->side_effects.at(0).find("has no address"), std::string::npos);
}

}  // namespace
}  // namespace poisonctl
