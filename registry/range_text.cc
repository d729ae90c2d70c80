#include "registry/range_text.h"

#include <fmt/format.h>

#include "registry/text.h"

namespace poisonctl {

namespace {

Error usage(std::string_view text, std::string_view why) {
  return {ErrorCode::kUsage, fmt::format("range '{}': {}", printable(text), why)};
}

// What to say of a number that should have been hexadecimal.
Error not_hex(std::string_view text, std::string_view number) {
  const std::string shown = printable(number);
  if (const auto decimal = parse_unsigned(number, 10)) {
    return usage(text, fmt::format("'{}' has no 0x; addresses and frame numbers are hexadecimal: "
                                   "write 0x{} if that is what was meant, or {} for decimal {}",
                                   shown, shown, to_hex(*decimal), shown));
  }
  if (parse_unsigned(number, 16)) {
    return usage(text, fmt::format("'{}' has no 0x; write 0x{}", shown, shown));
  }
  return usage(text, fmt::format("'{}' is not a hexadecimal number of at most 64 bits; expected "
                                 "0xADDR, 0xADDR+SIZE, 0xFIRST-0xLAST or pfn:0xN[+COUNT]",
                                 shown));
}

Error beyond(std::string_view text) {
  return usage(text, fmt::format("reaches past {}, the end of any physical address space ({} bits)",
                                 to_hex(kPhysAddrLimit - 1), kPhysAddrBits));
}

Result<ByteRange> parse_frames(std::string_view text, std::string_view body, PageShift shift) {
  const auto plus = body.find('+');
  const std::string_view number = body.substr(0, plus);
  const auto pfn = parse_prefixed_hex(number);
  if (!pfn) return not_hex(text, number);
  std::uint64_t count = 1;
  if (plus != std::string_view::npos) {
    const std::string_view words = body.substr(plus + 1);
    const auto hex = parse_prefixed_hex(words);
    const auto given = hex ? hex : parse_unsigned(words, 10);
    if (!given) return usage(text, "the count after '+' is not a number");
    if (*given == 0) return usage(text, "a count of 0 names no frame");
    count = *given;
  }
  const auto range = ByteRange::from_frames(Pfn(*pfn), count, shift);
  if (!range) return beyond(text);
  return *range;
}

Result<ByteRange> aligned(std::string_view text, const ByteRange& range, PageShift shift) {
  if (range.is_aligned(shift)) return range;
  const ByteRange whole = range.widened_to(shift);
  return usage(text, fmt::format("not aligned to the {}-byte page; {}: {}+{}", shift.page_size(),
                                 whole.frame_count(shift) == 1 ? "the frame that holds it is"
                                                               : "the frames that hold it are",
                                 to_hex(whole.begin().value()), to_hex(whole.size())));
}

}  // namespace

Result<ByteRange> parse_range(std::string_view text, PageShift shift) {
  if (text.starts_with("pfn:")) return parse_frames(text, text.substr(4), shift);

  const auto mark = text.find_first_of("+-");
  const std::string_view number = text.substr(0, mark);
  const auto first = parse_prefixed_hex(number);
  if (!first) return not_hex(text, number);

  if (mark == std::string_view::npos) {
    const auto first_byte = ByteRange::from_size(PhysAddr(*first), 1);
    if (!first_byte) return beyond(text);
    if (!shift.is_aligned(*first)) return aligned(text, *first_byte, shift);
    return first_byte->widened_to(shift);
  }

  const std::string_view rest = text.substr(mark + 1);
  if (text[mark] == '+') {
    const auto size = parse_size(rest);
    if (!size) {
      return usage(text, fmt::format("size '{}' is not a number of bytes (K, M, G or T may follow)",
                                     printable(rest)));
    }
    if (*size == 0) return usage(text, "a size of 0 covers no memory");
    const auto range = ByteRange::from_size(PhysAddr(*first), *size);
    if (!range) return beyond(text);
    return aligned(text, *range, shift);
  }

  const auto last = parse_prefixed_hex(rest);
  if (!last) return not_hex(text, rest);
  if (*last < *first) return usage(text, "the last address lies before the first");
  const auto range = ByteRange::from_last(PhysAddr(*first), PhysAddr(*last));
  if (!range) return beyond(text);
  return aligned(text, *range, shift);
}

std::string to_text(const ByteRange& range) {
  return fmt::format("{:#x}-{:#x}", range.begin().value(), range.last().value());
}

}  // namespace poisonctl
