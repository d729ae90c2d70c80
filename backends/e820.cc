#include "backends/e820.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "backends/e820_forms.h"
#include "registry/kernel_config.h"
#include "registry/memory_map.h"
#include "registry/placement.h"
#include "registry/text.h"

namespace poisonctl {

namespace {

constexpr std::string_view kOption = "memmap=";
constexpr std::uint64_t kMib = 1U << 20U;

// COMMAND_LINE_SIZE is 2048 with the byte that ends the text (arch/x86/include/asm/setup.h); a
// bzImage says 2047 (cmdline_size), which GRUB and kexec-tools go by.
constexpr std::size_t kKernelLine = 2047;
// kexec_file_load keeps MAX_ELFCOREHDR_STR_LEN 30 of those back, for a crash kernel or not, and
// counts the byte that ends the text (arch/x86/kernel/kexec-bzimage64.c).
constexpr std::size_t kKexecFileLine = kKernelLine - 30 - 1;
// What kdump adds to the command line of this boot for the crash kernel, which it takes to be no
// longer than that of any other: KDUMP_CMDLINE_APPEND, KDUMP_COMMANDLINE_APPEND.
constexpr std::size_t kKdumpWords = 128;

// E820_MAX_ENTRIES of arch/x86/include/asm/e820/types.h: 128 + 3 * MAX_NUMNODES.
constexpr std::size_t kTableBase = 128;
constexpr std::size_t kTablePerNode = 3;
// What the kernel itself adds to the table later: setup_data, MPS tables, the kernel's own range.
constexpr std::size_t kTableReserve = 16;
// A range in the middle of RAM splits one entry into three (__e820__range_update).
constexpr std::size_t kEntriesPerRange = 2;
// E820_MAX_ENTRIES_ZEROPAGE: what kexec_file_load passes of the map, and no more.
constexpr std::size_t kZeroPageEntries = 128;
// MAX_MEMMAP_REGIONS of arch/x86/boot/compressed/kaslr.c.
constexpr std::size_t kKaslrRegions = 4;

// From RAM (1) to unusable (5): parse_memmap_one() in arch/x86/kernel/e820.c. '$' reserves the
// frame as well, but shells and GRUB eat it, and what is left then limits all memory.
std::string unusable_item(const ByteRange& range) {
  return fmt::format("{:#x}%{:#x}-1+5", range.size(), range.begin().value());
}

std::string_view dollar(Quoting quoting) {
  switch (quoting) {
    case Quoting::kGrub:
      return "\\$";
    case Quoting::kGrubDefault:
      return "\\\\\\$";
    case Quoting::kPlain:
    case Quoting::kShell:
      break;
  }
  return "$";
}

std::string item_for(const ByteRange& range, std::optional<Quoting> reserve) {
  if (!reserve) return unusable_item(range);
  return fmt::format("{:#x}{}{:#x}", range.size(), dollar(*reserve), range.begin().value());
}

std::string option_for(const RangeSet& taken, std::optional<Quoting> reserve) {
  std::vector<std::string> items;
  items.reserve(taken.ranges().size());
  for (const ByteRange& range : taken.ranges()) items.push_back(item_for(range, reserve));
  std::string option = fmt::format("{}{}", kOption, fmt::join(items, ","));
  return reserve == Quoting::kShell ? fmt::format("'{}'", option) : option;
}

// With the comma before it. What the kernel sees has no quotes, so this is right for all of them,
// and a byte or two too much for '$'.
std::size_t text_of_item(const ByteRange& range) { return unusable_item(range).size() + 1; }

Room room_of(const E820Limits& limits) {
  return {.ranges = limits.table_entries / limits.entries_per_range,
          .no_range_left =
              fmt::format("the kernel's memory map table is full: room for {} is left and each "
                          "range takes {}; past that the kernel would drop RAM",
                          counted(limits.table_entries, "entry"), limits.entries_per_range),
          // No comma before the first item.
          .text = limits.text_bytes > kOption.size() ? limits.text_bytes - kOption.size() + 1 : 0,
          .no_text_left = fmt::format("the kernel command line is full: memmap= has {} of the {} "
                                      "bytes that its loader takes",
                                      limits.text_bytes, limits.line_bytes),
          .text_of = text_of_item};
}

// How many NUMA nodes the kernel was built for. Only its build configuration tells
// (CONFIG_NODES_SHIFT is not exported); without that file, the fewest that can be.
std::size_t max_nodes(const SysRoot& sysroot) {
  constexpr std::uint64_t kMostShift = 10;  // the range of CONFIG_NODES_SHIFT (arch/x86/Kconfig)
  const auto config = KernelConfig::load(sysroot);
  if (!config) return 1;
  const auto shift = parse_unsigned(config->value("CONFIG_NODES_SHIFT").value_or(""), 10);
  return shift && *shift <= kMostShift ? std::size_t{1} << *shift : 1;
}

std::size_t less(std::size_t all, std::size_t taken) { return taken < all ? all - taken : 0; }

// What is known of the machine and of the command line that the option goes into.
struct Surroundings {
  MemoryMap map;
  Placement placement;
  MergeBase base;
  std::vector<MergeBase> others;  // of CommandLineRequest::also
  std::size_t table = 0;  // entries that the kernel's table has room for beyond the firmware's
};

Result<Surroundings> surroundings_of(const CommandLineRequest& request, const SysRoot& sysroot) {
  auto text = request.merge ? Result<std::string>(*request.merge) : sysroot.read("proc/cmdline");
  if (!text) return text.error();
  const std::string shown = request.merge ? "the command line" : sysroot.shown("proc/cmdline");
  auto base = merge_base(request.merge ? std::string_view(*text) : trim(*text), shown);
  if (!base) return base.error();
  std::vector<MergeBase> others;
  for (const std::string& line : request.also) {
    auto other = merge_base(line, "a command line that the option goes into as well");
    if (!other) return other.error();
    others.push_back(*std::move(other));
  }
  auto map = load_memory_map(sysroot);
  if (!map) return map.error();
  auto placement = load_placement(sysroot);
  if (!placement) return placement.error();
  const std::size_t used = map->firmware().size() + kTableReserve;
  const std::size_t table = less(kTableBase + kTablePerNode * max_nodes(sysroot), used);
  return Surroundings{*std::move(map), *std::move(placement), *std::move(base), std::move(others),
                      table};
}

// Where KHO gives the next kernel its first memory, whatever the map says (memblock_add() of the
// scratch areas in kho_populate(), kernel/liveupdate/kexec_handover.c). A cold boot has none yet.
OutOfReach kho_areas(const RangeSet& scratch) {
  return {scratch, reason_of({rule_of("kho-scratch"), scratch.ranges().front()})};
}

// What the option can change: memory that the boot loader calls RAM. What is added later, by
// memory hot-plug, a DAX driver or CXL, has entries of its own in no E820 table. The firmware map
// has hot-added RAM as well (firmware_map_add_hotplug() in mm/memory_hotplug.c), so it is second.
RangeSet e820_ram(const MemoryMap& map, const Placement& placement) {
  if (!placement.boot_ram.empty()) return placement.boot_ram;
  std::vector<ByteRange> ram;
  for (const FirmwareEntry& entry : map.firmware()) {
    if (entry.type == "System RAM") ram.push_back(entry.range);
  }
  return ram.empty() ? map.installed_ram() : RangeSet::from_ranges(std::move(ram));
}

OutOfReach added_later(const RangeSet& ram) {
  const RangeSet all =
      RangeSet::from_ranges({*ByteRange::from_last(PhysAddr(0), PhysAddr(kPhysAddrLimit - 1))});
  return {all.minus(ram),
          "is RAM that the boot loader's map does not have (hot-added, DAX or CXL), which no map "
          "of the next kernel can leave out; retire it when it comes online ('poisonctl replay')"};
}

// The piece of RAM below 1 MiB in which x86 starts its other CPUs, and without which it panics
// (reserve_real_mode() and init_real_mode(), arch/x86/realmode/init.c). It gets none of the first
// 64 KiB (early_reserve_memory(), arch/x86/kernel/setup.c). Empty while a clean one is left.
RangeSet needed_below_1_mib(const RangeSet& ram, const RetireList& list) {
  constexpr std::uint64_t kFirst = 64U << 10U;
  constexpr std::uint64_t kNeeded = 64U << 10U;  // more than any kernel's blob for real mode
  const RangeSet low = ram.within(*ByteRange::from_last(PhysAddr(kFirst), PhysAddr(kMib - 1)));
  const RangeSet clean = low.minus(list.frames);
  const auto is_enough = [](const ByteRange& range) { return range.size() >= kNeeded; };
  if (std::any_of(clean.ranges().begin(), clean.ranges().end(), is_enough)) return {};
  // Where the fewest bad frames are given back. Where no piece is as large, the whole of it.
  RangeSet best = low;
  for (std::uint64_t at = kFirst; at + kNeeded <= kMib; at += list.page_shift.page_size()) {
    const auto piece = *ByteRange::from_size(PhysAddr(at), kNeeded);
    if (!low.contains(piece)) continue;
    if (list.frames.within(piece).bytes() < list.frames.intersected_with(best).bytes() ||
        best == low) {
      best = RangeSet::from_ranges({piece});
    }
  }
  return best;
}

// Healthy memory that may go as well: none of that which is needed below.
RangeSet above_1_mib(const RangeSet& ram) {
  return ram.within(*ByteRange::from_last(PhysAddr(kMib), PhysAddr(kPhysAddrLimit - 1)));
}

std::vector<OutOfReach> out_of_reach(const RetireList& list, const Surroundings& around) {
  const RangeSet ram = e820_ram(around.map, around.placement);
  return {added_later(ram),
          {needed_below_1_mib(ram, list),
           "is in the last piece of RAM below 1 MiB that is large enough for the code that starts "
           "the other CPUs: an x86 kernel without it panics (arch/x86/realmode/init.c); have the "
           "memory replaced"}};
}

// The bytes that a command line of `line` bytes has left for the option.
std::size_t text_left(const MergeBase& base, const CommandLineRequest& request, std::size_t line) {
  const std::size_t space_between = base.text.empty() ? 0 : 1;
  return less(line, base.text.size() + space_between + request.kept_free +
                        (base.crash_kernel ? kKdumpWords : 0));
}

E820Limits limits_of(const CommandLineRequest& request, const RetireList& list,
                     const Surroundings& around) {
  const std::size_t line = request.loader == Loader::kKexec ? kKexecFileLine : kKernelLine;
  std::size_t text = text_left(around.base, request, line);
  std::size_t foreign_items = around.base.foreign_items;
  std::size_t ram_items = around.base.ram_items;
  for (const MergeBase& other : around.others) {
    text = std::min(text, text_left(other, request, line));
    foreign_items = std::max(foreign_items, other.foreign_items);
    ram_items = std::max(ram_items, other.ram_items);
  }
  const std::size_t per_range = kEntriesPerRange * (1 + ram_items);
  E820Limits limits{.text_bytes = text,
                    .table_entries = less(around.table, foreign_items * per_range),
                    .entries_per_range = per_range,
                    .line_bytes = line,
                    .widening = {request.widen, above_1_mib(around.map.system_ram())},
                    .out_of_reach = out_of_reach(list, around)};
  const RangeSet& scratch = around.placement.kho_scratch;
  if (request.loader == Loader::kKexec && !scratch.empty()) {
    limits.out_of_reach.push_back(kho_areas(scratch));
  }
  return limits;
}

std::string kaslr_effect(std::size_t ranges, std::optional<Quoting> reserve) {
  if (!reserve) {
    return "the next kernel is not placed at random in physical memory: its decompressor takes "
           "SIZE%ADDR for a limit of memory, and the EFI stub gives up for any memmap=; virtual "
           "KASLR stays";
  }
  if (ranges > kKaslrRegions) {
    return fmt::format(
        "the next kernel is not placed at random in physical memory: its decompressor keeps clear "
        "of {} memmap= regions at most and gives up for more, and the EFI stub for any; virtual "
        "KASLR stays",
        kKaslrRegions);
  }
  return "started through the EFI stub, the next kernel is not placed at random in physical "
         "memory; "
         "by BIOS or kexec it is, and clear of these ranges";
}

// What is so because of the machine and the command line, whatever the list.
void add_effects_of(const CommandLineRequest& request, const Surroundings& around, Plan& plan) {
  const auto& effects = around.base.remarks;
  plan.side_effects.insert(plan.side_effects.end(), effects.begin(), effects.end());
  if (!request.merge && around.base.insert_at != around.base.text.size()) {
    plan.side_effects.emplace_back(
        "the command line of this boot has '--', after which the kernel reads nothing: put the "
        "option before it (--merge does)");
  }
  if (request.loader != Loader::kKexec) {
    const std::uint64_t bytes = plan.covered.bytes_shared_with(around.placement.kho_scratch);
    if (bytes != 0) {
      plan.side_effects.push_back(fmt::format(
          "{} of it is in scratch areas of KHO, where a kexec with handover voids the option",
          to_human_size(bytes)));
    }
    return;
  }
  const auto& unknown = around.placement.not_known;
  plan.side_effects.insert(plan.side_effects.end(), unknown.begin(), unknown.end());
  if (around.map.firmware().size() > kZeroPageEntries) {
    plan.side_effects.push_back(fmt::format(
        "the firmware's memory map has {}, and kexec_file_load passes on {}: the next "
        "kernel loses the RAM after those, whatever its command line says; use kexec_load "
        "(kexec -c), which passes on 2048",
        counted(around.map.firmware().size(), "entry"), kZeroPageEntries));
  }
}

void sort_refused(Plan& plan) {
  std::sort(plan.refused.begin(), plan.refused.end(),
            [](const auto& a, const auto& b) { return a.range < b.range; });
}

// The choice for a list; its refusals are moved to those of the list and of what is out of reach in
// `plan`.
Choice choose(const RetireList& list, const E820Limits& limits, const Room& room, Plan& plan) {
  plan.refused = list.refused;
  RangeSet frames = list.frames;
  Widening widening = limits.widening;
  for (const OutOfReach& area : limits.out_of_reach) {
    const RangeSet lost = frames.intersected_with(area.where.widened_to(list.page_shift));
    for (const ByteRange& range : lost.ranges()) plan.refused.push_back({range, area.reason});
    frames = frames.minus(lost);
    widening.within = widening.within.minus(area.where);
  }
  Choice choice = choose_ranges(list, frames, widening, room);
  std::move(choice.refused.begin(), choice.refused.end(), std::back_inserter(plan.refused));
  choice.refused.clear();
  plan.covered = choice.covered;
  sort_refused(plan);
  return choice;
}

void add_losses(const Choice& choice, Plan& plan) {
  plan.side_effects.push_back(
      fmt::format("{} fewer of RAM in the next kernel", to_human_size(choice.taken.bytes())));
  if (choice.healthy_bytes() == 0) return;
  plan.side_effects.push_back(
      fmt::format("{} of that is healthy memory between bad frames (--widen): {} became {}",
                  to_human_size(choice.healthy_bytes()),
                  counted(choice.covered.ranges().size(), "range"), choice.taken.ranges().size()));
}

Result<void> check_request(const PlanRequest& request) {
  const CommandLineRequest& line = request.command_line;
  const bool plain = !line.reserve || *line.reserve == Quoting::kPlain;
  if (line.merge && !plain) {
    return Error{ErrorCode::kUsage,
                 "a merged command line is what the kernel sees, without quotes: use --reserve "
                 "plain, or leave out the command line"};
  }
  if (!request.form.empty() && (line.merge || line.reserve)) {
    return Error{ErrorCode::kUsage, fmt::format("the form '{}' has no command line: leave out the "
                                                "options about it",
                                                request.form)};
  }
  return {};
}

}  // namespace

std::span<const std::string_view> E820Backend::forms() const { return e820_form_names(); }

bool E820Backend::is_binary(std::string_view form) const { return is_binary_form(form); }

Availability E820Backend::probe(const SysRoot& sysroot) const {
  const auto entries = sysroot.list("sys/firmware/memmap");
  if (entries && !entries->empty()) {
    return {true,
            fmt::format("the firmware's memory map has {}", counted(entries->size(), "entry"))};
  }
  // What cannot be read says nothing of the machine.
  if (!entries && entries.error().code != ErrorCode::kNoInput) {
    return {false, entries.error().message};
  }
  return {
      false,
      sysroot.shown("sys/firmware/memmap") +
          " is not there: memmap= with an address exists on x86 only, and without the firmware's "
          "map its table cannot be kept from overflowing (CONFIG_FIRMWARE_MEMMAP)"};
}

Result<Plan> E820Backend::plan(const PlanRequest& request, const SysRoot& sysroot) const {
  if (auto sane = check_request(request); !sane) return sane.error();
  const CommandLineRequest& line = request.command_line;
  const auto around = surroundings_of(line, sysroot);
  if (!around) return around.error();
  if (!request.form.empty()) {
    // None of these goes with a handover: kexec_file_load makes its own map.
    CommandLineRequest booted = line;
    booted.loader = Loader::kBoot;
    const E820Limits limits = limits_of(booted, request.list, *around);
    const FormPlace place{around->map, around->table};
    const Room room = room_of_form(request.form, place);
    Plan plan;
    const Choice choice = choose(request.list, limits, room, plan);
    if (plan.covered.empty()) return plan;
    plan.artifact = artifact_of_form(request.form, choice.taken, place);
    plan.side_effects = effects_of_form(request.form);
    add_losses(choice, plan);
    return plan;
  }
  Plan plan = plan_e820(request.list, limits_of(line, request.list, *around), line.reserve);
  add_effects_of(line, *around, plan);
  if (!line.merge) return plan;
  std::string_view option = plan.artifact;
  if (!option.empty()) option.remove_suffix(1);
  plan.artifact = merged(around->base, option) + "\n";
  return plan;
}

Plan plan_e820(const RetireList& list, const E820Limits& limits, std::optional<Quoting> reserve) {
  Plan plan;
  const Choice choice = choose(list, limits, room_of(limits), plan);
  if (plan.covered.empty()) return plan;
  plan.artifact = option_for(choice.taken, reserve) + "\n";
  plan.side_effects = {
      kaslr_effect(choice.taken.ranges().size(), reserve),
      "a memmap= option holds for one boot: every boot entry and every kexec needs it again"};
  add_losses(choice, plan);
  return plan;
}

}  // namespace poisonctl
