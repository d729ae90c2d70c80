#include "backends/command_line.h"

#include <fmt/format.h>

#include <algorithm>

#include "registry/kernel_size.h"
#include "registry/text.h"

namespace poisonctl {

namespace {

// isspace() of the kernel: lib/ctype.c marks the no-break space of Latin-1 too, so that it parts
// arguments even inside a UTF-8 letter.
bool is_blank(char c) {
  return c == ' ' || (c >= '\t' && c <= '\r') || static_cast<unsigned char>(c) == 0xa0;
}

// The argument that begins at `begin`; `open_quote` is where a quote without an end begins.
Argument take_argument(std::string_view text, std::size_t begin, std::size_t& open_quote) {
  bool quoted = false;
  std::size_t equals = 0;
  std::size_t i = begin;
  const std::size_t first = begin + (text[begin] == '"' ? 1 : 0);
  for (; i < text.size() && (quoted || !is_blank(text[i])); ++i) {
    // A '=' in the first place is part of the name.
    if (text[i] == '=' && equals == 0 && i > first) equals = i;
    if (text[i] != '"') continue;
    quoted = !quoted;
    open_quote = i;
  }
  if (!quoted) open_quote = std::string_view::npos;
  Argument argument{.begin = begin, .end = i, .name = {}, .value = {}};
  const bool whole = first != begin;  // "NAME=VALUE"
  const std::size_t last = whole && i > first && text[i - 1] == '"' ? i - 1 : i;
  if (equals == 0) {
    argument.name = text.substr(first, last - first);
    return argument;
  }
  argument.name = text.substr(first, equals - first);
  argument.value = text.substr(equals + 1, std::max(last, equals + 1) - equals - 1);
  if (argument.value.starts_with('"')) {
    argument.value.remove_prefix(1);
    if (argument.value.ends_with('"')) argument.value.remove_suffix(1);
  }
  return argument;
}

bool is_own_item(std::string_view item) {
  constexpr std::string_view kFromRamToUnusable = "-1+5";
  const auto percent = item.find('%');
  if (percent == std::string_view::npos || !item.ends_with(kFromRamToUnusable)) return false;
  const std::string_view address =
      item.substr(percent + 1, item.size() - percent - 1 - kFromRamToUnusable.size());
  return parse_prefixed_hex(item.substr(0, percent)) && parse_prefixed_hex(address);
}

// Calls `take` for each item of a list with commas.
template <typename Take>
void for_each_item(std::string_view list, Take take) {
  for (;;) {
    const auto comma = list.find(',');
    take(list.substr(0, comma));
    if (comma == std::string_view::npos) return;
    list.remove_prefix(comma + 1);
  }
}

// memparse() takes a unit without a number for nought of it.
bool begins_with_unit(std::string_view item) {
  return !item.empty() && std::string_view("kmgtpeKMGTPE").find(item[0]) != std::string_view::npos;
}

// What parse_memmap_one() makes of an item that is not ours (arch/x86/kernel/e820.c), where that is
// worth a word.
std::string remark_on(std::string_view item) {
  const std::string shown = printable(item);
  if (item.starts_with("exactmap")) {
    return "memmap=exactmap throws the firmware's memory map away; what is added here comes after "
           "it and changes the map that the options before it define";
  }
  std::string_view rest = item;
  const auto size = take_kernel_size(rest);
  if (!size && !begins_with_unit(item)) {
    return fmt::format("memmap item '{}' has no size: the kernel ignores it", shown);
  }
  if (size && rest.empty()) {
    return fmt::format("memmap={} is a limit: the kernel leaves all RAM from {} on alone", shown,
                       to_human_size(*size));
  }
  if (std::string_view("@#$!%").find(rest[0]) == std::string_view::npos) {
    return fmt::format(
        "memmap item '{}' cannot be parsed, and the kernel takes the size in front "
        "for a limit: it leaves all RAM from {} on alone. Correct it",
        shown, to_human_size(size.value_or(0)));
  }
  const bool changes = rest[0] == '%';
  rest.remove_prefix(1);
  if (take_kernel_size(rest) && (rest.empty() || changes)) return {};
  return fmt::format(
      "memmap item '{}' has something after its address that the kernel complains of", shown);
}

// SIZE@ADDR, and SIZE%ADDR+TYPE without a type that it was before: e820__range_add().
bool may_add_ram(std::string_view item) {
  return item.find('@') != std::string_view::npos ||
         (item.find('%') != std::string_view::npos && item.find('-') == std::string_view::npos);
}

void take_note(const Argument& argument, MergeBase& base) {
  if (argument.name == "crashkernel") base.crash_kernel = true;
  if (argument.name == "mem" && argument.value != "nopentium") {
    base.remarks.push_back(fmt::format("mem={} is a limit: the kernel leaves all RAM above alone",
                                       printable(argument.value)));
  }
  if (argument.name != "memmap" || argument.value.data() == nullptr) return;
  for_each_item(argument.value, [&](std::string_view item) {
    ++base.foreign_items;
    if (may_add_ram(item)) ++base.ram_items;
    if (std::string remark = remark_on(item); !remark.empty()) {
      base.remarks.push_back(std::move(remark));
    }
  });
}

}  // namespace

Result<CommandLine> parse_command_line(std::string_view text, std::string_view shown) {
  const auto bad = [&](std::size_t at, std::string_view problem) {
    return Error{ErrorCode::kBadData, fmt::format("{}, byte {}: {}", shown, at, problem)};
  };
  if (text.size() > kCommandLineLimit) {
    return bad(kCommandLineLimit, "longer than any kernel's command line");
  }
  if (const auto nul = text.find('\0'); nul != std::string_view::npos) {
    return bad(nul, "a NUL, which ends a command line; expected one line of text");
  }
  CommandLine line{.arguments = {}, .options_end = text.size()};
  for (std::size_t at = 0; at < text.size();) {
    if (is_blank(text[at])) {
      ++at;
      continue;
    }
    std::size_t open_quote = std::string_view::npos;
    const Argument argument = take_argument(text, at, open_quote);
    if (open_quote != std::string_view::npos) {
      return bad(open_quote,
                 "a double quote without an end: the kernel would take whatever is added for a "
                 "part of this argument. Close it");
    }
    if (argument.name == "--" && argument.value.data() == nullptr) {
      line.options_end = at;
      break;
    }
    line.arguments.push_back(argument);
    at = argument.end;
  }
  return line;
}

Result<MergeBase> merge_base(std::string_view text, std::string_view shown) {
  const auto line = parse_command_line(text, shown);
  if (!line) return line.error();
  MergeBase base;
  std::size_t kept = 0;  // how much of `text` is in base.text or was left out
  for (const Argument& argument : line->arguments) {
    const std::string_view written = text.substr(argument.begin, argument.end - argument.begin);
    const bool own = written.find('"') == std::string_view::npos && argument.name == "memmap" &&
                     is_own_memmap(argument.value);
    if (!own) {
      take_note(argument, base);
      continue;
    }
    // With it goes the one blank that merged() puts there: before it, or after it where nothing is
    // before it or "--" follows.
    base.text += text.substr(kept, argument.begin - kept);
    kept = argument.end;
    const bool before_end = kept + 1 == line->options_end && line->options_end < text.size();
    if (!base.text.empty() && !before_end) {
      base.text.pop_back();
    } else if (kept < text.size()) {
      ++kept;
    }
  }
  base.text += text.substr(kept, line->options_end - kept);
  base.insert_at = base.text.size();
  base.text += text.substr(line->options_end);
  return base;
}

std::string merged(const MergeBase& base, std::string_view option) {
  if (option.empty()) return base.text;
  const std::string_view text = base.text;
  const std::string_view before = text.substr(0, base.insert_at);
  const std::string_view after = text.substr(base.insert_at);
  if (!after.empty()) return fmt::format("{}{} {}", before, option, after);
  return before.empty() ? std::string(option) : fmt::format("{} {}", before, option);
}

bool is_own_memmap(std::string_view value) {
  bool own = true;
  for_each_item(value, [&](std::string_view item) { own = own && is_own_item(item); });
  return own;
}

}  // namespace poisonctl
