#include "registry/placement.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "registry/bytes.h"
#include "registry/live_update.h"
#include "registry/text.h"

namespace poisonctl {

namespace {

constexpr std::string_view kDeviceTree = "sys/firmware/devicetree/base";
constexpr std::string_view kBootParams = "sys/kernel/boot_params/data";

// The content of a file that a machine may well not have: nothing then. A file that is there and
// that this user may not read is noted.
Result<std::optional<std::string>> read_optional(const SysRoot& sysroot, const std::string& path,
                                                 Placement& placement, std::string_view about) {
  auto text = sysroot.read(path);
  if (text) return std::optional(*std::move(text));
  if (text.error().code == ErrorCode::kNoPrivilege) {
    placement.not_known.push_back(
        fmt::format("{}, so {} was not checked; run it as root", text.error().message, about));
    return std::optional<std::string>();
  }
  if (text.error().code == ErrorCode::kNoInput) return std::optional<std::string>();
  return text.error();
}

// Entries of a folder that a machine may not have, or that only root may enter.
Result<std::vector<std::string>> list_optional(const SysRoot& sysroot, const std::string& path,
                                               Placement& placement, std::string_view about) {
  auto names = sysroot.list(path);
  if (names) return names;
  if (names.error().code == ErrorCode::kNoPrivilege) {
    placement.not_known.push_back(
        fmt::format("{}, so {} was not checked; run it as root", names.error().message, about));
    return std::vector<std::string>();
  }
  if (names.error().code == ErrorCode::kNoInput) return std::vector<std::string>();
  return names.error();
}

Error bad_content(const SysRoot& sysroot, const std::string& path, std::string_view expected) {
  return {ErrorCode::kBadData, fmt::format("{}: expected {}", sysroot.shown(path), expected)};
}

// e820_entries and e820_table[] of the zero page (arch/x86/include/uapi/asm/bootparam.h). A table
// that is full may go on in a SETUP_E820_EXT, and what is short has no table: both are not known.
RangeSet ram_of_zero_page(std::string_view page) {
  constexpr std::size_t kCount = 0x1e8;
  constexpr std::size_t kTable = 0x2d0;
  constexpr std::size_t kMost = 128;       // E820_MAX_ENTRIES_ZEROPAGE
  constexpr std::size_t kEntryBytes = 20;  // u64 address, u64 size, u32 type
  constexpr std::uint64_t kRam = 1;
  if (page.size() < kTable + kMost * kEntryBytes) return {};
  const std::uint64_t count = little_endian(page.substr(kCount, 1));
  if (count >= kMost) return {};
  std::vector<ByteRange> ram;
  for (std::size_t i = 0; i < count; ++i) {
    const std::string_view entry = page.substr(kTable + i * kEntryBytes, kEntryBytes);
    if (little_endian(entry.substr(16)) != kRam) continue;
    const auto range = ByteRange::from_size(PhysAddr(little_endian(entry.substr(0, 8))),
                                            little_endian(entry.substr(8, 8)));
    if (range) ram.push_back(*range);
  }
  return RangeSet::from_ranges(std::move(ram));
}

// The ramdisk of the zero page: Documentation/arch/x86/zero-page.rst.
Result<void> add_zero_page(const SysRoot& sysroot, Placement& placement) {
  constexpr std::size_t kImage = 0x218;  // hdr.ramdisk_image
  constexpr std::size_t kSize = 0x21c;   // hdr.ramdisk_size
  constexpr std::size_t kExtImage = 0xc0;
  constexpr std::size_t kExtSize = 0xc4;
  constexpr std::size_t kWidth = 4;
  const std::string path(kBootParams);
  const auto data = read_optional(sysroot, path, placement, "where the initrd was");
  if (!data) return data.error();
  if (!*data) return {};
  const std::string& page = **data;
  if (page.size() < kSize + kWidth) {
    return bad_content(sysroot, path, "the zero page of the boot protocol (4096 bytes)");
  }
  const auto whole = [&](std::size_t low, std::size_t high) {
    const std::string_view view(page);
    return little_endian(view.substr(high, kWidth)) << 32U |
           little_endian(view.substr(low, kWidth));
  };
  placement.boot_ram = ram_of_zero_page(page);
  const std::uint64_t size = whole(kSize, kExtSize);
  if (size == 0) return {};
  const auto range = ByteRange::from_size(PhysAddr(whole(kImage, kExtImage)), size);
  if (!range) return bad_content(sysroot, path, "an initrd inside the address space");
  placement.initrd = RangeSet::from_ranges({*range});
  return {};
}

// /chosen, linux,initrd-start and linux,initrd-end: 32 or 64 bits each (Devicetree schema,
// chosen.yaml).
Result<void> add_device_tree_initrd(const SysRoot& sysroot, Placement& placement) {
  std::array<std::uint64_t, 2> bounds{};
  for (std::size_t i = 0; i < bounds.size(); ++i) {
    const std::string path =
        fmt::format("{}/chosen/linux,initrd-{}", kDeviceTree, i == 0 ? "start" : "end");
    const auto bytes = read_optional(sysroot, path, placement, "where the initrd was");
    if (!bytes) return bytes.error();
    if (!*bytes) return {};
    if ((*bytes)->size() != 4 && (*bytes)->size() != 8) {
      return bad_content(sysroot, path, "an address of 4 or 8 bytes");
    }
    bounds.at(i) = big_endian(**bytes);
  }
  if (bounds[0] >= bounds[1]) return {};  // no initrd
  if (const auto range = ByteRange::from_last(PhysAddr(bounds[0]), PhysAddr(bounds[1] - 1))) {
    placement.initrd = RangeSet::from_ranges({*range});
  }
  return {};
}

// Text, one hexadecimal number a line (kernel/liveupdate/kexec_handover_debugfs.c).
Result<std::vector<std::uint64_t>> hex_lines(const SysRoot& sysroot, const std::string& path,
                                             std::string_view text) {
  std::vector<std::uint64_t> numbers;
  for (std::string_view line : split_lines(text)) {
    line = trim(line);
    if (line.empty()) continue;
    if (line.starts_with("0x")) line.remove_prefix(2);
    const auto number = parse_unsigned(line, 16);
    if (!number) return bad_content(sysroot, path, "one hexadecimal number a line");
    numbers.push_back(*number);
  }
  return numbers;
}

Result<void> add_kho_scratch(const SysRoot& sysroot, Placement& placement) {
  const std::array<std::string, 2> paths = {"sys/kernel/debug/kho/out/scratch_phys",
                                            "sys/kernel/debug/kho/out/scratch_len"};
  constexpr std::string_view kAbout = "whether a frame lies in a KHO scratch area";
  std::array<std::vector<std::uint64_t>, 2> numbers;
  for (std::size_t i = 0; i < paths.size(); ++i) {
    const auto text = read_optional(sysroot, paths.at(i), placement, kAbout);
    if (!text) return text.error();
    if (!*text) {
      if (placement.not_known.empty() && kho_is_on(sysroot)) {
        placement.not_known.push_back(
            fmt::format("{} is not there although KHO is on, so {} was not checked; mount debugfs "
                        "(CONFIG_KEXEC_HANDOVER_DEBUGFS)",
                        sysroot.shown(paths.at(i)), kAbout));
      }
      return {};
    }
    auto parsed = hex_lines(sysroot, paths.at(i), **text);
    if (!parsed) return parsed.error();
    numbers.at(i) = *std::move(parsed);
  }
  if (numbers[0].size() != numbers[1].size()) {
    return bad_content(sysroot, paths[1],
                       fmt::format("as many lines as scratch_phys has ({})", numbers[0].size()));
  }
  std::vector<ByteRange> ranges;
  for (std::size_t i = 0; i < numbers[0].size(); ++i) {
    // An area of a node, or below 4 GiB, for which there was nothing to reserve.
    if (numbers[1][i] == 0) continue;
    const auto range = ByteRange::from_size(PhysAddr(numbers[0][i]), numbers[1][i]);
    if (!range) return bad_content(sysroot, paths[0], "areas inside the address space");
    ranges.push_back(*range);
  }
  placement.kho_scratch = RangeSet::from_ranges(std::move(ranges));
  return {};
}

// One folder a descriptor, "0x%llx" in each file (drivers/firmware/efi/runtime-map.c). An EFI page
// has 4096 bytes on every machine (UEFI, 7.2 "Memory Allocation Services").
Result<void> add_efi_runtime(const SysRoot& sysroot, Placement& placement) {
  constexpr std::uint64_t kEfiPage = 4096;
  const std::string folder = "sys/firmware/efi/runtime-map";
  constexpr std::string_view kAbout = "what EFI runtime services use";
  const auto entries = list_optional(sysroot, folder, placement, kAbout);
  if (!entries) return entries.error();
  std::vector<ByteRange> ranges;
  for (const std::string& entry : *entries) {
    std::array<std::uint64_t, 2> numbers{};
    const std::array<const char*, 2> files = {"phys_addr", "num_pages"};
    for (std::size_t i = 0; i < files.size(); ++i) {
      const std::string path = fmt::format("{}/{}/{}", folder, entry, files.at(i));
      const auto text = read_optional(sysroot, path, placement, kAbout);
      if (!text) return text.error();
      if (!*text) return {};
      const auto number = parse_prefixed_hex(trim(**text));
      if (!number) return bad_content(sysroot, path, "a number such as 0x1f000");
      numbers.at(i) = *number;
    }
    const auto range = numbers[1] <= kPhysAddrLimit / kEfiPage
                           ? ByteRange::from_size(PhysAddr(numbers[0]), numbers[1] * kEfiPage)
                           : std::nullopt;
    if (!range) return bad_content(sysroot, folder + "/" + entry, "a range of the address space");
    ranges.push_back(*range);
  }
  placement.efi_runtime = RangeSet::from_ranges(std::move(ranges));
  return {};
}

// The number of cells of /reserved-memory; the Devicetree Specification (3.5.2) has it equal that
// of the root. Nothing when the file is not there.
Result<std::optional<std::size_t>> cells(const SysRoot& sysroot, const std::string& path,
                                         Placement& placement, std::string_view about) {
  const auto bytes = read_optional(sysroot, path, placement, about);
  if (!bytes) return bytes.error();
  if (!*bytes) return std::optional<std::size_t>();
  const std::uint64_t count = (*bytes)->size() == 4 ? big_endian(**bytes) : 0;
  if (count < 1 || count > 2) {
    return bad_content(sysroot, path, "1 or 2 cells, as 4 bytes");
  }
  return std::optional(static_cast<std::size_t>(count));
}

// Whether a node counts: without "status", or with "okay" (Devicetree Specification, 2.3.4). The
// kernel reserves nothing for others (__reserved_mem_init_node(), drivers/of/of_reserved_mem.c).
bool is_enabled(const SysRoot& sysroot, const std::string& node) {
  const auto status = sysroot.read(node + "/status");
  if (!status) return true;
  const std::string_view word = std::string_view(*status).substr(0, status->find('\0'));
  return word == "okay" || word == "ok";
}

// Only nodes with "compatible": a driver has that memory. One without it is a plain exclusion,
// perhaps of these very frames, and has to be made again for the next kernel.
Result<void> add_reserved_memory(const SysRoot& sysroot, Placement& placement) {
  const std::string folder = fmt::format("{}/reserved-memory", kDeviceTree);
  constexpr std::string_view kAbout = "what the device tree reserves";
  const auto nodes = list_optional(sysroot, folder, placement, kAbout);
  if (!nodes) return nodes.error();
  if (nodes->empty()) return {};
  const auto address_cells = cells(sysroot, folder + "/#address-cells", placement, kAbout);
  if (!address_cells) return address_cells.error();
  const auto size_cells = cells(sysroot, folder + "/#size-cells", placement, kAbout);
  if (!size_cells) return size_cells.error();
  if (!*address_cells || !*size_cells) return {};
  constexpr std::size_t kCell = 4;
  const std::size_t address_bytes = **address_cells * kCell;
  const std::size_t entry_bytes = address_bytes + **size_cells * kCell;
  std::vector<ByteRange> ranges;
  for (const std::string& node : *nodes) {
    const std::string inside = fmt::format("{}/{}", folder, node);
    if (!sysroot.read(inside + "/compatible") || !is_enabled(sysroot, inside)) continue;
    const std::string path = fmt::format("{}/{}/reg", folder, node);
    const auto reg = sysroot.read(path);
    if (!reg) continue;  // placed by the kernel ("size"), or a property of /reserved-memory itself
    if (reg->size() % entry_bytes != 0) {
      return bad_content(sysroot, path, fmt::format("entries of {} bytes", entry_bytes));
    }
    for (std::size_t at = 0; at < reg->size(); at += entry_bytes) {
      const std::string_view entry = std::string_view(*reg).substr(at, entry_bytes);
      const auto range = ByteRange::from_size(PhysAddr(big_endian(entry.substr(0, address_bytes))),
                                              big_endian(entry.substr(address_bytes)));
      if (range) ranges.push_back(*range);
    }
  }
  placement.device_tree = RangeSet::from_ranges(std::move(ranges));
  return {};
}

// Folders hugepages-SIZEkB (mm/hugetlb_sysfs.c).
Result<void> add_hugetlb(const SysRoot& sysroot, Placement& placement) {
  constexpr std::string_view kPrefix = "hugepages-";
  constexpr std::string_view kUnit = "kB";
  const std::string folder = "sys/kernel/mm/hugepages";
  constexpr std::string_view kAbout = "what a frame costs the hugetlb pools";
  const auto pools = list_optional(sysroot, folder, placement, kAbout);
  if (!pools) return pools.error();
  for (const std::string& pool : *pools) {
    const std::string path = fmt::format("{}/{}/nr_hugepages", folder, pool);
    const auto text = read_optional(sysroot, path, placement, kAbout);
    if (!text) return text.error();
    if (!*text) continue;
    const auto pages = parse_unsigned(trim(**text), 10);
    const std::string_view name = pool;
    const auto kib =
        name.starts_with(kPrefix) && name.ends_with(kUnit)
            ? parse_unsigned(
                  name.substr(kPrefix.size(), name.size() - kPrefix.size() - kUnit.size()), 10)
            : std::nullopt;
    if (!pages || !kib || *kib > kPhysAddrLimit >> 10U || !std::has_single_bit(*kib)) {
      return bad_content(sysroot, path, "a number of pages, in a folder hugepages-SIZEkB");
    }
    if (*pages != 0) placement.hugetlb_page = std::max(placement.hugetlb_page, *kib << 10U);
  }
  return {};
}

Result<void> add_offline_blocks(const SysRoot& sysroot, Placement& placement) {
  const auto blocks = load_memory_blocks(sysroot);
  if (!blocks) return blocks.error();
  std::vector<ByteRange> offline;
  for (const MemoryBlock& block : *blocks) {
    if (!block.online) offline.push_back(block.range);
  }
  placement.offline_blocks = RangeSet::from_ranges(std::move(offline));
  return {};
}

}  // namespace

Result<Placement> load_placement(const SysRoot& sysroot) {
  Placement placement;
  // Only x86 has the one, or the other on a kernel that was built without the first.
  const auto firmware = sysroot.list("sys/firmware/memmap");
  placement.keeps_first_mib =
      (firmware && !firmware->empty()) || sysroot.list("sys/kernel/boot_params").ok();
  for (const auto step : {add_zero_page, add_device_tree_initrd, add_kho_scratch, add_efi_runtime,
                          add_reserved_memory, add_hugetlb, add_offline_blocks}) {
    if (auto done = step(sysroot, placement); !done) return done.error();
  }
  return placement;
}

}  // namespace poisonctl
