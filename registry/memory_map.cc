#include "registry/memory_map.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>

#include "registry/text.h"

namespace poisonctl {

namespace {

constexpr std::string_view kMemoryDir = "sys/devices/system/memory";
constexpr std::string_view kNodeDir = "sys/devices/system/node";

// iomem names: kernel/resource.c, mm/memory_hotplug.c ("System RAM (kmem)", "System RAM
// (virtio_mem)"), arch/x86/kernel/e820.c e820_type_to_string().
bool is_system_ram(std::string_view name) { return name.starts_with("System RAM"); }

bool is_device_memory(std::string_view name) {
  return name.starts_with("Persistent Memory") || name.starts_with("Soft Reserved") ||
         name.starts_with("CXL Window") || name.starts_with("dax") || name.starts_with("namespace");
}

// What a command line or a device tree has taken out of RAM: "Unusable memory" on x86, and a no-map
// reservation on arm64, which is a line of its own where other reservations lie inside System RAM
// (arch/arm64/kernel/setup.c, reserve_memblock_reserved_regions).
bool is_taken_out(const Resource& resource) {
  return resource.name == "Unusable memory" || (resource.name == "reserved" && resource.depth == 0);
}

bool is_kernel_image(std::string_view name) {
  constexpr std::array<std::string_view, 4> kParts = {"Kernel code", "Kernel rodata", "Kernel data",
                                                      "Kernel bss"};
  return std::find(kParts.begin(), kParts.end(), name) != kParts.end();
}

// kernel/crash_reserve.c: "Crash kernel" for both the high and the low part.
bool is_crash_kernel(std::string_view name) { return name.starts_with("Crash kernel"); }

// Types of memory that the firmware holds back (e820_type_to_string; "Reserved" in lower case on
// arm64, where it is the kernel's own reservation inside System RAM and so no firmware range).
bool is_firmware_reserved(const Resource& resource) {
  constexpr std::array<std::string_view, 4> kNames = {
      "Reserved", "ACPI Tables", "ACPI Non-volatile Storage", "Unknown E820 type"};
  return resource.depth == 0 &&
         std::find(kNames.begin(), kNames.end(), resource.name) != kNames.end();
}

Error bad_line(const std::string& shown, std::size_t line, std::string_view text,
               std::string_view expected) {
  return {ErrorCode::kBadData,
          fmt::format("{}:{}: expected {}, found '{}'", shown, line, expected, printable(text))};
}

// "memory12" with prefix "memory" is 12; nothing for "power" or "memory_failure".
std::optional<std::uint64_t> numbered(std::string_view name, std::string_view prefix) {
  if (!name.starts_with(prefix)) return std::nullopt;
  return parse_unsigned(name.substr(prefix.size()), 10);
}

// A resource above kPhysAddrLimit (some bridges claim all 64 bits) holds no frame that can be
// named.
enum class Reach { kInside, kClipped, kBeyond };
Reach clip(std::uint64_t first, std::uint64_t& last) {
  if (first >= kPhysAddrLimit) return Reach::kBeyond;
  if (last < kPhysAddrLimit) return Reach::kInside;
  last = kPhysAddrLimit - 1;
  return Reach::kClipped;
}

Result<std::vector<FirmwareEntry>> load_firmware_entries(const SysRoot& sysroot) {
  constexpr std::string_view kDir = "sys/firmware/memmap";
  std::vector<FirmwareEntry> entries;
  const auto names = sysroot.list(kDir);
  if (!names) {
    if (names.error().code == ErrorCode::kNoInput) return entries;  // not x86
    return names.error();
  }
  for (const std::string& name : *names) {
    const std::string folder = fmt::format("{}/{}", kDir, name);
    std::array<std::uint64_t, 2> bounds{};
    for (std::size_t i = 0; i < bounds.size(); ++i) {
      const std::string path = folder + (i == 0 ? "/start" : "/end");
      const auto text = sysroot.read(path);
      if (!text) return text.error();
      const auto value = parse_prefixed_hex(trim(*text));
      if (!value) return bad_line(sysroot.shown(path), 1, *text, "an address such as 0x9fbff");
      bounds.at(i) = *value;
    }
    const auto type = sysroot.read(folder + "/type");
    if (!type) return type.error();
    if (clip(bounds[0], bounds[1]) == Reach::kBeyond) continue;
    const auto range = ByteRange::from_last(PhysAddr(bounds[0]), PhysAddr(bounds[1]));
    if (!range) {
      return Error{ErrorCode::kBadData, fmt::format("{}: end {:#x} lies before start {:#x}",
                                                    sysroot.shown(folder), bounds[1], bounds[0])};
    }
    entries.push_back({*range, std::string(trim(*type))});
  }
  std::sort(entries.begin(), entries.end(),
            [](const auto& a, const auto& b) { return a.range < b.range; });
  return entries;
}

// Bytes in a memory block, or nothing without memory hot-plug.
Result<std::optional<std::uint64_t>> load_block_size(const SysRoot& sysroot) {
  const std::string path = fmt::format("{}/block_size_bytes", kMemoryDir);
  const auto text = sysroot.read(path);
  if (!text) {
    if (text.error().code == ErrorCode::kNoInput) return std::optional<std::uint64_t>();
    return text.error();
  }
  const auto size =
      parse_unsigned(trim(*text), 16);  // hexadecimal without 0x (drivers/base/memory.c)
  if (!size || *size == 0) {
    return bad_line(sysroot.shown(path), 1, *text,
                    "a hexadecimal size without 0x, such as 8000000");
  }
  return std::optional(*size);
}

Result<ByteRange> block_range(std::uint64_t number, std::uint64_t block_size,
                              const std::string& shown) {
  const auto range = number <= kPhysAddrLimit / block_size
                         ? ByteRange::from_size(PhysAddr(number * block_size), block_size)
                         : std::nullopt;
  if (!range) {
    return Error{ErrorCode::kBadData, fmt::format("{}: block {} of {:#x} bytes lies beyond {:#x}",
                                                  shown, number, block_size, kPhysAddrLimit)};
  }
  return *range;
}

}  // namespace

MemoryMap::MemoryMap(std::vector<Resource> resources, std::vector<FirmwareEntry> firmware)
    : resources_(std::move(resources)), firmware_(std::move(firmware)) {
  std::vector<ByteRange> ram;
  std::vector<ByteRange> taken_out;
  std::vector<ByteRange> device;
  std::vector<ByteRange> reserved;
  std::vector<ByteRange> kernel;
  std::vector<ByteRange> crash;
  std::vector<ByteRange> firmware_ram;
  for (const Resource& resource : resources_) {
    if (is_system_ram(resource.name)) ram.push_back(resource.range);
    if (is_taken_out(resource)) taken_out.push_back(resource.range);
    if (is_device_memory(resource.name)) device.push_back(resource.range);
    if (is_firmware_reserved(resource)) reserved.push_back(resource.range);
    if (is_kernel_image(resource.name)) kernel.push_back(resource.range);
    if (is_crash_kernel(resource.name)) crash.push_back(resource.range);
    end_ = std::max(end_, resource.range.end());
  }
  for (const FirmwareEntry& entry : firmware_) {
    if (entry.type == "System RAM") {
      firmware_ram.push_back(entry.range);
    } else if (!is_device_memory(entry.type)) {
      reserved.push_back(entry.range);
    }
    end_ = std::max(end_, entry.range.end());
  }
  // Without a firmware map there is no telling whether such a range is our doing or the firmware's
  // word; to keep a frame on the list is the safe mistake.
  const RangeSet also_ram = RangeSet::from_ranges(firmware_.empty() ? taken_out : firmware_ram);
  system_ram_ = RangeSet::from_ranges(std::move(ram));
  installed_ram_ = system_ram_.united_with(also_ram);
  device_memory_ = RangeSet::from_ranges(std::move(device)).minus(system_ram_);
  firmware_reserved_ = RangeSet::from_ranges(std::move(reserved)).minus(installed_ram_);
  kernel_image_ = RangeSet::from_ranges(std::move(kernel));
  crash_kernel_ = RangeSet::from_ranges(std::move(crash));
}

Result<std::vector<Resource>> parse_iomem(std::string_view text, const std::string& shown) {
  constexpr std::string_view kForm = "'FIRST-LAST : NAME' with hexadecimal addresses";
  std::vector<Resource> resources;
  bool zeros = false;
  bool any = false;
  std::size_t line_number = 0;
  for (const std::string_view line : split_lines(text)) {
    ++line_number;
    const auto indent = line.find_first_not_of(' ');
    if (indent == std::string_view::npos) continue;
    const auto separator = line.find(" : ");
    if (separator == std::string_view::npos || separator < indent) {
      return bad_line(shown, line_number, line, kForm);
    }
    const std::string_view bounds = line.substr(indent, separator - indent);
    const auto dash = bounds.find('-');
    const auto first = parse_unsigned(bounds.substr(0, dash), 16);
    auto last =
        dash == std::string_view::npos ? std::nullopt : parse_unsigned(bounds.substr(dash + 1), 16);
    if (!first || !last) return bad_line(shown, line_number, line, kForm);
    if (*last < *first) return bad_line(shown, line_number, line, "a last address after the first");
    if (*first == 0 && *last == 0) {  // no privilege, or a resource that is not set up
      zeros = true;
      continue;
    }
    any = true;
    if (clip(*first, *last) == Reach::kBeyond) continue;
    const std::string_view name = line.substr(separator + 3);
    resources.push_back({*ByteRange::from_last(PhysAddr(*first), PhysAddr(*last)),
                         static_cast<unsigned>(indent / 2), std::string(name)});
  }
  if (any) return resources;
  if (zeros) {
    return Error{ErrorCode::kNoPrivilege,
                 shown +
                     ": shows only zeros; the kernel hides addresses from anyone without "
                     "CAP_SYS_ADMIN. Run as root (a captured tree: capture again as root)"};
  }
  return Error{ErrorCode::kBadData, shown + ": empty; expected the list of physical resources"};
}

Result<MemoryMap> load_memory_map(const SysRoot& sysroot) {
  constexpr std::string_view kIomem = "proc/iomem";
  const auto text = sysroot.read(kIomem);
  if (!text) return text.error();
  auto resources = parse_iomem(*text, sysroot.shown(kIomem));
  if (!resources) return resources.error();
  auto firmware = load_firmware_entries(sysroot);
  if (!firmware) return firmware.error();
  MemoryMap map(*std::move(resources), *std::move(firmware));
  if (map.installed_ram().empty()) {
    return Error{
        ErrorCode::kBadData,
        sysroot.shown(kIomem) + ": has no 'System RAM'; nothing can be checked against it"};
  }
  return map;
}

Result<std::vector<NodeRange>> load_nodes(const SysRoot& sysroot) {
  std::vector<NodeRange> ranges;
  const auto block_size = load_block_size(sysroot);
  if (!block_size) return block_size.error();
  const auto names = sysroot.list(kNodeDir);
  if (!names && names.error().code != ErrorCode::kNoInput) return names.error();
  if (!*block_size || !names) return ranges;

  for (const std::string& name : *names) {
    const auto node = numbered(name, "node");
    if (!node || *node > std::numeric_limits<unsigned>::max()) continue;
    const std::string folder = fmt::format("{}/{}", kNodeDir, name);
    const auto links = sysroot.list(folder);
    if (!links) return links.error();
    for (const std::string& link : *links) {
      const auto number = numbered(link, "memory");
      if (!number) continue;
      const auto range = block_range(*number, **block_size, sysroot.shown(folder + "/" + link));
      if (!range) return range.error();
      ranges.push_back({*range, static_cast<unsigned>(*node)});
    }
  }
  std::sort(ranges.begin(), ranges.end(),
            [](const auto& a, const auto& b) { return a.range < b.range; });
  std::vector<NodeRange> joined;
  for (const NodeRange& next : ranges) {
    if (!joined.empty() && joined.back().node == next.node &&
        joined.back().range.end() == next.range.begin()) {
      joined.back().range = *ByteRange::from_last(joined.back().range.begin(), next.range.last());
    } else {
      joined.push_back(next);
    }
  }
  return joined;
}

std::optional<unsigned> node_of(const std::vector<NodeRange>& nodes, PhysAddr address) {
  const auto after = std::upper_bound(
      nodes.begin(), nodes.end(), address,
      [](PhysAddr wanted, const NodeRange& range) { return wanted < range.range.end(); });
  if (after == nodes.end() || address < after->range.begin()) return std::nullopt;
  return after->node;
}

Result<std::vector<MemoryBlock>> load_memory_blocks(const SysRoot& sysroot) {
  std::vector<MemoryBlock> blocks;
  const auto block_size = load_block_size(sysroot);
  if (!block_size) return block_size.error();
  if (!*block_size) return blocks;
  const auto nodes = load_nodes(sysroot);
  if (!nodes) return nodes.error();
  const auto names = sysroot.list(kMemoryDir);
  if (!names) return names.error();
  for (const std::string& name : *names) {
    const auto number = numbered(name, "memory");
    if (!number) continue;
    const std::string folder = fmt::format("{}/{}", kMemoryDir, name);
    const auto range = block_range(*number, **block_size, sysroot.shown(folder));
    if (!range) return range.error();
    const auto state = sysroot.read(folder + "/state");
    if (!state) return state.error();
    blocks.push_back({*number, *range, trim(*state) == "online", node_of(*nodes, range->begin())});
  }
  std::sort(blocks.begin(), blocks.end(),
            [](const auto& a, const auto& b) { return a.number < b.number; });
  return blocks;
}

}  // namespace poisonctl
