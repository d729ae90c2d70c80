// What an x86 kernel does with its command line and its memory map, written from what it does and
// not from how, and sharing nothing with the code under test: next_arg() in lib/cmdline.c, memmap=
// and mem= in arch/x86/kernel/e820.c, a table of bounded size that loses entries when it is full,
// and of entries that overlap the one with the highest type (Linux 7.2).
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "registry/range_set.h"

namespace poisonctl {

class KernelModel {
 public:
  static constexpr int kRam = 1;
  static constexpr int kReserved = 2;
  static constexpr int kUnusable = 5;

  KernelModel(const RangeSet& ram, std::size_t capacity) : capacity_(capacity) {
    for (const ByteRange& range : ram.ranges()) add({range, kRam});
  }

  // Entries of setup_data of type SETUP_E820_EXT.
  void add_entry(const ByteRange& range, int type) { add({range, type}); }

  // False where the kernel would complain of an item and go on.
  bool boot(const std::string& command_line) {
    bool good = true;
    for (const auto& [name, value] : arguments(command_line)) {
      if (name == "--") return good;
      if (name == "mem") {
        const char* at = value.c_str();
        limit(number_at(at));
      }
      if (name == "memmap") good = items(value) && good;
    }
    return good;
  }

  [[nodiscard]] RangeSet of_type(int type) const {
    std::vector<ByteRange> mine;
    std::vector<ByteRange> higher;
    for (const Entry& entry : entries_) {
      if (entry.type == type) mine.push_back(entry.range);
      if (entry.type > type) higher.push_back(entry.range);
    }
    return RangeSet::from_ranges(mine).minus(RangeSet::from_ranges(higher));
  }

 private:
  struct Entry {
    ByteRange range;
    int type;
  };

  static bool blank(char c) { return std::strchr(" \t\n\v\f\r\xa0", c) != nullptr && c != '\0'; }

  static std::vector<std::pair<std::string, std::string>> arguments(const std::string& line) {
    std::vector<std::pair<std::string, std::string>> all;
    const char* at = line.c_str();
    while (blank(*at)) ++at;
    while (*at != '\0') {
      const bool quoted = *at == '"';
      bool inside = quoted;
      if (quoted) ++at;
      std::string text;
      for (; *at != '\0' && (inside || !blank(*at)); ++at) {
        if (*at == '"') inside = !inside;
        text += *at;
      }
      if (quoted && !text.empty() && text.back() == '"') text.pop_back();
      const auto equals = text.find('=', 1);
      std::string value = equals == std::string::npos ? "" : text.substr(equals + 1);
      if (value.starts_with('"')) {
        value.erase(0, 1);
        if (value.ends_with('"')) value.pop_back();
      }
      all.emplace_back(text.substr(0, equals), value);
      while (blank(*at)) ++at;
    }
    return all;
  }

  // A number of any base with an optional K, M, G, T, P or E.
  static std::uint64_t number_at(const char*& text) {
    char* end = nullptr;
    std::uint64_t value = std::strtoull(text, &end, 0);
    static constexpr std::string_view kSuffixes = "KMGTPE";
    const auto suffix = kSuffixes.find(static_cast<char>(*end & ~0x20));
    if (*end != '\0' && suffix != std::string_view::npos) {
      value <<= 10 * (suffix + 1);
      ++end;
    }
    text = end;
    return value;
  }

  bool items(std::string_view list) {
    bool good = true;
    for (;;) {
      const auto comma = list.find(',');
      good = apply(std::string(list.substr(0, comma))) && good;
      if (comma == std::string_view::npos) return good;
      list.remove_prefix(comma + 1);
    }
  }

  bool apply(const std::string& item) {
    if (item.starts_with("exactmap")) {
      entries_.clear();
      return true;
    }
    const char* at = item.c_str();
    const std::uint64_t size = number_at(at);
    if (at == item.c_str()) return false;
    const char mark = *at;
    if (mark == '\0' || std::strchr("@#$!%", mark) == nullptr) {
      limit(size);
      return *at == '\0';
    }
    ++at;
    const std::uint64_t start = number_at(at);
    const auto range = ByteRange::from_size(PhysAddr(start), size);
    if (!range) return false;
    if (mark == '%') return change(*range, at);
    add({*range, mark == '@' ? kRam : mark == '#' ? 3 : mark == '$' ? kReserved : 12});
    return *at == '\0';
  }

  bool change(const ByteRange& range, const char* at) {
    int from = 0;
    int to = 0;
    if (*at == '-') {
      ++at;
      from = static_cast<int>(number_at(at));
    }
    if (*at == '+') {
      ++at;
      to = static_cast<int>(number_at(at));
    }
    if (*at != '\0' || from == 0 || to == 0 || from == to) return false;
    convert(range, from, to);
    return true;
  }

  // Without RAM from `end` on.
  void limit(std::uint64_t end) {
    if (end >= kPhysAddrLimit) return;
    const RangeSet above =
        RangeSet::from_ranges({*ByteRange::from_size(PhysAddr(end), kPhysAddrLimit - end)});
    std::vector<Entry> left;
    for (const Entry& entry : entries_) {
      const RangeSet whole = RangeSet::from_ranges({entry.range});
      const RangeSet kept = entry.type == kRam ? whole.minus(above) : whole;
      for (const ByteRange& range : kept.ranges()) {
        left.push_back({range, entry.type});
      }
    }
    entries_ = left;
  }

  void convert(const ByteRange& changed, int from, int to) {
    // Entries that are added while going through are gone through as well.
    for (std::size_t i = 0; i < entries_.size(); ++i) {
      if (entries_[i].type != from || !entries_[i].range.overlaps(changed)) continue;
      const ByteRange whole = entries_[i].range;
      const PhysAddr begin = std::max(whole.begin(), changed.begin());
      const PhysAddr last = std::min(whole.last(), changed.last());
      const auto before = begin == whole.begin()
                              ? std::nullopt
                              : ByteRange::from_last(whole.begin(), PhysAddr(begin.value() - 1));
      const auto after = last == whole.last()
                             ? std::nullopt
                             : ByteRange::from_last(PhysAddr(last.value() + 1), whole.last());
      if (!before && !after) {
        entries_[i].type = to;
        continue;
      }
      entries_[i].range = before ? *before : *after;
      add({*ByteRange::from_last(begin, last), to});
      if (before && after) add({*after, from});
    }
  }

  void add(const Entry& entry) {
    if (entries_.size() < capacity_) entries_.push_back(entry);  // else the kernel only complains
  }

  std::size_t capacity_;
  std::vector<Entry> entries_;
};

}  // namespace poisonctl
