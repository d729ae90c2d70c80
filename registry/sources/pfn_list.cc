#include "registry/sources/pfn_list.h"

#include <fmt/format.h>

#include <string>
#include <string_view>
#include <utility>

#include "registry/sources/collecting.h"
#include "registry/text.h"

namespace poisonctl {

namespace {

constexpr std::string_view kExpected = "a frame number such as 0x1a2b, or 0x20..0x2a, on each line";
constexpr unsigned kAddressBits = 52;

Result<Pfn> parse_pfn(std::string_view text, std::string_view place, PageShift shift) {
  const auto pfn = parse_prefixed_hex(text);
  if (!pfn) {
    const bool bare = parse_unsigned(text, 16).has_value();
    return bad_data(place, fmt::format("'{}' {}; expected {}", printable(text),
                                       bare ? "has no 0x, and could be decimal or hexadecimal"
                                            : "is no hexadecimal number of at most 64 bits",
                                       kExpected));
  }
  if (*pfn >> (kAddressBits - shift.bits()) != 0) {
    return bad_data(place,
                    fmt::format("frame {} lies beyond {} bits of physical address in pages of "
                                "{} bytes; is it an address?",
                                to_hex(*pfn), kAddressBits, shift.page_size()));
  }
  return Pfn(*pfn);
}

// One frame, or all from the first to the last.
Result<ByteRange> parse_frames(std::string_view text, std::string_view place, PageShift shift) {
  auto mark = text.find("..");
  std::size_t width = 2;
  if (mark == std::string_view::npos) {
    mark = text.find('-');
    width = 1;
  }
  const auto first = parse_pfn(trim(text.substr(0, mark)), place, shift);
  if (!first) return first.error();
  if (mark == std::string_view::npos) return *ByteRange::from_frames(*first, 1, shift);
  const auto last = parse_pfn(trim(text.substr(mark + width)), place, shift);
  if (!last) return last.error();
  if (*last < *first) {
    return bad_data(place, fmt::format("'{}' ends before it begins", printable(text)));
  }
  return *ByteRange::from_frames(*first, last->value() - first->value() + 1, shift);
}

}  // namespace

Result<SourceReport> collect_pfn_list(ByteStream& stream, const SourceSettings& settings,
                                      const EventSink& sink) {
  LineReader reader(stream);
  Collector collector(sink);
  const auto take_line = [&](std::string_view line, const std::string& place) -> Result<void> {
    const std::string_view frames = trim(line.substr(0, line.find('#')));
    if (frames.empty()) return {};
    const auto range = parse_frames(frames, place, settings.page_shift);
    if (!range) return range.error();
    constexpr std::size_t kShown = 1000;
    Event event = event_of(EventKind::kUncorrected, *range, printable(trim(line), kShown));
    event.granularity = settings.page_shift.page_size();
    return collector.hand_over(std::move(event));
  };
  if (const auto read = for_each_text_line(reader, kExpected, take_line); !read) {
    return read.error();
  }
  return collector.take_report();
}

}  // namespace poisonctl
