#include "registry/sources/cxl_devices.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "registry/cxl/device_label.h"
#include "registry/range_text.h"
#include "tests/unit/cxl_kernel.h"
#include "tests/unit/cxl_tree.h"

namespace poisonctl {
namespace {

constexpr std::uint64_t kBegin = 0x300000000;  // of the region
constexpr PageShift kShift = PageShift::smallest();

// Two devices, 2 ways by 256 bytes, and a list for each.
class CxlDevices : public testing::Test {
 protected:
  CxlDevices() {
    for (std::uint64_t position = 0; position < 2; ++position) {
      kernel_.devices[tree_.memdev(position)] = {CxlTree::serial_at(position), {}};
      tree_.set(tree_.memdev(position) + "/trigger_poison_list", "");
    }
  }
  FakeCxlKernel::Device& device(std::uint64_t position) {
    return kernel_.devices[tree_.memdev(position)];
  }
  Result<SourceReport> collect() {
    inner_ = tree_.open();
    FakeSysRoot root(*inner_);
    root.answer(
        [this](std::string_view path, std::string_view text) { return kernel_.write(path, text); });
    for (const auto& [path, error] : faults_) root.fail(path, error);
    auto map = CxlAddressMap::load(root);
    if (!map) return map.error();
    map_ = *std::move(map);
    events_.clear();
    const EventSink sink = [this](const Event& event, const SourceReport&) -> Result<void> {
      events_.push_back(event);
      return {};
    };
    return collect_cxl_devices(root,
                               {.map = *map_,
                                .page_shift = kShift,
                                .health = health_,
                                .resolved = resolved_,
                                .repaired = repaired_,
                                .now = at_second(9)},
                               kernel_.feed(), sink);
  }
  // "media 0x300001000+0x40 [label]" for each event.
  [[nodiscard]] std::vector<std::string> shown() const {
    std::vector<std::string> lines;
    for (const Event& event : events_) {
      std::string line(to_word(event.kind));
      line += event.range
                  ? fmt::format(" {:#x}+{:#x}", event.range->begin().value(), event.range->size())
                  : std::string(" nowhere");
      lines.push_back(line + " [" + event.label + "]");
    }
    return lines;
  }

  CxlTree tree_{{.bridges = 2}};
  FakeCxlKernel kernel_;
  RangeSet resolved_;
  std::vector<CxlDevicePlace> repaired_;
  std::function<Result<CxlHealth>(const CxlDevice&)> health_;
  std::map<std::string, Error> faults_;
  std::unique_ptr<SysRoot> inner_;
  std::optional<CxlAddressMap> map_;
  std::vector<Event> events_;
};

using Lines = std::vector<std::string>;

TEST_F(CxlDevices, AnEntryIsWhereTheKernelSays) {
  device(1).entries = {{.address = 0x1840, .host = kBegin + 0x3140}};
  device(0).entries = {{.address = 0x40, .host = kBegin + 0x40, .source = "Injected"}};
  const auto report = collect();
  ASSERT_TRUE(report.ok()) << report.error().message;
  EXPECT_EQ(report->warnings, Lines());
  EXPECT_EQ(shown(), (Lines{"media 0x300003140+0x40 [cxl serial 0xabcd0002]",
                            "injected 0x300000040+0x40 [cxl serial 0xabcd0001]"}));
  EXPECT_EQ(events_[0].granularity, 64U);
  EXPECT_FALSE(events_[0].observed.has_value()) << "a list is a state";
  EXPECT_EQ(events_[0].evidence, "poison list: serial=0xabcd0002 dpa=0x1840+0x40 source=Internal");
}

TEST_F(CxlDevices, ALongEntryIsAllItsFrames) {
  // 4 KiB of a device are in 8 KiB of the region: 3 frames here, as it begins within one.
  device(0).entries = {{.address = 0x400, .length = 0x1000, .host = kBegin + 0x800}};
  ASSERT_TRUE(collect().ok());
  EXPECT_EQ(shown(), Lines{"media 0x300000800+0x1f00 [cxl serial 0xabcd0001]"});
}

TEST_F(CxlDevices, ADifferenceFromTheKernelIsNamed) {
  device(0).entries = {{.address = 0x1000, .length = 0x400, .host = kBegin + 0x2100}};
  const auto report = collect();
  ASSERT_TRUE(report.ok());
  ASSERT_EQ(report->warnings.size(), 1U);
  EXPECT_NE(
      report->warnings[0].find("is at 0x300002000 by the decoders, and at 0x300002100 for the "
                               "kernel; the kernel's is recorded"),
      std::string::npos)
      << report->warnings[0];
  EXPECT_EQ(shown(), (Lines{"media 0x300002100+0x100 [cxl serial 0xabcd0001]",
                            "media nowhere [cxl serial 0xabcd0001 dpa 0x1100+0x300]"}));
  EXPECT_NE(events_[0].evidence.find("computed=0x300002000 kernel=0x300002100"), std::string::npos);

  device(0).entries = {{.address = 0x1000}};  // and where the kernel has no address
  const auto none = collect();
  ASSERT_TRUE(none.ok());
  ASSERT_EQ(none->warnings.size(), 1U);
  EXPECT_NE(none->warnings[0].find("and at no address for the kernel"), std::string::npos);
  EXPECT_EQ(shown(), Lines{"media 0x300002000+0x40 [cxl serial 0xabcd0001]"});
}

TEST_F(CxlDevices, WhatNoRegionHasIsKeptByDeviceAddress) {
  device(0).entries = {{.address = 0x10000000}};
  ASSERT_TRUE(collect().ok());
  EXPECT_EQ(shown(), Lines{"media nowhere [cxl serial 0xabcd0001 dpa 0x10000000+0x40]"});
  device(0).entries = {{.address = 0xfffff80, .length = 0x100, .host = kBegin + 0x1ffffe80}};
  ASSERT_TRUE(collect().ok());
  EXPECT_EQ(shown(), (Lines{"media 0x31ffffe80+0x80 [cxl serial 0xabcd0001]",
                            "media nowhere [cxl serial 0xabcd0001 dpa 0x10000000+0x80]"}));
}

TEST_F(CxlDevices, BecomesFramesWhenARegionAppears) {
  tree_.set("region0/commit", "0");
  device(1).entries = {{.address = 0x1840}};
  ASSERT_TRUE(collect().ok());
  EXPECT_EQ(shown(), Lines{"media nowhere [cxl serial 0xabcd0002 dpa 0x1840+0x40]"});
  const Event stored = events_[0];
  EXPECT_TRUE(placed_now(stored, 7, {.map = *map_, .page_shift = kShift}).empty());
  tree_.set("region0/commit", "1");
  device(1).entries.clear();
  ASSERT_TRUE(collect().ok());
  const auto placed = placed_now(stored, 7, {.map = *map_, .page_shift = kShift});
  ASSERT_EQ(placed.size(), 1U);
  EXPECT_EQ(placed[0].range, ByteRange::from_size(PhysAddr(kBegin + 0x3140), 64));
  EXPECT_EQ(placed[0].kind, EventKind::kMedia);
  EXPECT_TRUE(placed[0].evidence.starts_with("entry 7, which had no place"));
  const RangeSet resolved =
      RangeSet::from_ranges({*ByteRange::from_size(PhysAddr(kBegin + 0x3000), 4096)});
  EXPECT_TRUE(
      placed_now(stored, 7, {.map = *map_, .page_shift = kShift, .resolved = resolved}).empty());
  Event foreign = stored;
  foreign.foreign_host = "other";
  EXPECT_TRUE(placed_now(foreign, 7, {.map = *map_, .page_shift = kShift}).empty());
}

TEST_F(CxlDevices, ListedAgainAfterItWasResolvedIsNew) {
  device(0).entries = {{.address = 0, .host = kBegin}};
  resolved_ = RangeSet::from_ranges({*ByteRange::from_size(PhysAddr(kBegin), 4096)});
  ASSERT_TRUE(collect().ok());
  EXPECT_EQ(events_[0].observed, at_second(9));
}

TEST_F(CxlDevices, WhatAListDoesNotHoldIsWarnedOf) {
  device(0).entries = {{.address = 0, .host = kBegin, .flags = 3}};
  const auto report = collect();
  ASSERT_TRUE(report.ok());
  ASSERT_EQ(report->warnings.size(), 2U);
  EXPECT_NE(
      report->warnings[0].find("mem1 (cxl serial 0xabcd0001): its poison list has overflowed"),
      std::string::npos);
  EXPECT_NE(report->warnings[1].find("more entries than this kernel reads"), std::string::npos);
}

TEST_F(CxlDevices, EntriesThatNoDeviceCanHave) {
  device(0).entries = {{.address = 0x20000000},
                       {.address = 0x1000, .length = 0},
                       {.address = ~std::uint64_t{63}, .length = 128}};
  const auto report = collect();
  ASSERT_TRUE(report.ok());
  ASSERT_EQ(report->warnings.size(), 2U);
  EXPECT_NE(report->warnings[0].find("an entry that no device can have"), std::string::npos);
  EXPECT_NE(report->warnings[1].find("lies beyond the 0x20000000 bytes"), std::string::npos);
  EXPECT_EQ(shown(), Lines{"media nowhere [cxl serial 0xabcd0001 dpa 0x20000000+0x40]"});
}

TEST_F(CxlDevices, AnAnswerOfAnotherDeviceIsNotTaken) {
  kernel_.trace(tree_.memdev(0), CxlTree::serial_at(0), {.address = 0x40, .host = kBegin + 0x40});
  ASSERT_TRUE(collect().ok());
  EXPECT_EQ(shown(), Lines()) << "it came before anybody asked";
}

TEST_F(CxlDevices, ADeviceThatDoesNotAnswer) {
  device(0).error = EIO;
  device(1).entries = {{.address = 0x1840, .host = kBegin + 0x3140}};
  const auto report = collect();
  ASSERT_TRUE(report.ok());
  ASSERT_EQ(report->warnings.size(), 1U);
  EXPECT_NE(report->warnings[0].find("trigger_poison_list"), std::string::npos);
  EXPECT_EQ(events_.size(), 1U);
  device(1).error = EIO;
  EXPECT_EQ(collect().error().code, ErrorCode::kNotAvailable);
  faults_.emplace("sys/bus/cxl/devices/mem0/trigger_poison_list",
                  Error{ErrorCode::kNoInput, "no such file"});
  const auto without = collect();
  ASSERT_FALSE(without.ok());
  EXPECT_NE(without.error().message.find("keeps no poison list"), std::string::npos);
}

TEST(CxlDeviceLabel, ReadsBack) {
  const CxlDevicePlace place{0xabcd0001, *DeviceRange::from_size(DeviceAddr(0x1000), 64)};
  EXPECT_EQ(cxl_place_label(place), "cxl serial 0xabcd0001 dpa 0x1000+0x40");
  EXPECT_EQ(cxl_place_from(cxl_place_label(place)), place);
  for (const char* const text :
       {"", "cxl serial 0xabcd0001", "cxl serial 0xabcd0001 dpa 0x1000",
        "cxl serial 0x0 dpa 0x0+0x40", "cxl serial 1 dpa 0x0+0x40", "cxl serial 0x1 dpa 0x0+0x0",
        "cxl serial 0x1 dpa 0xffffffffffffffff+0x40", "cxl serial 0x1 dpa 0x0+0x40 more"}) {
    EXPECT_FALSE(cxl_place_from(text)) << text;
  }
}

// It was "nothing new" for ever: the same entry as before the repair.
TEST_F(CxlDevices, WhatWasRepairedWithoutAPlaceIsSeenAnew) {
  constexpr std::uint64_t kBeyond = 0x10000000;  // the share of the device
  device(0).entries = {{.address = kBeyond}, {.address = kBeyond + 0x1000}};
  repaired_ = {*cxl_place_from("cxl serial 0xabcd0001 dpa 0x10000000+0x40")};
  ASSERT_TRUE(collect().ok());
  ASSERT_EQ(events_.size(), 2U);
  EXPECT_EQ(events_[0].observed, at_second(9));
  EXPECT_FALSE(events_[1].observed.has_value());
}

// Of two bad lines of one frame one was repaired for good: its record is not resolved.
TEST_F(CxlDevices, ALineThatWasRepairedIsSeenAnewWhereItsFrameIsNotResolved) {
  device(0).entries = {{.address = 0x1040, .host = kBegin + 0x2040},
                       {.address = 0x1080, .host = kBegin + 0x2080}};
  repaired_ = {*cxl_place_from("cxl serial 0xabcd0001 dpa 0x1040+0x40"),
               *cxl_place_from("cxl serial 0xabcd0002 dpa 0x1080+0x40")};
  ASSERT_TRUE(collect().ok());
  ASSERT_EQ(events_.size(), 2U);
  EXPECT_TRUE(events_[0].range && events_[1].range);
  EXPECT_EQ(events_[0].observed, at_second(9));
  EXPECT_FALSE(events_[1].observed.has_value());
}

TEST_F(CxlDevices, WhatADeviceComplainsOfIsTold) {
  health_ = [](const CxlDevice& asked) -> Result<CxlHealth> {
    if (asked.serial == CxlTree::serial_at(0)) return CxlHealth{.needs_replacement = true};
    return Error{ErrorCode::kNotAvailable, "gives none"};
  };
  const auto report = collect();
  ASSERT_TRUE(report.ok()) << report.error().message;
  EXPECT_EQ(report->warnings, (Lines{tree_.memdev(0).substr(tree_.memdev(0).rfind('/') + 1) +
                                     " (cxl serial 0xabcd0001): needs to be replaced"}));
}

TEST_F(CxlDevices, HealthThatCannotBeReadIsTold) {
  health_ = [](const CxlDevice&) -> Result<CxlHealth> {
    return Error{ErrorCode::kBadData, "no specification knows it"};
  };
  const auto report = collect();
  ASSERT_TRUE(report.ok()) << report.error().message;
  ASSERT_EQ(report->warnings.size(), 2U);
  EXPECT_TRUE(report->warnings[0].ends_with("no specification knows it"));
}

}  // namespace
}  // namespace poisonctl
