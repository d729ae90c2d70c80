#include "registry/kernel_size.h"

#include <array>
#include <cstddef>
#include <utility>

#include "registry/text.h"

namespace poisonctl {

namespace {

unsigned suffix_shift(char suffix) {
  constexpr std::array<std::pair<char, unsigned>, 6> kSuffixes = {
      {{'k', 10}, {'m', 20}, {'g', 30}, {'t', 40}, {'p', 50}, {'e', 60}}};
  for (const auto& [letter, shift] : kSuffixes) {
    if ((suffix | 0x20) == letter) return shift;
  }
  return 0;
}

}  // namespace

std::optional<std::uint64_t> take_kernel_size(std::string_view& text) {
  const auto is_hex_digit = [](char c) {
    return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'f');
  };
  std::string_view rest = text;
  int base = 10;
  if (rest.size() > 2 && rest[0] == '0' && (rest[1] | 0x20) == 'x' && is_hex_digit(rest[2])) {
    base = 16;
    rest.remove_prefix(2);
  } else if (!rest.empty() && rest[0] == '0') {
    base = 8;
  }
  std::size_t length = 0;
  while (length < rest.size() && (base == 16 ? is_hex_digit(rest[length])
                                             : rest[length] >= '0' && rest[length] < '0' + base)) {
    ++length;
  }
  const auto value = parse_unsigned(rest.substr(0, length), base);
  if (!value) return std::nullopt;
  rest.remove_prefix(length);
  const unsigned shift = rest.empty() ? 0 : suffix_shift(rest[0]);
  if (shift != 0) rest.remove_prefix(1);
  if ((*value << shift) >> shift != *value) return std::nullopt;
  text = rest;
  return *value << shift;
}

}  // namespace poisonctl
