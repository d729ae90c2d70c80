#include "registry/sources/collecting.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "registry/text.h"

namespace poisonctl {

Result<void> Collector::hand_over(Event event) {
  limit_texts(event);
  auto taken = sink_(event, report_);
  ++report_.events;
  return taken;
}

void Collector::warn(std::string warning) {
  auto& warnings = report_.warnings;
  if (warnings.size() == SourceReport::kWarnings ||
      std::find(warnings.begin(), warnings.end(), warning) != warnings.end()) {
    return;
  }
  const bool last = warnings.size() + 1 == SourceReport::kWarnings;
  warnings.push_back(last ? "there are more warnings, which are not shown" : std::move(warning));
}

void Collector::warn_once(std::string_view place, std::string_view warning) {
  // Nothing more is shown then, and nothing need be remembered.
  if (report_.warnings.size() == SourceReport::kWarnings) return;
  if (std::find(given_once_.begin(), given_once_.end(), warning) != given_once_.end()) return;
  given_once_.emplace_back(warning);
  warn(fmt::format("{}{} (and perhaps in later lines)", place, warning));
}

Event event_of(EventKind kind, std::optional<ByteRange> range, std::string_view evidence) {
  Event event;
  event.kind = kind;
  event.range = range;
  event.evidence = evidence;
  return event;
}

std::optional<std::uint64_t> parse_count(std::string_view text) {
  const auto count = parse_unsigned(text, 10);
  const bool fits = count && *count <= std::uint64_t{std::numeric_limits<std::int64_t>::max()};
  return fits ? count : std::nullopt;
}

std::uint64_t size_of_address_mask(std::uint64_t mask) {
  const std::uint64_t lowest = mask & (~mask + 1);
  const std::uint64_t above =
      mask + lowest;  // 0 or one bit, when the ones of the mask are together
  return mask != 0 && (above & mask) == 0 ? lowest : 0;
}

Error bad_data(std::string_view place, std::string_view problem) {
  return {ErrorCode::kBadData, fmt::format("{}{}", place, problem)};
}

Result<void> check_is_text(std::string_view line, std::string_view place,
                           std::string_view expected) {
  const auto is_control = [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return (byte < 0x20 && byte != '\t') || byte == 0x7f;
  };
  const auto found = std::find_if(line.begin(), line.end(), is_control);
  if (found == line.end()) return {};
  const bool utf16 = line.substr(0, 2) == "\xff\xfe" || line.substr(0, 2) == "\xfe\xff";
  return bad_data(place,
                  fmt::format("column {}: byte {:#04x} is no text{}; expected {}",
                              found - line.begin() + 1, static_cast<unsigned char>(*found),
                              utf16 ? " (the input is UTF-16: save it as UTF-8)" : "", expected));
}

Result<void> for_each_text_line(LineReader& reader, std::string_view expected,
                                const LineSink& take) {
  for (;;) {
    const auto line = reader.next();
    if (!line) return line.error();
    if (!*line) return {};
    const std::string place = reader.place();
    if (auto text = check_is_text((*line)->text, place, expected); !text) return text;
    if (auto taken = take((*line)->text, place); !taken) return taken;
  }
}

namespace {

// Whether a line of a log can be used: one with NULs cannot, as a crash leaves them where the log
// was not written yet. kBadData when the log is UTF-16, whose every line has them.
Result<bool> check_log_line(const LineReader::Line& line, std::string_view place,
                            Collector& collector) {
  const std::string_view mark = line.text.substr(0, 2);
  if (line.number == 1 && (mark == "\xff\xfe" || mark == "\xfe\xff")) {
    return bad_data(place, "the input is UTF-16: save it as UTF-8");
  }
  if (line.text.find('\0') == std::string_view::npos) return true;
  collector.warn_once(place, "a line with NUL bytes, as a crash leaves them: ignored");
  return false;
}

}  // namespace

Result<void> for_each_log_line(LineReader& reader, Collector& collector, const LineSink& take) {
  for (;;) {
    const auto line = reader.next();
    if (!line) return line.error();
    if (!*line) return {};
    const std::string place = reader.place();
    const auto usable = check_log_line(**line, place, collector);
    if (!usable) return usable.error();
    if (!*usable) continue;
    if (auto taken = take((*line)->text, place); !taken) return taken;
  }
}

}  // namespace poisonctl
