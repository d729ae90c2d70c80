// One event of the kernel's ring buffer, with its fields by name: what the reader hands to the
// decoder. Which fields there are, and what the kernel calls their values, is told by the kernel
// that runs (events/SYSTEM/NAME/format in tracefs).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "registry/event.h"

namespace poisonctl {

struct TraceField {
  std::string name;
  // What the field holds: a number, or else text, or else bytes.
  std::optional<std::uint64_t> number;
  // The kernel's word for the number where it has one ("Recovered"); text; or bytes as they are.
  std::string text;
  bool is_bytes = false;
};

struct TraceEvent {
  std::string name;  // "mce_record"
  Time time;
  unsigned cpu = 0;
  std::vector<TraceField> fields;

  // Nothing when there is no such field, or it holds no number.
  [[nodiscard]] std::optional<std::uint64_t> number(std::string_view field) const;
  // Empty when there is no such field, or it is a number that the kernel has no word for.
  [[nodiscard]] std::string_view text(std::string_view field) const;
  // All of it in one line: numbers in hexadecimal, the kernel's words and text in quotes.
  [[nodiscard]] std::string evidence() const;
};

}  // namespace poisonctl
