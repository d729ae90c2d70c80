// The helpers below every parser: numbers that do not wrap, lines and words that lose nothing,
// and text that is fit for a terminal.
#include <cstddef>
#include <cstdint>
#include <string>

#include "registry/text.h"
#include "tests/fuzz/fuzz_check.h"

using namespace poisonctl;

namespace {

void check_printable(std::string_view text) {
  constexpr std::size_t kLimit = 80;
  const std::string shown = printable(text, kLimit);
  fuzz_check(shown.size() <= kLimit + 3, "no longer than the limit and three dots");
  fuzz_check(shown == printable(shown, shown.size()), "what was made printable is printable");
  if (!shown.empty()) fuzz_check_shown(shown);
}

void check_numbers(std::string_view text) {
  if (const auto size = parse_size(text)) {
    fuzz_check(parse_size(std::to_string(*size)) == size, "a size in decimal is the same size");
    fuzz_check(parse_size(to_hex(*size)) == size, "a size in hexadecimal is the same size");
    fuzz_check(!to_human_size(*size).empty(), "every size can be shown");
    if (std::string_view("KkMmGgTt").find(text.back()) != std::string_view::npos) {
      const auto number = parse_size(text.substr(0, text.size() - 1));
      fuzz_check(number && *number <= *size, "a suffix makes no size smaller");
    }
  }
  if (const auto value = parse_prefixed_hex(text)) {
    fuzz_check(parse_prefixed_hex(to_hex(*value)) == value, "to_hex reads back equal");
    fuzz_check(parse_size(text) == value, "an address is a size too");
  }
}

void check_splitting(std::string_view text) {
  std::size_t in_lines = 0;
  for (const std::string_view line : split_lines(text)) {
    fuzz_check(line.find('\n') == std::string_view::npos, "a line has no line end");
    in_lines += split_words(line).size();
  }
  std::size_t in_text = 0;
  for (const std::string_view word : split_words(text)) {
    fuzz_check(!word.empty() && trim(word) == word, "a word has no blanks");
    ++in_text;
  }
  fuzz_check(in_lines == in_text, "lines have all words of the text");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text = as_text(data, size);
  check_printable(text);
  check_numbers(text);
  check_splitting(text);
  return 0;
}
