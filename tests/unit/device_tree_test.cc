// Backend "devicetree": that its tree takes away exactly the frames that the plan calls covered, by
// the rules by which Linux reads reservations, and that every limit is told.
#include "backends/device_tree.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "registry/fdt.h"
#include "tests/unit/temp_tree.h"
#include "tests/unit/test_ranges.h"

namespace poisonctl {
namespace {

using namespace std::string_view_literals;

constexpr std::uint64_t kPage = 4096;
constexpr DeviceTreeLimits kRoomy = {.bytes = 16U << 20U, .nodes = 1U << 20U};

struct Shape {
  std::uint32_t address_cells = 2;
  std::uint32_t size_cells = 2;
};

std::string reg_of(const ByteRange& range, const Shape& shape) {
  const auto number = [](std::uint64_t value, std::uint32_t cells) {
    return cells == 1 ? fdt::cell(static_cast<std::uint32_t>(value)) : fdt::two_cells(value);
  };
  return number(range.begin().value(), shape.address_cells) +
         number(range.size(), shape.size_cells);
}

fdt::Node memory_node(const ByteRange& ram, const Shape& shape) {
  return {.name = "memory@0",
          .properties = {{"device_type", std::string("memory\0"sv)}, {"reg", reg_of(ram, shape)}},
          .children = {}};
}

fdt::Node reserved_node(std::vector<fdt::Node> children, const Shape& shape) {
  return {.name = "reserved-memory",
          .properties = {{"#address-cells", fdt::cell(shape.address_cells)},
                         {"#size-cells", fdt::cell(shape.size_cells)},
                         {"ranges", ""}},
          .children = std::move(children)};
}

// RAM of 1 GiB at 1 GiB.
const ByteRange kRam = range(0x40000000, 0x7fffffff);

fdt::Document tree_with(std::vector<fdt::Node> nodes, const Shape& shape = {},
                        const ByteRange& ram = kRam) {
  fdt::Document tree;
  tree.boot_cpu = 3;
  tree.root.properties = {{"#address-cells", fdt::cell(shape.address_cells)},
                          {"#size-cells", fdt::cell(shape.size_cells)},
                          {"model", std::string("test\0"sv)}};
  tree.root.children.push_back(memory_node(ram, shape));
  for (fdt::Node& node : nodes) tree.root.children.push_back(std::move(node));
  return tree;
}

ByteRange frame(std::uint64_t number, std::uint64_t count = 1) {
  return ByteRange::from_size(PhysAddr(kRam.begin().value() + number * kPage), count * kPage)
      .value();
}

RetireList list_of(std::vector<ByteRange> frames) {
  return {.generation = 1,
          .page_shift = shift_of(kPage),
          .frames = RangeSet::from_ranges(std::move(frames)),
          .refused = {}};
}

RangeSet refused_in(const Plan& plan) {
  std::vector<ByteRange> ranges;
  for (const Refusal& refusal : plan.refused) ranges.push_back(refusal.range);
  return RangeSet::from_ranges(std::move(ranges));
}

fdt::Document read_back(const std::string& blob) {
  return fdt::Tree::parse(blob, blob.size(), "artifact").value().document("artifact").value();
}

// What Linux 7.2 takes out of RAM for the no-map nodes of ours: __reserved_mem_check_root and
// __reserved_mem_reserve_reg in drivers/of/of_reserved_mem.c. One "reg" a node.
RangeSet taken_by_linux(const fdt::Document& tree) {
  const fdt::Node* const reserved = tree.root.child("reserved-memory");
  if (reserved == nullptr || reserved->property("ranges") == nullptr) return {};
  for (const char* name : {"#address-cells", "#size-cells"}) {
    const std::string* const own = reserved->property(name);
    const std::string* const of_root = tree.root.property(name);
    if (own == nullptr || of_root == nullptr || *own != *of_root) return {};
  }
  const std::size_t address = fdt::number(*tree.root.property("#address-cells")) * 4;
  const std::size_t size = fdt::number(*tree.root.property("#size-cells")) * 4;
  std::vector<ByteRange> taken;
  for (const fdt::Node& node : reserved->children) {
    const std::string* const reg = node.property("reg");
    if (reg == nullptr || node.property("no-map") == nullptr || !node.is_available()) continue;
    if (node.property(kOwnNodeProperty) == nullptr || reg->size() % (address + size) != 0) continue;
    const std::string_view first = std::string_view(*reg).substr(0, address + size);
    taken.push_back(ByteRange::from_size(PhysAddr(fdt::number(first.substr(0, address))),
                                         fdt::number(first.substr(address)))
                        .value());
  }
  return RangeSet::from_ranges(std::move(taken));
}

Plan plan_of(const RetireList& list, fdt::Document tree, const DeviceTreeLimits& limits = kRoomy,
             bool overlay = false) {
  auto plan = plan_device_tree(list, std::move(tree), overlay, limits, "tree");
  EXPECT_TRUE(plan.ok()) << (plan.ok() ? "" : plan.error().message);
  // Covered and refused are the input, whatever the test is about.
  RangeSet input = list.frames;
  for (const Refusal& refusal : list.refused) {
    input = input.united_with(RangeSet::from_ranges({refusal.range}));
  }
  EXPECT_EQ(plan->covered.united_with(refused_in(*plan)), input);
  EXPECT_TRUE(plan->covered.intersected_with(refused_in(*plan)).empty());
  EXPECT_TRUE(std::is_sorted(plan->refused.begin(), plan->refused.end(),
                             [](const auto& a, const auto& b) { return a.range < b.range; }));
  return *std::move(plan);
}

TEST(DeviceTree, LinuxTakesOutWhatIsCoveredAndNothingElse) {
  for (const Shape shape : {Shape{1, 1}, Shape{1, 2}, Shape{2, 1}, Shape{2, 2}}) {
    SCOPED_TRACE(fmt::format("{} and {} cells", shape.address_cells, shape.size_cells));
    const RetireList list = list_of({frame(1), frame(2), frame(7, 4), frame(100)});
    const Plan plan = plan_of(list, tree_with({}, shape));
    EXPECT_EQ(plan.covered, list.frames);
    const fdt::Document made = read_back(plan.artifact);
    EXPECT_EQ(taken_by_linux(made), list.frames);
    // What was there stays as it was.
    EXPECT_EQ(made.boot_cpu, 3U);
    EXPECT_EQ(*made.root.property("model"), "test\0"sv);
    EXPECT_EQ(*made.root.child("memory@0")->property("reg"), reg_of(kRam, shape));
    EXPECT_EQ(made.root.child("reserved-memory")->children.size(), 3U);  // coalesced
  }
}

TEST(DeviceTree, ASecondTimeChangesNothingAndAnOldListIsReplaced) {
  const Plan first = plan_of(list_of({frame(1), frame(5)}), tree_with({}));
  const Plan again = plan_of(list_of({frame(1), frame(5)}), read_back(first.artifact));
  EXPECT_EQ(again.artifact, first.artifact);
  const Plan other = plan_of(list_of({frame(5), frame(9)}), read_back(first.artifact));
  EXPECT_EQ(taken_by_linux(read_back(other.artifact)), set_of({frame(5), frame(9)}));
  const Plan none = plan_of(list_of({}), read_back(first.artifact));
  EXPECT_TRUE(taken_by_linux(read_back(none.artifact)).empty());
  EXPECT_TRUE(none.covered.empty());
}

TEST(DeviceTree, WhatOthersHaveReservedIsRefusedWithItsName) {
  const Shape shape;
  struct Case {
    std::string_view what;
    std::vector<std::pair<std::string, std::string>> properties;
    bool refused;
    std::string_view told;
  };
  const std::string reg = reg_of(frame(10, 2), shape);
  const Case cases[] = {
      {"kept from all", {{"reg", reg}, {"no-map", ""}}, true, "nothing needs to be done"},
      {"a driver's",
       {{"reg", reg}, {"no-map", ""}, {"compatible", std::string("x\0"sv)}},
       true,
       "a driver's"},
      {"mapped", {{"reg", reg}}, true, "a driver's"},
      {"switched off", {{"reg", reg}, {"status", std::string("disabled\0"sv)}}, false, ""},
      {"without a place", {{"size", fdt::two_cells(kPage)}}, false, ""},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.what);
    fdt::Node node{.name = "their@1", .properties = c.properties, .children = {}};
    const Plan plan = plan_of(list_of({frame(9, 2), frame(20)}),
                              tree_with({reserved_node({node}, shape)}, shape));
    if (!c.refused) {
      EXPECT_EQ(plan.covered, set_of({frame(9, 2), frame(20)}));
      continue;
    }
    EXPECT_EQ(plan.covered, set_of({frame(9), frame(20)}));
    ASSERT_EQ(plan.refused.size(), 1U);
    EXPECT_EQ(plan.refused[0].range, frame(10));
    EXPECT_NE(plan.refused[0].reason.find("/reserved-memory/their@1"), std::string::npos);
    EXPECT_NE(plan.refused[0].reason.find(c.told), std::string::npos) << plan.refused[0].reason;
    // Theirs comes first: an older kernel has a table of 64.
    EXPECT_EQ(read_back(plan.artifact).root.child("reserved-memory")->children.front().name,
              "their@1");
  }
}

TEST(DeviceTree, NodesDoNotCrossTheReserveMapAndNameWhatIsInIt) {
  fdt::Document tree = tree_with({});
  tree.reserve_map = {{frame(3).begin().value(), 100}, {0x1000, 0x10}};
  const Plan plan = plan_of(list_of({frame(2, 4)}), tree);
  EXPECT_EQ(plan.covered, set_of({frame(2, 4)}));
  const fdt::Document made = read_back(plan.artifact);
  EXPECT_EQ(made.reserve_map, tree.reserve_map);
  std::vector<std::string> names;
  for (const fdt::Node& node : made.root.child("reserved-memory")->children) {
    names.push_back(node.name);
  }
  EXPECT_EQ(names, (std::vector<std::string>{"poisonctl@40002000", "poisonctl@40003000",
                                             "poisonctl@40004000"}));
}

TEST(DeviceTree, ANameThatIsTakenIsNotTakenAgain) {
  const Shape shape;
  // Reserves another place than its name says.
  fdt::Node node{.name = "poisonctl@40001000",
                 .properties = {{"reg", reg_of(frame(50), shape)}},
                 .children = {}};
  const Plan plan = plan_of(list_of({frame(1)}), tree_with({reserved_node({node}, shape)}, shape));
  const fdt::Document made = read_back(plan.artifact);
  EXPECT_EQ(taken_by_linux(made), set_of({frame(1)}));
  EXPECT_NE(made.root.child("reserved-memory")->child("poisonctl-1@40001000"), nullptr);
}

TEST(DeviceTree, WithOneCellNothingIsNamedPast4GiB) {
  const ByteRange high = range(0x100000000, 0x13fffffff);
  struct Case {
    Shape shape;
    ByteRange wanted;
    bool covered;
  };
  const Case cases[] = {
      {{1, 1}, frame(1), true},
      {{1, 2}, range(0xfffff000, 0xffffffff), true},
      {{1, 2}, range(0xfffff000, 0x100000fff), false},
      {{1, 2}, range(0x100000000, 0x100000fff), false},
      {{2, 1}, range(0x100000000, 0x100000fff), true},
      {{2, 1}, range(0x100000000, 0x1ffffffff), false},
      {{2, 2}, range(0x100000000, 0x1ffffffff), true},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(to_text(c.wanted));
    fdt::Document tree = tree_with({}, c.shape);
    // Its memory is told by EFI: one cell could not say so.
    tree.root.children.push_back({.name = "chosen",
                                  .properties = {{"linux,uefi-mmap-start", fdt::two_cells(1)}},
                                  .children = {}});
    const Plan plan = plan_of(list_of({c.wanted}), tree);
    EXPECT_EQ(plan.covered.empty(), !c.covered);
    if (c.covered) continue;
    EXPECT_NE(plan.refused.at(0).reason.find("one cell"), std::string::npos);
  }
  EXPECT_TRUE(plan_of(list_of({frame(1)}), tree_with({}, {}, high)).covered.empty());
}

TEST(DeviceTree, FramesAreWholePagesOfTheKernel) {
  const Shape shape;
  fdt::Node node{.name = "their@1",
                 .properties = {{"reg", reg_of(range(0x40030000, 0x40030fff), shape)}},
                 .children = {}};
  RetireList list = list_of({range(0x40010000, 0x4004ffff)});
  list.page_shift = shift_of(65536);
  const Plan plan = plan_of(list, tree_with({reserved_node({node}, shape)}, shape));
  EXPECT_EQ(plan.covered, set_of({range(0x40010000, 0x4002ffff), range(0x40040000, 0x4004ffff)}));
}

TEST(DeviceTree, WhenRoomIsShortLostDataGoesFirstThenTheLargest) {
  const std::vector<ByteRange> wanted = {frame(10), frame(20, 2), frame(30), frame(40, 3),
                                         frame(50)};
  RetireList list = list_of(wanted);
  list.uncorrected = set_of({frame(30), frame(50)});
  const std::vector<ByteRange> order = {wanted[2], wanted[4], wanted[3], wanted[1], wanted[0]};
  for (std::size_t nodes = 0; nodes <= order.size(); ++nodes) {
    SCOPED_TRACE(nodes);
    const Plan plan = plan_of(list, tree_with({}), {.bytes = kRoomy.bytes, .nodes = nodes});
    EXPECT_EQ(plan.covered,
              RangeSet::from_ranges(
                  {order.begin(), std::next(order.begin(), static_cast<std::ptrdiff_t>(nodes))}));
    EXPECT_EQ(taken_by_linux(read_back(plan.artifact)), plan.covered);
    for (const Refusal& refusal : plan.refused) {
      EXPECT_NE(refusal.reason.find("INIT_MEMBLOCK_MEMORY_REGIONS"), std::string::npos);
    }
  }
}

TEST(DeviceTree, TheTreeStaysBelowWhatKernelsTake) {
  std::vector<ByteRange> wanted;
  for (std::uint64_t i = 0; i < 2000; ++i) wanted.push_back(frame(2 * i));
  constexpr std::size_t kBytes = 64U << 10U;
  const Plan plan = plan_of(list_of(wanted), tree_with({}), {.bytes = kBytes, .nodes = 5000});
  EXPECT_FALSE(plan.covered.empty());
  EXPECT_FALSE(plan.refused.empty());
  EXPECT_NE(plan.refused[0].reason.find("MAX_FDT_SIZE"), std::string::npos);
  // 16 KiB are left to loaders; no more than one node's bytes and the names are wasted.
  EXPECT_LE(plan.artifact.size(), kBytes - (16U << 10U) + 64);
  EXPECT_GE(plan.artifact.size(), kBytes - (16U << 10U) - 128);
}

TEST(DeviceTree, AnOverlayHasOneFragmentForTheRootAndLeavesRoomInATableOf64) {
  const Shape shape;
  std::vector<fdt::Node> theirs;
  for (std::uint64_t i = 0; i < 60; ++i) {
    theirs.push_back({.name = fmt::format("their@{}", i),
                      .properties = {{"reg", reg_of(frame(1000 + 2 * i), shape)}},
                      .children = {}});
  }
  std::vector<ByteRange> wanted;
  for (std::uint64_t i = 0; i < 10; ++i) wanted.push_back(frame(2 * i));
  const Plan plan =
      plan_of(list_of(wanted), tree_with({reserved_node(theirs, shape)}, shape), kRoomy, true);
  EXPECT_EQ(plan.covered, RangeSet::from_ranges({wanted.begin(), wanted.begin() + 4}));
  EXPECT_NE(plan.refused.at(0).reason.find("MAX_RESERVED_REGIONS"), std::string::npos);
  const fdt::Document made = read_back(plan.artifact);
  ASSERT_EQ(made.root.children.size(), 1U);
  EXPECT_EQ(*made.root.children[0].property("target-path"), "/\0"sv);
  const fdt::Node* const added = made.root.children[0].child("__overlay__");
  ASSERT_NE(added, nullptr);
  EXPECT_EQ(added->child("reserved-memory")->children.size(), 4U);
}

TEST(DeviceTree, WithoutRangesTheyAreAddedAndToldOf) {
  fdt::Node reserved = reserved_node({}, {});
  reserved.properties.pop_back();
  const Plan plan = plan_of(list_of({frame(1)}), tree_with({reserved}));
  EXPECT_EQ(taken_by_linux(read_back(plan.artifact)), set_of({frame(1)}));
  EXPECT_NE(plan.side_effects.at(0).find("\"ranges\""), std::string::npos);
}

TEST(DeviceTree, ASeedThatNobodyHasWipedIsToldOf) {
  const auto told = [](const std::string& seed, bool overlay) {
    const fdt::Node chosen{.name = "chosen", .properties = {{"kaslr-seed", seed}}, .children = {}};
    const Plan plan = plan_of(list_of({frame(1)}), tree_with({chosen}), kRoomy, overlay);
    return std::any_of(plan.side_effects.begin(), plan.side_effects.end(), [](const auto& effect) {
      return effect.find("kaslr-seed") != std::string::npos;
    });
  };
  EXPECT_TRUE(told(std::string(7, '\0') + '\1', false));
  EXPECT_FALSE(told(std::string(8, '\0'), false));
  EXPECT_FALSE(told(std::string(7, '\0') + '\1', true));
}

TEST(DeviceTree, TreesThatNoKernelTakesReservationsFromAreRefused) {
  const auto error_of = [](fdt::Document tree) {
    const auto plan = plan_device_tree(list_of({frame(1)}), std::move(tree), false, kRoomy, "tree");
    return plan.ok() ? Error{} : plan.error();
  };
  fdt::Document no_memory = tree_with({reserved_node({}, {})});
  no_memory.root.children.erase(no_memory.root.children.begin());
  EXPECT_EQ(error_of(no_memory).code, ErrorCode::kBadData);
  EXPECT_NE(error_of(no_memory).message.find("has no /memory"), std::string::npos);

  fdt::Document other_cells = tree_with({reserved_node({}, {1, 1})});
  EXPECT_EQ(error_of(other_cells).code, ErrorCode::kBadData);
  EXPECT_NE(error_of(other_cells).message.find("other cells"), std::string::npos);

  for (const std::uint32_t cells : {0U, 3U}) {
    fdt::Document strange = tree_with({});
    strange.root.properties[0].second = fdt::cell(cells);
    EXPECT_NE(error_of(strange).message.find("#address-cells"), std::string::npos);
  }
  fdt::Document stub;
  stub.root.children.push_back({.name = "chosen", .properties = {}, .children = {}});
  EXPECT_EQ(error_of(stub).code, ErrorCode::kNotAvailable);
  EXPECT_NE(error_of(stub).message.find("ACPI"), std::string::npos);
}

// Random lists on random trees: the plan loses nothing, Linux takes exactly what is covered.
TEST(DeviceTree, AnyListOnAnyTreeAddsUp) {
  std::mt19937_64 random(6);
  for (int round = 0; round < 300; ++round) {
    const Shape shape{.address_cells = 1 + static_cast<std::uint32_t>(random() % 2),
                      .size_cells = 1 + static_cast<std::uint32_t>(random() % 2)};
    std::vector<fdt::Node> theirs;
    for (std::uint64_t i = random() % 5; i > 0; --i) {
      theirs.push_back(
          {.name = fmt::format("their@{}", i),
           .properties = {{"reg", reg_of(frame(random() % 100, 1 + random() % 3), shape)}},
           .children = {}});
    }
    fdt::Document tree =
        theirs.empty() ? tree_with({}, shape) : tree_with({reserved_node(theirs, shape)}, shape);
    std::vector<ByteRange> wanted;
    for (std::uint64_t i = random() % 60; i > 0; --i) {
      wanted.push_back(frame(random() % 120, 1 + random() % 3));
    }
    RetireList list = list_of(wanted);
    list.uncorrected = list.frames.intersected_with(set_of({frame(0, 1 + random() % 100)}));
    const bool overlay = random() % 2 == 0;
    const Plan plan = plan_of(list, tree, {.bytes = kRoomy.bytes, .nodes = random() % 40}, overlay);
    fdt::Document made = read_back(plan.artifact);
    if (overlay) {
      fdt::Node added = *made.root.children.at(0).child("__overlay__")->child("reserved-memory");
      made = tree_with({added}, shape);
    }
    EXPECT_EQ(taken_by_linux(made), plan.covered);
  }
}

struct ArmMachine {
  TempTree tree;
  explicit ArmMachine(std::string_view config = "CONFIG_EFI=y\n", const char* arch = "aarch64\n") {
    tree.write("proc/iomem", "40000000-7fffffff : System RAM\n");
    tree.write("proc/sys/kernel/arch", arch);
    tree.write("proc/sys/kernel/osrelease", "7.2-test\n");
    if (!config.empty()) tree.write("boot/config-7.2-test", config);
    tree.write("sys/firmware/fdt", fdt::write(tree_with({})).value());
  }
};

TEST(DeviceTree, TheKernelsTableIsTheLargerOnlyWhereItIsKnownToBe) {
  std::vector<ByteRange> wanted;
  for (std::uint64_t i = 0; i < 2000; ++i) wanted.push_back(frame(1 + 2 * i));
  // 1024 or 128 entries, 32 kept, one for RAM as it is without the list, two a node.
  for (const auto& [config, arch, covered] :
       {std::tuple{"CONFIG_EFI=y\n", "aarch64\n", std::size_t{495}},
        std::tuple{"# CONFIG_EFI is not set\n", "aarch64\n", std::size_t{47}},
        std::tuple{"", "aarch64\n", std::size_t{47}},
        std::tuple{"CONFIG_EFI=y\n", "riscv64\n", std::size_t{47}}}) {
    const ArmMachine machine(config, arch);
    const auto plan = DeviceTreeBackend().plan({list_of(wanted)}, *machine.tree.open());
    ASSERT_TRUE(plan.ok()) << plan.error().message;
    EXPECT_EQ(plan->covered.ranges().size(), covered);
    EXPECT_EQ(plan->covered.ranges().size() + plan->refused.size(), wanted.size());
  }
}

TEST(DeviceTree, WhatThisBootLeavesOutDoesNotMakeTheNextListShorter) {
  const ArmMachine machine;
  std::vector<ByteRange> wanted;
  for (std::uint64_t i = 0; i < 495; ++i) wanted.push_back(frame(1 + 2 * i));
  const auto first = DeviceTreeBackend().plan({list_of(wanted)}, *machine.tree.open());
  ASSERT_TRUE(first.ok());
  ASSERT_TRUE(first->refused.empty());
  std::string iomem;
  PhysAddr at = kRam.begin();
  for (const ByteRange& bad : first->covered.ranges()) {
    iomem += fmt::format("{:08x}-{:08x} : System RAM\n{:08x}-{:08x} : reserved\n", at.value(),
                         bad.begin().value() - 1, bad.begin().value(), bad.last().value());
    at = bad.end();
  }
  iomem += fmt::format("{:08x}-{:08x} : System RAM\n", at.value(), kRam.last().value());
  machine.tree.write("proc/iomem", iomem);
  machine.tree.write("sys/firmware/fdt", first->artifact);
  const auto again = DeviceTreeBackend().plan({list_of(wanted)}, *machine.tree.open());
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->covered, first->covered);
  EXPECT_EQ(again->artifact, first->artifact);
}

TEST(DeviceTree, AnotherTreeIsTakenWhenItIsGiven) {
  const ArmMachine machine;
  const std::string other = fdt::write(tree_with({}, {}, range(0x40000000, 0x40000fff))).value();
  const RetireList list = list_of({frame(0), frame(5)});
  const auto plan = DeviceTreeBackend().plan(
      {.list = list, .device_tree = other, .device_tree_name = "other.dtb"}, *machine.tree.open());
  ASSERT_TRUE(plan.ok()) << plan.error().message;
  EXPECT_EQ(plan->covered, set_of({frame(0)}));
  EXPECT_NE(plan->refused.at(0).reason.find("other.dtb"), std::string::npos);
  const auto cut = DeviceTreeBackend().plan({.list = list,
                                             .device_tree = std::string_view(other).substr(0, 100),
                                             .device_tree_name = "other.dtb"},
                                            *machine.tree.open());
  ASSERT_FALSE(cut.ok());
  EXPECT_EQ(cut.error().code, ErrorCode::kBadData);
  EXPECT_TRUE(cut.error().message.starts_with("other.dtb:")) << cut.error().message;
}

TEST(DeviceTree, ProbeLooksForTheTree) {
  const ArmMachine machine;
  EXPECT_TRUE(DeviceTreeBackend().probe(*machine.tree.open()).available);
  const TempTree none;
  const Availability not_here = DeviceTreeBackend().probe(*none.open());
  EXPECT_FALSE(not_here.available);
  EXPECT_NE(not_here.reason.find("sys/firmware/fdt"), std::string::npos);
}

TEST(Fdt, ADocumentIsWrittenAsItWasRead) {
  fdt::Document tree = tree_with({reserved_node({}, {})});
  tree.reserve_map = {{0x1000, 0x2000}};
  const std::string blob = fdt::write(tree).value();
  EXPECT_EQ(fdt::write(read_back(blob)).value(), blob);
  fdt::Node deep{.name = "a", .properties = {}, .children = {}};
  for (int i = 0; i < 70; ++i) deep = {.name = "a", .properties = {}, .children = {deep}};
  tree.root.children.push_back(deep);
  const std::string too_deep = fdt::write(tree).value();
  const auto read = fdt::Tree::parse(too_deep, too_deep.size(), "deep").value().document("deep");
  ASSERT_FALSE(read.ok());
  EXPECT_EQ(read.error().code, ErrorCode::kBadData);
}

}  // namespace
}  // namespace poisonctl
