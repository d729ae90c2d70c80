#include "backends/e820_forms.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>

#include "backends/badram_cover.h"
#include "registry/text.h"

namespace poisonctl {

namespace {

// E820 types: arch/x86/include/asm/e820/types.h.
enum class E820Type : std::uint32_t {
  kRam = 1,
  kReserved = 2,
  kAcpi = 3,
  kNvs = 4,
  kUnusable = 5,
  kPmem = 7,
  kPram = 12,
  kSoftReserved = 0xefffffff,
};

// e820_type_to_string() of arch/x86/kernel/e820.c. What it has no name for is reserved.
E820Type type_named(std::string_view name) {
  constexpr std::array<std::pair<std::string_view, E820Type>, 7> kNames = {{
      {"System RAM", E820Type::kRam},
      {"ACPI Tables", E820Type::kAcpi},
      {"ACPI Non-volatile Storage", E820Type::kNvs},
      {"Unusable memory", E820Type::kUnusable},
      {"Persistent Memory", E820Type::kPmem},
      {"Persistent Memory (legacy)", E820Type::kPram},
      {"Soft Reserved", E820Type::kSoftReserved},
  }};
  for (const auto& [known, type] : kNames) {
    if (known == name) return type;
  }
  return E820Type::kReserved;
}

// E820_MAX_ENTRIES_ZEROPAGE, which is GRUB's own limit too (GRUB_E820_MAX_ENTRY).
constexpr std::size_t kZeroPageEntries = 128;
// GRUB's map has entries of its own by the time it starts a kernel.
constexpr std::size_t kGrubReserve = 16;
// The longest line that cmd.exe takes.
constexpr std::size_t kWindowsLine = 8191;
constexpr std::string_view kBcdedit = "bcdedit /set {badmemory} badmemorylist";

void put(std::string& bytes, std::uint64_t value, std::size_t width) {
  for (std::size_t i = 0; i < width; ++i) bytes += static_cast<char>(value >> 8 * i & 0xff);
}

// struct boot_e820_entry: u64 address, u64 size, u32 type.
void put_entry(std::string& bytes, const ByteRange& range, E820Type type) {
  put(bytes, range.begin().value(), sizeof(std::uint64_t));
  put(bytes, range.size(), sizeof(std::uint64_t));
  put(bytes, static_cast<std::uint32_t>(type), sizeof(std::uint32_t));
}

// Entries of the firmware without what is taken of RAM, then with it.
std::string whole_table(const MemoryMap& map, const RangeSet& taken) {
  struct Entry {
    ByteRange range;
    E820Type type;
  };
  std::vector<Entry> entries;
  for (const FirmwareEntry& entry : map.firmware()) {
    const E820Type type = type_named(entry.type);
    const RangeSet whole = RangeSet::from_ranges({entry.range});
    const RangeSet out = type == E820Type::kRam ? whole.intersected_with(taken) : RangeSet();
    const RangeSet kept = whole.minus(out);
    for (const ByteRange& range : kept.ranges()) entries.push_back({range, type});
    for (const ByteRange& range : out.ranges()) entries.push_back({range, E820Type::kUnusable});
  }
  std::sort(entries.begin(), entries.end(),
            [](const Entry& a, const Entry& b) { return a.range < b.range; });
  std::string bytes;
  for (const Entry& entry : entries) put_entry(bytes, entry.range, entry.type);
  return bytes;
}

// struct setup_data: u64 next, u32 type, u32 length. The kernel adds the entries to its table,
// where of two that overlap the higher type wins (e820__update_table).
std::string setup_data(const RangeSet& taken) {
  constexpr std::uint32_t kSetupE820Ext = 1;
  std::string entries;
  for (const ByteRange& range : taken.ranges()) put_entry(entries, range, E820Type::kUnusable);
  std::string bytes;
  put(bytes, 0, sizeof(std::uint64_t));
  put(bytes, kSetupE820Ext, sizeof(std::uint32_t));
  put(bytes, entries.size(), sizeof(std::uint32_t));
  return bytes + entries;
}

// The bits above any address are left out of the masks: GRUB 2.06 looks for the first match in a
// region by halving, with a sum of 64 bits that wraps, and never ends where all matches lie below
// the region (badram_iter, grub-core/mmap/mmap.c). With free bits at the top none does.
std::string grub_badram(const RangeSet& taken) {
  std::vector<std::string> pairs;
  for (const BadramPattern& pattern : cover_exactly(taken)) {
    pairs.push_back(
        fmt::format("{:#x},{:#x}", pattern.address, pattern.mask & (kPhysAddrLimit - 1)));
  }
  return fmt::format("GRUB_BADRAM=\"{}\"\n", fmt::join(pairs, ","));
}

// In KiB: for BIOS, GRUB reads numbers of 32 bits, which in bytes end at 4 GiB
// (grub-core/mmap/mmap.c, parsemem).
std::string grub_cutmem(const RangeSet& taken) {
  constexpr std::uint64_t kKib = 1024;
  std::string lines;
  for (const ByteRange& range : taken.ranges()) {
    lines += fmt::format("cutmem {:#x}K {:#x}K\n", range.begin().value() / kKib,
                         range.end().value() / kKib);
  }
  return lines;
}

// Windows' pages have 4 KiB whatever Linux' have.
PageShift windows_page() { return PageShift::smallest(); }

std::string bcdedit(const RangeSet& taken) {
  std::string line(kBcdedit);
  for (const ByteRange& range : taken.ranges()) {
    const std::uint64_t first = windows_page().pfn_of(range.begin()).value();
    const std::uint64_t count = range.frame_count(windows_page());
    for (std::uint64_t i = 0; i < count; ++i) line += fmt::format(" {:#x}", first + i);
  }
  return line + "\n";
}

// Of the longest number in the range, so never too little.
std::size_t bcdedit_text(const ByteRange& range) {
  const std::uint64_t last = windows_page().pfn_of(range.last()).value();
  const auto digits = static_cast<std::size_t>(std::bit_width(last | 1U) + 3) / 4;
  constexpr std::size_t kBlankAndPrefix = 3;
  return range.frame_count(windows_page()) * (kBlankAndPrefix + digits);
}

std::size_t less(std::size_t all, std::size_t taken) { return taken < all ? all - taken : 0; }

enum class Form { kBadram, kCutmem, kWindows, kTable, kSetupData };

constexpr std::array<std::string_view, 5> kNames = {"badram", "cutmem", "bcdedit", "table",
                                                    "setup-data"};

Form form_named(std::string_view name) {
  const auto found = std::find(kNames.begin(), kNames.end(), name);
  return static_cast<Form>(found - kNames.begin());
}

}  // namespace

std::span<const std::string_view> e820_form_names() { return kNames; }

bool is_binary_form(std::string_view form) { return form == "table" || form == "setup-data"; }

Room room_of_form(std::string_view form, const FormPlace& place) {
  const std::size_t zero_page = less(kZeroPageEntries, place.map.firmware().size());
  Room room;
  switch (form_named(form)) {
    case Form::kBadram:
    case Form::kCutmem:  // a hole makes two entries of one
      room.ranges = less(zero_page, kGrubReserve);
      room.no_range_left = fmt::format(
          "the memory map that GRUB gives to a kernel is full: it has {} entries, of which {} are "
          "left, and GRUB starts no kernel past that",
          kZeroPageEntries, room.ranges);
      break;
    case Form::kWindows:
      room.text = kWindowsLine - kBcdedit.size();
      room.text_of = bcdedit_text;
      room.no_text_left = fmt::format(
          "the command is full: cmd.exe takes {} characters, and bcdedit replaces the whole list "
          "each time",
          kWindowsLine);
      break;
    case Form::kTable:  // a range makes three entries of one
      room.ranges = zero_page / 2;
      room.no_range_left = fmt::format(
          "the table is full: the zero page has {} entries, and the firmware's map takes {}; the "
          "form setup-data has more room",
          kZeroPageEntries, place.map.firmware().size());
      break;
    case Form::kSetupData:
      room.ranges = place.table_entries / 2;
      room.no_range_left = fmt::format(
          "the kernel's memory map table is full: room for {} is left and each range takes two; "
          "past that the kernel would drop RAM",
          counted(place.table_entries, "entry"));
      break;
  }
  return room;
}

std::string artifact_of_form(std::string_view form, const RangeSet& taken, const FormPlace& place) {
  switch (form_named(form)) {
    case Form::kBadram:
      return grub_badram(taken);
    case Form::kCutmem:
      return grub_cutmem(taken);
    case Form::kWindows:
      return bcdedit(taken);
    case Form::kTable:
      return whole_table(place.map, taken);
    case Form::kSetupData:
      return setup_data(taken);
  }
  return {};
}

std::vector<std::string> effects_of_form(std::string_view form) {
  switch (form_named(form)) {
    case Form::kBadram:
    case Form::kCutmem:
      return {"it holds for what GRUB starts, and not for a kexec",
              "GRUB refuses badram and cutmem under Secure Boot (lockdown), and goes on without"};
    case Form::kWindows:
      return {
          "it replaces the list that Windows has: 'poisonctl collect bcdedit' takes that in "
          "first"};
    case Form::kTable:
    case Form::kSetupData:
      return {
          "it holds for the one kernel that a tool starts with it: kexec and kexec_file_load "
          "make a map of their own"};
  }
  return {};
}

}  // namespace poisonctl
