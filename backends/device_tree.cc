#include "backends/device_tree.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <optional>
#include <utility>

#include "backends/range_choice.h"
#include "registry/kernel_config.h"
#include "registry/memory_map.h"
#include "registry/text.h"

namespace poisonctl {

namespace {

using namespace std::string_view_literals;

constexpr std::string_view kRunningTree = "sys/firmware/fdt";
constexpr std::string_view kReserved = "reserved-memory";
constexpr std::size_t kCell = 4;
// What a boot loader and kexec add to a tree: bootargs, where the initrd is, seeds.
constexpr std::size_t kBytesForLoaders = 16U << 10U;
// MAX_RESERVED_REGIONS of drivers/of/of_reserved_mem.c.
constexpr std::size_t kMostDriverRegions = 64;

// INIT_MEMBLOCK_MEMORY_REGIONS: 1024 on arm64 with CONFIG_EFI (arch/arm64/include/asm/memory.h),
// else 128 (mm/memblock.c). The table cannot grow yet when reservations are read
// (memblock_allow_resize() comes after early_init_fdt_scan_reserved_mem()): a node past it has no
// effect.
constexpr std::size_t kRegions = 128;
constexpr std::size_t kRegionsOfArm64 = 1024;
// A frame in the middle of RAM makes three regions of one (memblock_isolate_range).
constexpr std::size_t kRegionsPerNode = 2;
// What the kernel itself divides later with the same table: its image, the crash kernel, nodes.
constexpr std::size_t kRegionsKept = 32;

Error bad(const std::string& shown, std::string_view what) {
  return {ErrorCode::kBadData, fmt::format("{}: {}", shown, what)};
}

// #address-cells and #size-cells.
struct Cells {
  std::size_t address = 0;
  std::size_t size = 0;
  friend bool operator==(const Cells&, const Cells&) = default;
};

// Linux reads /reserved-memory by the cells of the root; where they are not there it assumes 1
// (early_init_dt_scan_root), others assume 2: no tree for memory leaves them out.
Result<Cells> cells_of(const fdt::Node& node, const std::string& shown) {
  Cells cells;
  for (const auto& [name, into] :
       {std::pair{"#address-cells"sv, &cells.address}, std::pair{"#size-cells"sv, &cells.size}}) {
    const std::string* const value = node.property(name);
    const std::uint64_t count =
        value != nullptr && value->size() == kCell ? fdt::number(*value) : 0;
    if (count != 1 && count != 2) {
      return bad(shown, fmt::format("expected '{}' of 1 or 2 in /{}", name, node.name));
    }
    *into = static_cast<std::size_t>(count);
  }
  return cells;
}

// The ranges of a "reg"; those that are beyond any memory are left out.
std::vector<ByteRange> ranges_of(const std::string& reg, const Cells& cells) {
  std::vector<ByteRange> ranges;
  const std::size_t entry = (cells.address + cells.size) * kCell;
  for (std::size_t at = 0; at + entry <= reg.size(); at += entry) {
    const std::string_view bytes = std::string_view(reg).substr(at, entry);
    const auto range =
        ByteRange::from_size(PhysAddr(fdt::number(bytes.substr(0, cells.address * kCell))),
                             fdt::number(bytes.substr(cells.address * kCell)));
    if (range) ranges.push_back(*range);
  }
  return ranges;
}

// What the tree says of memory, for the frames that are to be taken out of it.
struct Layout {
  Cells cells;
  std::optional<RangeSet> memory;  // nothing: firmware tells the kernel by another way
  RangeSet reserve_map;
  // What others have reserved, by what is said of a frame in it.
  std::vector<std::pair<RangeSet, std::string>> reserved;
};

bool is_own(const fdt::Node& node) { return node.property(kOwnNodeProperty) != nullptr; }

// The kernel takes the nodes by device_type (early_init_dt_scan_memory). After an EFI boot it goes
// by the map of EFI, and the tree says where that is.
Result<void> add_memory(const fdt::Node& root, const std::string& shown, Layout& layout) {
  const fdt::Node* const chosen = root.child("chosen");
  if (chosen != nullptr && chosen->property("linux,uefi-mmap-start") != nullptr) return {};
  std::vector<ByteRange> ranges;
  for (const fdt::Node& node : root.children) {
    const std::string* const type = node.property("device_type");
    const std::string* const reg = node.property("reg");
    if (type == nullptr || *type != "memory\0"sv || reg == nullptr || !node.is_available())
      continue;
    const auto of_node = ranges_of(*reg, layout.cells);
    ranges.insert(ranges.end(), of_node.begin(), of_node.end());
  }
  if (ranges.empty()) {
    return bad(shown, "has no /memory: expected a node with device_type \"memory\" and a \"reg\"");
  }
  layout.memory = RangeSet::from_ranges(std::move(ranges));
  return {};
}

std::string reason_of_reserved(const fdt::Node& node) {
  if (node.property("no-map") != nullptr && node.property("compatible") == nullptr) {
    return fmt::format(
        "lies in /{}/{} of the device tree already, so no kernel hands it out; nothing needs to be "
        "done",
        kReserved, printable(node.name));
  }
  return fmt::format(
      "lies in /{}/{} of the device tree, which is a driver's: no second node may reserve it",
      kReserved, printable(node.name));
}

void add_reserved(const fdt::Document& tree, Layout& layout) {
  std::vector<ByteRange> mapped;
  for (const auto& [address, size] : tree.reserve_map) {
    if (const auto range = ByteRange::from_size(PhysAddr(address), size)) mapped.push_back(*range);
  }
  layout.reserve_map = RangeSet::from_ranges(std::move(mapped));
  const fdt::Node* const reserved = tree.root.child(kReserved);
  if (reserved == nullptr) return;
  for (const fdt::Node& node : reserved->children) {
    const std::string* const reg = node.property("reg");
    if (reg == nullptr || is_own(node) || !node.is_available()) continue;
    layout.reserved.emplace_back(RangeSet::from_ranges(ranges_of(*reg, layout.cells)),
                                 reason_of_reserved(node));
  }
}

// dt_is_stub() of arch/arm64/kernel/acpi.c: with anything else in it the kernel would not use ACPI.
bool is_stub(const fdt::Node& root) {
  return std::all_of(root.children.begin(), root.children.end(),
                     [](const fdt::Node& node) { return node.name == "chosen"; });
}

Result<Layout> layout_of(const fdt::Document& tree, const std::string& shown) {
  if (is_stub(tree.root)) {
    return Error{ErrorCode::kNotAvailable,
                 shown +
                     ": is the stub of a machine that boots by ACPI: a node in it would make the "
                     "kernel take it for the machine's description"};
  }
  Layout layout;
  const auto cells = cells_of(tree.root, shown);
  if (!cells) return cells.error();
  layout.cells = *cells;
  if (auto added = add_memory(tree.root, shown, layout); !added) return added.error();
  if (const fdt::Node* const reserved = tree.root.child(kReserved)) {
    const auto own = cells_of(*reserved, shown);
    if (!own) return own.error();
    if (!(*own == *cells)) {
      return bad(shown,
                 fmt::format("/{} has other cells than the root; Linux ignores all of it then "
                             "(drivers/of/of_reserved_mem.c)",
                             kReserved));
    }
  }
  add_reserved(tree, layout);
  return layout;
}

// What cannot be said in so many cells.
bool is_beyond_cells(const ByteRange& range, const Cells& cells) {
  constexpr std::uint64_t kOneCell = std::numeric_limits<std::uint32_t>::max();
  return (cells.address == 1 && range.last().value() > kOneCell) ||
         (cells.size == 1 && range.size() > kOneCell);
}

// Takes `part` out of `frames` and refuses it.
void refuse(RangeSet& frames, const RangeSet& part, const std::string& reason, Plan& plan) {
  const RangeSet refused = frames.intersected_with(part);
  for (const ByteRange& range : refused.ranges()) plan.refused.push_back({range, reason});
  frames = frames.minus(refused);
}

// Refuses what the tree has reserved already, with the reason of the reservation that begins first.
// The frames are cut once for all of them: a tree may have thousands, and a list a million.
void refuse_reserved(RangeSet& frames, const Layout& layout, PageShift shift, Plan& plan) {
  struct Place {
    ByteRange range;
    const std::string* reason;
  };
  std::vector<Place> places;
  for (const auto& [reserved, reason] : layout.reserved) {
    const RangeSet whole = reserved.widened_to(shift);
    for (const ByteRange& range : whole.ranges()) places.push_back({range, &reason});
  }
  std::stable_sort(places.begin(), places.end(), [](const Place& a, const Place& b) {
    return a.range.begin() < b.range.begin();
  });
  std::vector<ByteRange> all;
  PhysAddr end;  // of what has been looked at: places may overlap
  for (const Place& place : places) {
    if (place.range.end() <= end) continue;
    const auto rest = *ByteRange::from_last(std::max(place.range.begin(), end), place.range.last());
    end = rest.end();
    const RangeSet taken = frames.within(rest);
    for (const ByteRange& range : taken.ranges()) {
      all.push_back(range);
      plan.refused.push_back({range, *place.reason});
    }
  }
  frames = frames.minus(RangeSet::from_ranges(std::move(all)));
}

// The frames that nodes can be made for.
RangeSet frames_for_nodes(const RetireList& list, const Layout& layout, const std::string& shown,
                          Plan& plan) {
  RangeSet frames = list.frames;
  if (layout.memory) {
    const RangeSet whole = layout.memory->narrowed_to(list.page_shift);
    refuse(frames, frames.minus(whole), fmt::format("is not in the memory of {}", shown), plan);
  }
  refuse_reserved(frames, layout, list.page_shift, plan);
  std::vector<ByteRange> beyond;
  for (const ByteRange& range : frames.ranges()) {
    if (is_beyond_cells(range, layout.cells)) beyond.push_back(range);
  }
  refuse(frames, RangeSet::from_ranges(std::move(beyond)),
         "is past 4 GiB, and the device tree has one cell for addresses or sizes: no node can name "
         "it",
         plan);
  return frames;
}

// Nodes do not cross the reserve map. A boot by EFI drops that map (drivers/firmware/efi/libstub/
// fdt.c), so what lies in it needs nodes too; without EFI an older kernel reads it first, and then
// refuses every node that it touches, all of it (early_init_dt_reserve_memory: EBUSY).
std::vector<ByteRange> ranges_for_nodes(const RangeSet& frames, const Layout& layout,
                                        PageShift shift) {
  const RangeSet in_map = frames.intersected_with(layout.reserve_map.widened_to(shift));
  std::vector<ByteRange> ranges = frames.minus(in_map).ranges();
  ranges.insert(ranges.end(), in_map.ranges().begin(), in_map.ranges().end());
  std::sort(ranges.begin(), ranges.end());
  return ranges;
}

std::vector<ByteRange> first_ones_first(std::vector<ByteRange> ranges, const RetireList& list) {
  std::sort(ranges.begin(), ranges.end(), [&](const ByteRange& a, const ByteRange& b) {
    return importance_of(a, a.size(), list) < importance_of(b, b.size(), list);
  });
  return ranges;
}

std::string in_cells(std::uint64_t value, std::size_t cells) {
  return cells == 1 ? fdt::cell(static_cast<std::uint32_t>(value)) : fdt::two_cells(value);
}

fdt::Node node_for(const ByteRange& range, const Cells& cells, const fdt::Node& others) {
  fdt::Node node;
  node.name = fmt::format("poisonctl@{:x}", range.begin().value());
  // Somebody else's of that name, which reserves another place, or nothing.
  for (unsigned number = 1; others.child(node.name) != nullptr; ++number) {
    node.name = fmt::format("poisonctl-{}@{:x}", number, range.begin().value());
  }
  // One range a node: Linux 7.2 looks at the first of "reg" alone
  // (__reserved_mem_reserve_reg in drivers/of/of_reserved_mem.c).
  node.properties = {
      {"reg", in_cells(range.begin().value(), cells.address) + in_cells(range.size(), cells.size)},
      {"no-map", ""},
      {std::string(kOwnNodeProperty), ""}};
  return node;
}

// Tags, the name, three properties with their lengths and names' offsets, padding.
std::size_t bytes_of(const fdt::Node& node, const Cells& cells) {
  constexpr std::size_t kTags = 2 * kCell;
  constexpr std::size_t kProperties = 9 * kCell;  // three each
  return kTags + (node.name.size() / kCell + 1) * kCell + kProperties +
         (cells.address + cells.size) * kCell;
}

fdt::Node empty_reserved(const Cells& cells) {
  return {.name = std::string(kReserved),
          .properties = {{"#address-cells", fdt::cell(static_cast<std::uint32_t>(cells.address))},
                         {"#size-cells", fdt::cell(static_cast<std::uint32_t>(cells.size))},
                         {"ranges", ""}},
          .children = {}};
}

// Our nodes come last: a kernel with a table of 64 reservations fills it in the order of the tree,
// and drivers need theirs.
fdt::Node& reserved_of(fdt::Document& tree, const Cells& cells) {
  for (fdt::Node& node : tree.root.children) {
    if (node.name != kReserved) continue;
    std::erase_if(node.children, is_own);
    // Without it Linux ignores all of /reserved-memory (__reserved_mem_check_root).
    if (node.property("ranges") == nullptr) node.properties.emplace_back("ranges", "");
    return node;
  }
  return tree.root.children.emplace_back(empty_reserved(cells));
}

// A tree whose only fragment is laid over the root of another: U-Boot's fdt apply, fdtoverlay.
fdt::Document overlay_of(fdt::Node reserved) {
  fdt::Node content{.name = "__overlay__", .properties = {}, .children = {}};
  content.children.push_back(std::move(reserved));
  fdt::Node fragment{
      .name = "fragment@0", .properties = {{"target-path", std::string("/\0"sv)}}, .children = {}};
  fragment.children.push_back(std::move(content));
  fdt::Document overlay;
  overlay.root.children.push_back(std::move(fragment));
  return overlay;
}

// What may be added, and what is said of a range that is too much.
struct NodeRoom {
  std::size_t nodes;
  std::string why_nodes;
  std::size_t bytes;
};

NodeRoom room_in(const fdt::Node& reserved, bool overlay, std::size_t base_bytes,
                 const DeviceTreeLimits& limits) {
  NodeRoom room{.nodes = limits.nodes,
                .why_nodes = fmt::format(
                    "finds no room in the kernel's memory map: it can take {} at the time when it "
                    "reads them, and may not boot with more (INIT_MEMBLOCK_MEMORY_REGIONS)",
                    counted(limits.nodes, "node")),
                .bytes = 0};
  const std::size_t others = reserved.children.size();
  const std::size_t of_table = others < kMostDriverRegions ? kMostDriverRegions - others : 0;
  // What an overlay adds comes before what is there.
  if (overlay && of_table < room.nodes) {
    room.nodes = of_table;
    room.why_nodes = fmt::format(
        "finds no room: a kernel may have a table of {} reservations (MAX_RESERVED_REGIONS), an "
        "overlay goes before the {} of the tree, and drivers need those; a full tree takes more",
        kMostDriverRegions, others);
  }
  const std::size_t taken = base_bytes + kBytesForLoaders;
  room.bytes = taken < limits.bytes ? limits.bytes - taken : 0;
  return room;
}

// kexec-tools 2.0.25 takes no tree whose seed the kernel has not wiped (setup_2nd_dtb() in
// kexec/arch/arm64/kexec-arm64.c; get_kaslr_seed() in arch/arm64/kernel/pi/kaslr_early.c), as that
// of the running machine.
bool has_seed(const fdt::Document& tree) {
  const fdt::Node* const chosen = tree.root.child("chosen");
  const std::string* const seed = chosen == nullptr ? nullptr : chosen->property("kaslr-seed");
  return seed != nullptr && seed->find_first_not_of('\0') != std::string::npos;
}

std::vector<std::string> side_effects_of(const Plan& plan, bool overlay, bool without_ranges,
                                         bool seed) {
  std::vector<std::string> effects;
  if (without_ranges) {
    effects.emplace_back(
        "/reserved-memory had no \"ranges\", so Linux ignored all of it; with the one that is "
        "added "
        "its other nodes count too");
  }
  if (plan.covered.empty()) return effects;
  effects.emplace_back(
      overlay
          ? "the overlay has to be applied at every boot (U-Boot's fdt apply, the loader's list "
            "of overlays); it takes no earlier node away"
          : "the tree has to be given to every boot: kexec -c --dtb, GRUB's devicetree, U-Boot; "
            "kexec_file_load takes none");
  if (seed && !overlay) {
    effects.emplace_back(
        "/chosen of the tree has a kaslr-seed, which stays: kexec refuses the tree for it, and a "
        "boot with the file would use the same one each time; 'fdtput -t x FILE /chosen kaslr-seed "
        "0 0' wipes it");
  }
  effects.emplace_back(
      "a range on which the loader puts a part of the kernel, of the initrd or of the tree stays "
      "in "
      "use, all of it");
  if (plan.covered.ranges().size() > kMostDriverRegions) {
    effects.emplace_back(
        "older kernels (6.1) say \"not enough space for all defined regions\" for nodes past the "
        "64th; the frames are left out all the same");
  }
  effects.push_back(
      fmt::format("{} fewer of RAM in the next kernel", to_human_size(plan.covered.bytes())));
  return effects;
}

// Puts nodes for as many of `ranges`, the first ones first, as there is room for into
// `reserved`, in the order of their addresses.
void add_nodes(const std::vector<ByteRange>& ranges, const Cells& cells, const NodeRoom& room,
               fdt::Node& reserved, Plan& plan) {
  std::vector<ByteRange> covered;
  std::size_t bytes = 0;
  for (const ByteRange& range : ranges) {
    const std::size_t more = bytes_of(node_for(range, cells, reserved), cells);
    if (covered.size() == room.nodes) {
      plan.refused.push_back({range, room.why_nodes});
    } else if (bytes + more > room.bytes) {
      plan.refused.push_back({range,
                              "finds no room in the device tree: kernels take 2 MiB "
                              "(MAX_FDT_SIZE), and loaders add to it"});
    } else {
      covered.push_back(range);
      bytes += more;
    }
  }
  std::sort(covered.begin(), covered.end());
  std::vector<fdt::Node> nodes;
  nodes.reserve(covered.size());
  for (const ByteRange& range : covered) nodes.push_back(node_for(range, cells, reserved));
  plan.covered = RangeSet::from_ranges(std::move(covered));
  std::move(nodes.begin(), nodes.end(), std::back_inserter(reserved.children));
}

// Entries of the table that a kernel of this machine has taken before it reads reservations: RAM as
// it is without our nodes, and what others have taken out.
std::size_t regions_taken(const MemoryMap& map, const RangeSet& frames) {
  std::vector<ByteRange> taken_out;
  for (const Resource& resource : map.resources()) {
    if (resource.depth == 0 && resource.name == "reserved") taken_out.push_back(resource.range);
  }
  const RangeSet others = RangeSet::from_ranges(std::move(taken_out)).minus(frames);
  return map.system_ram().united_with(frames).ranges().size() + others.ranges().size();
}

// Which table the kernel has. Only its build configuration tells; without that file, the smaller.
std::size_t table_of(const SysRoot& sysroot) {
  const auto architecture = sysroot.read("proc/sys/kernel/arch");
  if (!architecture || trim(*architecture) != "aarch64") return kRegions;
  const auto config = KernelConfig::load(sysroot);
  return config && config->value("CONFIG_EFI") == "y" ? kRegionsOfArm64 : kRegions;
}

}  // namespace

Availability DeviceTreeBackend::probe(const SysRoot& sysroot) const {
  const auto names = sysroot.list("sys/firmware");
  if (names && std::find(names->begin(), names->end(), "fdt") != names->end()) {
    return {true, "this machine has a device tree"};
  }
  // What cannot be read says nothing of the machine.
  if (!names && names.error().code != ErrorCode::kNoInput) return {false, names.error().message};
  return {false, sysroot.shown(kRunningTree) +
                     " is not there: this machine was not described by a device tree"};
}

Result<Plan> DeviceTreeBackend::plan(const PlanRequest& request, const SysRoot& sysroot) const {
  std::string running;
  std::string shown(request.device_tree_name);
  std::string_view blob = request.device_tree;
  if (blob.empty()) {
    shown = sysroot.shown(kRunningTree);
    auto read = sysroot.read(kRunningTree);
    if (!read) return read.error();
    running = *std::move(read);
    blob = running;
  }
  DeviceTreeLimits limits;
  const auto tree = fdt::Tree::parse(blob, limits.bytes, shown);
  if (!tree) return tree.error();
  auto document = tree->document(shown);
  if (!document) return document.error();
  const auto map = load_memory_map(sysroot);
  if (!map) return map.error();
  const std::size_t taken = regions_taken(*map, request.list.frames) + kRegionsKept;
  const std::size_t table = table_of(sysroot);
  limits.nodes = taken < table ? (table - taken) / kRegionsPerNode : 0;
  return plan_device_tree(request.list, *std::move(document), request.overlay, limits, shown);
}

Result<Plan> plan_device_tree(const RetireList& list, fdt::Document tree, bool overlay,
                              const DeviceTreeLimits& limits, const std::string& shown) {
  const auto layout = layout_of(tree, shown);
  if (!layout) return layout.error();
  const fdt::Node* const before = tree.root.child(kReserved);
  const bool without_ranges = before != nullptr && before->property("ranges") == nullptr;

  Plan plan;
  plan.refused = list.refused;
  const RangeSet frames = frames_for_nodes(list, *layout, shown, plan);
  const std::vector<ByteRange> ranges =
      first_ones_first(ranges_for_nodes(frames, *layout, list.page_shift), list);
  fdt::Node& reserved = reserved_of(tree, layout->cells);
  const auto base = fdt::write(tree);
  if (!base) return base.error();
  const NodeRoom room = room_in(reserved, overlay, base->size(), limits);
  add_nodes(ranges, layout->cells, room, reserved, plan);
  std::sort(plan.refused.begin(), plan.refused.end(),
            [](const auto& a, const auto& b) { return a.range < b.range; });
  plan.side_effects = side_effects_of(plan, overlay, without_ranges, has_seed(tree));

  if (overlay) {
    fdt::Node added = empty_reserved(layout->cells);
    for (fdt::Node& node : reserved.children) {
      if (is_own(node)) added.children.push_back(std::move(node));
    }
    tree = overlay_of(std::move(added));
  }
  auto artifact = fdt::write(tree);
  if (!artifact) return artifact.error();
  plan.artifact = *std::move(artifact);
  return plan;
}

}  // namespace poisonctl
