#include "registry/sources/memmap_option.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "registry/kernel_size.h"
#include "registry/text.h"

namespace poisonctl {

namespace {

constexpr std::uint64_t kLargestShare = 16;
// E820 type that no kernel gives out as memory: E820_TYPE_UNUSABLE,
// arch/x86/include/asm/e820/types.h.
constexpr std::uint64_t kUnusable = 5;

// One item, taken apart.
struct MemmapItem {
  std::uint64_t size = 0;
  char kind = 0;  // '%' with new type 5, '$', or what it is that is ignored; 'l' for a limit
  std::uint64_t address = 0;
};

// "-OLD+NEW" after "SIZE%ADDR". Returns NEW, 0 where none is given, nothing when malformed.
std::optional<std::uint64_t> take_new_type(std::string_view text) {
  const auto take_type = [&text](char mark) -> std::optional<std::uint64_t> {
    if (text.empty() || text[0] != mark) return 0;
    text.remove_prefix(1);
    return take_kernel_size(text);
  };
  const auto old_type = take_type('-');
  const auto new_type = take_type('+');
  if (!old_type || !new_type || !text.empty()) return std::nullopt;
  return new_type;
}

// Nothing when it is no item of memmap= that the kernel would take.
std::optional<MemmapItem> parse_item(std::string_view text) {
  if (text == "exactmap") return MemmapItem{.kind = 'x'};
  MemmapItem item;
  const auto size = take_kernel_size(text);
  if (!size) return std::nullopt;
  item.size = *size;
  if (text.empty()) {
    item.kind = 'l';
    return item;
  }
  const auto mark = text.find_first_not_of('\\');
  constexpr std::string_view kMarks = "%$@#!";
  if (mark == std::string_view::npos || kMarks.find(text[mark]) == std::string_view::npos ||
      (mark != 0 && text[mark] != '$')) {
    return std::nullopt;
  }
  item.kind = text[mark];
  text.remove_prefix(mark + 1);
  const auto address = take_kernel_size(text);
  if (!address) return std::nullopt;
  item.address = *address;
  if (item.kind == '%') {
    const auto new_type = take_new_type(text);
    if (!new_type) return std::nullopt;
    if (*new_type != kUnusable) item.kind = 't';
    return item;
  }
  return text.empty() ? std::optional(item) : std::nullopt;
}

std::string_view meaning_of(char kind) {
  switch (kind) {
    case 'x':
      return "exactmap (a memory map of one's own)";
    case 'l':
      return "SIZE alone (a limit of memory; a shell may have taken the $ADDR that followed)";
    case 't':
      return "SIZE%ADDR to a type other than 5 (unusable)";
    case '@':
      return "SIZE@ADDR (more RAM)";
    case '#':
      return "SIZE#ADDR (ACPI data)";
    default:
      return "SIZE!ADDR (persistent memory)";
  }
}

Result<void> collect_item(std::string_view text, std::string_view place, BadramImport& import) {
  const auto item = parse_item(text);
  if (!item) {
    return bad_data(place,
                    fmt::format("memmap item '{}': expected SIZE%ADDR-1+5 or SIZE$ADDR, with "
                                "numbers of at most 64 bits that K, M, G or T may follow",
                                printable(text)));
  }
  if (item->kind != '%' && item->kind != '$') {
    if (import.ignored_kinds.find(item->kind) != std::string::npos) return {};
    import.ignored_kinds += item->kind;
    import.collector.warn(
        fmt::format("{}memmap={} is not about bad memory: ignored", place, meaning_of(item->kind)));
    return {};
  }
  const auto range = ByteRange::from_size(PhysAddr(item->address), item->size);
  if (!range) {
    return bad_data(place,
                    fmt::format("memmap item '{}' {}", printable(text),
                                item->size == 0 ? "covers no memory: its size is 0"
                                                : "reaches past " + to_hex(kPhysAddrLimit - 1) +
                                                      ", the last address that any machine has"));
  }
  Event event = event_of(EventKind::kUncorrected, range, fmt::format("memmap={}", text));
  const std::uint64_t share = import.settings.memory_end.value() / kLargestShare;
  if (item->kind == '$' && item->size > std::max(share, import.settings.page_shift.page_size())) {
    import.collector.warn(fmt::format(
        "{}memmap item '{}' reserves {}, more than 1/{} of memory: it is hardly there because that "
        "is bad, and is kept as evidence without a place",
        place, printable(text), to_human_size(item->size), kLargestShare));
    event.range.reset();
  }
  return import.collector.hand_over(std::move(event));
}

// The next argument of a command line, without its double quotes, which keep blanks together
// (next_arg in lib/cmdline.c); nothing at the end.
std::optional<std::string> take_argument(std::string_view& text) {
  text = trim(text);
  if (text.empty()) return std::nullopt;
  std::string argument;
  bool quoted = false;
  std::size_t i = 0;
  for (; i < text.size() && (quoted || (text[i] != ' ' && text[i] != '\t')); ++i) {
    if (text[i] == '"') {
      quoted = !quoted;
    } else {
      argument += text[i];
    }
  }
  text.remove_prefix(i);
  return argument;
}

// What a line of /etc/default/grub gives the kernel; other lines are command lines as they are.
std::string_view command_line_of(std::string_view line) {
  line = trim(line);
  constexpr std::string_view kGrub = "GRUB_CMDLINE_LINUX";
  if (line.substr(0, kGrub.size()) != kGrub) return line;
  const auto equals = line.find('=');
  if (equals == std::string_view::npos) return line;
  line.remove_prefix(equals + 1);
  if (line.size() < 2 || (line[0] != '"' && line[0] != '\'')) return line;
  return line.substr(1, line.find(line[0], 1) - 1);
}

Result<void> collect_line(std::string_view line, std::string_view place, BadramImport& import) {
  constexpr std::string_view kMemmap = "memmap=";
  constexpr std::string_view kBadram = "badram=";
  std::string_view rest = command_line_of(line);
  if (!rest.empty() && rest[0] == '#') return {};
  while (const auto argument = take_argument(rest)) {
    const std::string_view text = *argument;
    if (text == "--") return {};
    Result<void> done;
    if (text.substr(0, kMemmap.size()) == kMemmap) {
      done = collect_memmap_list(text.substr(kMemmap.size()), place, import);
    } else if (text.substr(0, kBadram.size()) == kBadram) {
      done = collect_badram_list(text.substr(kBadram.size()), HexPrefix::kNeeded, place, import);
    }
    if (!done) return done;
  }
  return {};
}

}  // namespace

Result<void> collect_memmap_list(std::string_view list, std::string_view place,
                                 BadramImport& import) {
  for (;;) {
    const auto comma = list.find(',');
    if (auto done = collect_item(list.substr(0, comma), place, import); !done) return done;
    if (comma == std::string_view::npos) return {};
    list.remove_prefix(comma + 1);
  }
}

Result<SourceReport> collect_memmap_option(ByteStream& stream, const SourceSettings& settings,
                                           const EventSink& sink) {
  Collector collector(sink);
  BadramImport import{.settings = settings, .collector = collector};
  LineReader reader(stream);
  const auto read = for_each_text_line(reader, "a kernel command line",
                                       [&](std::string_view line, const std::string& place) {
                                         return collect_line(line, place, import);
                                       });
  if (!read) return read.error();
  return collector.take_report();
}

}  // namespace poisonctl
