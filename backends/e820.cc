#include "backends/e820.h"

#include <fmt/format.h>

#include <algorithm>

#include "registry/memory_map.h"
#include "registry/text.h"

namespace poisonctl {

namespace {

constexpr std::string_view kOption = "memmap=";
// From RAM (1) to unusable (5): parse_memmap_one() in arch/x86/kernel/e820.c. '$' would reserve the
// frame as well, but shells and GRUB eat it, and what is left then limits all memory.
constexpr std::string_view kFromRamToUnusable = "-1+5";

// The longest command line that every path takes. The kernel has COMMAND_LINE_SIZE 2048 with the
// byte that ends the text (arch/x86/include/asm/setup.h), a bzImage says 2047 (cmdline_size), and
// kexec_file_load keeps MAX_ELFCOREHDR_STR_LEN 30 of those back, for a crash kernel or not
// (arch/x86/kernel/kexec-bzimage64.c).
constexpr std::size_t kLongestCommandLine = 2047 - 30 - 1;

// E820_MAX_ENTRIES of arch/x86/include/asm/e820/types.h: 128 + 3 * MAX_NUMNODES.
constexpr std::size_t kTableBase = 128;
constexpr std::size_t kTablePerNode = 3;
// What the kernel itself adds to the table later: setup_data, MPS tables, the kernel's own range.
constexpr std::size_t kTableReserve = 16;
// A range in the middle of RAM splits one entry into three (__e820__range_update).
constexpr std::size_t kEntriesPerRange = 2;

std::string item_for(const ByteRange& range) {
  return fmt::format("{:#x}%{:#x}{}", range.size(), range.begin().value(), kFromRamToUnusable);
}

bool is_own_item(std::string_view item) {
  const auto percent = item.find('%');
  if (percent == std::string_view::npos || !item.ends_with(kFromRamToUnusable)) return false;
  const std::string_view address =
      item.substr(percent + 1, item.size() - percent - 1 - kFromRamToUnusable.size());
  return parse_prefixed_hex(item.substr(0, percent)) && parse_prefixed_hex(address);
}

bool is_own_option(std::string_view word) {
  if (!word.starts_with(kOption)) return false;
  word.remove_prefix(kOption.size());
  for (;;) {
    const auto comma = word.find(',');
    if (!is_own_item(word.substr(0, comma))) return false;
    if (comma == std::string_view::npos) return true;
    word.remove_prefix(comma + 1);
  }
}

// How many NUMA nodes the kernel was built for. Only its build configuration tells
// (CONFIG_NODES_SHIFT is not exported); without that file, the fewest that can be.
std::size_t max_nodes(const SysRoot& sysroot) {
  const auto release = sysroot.read("proc/sys/kernel/osrelease");
  if (!release) return 1;
  const auto config = sysroot.read(fmt::format("boot/config-{}", trim(*release)));
  if (!config) return 1;
  for (const std::string_view line : split_lines(*config)) {
    constexpr std::string_view kKey = "CONFIG_NODES_SHIFT=";
    if (!line.starts_with(kKey)) continue;
    const auto shift = parse_unsigned(line.substr(kKey.size()), 10);
    return shift && *shift <= 10 ? std::size_t{1} << *shift : 1;
  }
  return 1;
}

Result<E820Limits> limits_of(const SysRoot& sysroot) {
  const auto command_line = sysroot.read("proc/cmdline");
  if (!command_line) return command_line.error();
  const auto map = load_memory_map(sysroot);
  if (!map) return map.error();
  const std::string base = without_own_memmap(trim(*command_line));
  const std::size_t taken = base.empty() ? 0 : base.size() + 1;  // a space between
  const std::size_t table = kTableBase + kTablePerNode * max_nodes(sysroot);
  const std::size_t used = map->firmware().size() + kTableReserve;
  return E820Limits{.text_bytes = taken < kLongestCommandLine ? kLongestCommandLine - taken : 0,
                    .table_entries = used < table ? table - used : 0};
}

std::vector<std::string> side_effects_of(const RangeSet& covered) {
  return {
      "the next kernel is not placed at random in physical memory: its decompressor and the EFI "
      "stub "
      "give up physical KASLR for any memmap=; virtual KASLR stays",
      "a memmap= option holds for one boot: every boot entry and every kexec needs it again",
      fmt::format("{} fewer of RAM in the next kernel", to_human_size(covered.bytes())),
  };
}

}  // namespace

std::string without_own_memmap(std::string_view command_line) {
  std::string rest;
  for (const std::string_view word : split_words(command_line)) {
    if (is_own_option(word)) continue;
    if (!rest.empty()) rest += ' ';
    rest += word;
  }
  return rest;
}

Availability E820Backend::probe(const SysRoot& sysroot) const {
  const auto entries = sysroot.list("sys/firmware/memmap");
  if (entries && !entries->empty()) {
    return {true, fmt::format("the firmware's memory map has {} entries", entries->size())};
  }
  return {
      false,
      sysroot.shown("sys/firmware/memmap") +
          " is not there: memmap= with an address exists on x86 only, and without the firmware's "
          "map its table cannot be kept from overflowing (CONFIG_FIRMWARE_MEMMAP)"};
}

Result<Plan> E820Backend::plan(const PlanRequest& request, const SysRoot& sysroot) const {
  const RetireList& list = request.list;
  const auto limits = limits_of(sysroot);
  if (!limits) return limits.error();
  return plan_e820(list, *limits);
}

Plan plan_e820(const RetireList& list, const E820Limits& limits) {
  std::vector<ByteRange> by_size = list.frames.ranges();
  std::stable_sort(by_size.begin(), by_size.end(),
                   [](const auto& a, const auto& b) { return a.size() > b.size(); });

  Plan plan{.covered = {}, .refused = list.refused, .side_effects = {}, .artifact = {}};
  std::vector<ByteRange> covered;
  std::size_t text = kOption.size();
  for (const ByteRange& range : by_size) {
    const std::size_t item = item_for(range).size() + (covered.empty() ? 0 : 1);
    if ((covered.size() + 1) * kEntriesPerRange > limits.table_entries) {
      plan.refused.push_back(
          {range, fmt::format("the kernel's memory map table is full: {} entries are left and each "
                              "range takes {}; past that the kernel would drop RAM",
                              limits.table_entries, kEntriesPerRange)});
    } else if (text + item > limits.text_bytes) {
      plan.refused.push_back(
          {range,
           fmt::format(
               "the kernel command line is full: memmap= has {} of the {} bytes that kexec takes",
               limits.text_bytes, kLongestCommandLine)});
    } else {
      covered.push_back(range);
      text += item;
    }
  }
  std::sort(plan.refused.begin(), plan.refused.end(),
            [](const auto& a, const auto& b) { return a.range < b.range; });
  if (covered.empty()) return plan;

  plan.covered = RangeSet::from_ranges(std::move(covered));
  std::vector<std::string> items;
  for (const ByteRange& range : plan.covered.ranges()) items.push_back(item_for(range));
  plan.artifact = fmt::format("{}{}\n", kOption, fmt::join(items, ","));
  plan.side_effects = side_effects_of(plan.covered);
  return plan;
}

}  // namespace poisonctl
