// Source "kernel": when it looks, what it reports, and what it does when memory moves meanwhile.
#include <gtest/gtest.h>
#include <linux/kernel-page-flags.h>

#include <algorithm>
#include <sstream>

#include "registry/sources/kernel.h"
#include "tests/unit/fake_sysroot.h"
#include "tests/unit/temp_tree.h"
#include "tests/unit/test_ranges.h"

namespace poisonctl {
namespace {

constexpr PageFlagWord flag(unsigned number) { return PageFlagWord{1} << number; }
constexpr PageFlagWord kPoison = flag(KPF_HWPOISON);
constexpr std::string_view kMap =
    "00000000-0003ffff : System RAM\n00080000-000bffff : System RAM\n";
constexpr std::size_t kFrames = 0xc0;

Machine machine_with(std::uint64_t page_size) {
  return {.page_shift = shift_of(page_size),
          .architecture = "x86_64",
          .kernel_release = "7.2.13",
          .boot_id = "boot-1",
          .host_id = {},
          .product_uuid = {},
          .product_serial = {},
          .command_line = {}};
}

// A machine whose kernel counts `corrupted` and has these frames flagged.
TempTree& with(TempTree& tree, std::string_view corrupted,
               const std::vector<std::pair<std::size_t, PageFlagWord>>& flagged) {
  tree.write("proc/meminfo", std::string("MemTotal: 512 kB\n") + std::string(corrupted));
  tree.write("proc/iomem", kMap);
  std::vector<PageFlagWord> words(kFrames, flag(KPF_LRU));
  for (const auto& [frame, word] : flagged) words.at(frame) = word;
  tree.write_words("proc/kpageflags", words);
  return tree;
}

Result<KernelSourceResult> collect(const SysRoot& root, bool full) {
  return collect_from_kernel(root, machine_with(4096), {.full = full, .threads = 2});
}

TEST(KernelSource, WhenTheKernelCountsNothingItReadsNoFlagsUnlessFull) {
  TempTree tree;
  const auto inner = with(tree, "HardwareCorrupted:     0 kB\n", {{3, kPoison}}).open();
  {
    const FakeSysRoot root(*inner);
    const auto result = collect(root, false);
    ASSERT_TRUE(result.ok()) << result.error().message;
    EXPECT_TRUE(result->events.empty());
    EXPECT_EQ(result->hardware_corrupted, 0U);
    EXPECT_EQ(result->scanned, 0U);
    EXPECT_EQ(root.used(), std::vector<std::string>{"proc/meminfo"});
  }
  const auto result = collect(*inner, true);
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->events.size(), 1U);
  EXPECT_EQ(result->hardware_corrupted, 0U);
  EXPECT_EQ(result->scanned, 0x80000U);
}

TEST(KernelSource, ReportsEachFlaggedFrameOfRamWithWhatWasRead) {
  TempTree tree;
  const auto root =
      with(tree, "HardwareCorrupted:     12 kB\n",
           {{0, kPoison}, {0x3f, kPoison | flag(KPF_LRU)}, {0x50, kPoison}, {0xbf, kPoison}})
          .open();
  const auto result = collect(*root, false);
  ASSERT_TRUE(result.ok()) << result.error().message;
  EXPECT_EQ(result->hardware_corrupted, 12U << 10U);
  struct Expected {
    ByteRange range;
    std::string_view evidence;
  };
  // Frame 0x50 is in a hole of the map.
  const Expected expected[] = {
      {range(0, 0xfff), "kpageflags[0x0]=0x80000 page_size=4096"},
      {range(0x3f000, 0x3ffff), "kpageflags[0x3f]=0x80020 page_size=4096"},
      {range(0xbf000, 0xbffff), "kpageflags[0xbf]=0x80000 page_size=4096"},
  };
  ASSERT_EQ(result->events.size(), std::size(expected));
  for (std::size_t i = 0; i < std::size(expected); ++i) {
    EXPECT_EQ(result->events[i].kind, EventKind::kPoisoned);
    EXPECT_EQ(result->events[i].range, expected[i].range);
    EXPECT_EQ(result->events[i].evidence, expected[i].evidence);
    EXPECT_EQ(result->events[i].granularity, 4096U);
  }
}

TEST(KernelSource, AHugetlbPageIsOneEventThatIsNotExact) {
  TempTree tree;
  const PageFlagWord head = kPoison | flag(KPF_HUGE) | flag(KPF_COMPOUND_HEAD);
  const PageFlagWord tail = flag(KPF_HUGE) | flag(KPF_COMPOUND_TAIL);
  std::vector<std::pair<std::size_t, PageFlagWord>> flagged = {{0x10, head}, {0x20, kPoison}};
  for (std::size_t frame = 0x11; frame < 0x18; ++frame) flagged.emplace_back(frame, tail);
  const auto root = with(tree, "HardwareCorrupted: 8 kB\n", flagged).open();
  const auto result = collect(*root, false);
  ASSERT_TRUE(result.ok()) << result.error().message;
  ASSERT_EQ(result->events.size(), 2U);
  EXPECT_EQ(result->events[0].range, range(0x10000, 0x17fff));
  EXPECT_EQ(result->events[0].granularity, 0x8000U);
  EXPECT_EQ(result->events[1].range, range(0x20000, 0x20fff));
  EXPECT_EQ(result->events[1].granularity, 4096U);
}

TEST(KernelSource, FramesAreThoseOfTheMachinesPageSize) {
  TempTree tree;
  const auto root = with(tree, "HardwareCorrupted: 64 kB\n", {{9, kPoison}}).open();
  const auto result =
      collect_from_kernel(*root, machine_with(65536), {.full = false, .threads = 1});
  ASSERT_TRUE(result.ok()) << result.error().message;
  ASSERT_EQ(result->events.size(), 1U);
  EXPECT_EQ(result->events[0].range, range(0x90000, 0x9ffff));
  EXPECT_EQ(result->events[0].granularity, 65536U);
  EXPECT_EQ(result->events[0].evidence, "kpageflags[0x9]=0x80000 page_size=65536");
}

TEST(KernelSource, ErrorsSayWhatIsMissing) {
  struct Case {
    std::string_view what;
    std::string_view meminfo;
    std::string_view gone;
    ErrorCode code;
    std::string_view told;
  };
  const Case cases[] = {
      {"a kernel without memory failure", "", "", ErrorCode::kNotAvailable,
       "CONFIG_MEMORY_FAILURE"},
      {"a count that is no number", "HardwareCorrupted: x kB\n", "", ErrorCode::kBadData,
       "meminfo:2"},
      {"no meminfo", "", "proc/meminfo", ErrorCode::kNoInput, "meminfo"},
      {"no map", "HardwareCorrupted: 4 kB\n", "proc/iomem", ErrorCode::kNoInput, "iomem"},
      {"no flags", "HardwareCorrupted: 4 kB\n", "proc/kpageflags", ErrorCode::kNoInput,
       "kpageflags"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.what);
    TempTree tree;
    with(tree, c.meminfo, {});
    if (!c.gone.empty()) std::filesystem::remove(tree.path(c.gone));
    const auto root = tree.open();
    for (const bool full : {false, true}) {
      const auto result = collect(*root, full);
      ASSERT_FALSE(result.ok());
      EXPECT_EQ(result.error().code, c.code);
      EXPECT_NE(result.error().message.find(c.told), std::string::npos) << result.error().message;
    }
  }
}

TEST(KernelSource, AnUnreadableWordIsAnErrorAndNoShorterList) {
  TempTree tree;
  const auto inner = with(tree, "HardwareCorrupted: 4 kB\n", {{3, kPoison}}).open();
  FakeSysRoot root(*inner);
  root.fail_at("proc/kpageflags", 0xb0U * std::uint64_t{8}, {ErrorCode::kIo, "cut", 5});
  const auto result = collect(root, false);
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().code, ErrorCode::kIo);
}

// Memory is plugged while the scan runs: the map has another last line after each of the first
// `changes` openings of the page flags.
class MovingRoot final : public SysRoot {
 public:
  MovingRoot(const SysRoot& inner, int changes) : inner_(inner), changes_(changes) {}
  [[nodiscard]] int scans() const { return scans_; }

  [[nodiscard]] const std::string& root() const override { return inner_.root(); }
  [[nodiscard]] Result<std::string> read(std::string_view path, std::size_t limit) const override {
    auto text = inner_.read(path, limit);
    if (path != "proc/iomem" || !text) return text;
    const int plugged = std::min(scans_, changes_);
    for (int i = 0; i < plugged; ++i) {
      const int at = 0x40 + 8 * i;  // in the hole
      *text += fmt_line(at);
    }
    return text;
  }
  [[nodiscard]] Result<std::vector<std::string>> list(std::string_view path) const override {
    return inner_.list(path);
  }
  [[nodiscard]] Result<std::unique_ptr<PositionedFile>> open(std::string_view path) const override {
    if (path == "proc/kpageflags") ++scans_;
    return inner_.open(path);
  }
  [[nodiscard]] Result<std::unique_ptr<Attribute>> open_attribute(
      std::string_view path) const override {
    return inner_.open_attribute(path);
  }
  [[nodiscard]] Result<UniqueFd> open_lock(std::string_view path) const override {
    return inner_.open_lock(path);
  }
  [[nodiscard]] Result<void> replace_file(std::string_view path, std::string_view content,
                                          mode_t mode) const override {
    return inner_.replace_file(path, content, mode);
  }

 private:
  static std::string fmt_line(int frame) {
    std::ostringstream line;
    line << std::hex << frame << "000-" << frame << "fff : System RAM\n";
    return line.str();
  }

  const SysRoot& inner_;
  int changes_;
  mutable int scans_ = 0;
};

TEST(KernelSource, ScansAgainWhenTheMapChangedAndTellsTheFramesOfTheLastMap) {
  TempTree tree;
  const auto inner =
      with(tree, "HardwareCorrupted: 4 kB\n", {{3, kPoison}, {0x40, kPoison}}).open();
  struct Case {
    int changes;
    int scans;
    std::size_t events;
    std::uint64_t scanned;
  };
  const Case cases[] = {{0, 1, 1, 0x80000}, {1, 2, 2, 0x81000}, {2, 3, 2, 0x82000}};
  for (const Case& c : cases) {
    const MovingRoot root(*inner, c.changes);
    const auto result = collect(root, false);
    ASSERT_TRUE(result.ok()) << result.error().message;
    EXPECT_EQ(root.scans(), c.scans);
    EXPECT_EQ(result->events.size(), c.events);
    EXPECT_EQ(result->scanned, c.scanned);
  }
}

TEST(KernelSource, AMapThatNeverStopsChangingIsLockedNotGuessed) {
  TempTree tree;
  const auto inner = with(tree, "HardwareCorrupted: 4 kB\n", {{3, kPoison}}).open();
  const MovingRoot root(*inner, 1000);
  const auto result = collect(root, false);
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().code, ErrorCode::kLocked);
  EXPECT_NE(result.error().message.find("iomem"), std::string::npos);
  EXPECT_EQ(root.scans(), 3);
}

}  // namespace
}  // namespace poisonctl
