// Strict number and line parsing for the text that kernels, firmware tools and people write.
// Nothing here depends on the locale, skips characters silently or wraps.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace poisonctl {

// The whole of `digits` as an unsigned number in base 10 or 16, without sign, prefix or space.
// Nothing when it is empty, has another character, or is larger than 64 bits.
std::optional<std::uint64_t> parse_unsigned(std::string_view digits, int base);

// "0x" and hexadecimal digits. Nothing otherwise: a decimal number is never taken for an address.
std::optional<std::uint64_t> parse_prefixed_hex(std::string_view text);

// Decimal or 0x-hexadecimal, with an optional suffix K, M, G or T (powers of 1024, either case).
// Nothing when malformed or when the product does not fit 64 bits.
std::optional<std::uint64_t> parse_size(std::string_view text);

// Without the blanks (space, tab, CR, LF) at both ends.
std::string_view trim(std::string_view text);

// The lines of `text` without their line ends; a last line without one counts too.
std::vector<std::string_view> split_lines(std::string_view text);

// The words of `text` between runs of spaces, tabs and line ends.
std::vector<std::string_view> split_words(std::string_view text);

// "0x1000": lower-case hexadecimal without leading zeros.
std::string to_hex(std::uint64_t value);

// A byte count for people: "4 KiB", "1.5 GiB", "0 B". Exact when it is a whole number of the unit,
// else one decimal.
std::string to_human_size(std::uint64_t bytes);

// Whether all of it is well-formed UTF-8 (Unicode 15, table 3-7).
bool is_utf8(std::string_view text);

// "1 range", "2 ranges", "0 entries". `noun` is of the kind that takes s in the plural, or ies for
// y.
std::string counted(std::uint64_t count, std::string_view noun);

// What may be shown in a message or a terminal: control characters and bytes that are not UTF-8
// become \xNN, and anything longer than `limit` bytes is cut with "...".
std::string printable(std::string_view text, std::size_t limit = 80);

}  // namespace poisonctl
