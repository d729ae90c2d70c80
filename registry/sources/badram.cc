#include "registry/sources/badram.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <optional>
#include <string>

#include "registry/kernel_size.h"
#include "registry/sources/memmap_option.h"
#include "registry/text.h"

namespace poisonctl {

namespace {

constexpr std::string_view kExpected = "badram=0xADDR,0xMASK,... or GRUB's own forms of it";

// More of memory than this is a wrong mask, not bad memory.
constexpr std::uint64_t kLargestShare = 16;

PhysAddr bounded(PhysAddr end) { return std::min(end, PhysAddr(kPhysAddrLimit)); }

std::optional<std::uint64_t> parse_number(std::string_view text, HexPrefix prefix) {
  if (const auto value = parse_prefixed_hex(text)) return value;
  return prefix == HexPrefix::kOptional ? parse_unsigned(text, 16) : std::nullopt;
}

// How many ranges for_each_matching_range gives: the lowest bit of the mask is the same in all
// matches, so that two blocks below it never touch.
std::uint64_t matching_ranges(const BadramPattern& pattern, PhysAddr end) {
  if (pattern.mask == 0) return end.value() == 0 ? 0 : 1;
  const auto shift = static_cast<unsigned>(std::countr_zero(pattern.mask));
  if (shift >= kPhysAddrBits) return matching_bytes(pattern, end) == 0 ? 0 : 1;
  const std::uint64_t last = bounded(end).value() + (std::uint64_t{1} << shift) - 1;
  return matching_bytes({pattern.address >> shift, pattern.mask >> shift}, PhysAddr(last >> shift));
}

// The pattern of the frames that hold a match.
BadramPattern widened(const BadramPattern& pattern, PageShift shift) {
  const std::uint64_t frame = ~(shift.page_size() - 1);
  return {pattern.address & frame, pattern.mask & frame};
}

// Whether what a pair matches may be recorded; said before anything is.
Result<void> check_extent(const BadramPattern& pattern, std::string_view place,
                          const BadramImport& import) {
  const PhysAddr end = import.settings.memory_end;
  const std::uint64_t ranges = matching_ranges(pattern, end);
  const std::uint64_t bytes =
      ranges == 0 ? 0 : matching_bytes(widened(pattern, import.settings.page_shift), end);
  if (bytes > end.value() / kLargestShare &&
      bytes > import.settings.page_shift.page_size()) {  // one frame is never too much
    return bad_data(
        place,
        fmt::format("mask {} takes {} of {} of memory out of use, more than 1/{}: that is no "
                    "bad memory but a wrong mask. Write a mask with more bits set",
                    to_hex(pattern.mask), to_human_size(bytes), to_human_size(end.value()),
                    kLargestShare));
  }
  if (ranges > import.ranges_left) {
    return bad_data(place,
                    fmt::format("mask {} expands to {} ranges, with those before it more than "
                                "the {} that one import may have",
                                to_hex(pattern.mask), ranges, BadramImport::kRangeLimit));
  }
  return {};
}

// memtest86+ before 7.00 for 32-bit machines prints masks of 32 bits, although it tests beyond.
void warn_of_short_mask(const BadramPattern& pattern, std::string_view place,
                        const BadramImport& import) {
  const std::uint64_t end = import.settings.memory_end.value();
  const auto bits = std::bit_width(pattern.mask);
  if (end == 0 || bits >= std::bit_width(end - 1)) return;
  import.collector.warn(fmt::format(
      "{}mask {} says nothing of the address bits from {} up, as old versions of memtest86+ print "
      "it: taken as written, so that of every {} one place is recorded and the true one is among "
      "them. Where you know the whole address, write it with a mask that begins with ones",
      place, to_hex(pattern.mask), bits, to_human_size(std::uint64_t{1} << bits)));
}

Result<void> collect_pair(const BadramPattern& pattern, std::string_view text,
                          std::string_view place, BadramImport& import) {
  const PhysAddr end = import.settings.memory_end;
  if (auto fits = check_extent(pattern, place, import); !fits) return fits;
  const std::uint64_t ranges = matching_ranges(pattern, end);
  Event event = event_of(EventKind::kUncorrected, std::nullopt, text);
  if (ranges == 0) {
    import.collector.warn(fmt::format(
        "{}matches no byte below {}, where the memory of this machine ends: kept as evidence "
        "without a place. Was it made on another machine?",
        place, to_hex(end.value())));
    return import.collector.hand_over(std::move(event));
  }
  warn_of_short_mask(pattern, place, import);
  import.ranges_left -= ranges;
  // Every byte of a match is meant, so a block of more than a frame says nothing of what the test
  // could tell apart.
  const std::uint64_t block = pattern.mask & (~pattern.mask + 1);
  if (block <= import.settings.page_shift.page_size()) event.granularity = block;
  return for_each_matching_range(pattern, end, [&](const ByteRange& range) {
    event.range = range;
    return import.collector.hand_over(event);
  });
}

// What is between the quotes of a shell's assignment or command, or the bare words before a
// comment.
std::optional<std::string_view> unquoted(std::string_view text) {
  text = trim(text);
  if (text.empty() || (text[0] != '"' && text[0] != '\'')) {
    return trim(text.substr(0, text.find('#')));
  }
  const auto end = text.find(text[0], 1);
  if (end == std::string_view::npos) return std::nullopt;
  const std::string_view rest = trim(text.substr(end + 1));
  if (!rest.empty() && rest[0] != '#') return std::nullopt;
  return text.substr(1, end - 1);
}

// `text` after `word` and at least one blank.
std::optional<std::string_view> after_command(std::string_view text, std::string_view word) {
  if (text.substr(0, word.size()) != word) return std::nullopt;
  text.remove_prefix(word.size());
  if (text.empty() || (text[0] != ' ' && text[0] != '\t')) return std::nullopt;
  return text;
}

Result<void> collect_cutmem(std::string_view arguments, std::string_view line,
                            std::string_view place, BadramImport& import) {
  std::string_view rest = trim(arguments.substr(0, arguments.find('#')));
  const auto from = take_kernel_size(rest);
  const std::size_t gap = rest.find_first_not_of(" \t-");
  const bool parted =
      gap != 0 && gap != std::string_view::npos &&
      std::count(rest.begin(), rest.begin() + static_cast<std::ptrdiff_t>(gap), '-') <= 1;
  rest.remove_prefix(parted ? gap : 0);
  const auto to = parted ? take_kernel_size(rest) : std::nullopt;
  if (!from || !to || !rest.empty()) {
    return bad_data(place, fmt::format("'{}': expected cutmem FROM TO, two addresses with K, M, G "
                                       "or T as GRUB takes them",
                                       printable(line)));
  }
  const auto range =
      *to > *from ? ByteRange::from_size(PhysAddr(*from), *to - *from) : std::nullopt;
  if (!range) {
    return bad_data(place, fmt::format("'{}' holds no memory: expected FROM below TO, and both "
                                       "below {}",
                                       printable(line), to_hex(kPhysAddrLimit)));
  }
  const std::uint64_t memory = import.settings.memory_end.value();
  if (range->size() > std::max(memory / kLargestShare, import.settings.page_shift.page_size())) {
    return bad_data(place, fmt::format("'{}' takes {} of {} of memory out of use, more than 1/{}: "
                                       "that is a limit, not bad memory",
                                       printable(line), to_human_size(range->size()),
                                       to_human_size(memory), kLargestShare));
  }
  return import.collector.hand_over(event_of(EventKind::kUncorrected, range, line));
}

// A value that the shell of GRUB would put in later cannot be read here.
Result<void> collect_grub_list(std::string_view value, std::string_view line,
                               std::string_view place, BadramImport& import) {
  const auto list = unquoted(value);
  if (!list) {
    return bad_data(place, fmt::format("'{}': the quotes do not match; write the list on one line, "
                                       "as \"ADDR,MASK,...\"",
                                       printable(line)));
  }
  if (list->find('$') != std::string_view::npos) {
    import.collector.warn(fmt::format("{}'{}' names a variable, whose value is not here: ignored",
                                      place, printable(line)));
    return {};
  }
  if (trim(*list).empty()) return {};
  return collect_badram_list(trim(*list), HexPrefix::kOptional, place, import);
}

Result<void> collect_line(std::string_view line, std::string_view place, BadramImport& import) {
  constexpr std::string_view kLinux = "badram=";
  constexpr std::string_view kGrub = "GRUB_BADRAM=";
  std::string_view text = trim(line);
  if (const auto exported = after_command(text, "export")) text = trim(*exported);
  if (text.substr(0, kLinux.size()) == kLinux) {
    return collect_badram_list(trim(text.substr(kLinux.size())), HexPrefix::kNeeded, place, import);
  }
  if (text.substr(0, kGrub.size()) == kGrub) {
    return collect_grub_list(text.substr(kGrub.size()), text, place, import);
  }
  if (const auto list = after_command(text, "badram")) {
    return collect_grub_list(*list, text, place, import);
  }
  if (const auto range = after_command(text, "cutmem")) {
    return collect_cutmem(*range, text, place, import);
  }
  return {};
}

}  // namespace

std::uint64_t matching_bytes(const BadramPattern& pattern, PhysAddr end) {
  const std::uint64_t limit = bounded(end).value();
  std::uint64_t count = 0;
  // Every number below `limit` agrees with it above one bit, has 0 there where it has 1, and is
  // free below.
  for (unsigned bit = 0; bit <= kPhysAddrBits; ++bit) {
    const std::uint64_t one = std::uint64_t{1} << bit;
    if ((limit & one) == 0) continue;
    const std::uint64_t upper = ~(one - 1);
    const std::uint64_t fixed = limit & upper & ~one;
    if (((fixed ^ pattern.address) & pattern.mask & upper) != 0) continue;
    count += std::uint64_t{1} << std::popcount(~pattern.mask & (one - 1));
  }
  return count;
}

Result<void> for_each_matching_range(const BadramPattern& pattern, PhysAddr end,
                                     const std::function<Result<void>(const ByteRange&)>& take) {
  const std::uint64_t limit = bounded(end).value();
  const std::uint64_t block =
      pattern.mask == 0 ? kPhysAddrLimit : pattern.mask & (~pattern.mask + 1);
  const std::uint64_t base = pattern.address & pattern.mask;
  const std::uint64_t choices = ~pattern.mask & ~(block - 1) & (kPhysAddrLimit - 1);
  std::uint64_t choice = 0;
  do {
    const std::uint64_t begin = base | choice;
    if (begin >= limit) break;  // they only grow
    const auto range = ByteRange::from_size(PhysAddr(begin), std::min(block, limit - begin));
    if (auto taken = take(*range); !taken) return taken;
    choice = (choice - choices) & choices;  // the next larger number made of these bits
  } while (choice != 0);
  return {};
}

Result<void> collect_badram_list(std::string_view list, HexPrefix prefix, std::string_view place,
                                 BadramImport& import) {
  for (std::size_t number = 1;; ++number) {
    const std::size_t comma = list.find(',');
    const std::size_t end = comma == std::string_view::npos ? comma : list.find(',', comma + 1);
    const std::string_view pair = list.substr(0, end);
    const auto where = fmt::format("{}pair {} ('{}'): ", place, number, printable(pair));
    const auto address = parse_number(pair.substr(0, comma), prefix);
    const auto mask = comma == std::string_view::npos
                          ? std::nullopt
                          : parse_number(pair.substr(comma + 1), prefix);
    if (!address || !mask) {
      return bad_data(where,
                      "expected 0xADDR,0xMASK, two hexadecimal numbers of at most 64 bits "
                      "with a comma and no blank between; a list that goes on in the next "
                      "line is read by the source 'memtest'");
    }
    if (auto done = collect_pair({*address, *mask}, pair, where, import); !done) return done;
    if (end == std::string_view::npos) return {};
    list.remove_prefix(end + 1);
  }
}

Result<SourceReport> collect_badram(ByteStream& stream, const SourceSettings& settings,
                                    const EventSink& sink) {
  Collector collector(sink);
  BadramImport import{.settings = settings, .collector = collector};
  LineReader reader(stream);
  const auto read =
      for_each_text_line(reader, kExpected, [&](std::string_view line, const std::string& place) {
        return collect_line(line, place, import);
      });
  if (!read) return read.error();
  return collector.take_report();
}

}  // namespace poisonctl
