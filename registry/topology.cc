#include "registry/topology.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>
#include <optional>
#include <tuple>

#include "registry/range_text.h"
#include "registry/smbios.h"
#include "registry/text.h"

namespace poisonctl {

namespace {

constexpr std::string_view kFirstLine = "poisonctl-topology-v1";
constexpr std::string_view kCxl = "sys/bus/cxl/devices";

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
  if (ranges.empty()) {
    // Without what a driver adds, early or late: "System RAM (kmem)" and its like.
    std::vector<ByteRange> added;
    for (const Resource& resource : map.resources()) {
      if (resource.name.starts_with("System RAM (")) added.push_back(resource.range);
    }
    ranges = map.installed_ram().minus(RangeSet::from_ranges(std::move(added))).ranges();
  }
  for (ByteRange& range : ranges) {
    const std::uint64_t mask = kRamGrain - 1;
    range = *ByteRange::from_last(PhysAddr(range.begin().value() & ~mask),
                                  PhysAddr(range.last().value() | mask));
  }
  return RangeSet::from_ranges(std::move(ranges)).ranges();
}

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
  // to_text writes none, and a line that ends in some would not be written the same way again.
  const auto is_control = [](char c) {
    return (static_cast<unsigned char>(c) < ' ' && c != '\t' && c != '\n') || c == '\x7f';
  };
  const auto* const control = std::find_if(text.begin(), text.end(), is_control);
  const auto lines_before = static_cast<std::size_t>(std::count(text.begin(), control, '\n'));
  Topology topology;
  std::size_t number = 0;
  for (const std::string_view line : split_lines(text)) {
    ++number;
    const bool ours = control == text.end() || number <= lines_before;
    const bool good =
        ours && (number == 1 ? line == kFirstLine : take_line(split(line, '\t'), topology));
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

}  // namespace poisonctl
