#include "registry/topology.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>
#include <tuple>

#include "registry/range_text.h"
#include "registry/smbios.h"
#include "registry/text.h"

namespace poisonctl {

namespace {

constexpr std::string_view kFirstLine = "poisonctl-topology-v1";
constexpr std::string_view kCxl = "sys/bus/cxl/devices";

// ---- reading a machine

// What firmware writes where it has nothing to say.
std::string meaningful(const std::string& text) {
  constexpr std::array<std::string_view, 9> kEmpty = {"unknown",
                                                      "not specified",
                                                      "none",
                                                      "n/a",
                                                      "na",
                                                      "no dimm",
                                                      "no module installed",
                                                      "to be filled by o.e.m.",
                                                      "undefined"};
  std::string lower;
  for (const char c : text) {
    lower += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  }
  const bool all_same = std::all_of(lower.begin(), lower.end(), [&](char c) {
    return c == lower.front() && (c == '0' || c == 'f' || c == ' ');
  });
  if (all_same || std::find(kEmpty.begin(), kEmpty.end(), lower) != kEmpty.end()) return {};
  return printable(text);
}

std::string way_of(const SmbiosDeviceRange& range) {
  if (range.interleave_depth <= 1) return {};
  return fmt::format("row {} position {} depth {}", range.row_position, range.interleave_position,
                     range.interleave_depth);
}

std::vector<MemoryModule::Mapping> mappings_of(const SmbiosDevice& device,
                                               const SmbiosMemory& memory) {
  std::vector<MemoryModule::Mapping> mappings;
  for (const SmbiosDeviceRange& range : memory.device_ranges) {
    if (range.device == device.handle) mappings.push_back({range.range, way_of(range)});
  }
  if (mappings.empty()) {
    for (const SmbiosArrayRange& range : memory.array_ranges) {
      if (range.array == device.array) mappings.push_back({range.range, "array"});
    }
  }
  std::sort(mappings.begin(), mappings.end(),
            [](const auto& a, const auto& b) { return a.range < b.range; });
  return mappings;
}

std::vector<MemoryModule> modules_of(const SmbiosMemory& memory) {
  std::vector<MemoryModule> modules;
  for (const SmbiosDevice& device : memory.devices) {
    if (device.bytes == 0) continue;
    std::string slot = printable(device.locator);
    if (!device.bank.empty()) slot += " / " + printable(device.bank);
    modules.push_back({.slot = std::move(slot),
                       .manufacturer = meaningful(device.manufacturer),
                       .serial = meaningful(device.serial),
                       .part = meaningful(device.part),
                       .bytes = device.bytes,
                       .speed = device.speed,
                       .mappings = mappings_of(device, memory)});
  }
  std::stable_sort(modules.begin(), modules.end(), [](const auto& a, const auto& b) {
    return std::tie(a.slot, a.serial) < std::tie(b.slot, b.serial);
  });
  return modules;
}

void add_modules(const SysRoot& sysroot, TopologyReading& reading) {
  constexpr std::string_view kTable = "sys/firmware/dmi/tables/DMI";
  const auto table = sysroot.read(kTable);
  if (!table) {
    reading.not_known.push_back(
        table.error().code == ErrorCode::kNoInput
            ? "this firmware has no SMBIOS table, so memory modules cannot be told apart"
            : table.error().message + ", so memory modules cannot be told apart; run it as root");
    return;
  }
  const auto memory = parse_smbios(*table, sysroot.shown(kTable));
  if (!memory) {
    reading.not_known.push_back(memory.error().message +
                                ", so memory modules cannot be told apart");
    return;
  }
  reading.topology.modules = modules_of(*memory);
}

std::optional<std::uint64_t> number_in(const SysRoot& sysroot, const std::string& path) {
  const auto text = sysroot.read(path);
  if (!text) return std::nullopt;
  return parse_size(trim(*text));
}

// The serial number of the device that an endpoint decoder "decoderP.N" belongs to: P is the number
// of its endpoint port (drivers/cxl/core/port.c, cxl_decoder_add_locked).
std::string serial_behind(const SysRoot& sysroot, std::string_view decoder) {
  constexpr std::string_view kPrefix = "decoder";
  const auto dot = decoder.find('.');
  if (!decoder.starts_with(kPrefix) || dot == std::string_view::npos) return {};
  const auto port = parse_unsigned(decoder.substr(kPrefix.size(), dot - kPrefix.size()), 10);
  if (!port) return {};
  const auto serial = sysroot.read(fmt::format("{}/endpoint{}/uport/serial", kCxl, *port));
  return serial ? printable(trim(*serial)) : std::string();
}

void add_cxl(const SysRoot& sysroot, Topology& topology) {
  constexpr std::uint64_t kMostWays = 16;  // CXL 3.1, 8.2.4.20.7: interleave ways
  const auto names = sysroot.list(kCxl);
  if (!names) return;
  for (const std::string& name : *names) {
    if (!name.starts_with("region")) continue;
    const std::string folder = fmt::format("{}/{}", kCxl, name);
    const auto begin = number_in(sysroot, folder + "/resource");
    const auto size = number_in(sysroot, folder + "/size");
    if (!begin || !size) continue;
    const auto range = ByteRange::from_size(PhysAddr(*begin), *size);
    if (!range) continue;  // not committed yet
    CxlRegion region{
        .range = *range,
        .granularity = number_in(sysroot, folder + "/interleave_granularity").value_or(0),
        .serials = {}};
    const auto ways = number_in(sysroot, folder + "/interleave_ways").value_or(0);
    for (std::uint64_t way = 0; way < std::min(ways, kMostWays); ++way) {
      const auto target = sysroot.read(fmt::format("{}/target{}", folder, way));
      region.serials.push_back(target ? serial_behind(sysroot, trim(*target)) : std::string());
    }
    topology.cxl.push_back(std::move(region));
  }
  std::sort(topology.cxl.begin(), topology.cxl.end(),
            [](const auto& a, const auto& b) { return a.range < b.range; });
}

std::vector<ByteRange> coarse_ram(const MemoryMap& map) {
  std::vector<ByteRange> ranges;
  for (const FirmwareEntry& entry : map.firmware()) {
    if (entry.type == "System RAM") ranges.push_back(entry.range);
  }
  if (ranges.empty()) ranges = map.installed_ram().ranges();
  for (ByteRange& range : ranges) {
    const std::uint64_t mask = kRamGrain - 1;
    range = *ByteRange::from_last(PhysAddr(range.begin().value() & ~mask),
                                  PhysAddr(range.last().value() | mask));
  }
  return RangeSet::from_ranges(std::move(ranges)).ranges();
}

// ---- text

std::string hardware_lines(const Topology& topology) {
  std::string text;
  for (const MemoryModule& module : topology.modules) {
    text += fmt::format("module\t{}\t{}\t{}\t{}\t{}\t{}\n", module.slot, module.manufacturer,
                        module.serial, module.part, module.bytes, module.speed);
    for (const MemoryModule::Mapping& mapping : module.mappings) {
      text += fmt::format("mapping\t{}\t{}\n", to_text(mapping.range), mapping.way);
    }
  }
  for (const ByteRange& range : topology.ram) text += fmt::format("ram\t{}\n", to_text(range));
  for (const NodeRange& node : topology.nodes) {
    text += fmt::format("node\t{}\t{}\n", node.node, to_text(node.range));
  }
  return text;
}

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (;;) {
    const auto at = text.find(separator);
    parts.push_back(text.substr(0, at));
    if (at == std::string_view::npos) return parts;
    text.remove_prefix(at + 1);
  }
}

std::optional<ByteRange> range_in(std::string_view text) {
  const auto dash = text.find('-');
  if (dash == std::string_view::npos) return std::nullopt;
  const auto first = parse_prefixed_hex(text.substr(0, dash));
  const auto last = parse_prefixed_hex(text.substr(dash + 1));
  if (!first || !last) return std::nullopt;
  return ByteRange::from_last(PhysAddr(*first), PhysAddr(*last));
}

// Takes one line into the topology; false when it is not as to_text writes it.
bool take_line(const std::vector<std::string_view>& words, Topology& topology) {
  const auto is = [&](std::string_view name, std::size_t count) {
    return words[0] == name && words.size() == count;
  };
  if (is("page-size", 2)) {
    const auto size = parse_unsigned(words[1], 10);
    topology.page_size = size.value_or(0);
    return size.has_value();
  }
  if (is("system", 3)) {
    topology.system_uuid = words[1];
    topology.system_serial = words[2];
    return true;
  }
  if (is("module", 7)) {
    const auto bytes = parse_unsigned(words[5], 10);
    const auto speed = parse_unsigned(words[6], 10);
    if (!bytes || !speed || *speed > std::numeric_limits<std::uint32_t>::max()) return false;
    topology.modules.push_back({.slot = std::string(words[1]),
                                .manufacturer = std::string(words[2]),
                                .serial = std::string(words[3]),
                                .part = std::string(words[4]),
                                .bytes = *bytes,
                                .speed = static_cast<std::uint32_t>(*speed),
                                .mappings = {}});
    return true;
  }
  if (is("mapping", 3) && !topology.modules.empty()) {
    const auto range = range_in(words[1]);
    if (range) topology.modules.back().mappings.push_back({*range, std::string(words[2])});
    return range.has_value();
  }
  if (is("ram", 2)) {
    const auto range = range_in(words[1]);
    if (range) topology.ram.push_back(*range);
    return range.has_value();
  }
  if (is("node", 3)) {
    const auto number = parse_unsigned(words[1], 10);
    const auto range = range_in(words[2]);
    if (!number || *number > std::numeric_limits<unsigned>::max() || !range) return false;
    topology.nodes.push_back({*range, static_cast<unsigned>(*number)});
    return true;
  }
  if (is("cxl", 4)) {
    const auto range = range_in(words[1]);
    const auto granularity = parse_unsigned(words[2], 10);
    if (!range || !granularity) return false;
    CxlRegion region{.range = *range, .granularity = *granularity, .serials = {}};
    if (!words[3].empty()) {
      for (const std::string_view serial : split(words[3], ','))
        region.serials.emplace_back(serial);
    }
    topology.cxl.push_back(std::move(region));
    return true;
  }
  return false;
}

// ---- comparing

// A module as it answers an address: with one of its mappings, or none where firmware tells none.
struct Part {
  const MemoryModule* module;
  const MemoryModule::Mapping* mapping;
};

bool has_mappings(const Topology& topology) {
  return std::any_of(topology.modules.begin(), topology.modules.end(),
                     [](const MemoryModule& module) { return !module.mappings.empty(); });
}

std::vector<Part> parts_behind(const Topology& topology, const ByteRange& range) {
  const bool mapped = has_mappings(topology);
  std::vector<Part> parts;
  for (const MemoryModule& module : topology.modules) {
    if (!mapped) parts.push_back({&module, nullptr});
    for (const MemoryModule::Mapping& mapping : module.mappings) {
      if (mapping.range.overlaps(range)) parts.push_back({&module, &mapping});
    }
  }
  return parts;
}

bool differ(const std::string& before, const std::string& now) {
  return !before.empty() && !now.empty() && before != now;
}

const MemoryModule* with_serial(const Topology& topology, const std::string& serial) {
  const auto found = std::find_if(topology.modules.begin(), topology.modules.end(),
                                  [&](const MemoryModule& m) { return m.serial == serial; });
  return found == topology.modules.end() ? nullptr : &*found;
}

Judgement changed(std::string reason) { return {Meaning::kChanged, std::move(reason)}; }

Judgement compare_parts(const std::vector<Part>& before, const std::vector<Part>& now,
                        const Topology& topology_now) {
  if (before.size() != now.size()) {
    return changed(
        fmt::format("{} memory modules answered there, and {} do now", before.size(), now.size()));
  }
  for (std::size_t i = 0; i < before.size(); ++i) {
    const MemoryModule& was = *before[i].module;
    const MemoryModule& is = *now[i].module;
    if (was.slot != is.slot) {
      return changed(
          fmt::format("slot {} answered there, and slot {} does now", was.slot, is.slot));
    }
    const bool has_moved = (before[i].mapping == nullptr) != (now[i].mapping == nullptr) ||
                           (before[i].mapping != nullptr && *before[i].mapping != *now[i].mapping);
    if (differ(was.serial, is.serial)) {
      if (const MemoryModule* const there = with_serial(topology_now, was.serial)) {
        return changed(fmt::format("the module of slot {} (serial {}) is in slot {} now", was.slot,
                                   was.serial, there->slot));
      }
      const bool alone = before.size() == 1 && !has_moved && was.bytes == is.bytes;
      return {alone ? Meaning::kReplaced : Meaning::kChanged,
              fmt::format("slot {} had the module with serial {}, and has {} now", was.slot,
                          was.serial, is.serial)};
    }
    if (was.bytes != is.bytes || differ(was.part, is.part)) {
      return changed(fmt::format("slot {} had a module {} of {}, and has {} of {} now", was.slot,
                                 was.part, to_human_size(was.bytes), is.part,
                                 to_human_size(is.bytes)));
    }
    if (has_moved) {
      return changed(
          fmt::format("the module in slot {} answers other addresses, or shares them "
                      "with others in another way",
                      was.slot));
    }
  }
  return {};
}

bool all_have_serials(const std::vector<Part>& parts) {
  return !parts.empty() && std::all_of(parts.begin(), parts.end(), [](const Part& part) {
    return !part.module->serial.empty();
  });
}

std::vector<const CxlRegion*> regions_behind(const Topology& topology, const ByteRange& range) {
  std::vector<const CxlRegion*> regions;
  for (const CxlRegion& region : topology.cxl) {
    if (region.range.overlaps(range)) regions.push_back(&region);
  }
  return regions;
}

std::string module_text(const MemoryModule& module) {
  return fmt::format("{} {} {} serial {}", to_human_size(module.bytes),
                     module.manufacturer.empty() ? "?" : module.manufacturer,
                     module.part.empty() ? "?" : module.part,
                     module.serial.empty() ? "not told" : module.serial);
}

std::string cxl_text(const CxlRegion& region) {
  return fmt::format("CXL region {}: serials {}, granularity {}", to_text(region.range),
                     fmt::join(region.serials, ","), region.granularity);
}

std::string node_text(const NodeRange& node) {
  return fmt::format("node {}: {}", node.node, to_text(node.range));
}

// "- LINE" for what is only in the first, "+ LINE" for what is only in the second.
template <typename Item, typename Show>
void add_differences(const std::vector<Item>& before, const std::vector<Item>& now,
                     const Show& show, std::vector<std::string>& lines) {
  for (const Item& item : before) {
    if (std::find(now.begin(), now.end(), item) == now.end()) lines.push_back("- " + show(item));
  }
  for (const Item& item : now) {
    if (std::find(before.begin(), before.end(), item) == before.end()) {
      lines.push_back("+ " + show(item));
    }
  }
}

}  // namespace

Result<TopologyReading> load_topology(const SysRoot& sysroot, const Machine& machine,
                                      const MemoryMap& map) {
  TopologyReading reading;
  Topology& topology = reading.topology;
  add_modules(sysroot, reading);
  add_cxl(sysroot, topology);
  topology.ram = coarse_ram(map);
  const auto nodes = load_nodes(sysroot);
  if (!nodes) return nodes.error();
  // Only of RAM that is there from the start: what is plugged in later comes and goes.
  const RangeSet ram = RangeSet::from_ranges(topology.ram);
  for (const NodeRange& node : *nodes) {
    const RangeSet inside = ram.within(node.range);
    for (const ByteRange& range : inside.ranges()) topology.nodes.push_back({range, node.node});
  }
  topology.page_size = machine.page_shift.page_size();
  topology.system_uuid = printable(machine.product_uuid);
  topology.system_serial = printable(machine.product_serial);
  return reading;
}

std::string to_text(const Topology& topology) {
  std::string text = fmt::format("{}\npage-size\t{}\nsystem\t{}\t{}\n", kFirstLine,
                                 topology.page_size, topology.system_uuid, topology.system_serial);
  text += hardware_lines(topology);
  for (const CxlRegion& region : topology.cxl) {
    text += fmt::format("cxl\t{}\t{}\t{}\n", to_text(region.range), region.granularity,
                        fmt::join(region.serials, ","));
  }
  return text;
}

Result<Topology> parse_topology(std::string_view text, const std::string& shown) {
  const auto bad = [&](std::size_t line, std::string_view found) {
    return Error{ErrorCode::kBadData,
                 fmt::format("{}:{}: expected a line of a topology snapshot, found '{}'", shown,
                             line, printable(found))};
  };
  if (text.size() > kMostSnapshotBytes) {
    return Error{ErrorCode::kBadData, fmt::format("{}: has {} bytes; a topology snapshot has at "
                                                  "most {}",
                                                  shown, text.size(), kMostSnapshotBytes)};
  }
  Topology topology;
  std::size_t number = 0;
  for (const std::string_view line : split_lines(text)) {
    ++number;
    const bool good = number == 1 ? line == kFirstLine : take_line(split(line, '\t'), topology);
    if (!good) return bad(number, line);
  }
  if (number == 0) return bad(1, "");
  return topology;
}

Digest hardware_digest(const Topology& topology) {
  return Hasher().digest(std::string(kFirstLine) + "\n" + hardware_lines(topology));
}

std::string what_it_can_tell(const Topology& topology) {
  if (topology.modules.empty()) {
    return "firmware names no memory modules: only a change of the memory map or of its nodes can "
           "be "
           "told, and then every record is in doubt";
  }
  const auto with_serials =
      std::count_if(topology.modules.begin(), topology.modules.end(),
                    [](const MemoryModule& module) { return !module.serial.empty(); });
  const bool single =
      std::any_of(topology.modules.begin(), topology.modules.end(), [](const MemoryModule& module) {
        return std::any_of(module.mappings.begin(), module.mappings.end(),
                           [](const auto& mapping) { return mapping.way != "array"; });
      });
  return fmt::format(
      "{} memory modules, {} with a serial number; {}", topology.modules.size(), with_serials,
      single ? "firmware tells which module answers an address"
             : "firmware does not tell which of them answers an address, so a change "
               "of any is taken to be behind all");
}

Comparison::Comparison(const Topology& before, const Topology& now)
    : before_(before),
      now_(now),
      same_(hardware_lines(before) == hardware_lines(now) && before.cxl == now.cxl &&
            !differ(before.system_uuid, now.system_uuid)) {}

Judgement Comparison::judge(const ByteRange& range) const {
  if (same_) return {};
  if (differ(before_.system_uuid, now_.system_uuid)) {
    return changed(fmt::format("it was seen on another machine (UUID {})", before_.system_uuid));
  }
  const auto cxl_before = regions_behind(before_, range);
  const auto cxl_now = regions_behind(now_, range);
  // A region that is not up yet is judged when it is.
  if (!cxl_before.empty() && !cxl_now.empty()) {
    const bool equal =
        std::equal(cxl_before.begin(), cxl_before.end(), cxl_now.begin(), cxl_now.end(),
                   [](const auto* a, const auto* b) { return *a == *b; });
    return equal ? Judgement{} : changed("the CXL region there has other devices, or other ways");
  }
  if (!cxl_before.empty()) return {};

  const auto node_before = node_of(before_.nodes, range.begin());
  const auto node_now = node_of(now_.nodes, range.begin());
  if (node_before && node_now && *node_before != *node_now) {
    return changed(
        fmt::format("it was in NUMA node {}, and is in node {} now", *node_before, *node_now));
  }
  // Modules can be compared where both snapshots have them; one of the two may have been made
  // without the privilege to see them.
  const bool both_have_modules = !before_.modules.empty() && !now_.modules.empty();
  const auto parts_before = parts_behind(before_, range);
  const auto parts_now = parts_behind(now_, range);
  if (both_have_modules) {
    Judgement judgement = compare_parts(parts_before, parts_now, now_);
    if (judgement.meaning != Meaning::kSame) return judgement;
    if (all_have_serials(parts_before) && all_have_serials(parts_now)) return {};
  }
  if (before_.ram != now_.ram) {
    return changed(
        "the memory map is another, and firmware gives no serial numbers that would tell "
        "whether the memory there is the same");
  }
  return {};
}

std::vector<std::string> Comparison::differences() const {
  std::vector<std::string> lines;
  if (differ(before_.system_uuid, now_.system_uuid)) {
    lines.push_back("- machine " + before_.system_uuid);
    lines.push_back("+ machine " + now_.system_uuid);
  }
  add_differences(
      before_.modules, now_.modules,
      [](const MemoryModule& module) {
        std::string text = fmt::format("slot {}: {}", module.slot, module_text(module));
        for (const auto& mapping : module.mappings) text += ", at " + to_text(mapping.range);
        return text;
      },
      lines);
  add_differences(before_.cxl, now_.cxl, cxl_text, lines);
  add_differences(
      before_.ram, now_.ram, [](const ByteRange& range) { return "RAM " + to_text(range); }, lines);
  add_differences(before_.nodes, now_.nodes, node_text, lines);
  if (before_.page_size != now_.page_size) {
    lines.push_back(fmt::format("- page size {}", before_.page_size));
    lines.push_back(
        fmt::format("+ page size {} (records are in bytes and stay as they are)", now_.page_size));
  }
  return lines;
}

}  // namespace poisonctl
