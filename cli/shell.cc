#include "cli/shell.h"

#include <fmt/format.h>

#include <limits>

#include "registry/text.h"

namespace poisonctl {

std::string shell_assignment(std::string_view name, std::string_view value) {
  std::string quoted;
  for (;;) {
    const auto end = value.find('\n');
    for (const char c : printable(value.substr(0, end), std::numeric_limits<std::size_t>::max())) {
      if (c == '\'') {
        quoted += "'\\''";  // out of the quotes, one with a backslash, and in again
      } else {
        quoted += c;
      }
    }
    if (end == std::string_view::npos) return fmt::format("{}='{}'\n", name, quoted);
    quoted += '\n';
    value.remove_prefix(end + 1);
  }
}

std::string shell_assignment(std::string_view name, std::uint64_t value) {
  return fmt::format("{}={}\n", name, value);
}

std::string shell_name(std::string_view word) {
  std::string name;
  for (const char c : word) {
    const bool is_lower = c >= 'a' && c <= 'z';
    const bool is_kept = (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    name += is_lower ? static_cast<char>(c - 'a' + 'A') : is_kept ? c : '_';
  }
  return name;
}

}  // namespace poisonctl
