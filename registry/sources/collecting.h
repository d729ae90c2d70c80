// What every source does with what it found: hands over events whose texts are bounded, and keeps a
// bounded list of warnings.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "registry/event.h"
#include "registry/result.h"
#include "registry/sources/source.h"

namespace poisonctl {

// The report of a source in the making. `sink` must outlive it.
class Collector {
 public:
  explicit Collector(const EventSink& sink) : sink_(sink) {}

  // Cuts the texts of `event` to their limits and hands it over. Errors: those of the sink.
  Result<void> hand_over(Event event);
  // Adds a warning that was not given yet. The last of SourceReport::kWarnings says that there were
  // more.
  void warn(std::string warning);
  void set_version(std::string version) { report_.version = std::move(version); }
  // The same, but only once in a report whatever the place: for what a log can have a million of.
  void warn_once(std::string_view place, std::string_view warning);
  [[nodiscard]] SourceReport take_report() { return std::move(report_); }

 private:
  const EventSink& sink_;
  SourceReport report_;
  std::vector<std::string> given_once_;
};

// An event of which only this is known yet.
Event event_of(EventKind kind, std::optional<ByteRange> range, std::string_view evidence);

// What a source does with a line; `place` ("FILE:LINE: ") begins its messages.
using LineSink = std::function<Result<void>(std::string_view line, const std::string& place)>;
// Calls `take` for each line of a text format, which is made for this program alone: bytes that no
// text has are kBadData that says what was `expected`. Other errors: those of `take` and the input.
Result<void> for_each_text_line(LineReader& reader, std::string_view expected,
                                const LineSink& take);
// The same for a log, of which only some lines are ours: what cannot be read is left out with a
// warning.
Result<void> for_each_log_line(LineReader& reader, Collector& collector, const LineSink& take);

// kBadData when a line of a text format has bytes that no text has: NUL and the other control
// characters but the tab. `place` begins the message, `expected` says what the input should be.
Result<void> check_is_text(std::string_view line, std::string_view place,
                           std::string_view expected);

// How often something was seen, in decimal. Nothing when it does not fit 63 bits, which is what a
// count in the registry has.
std::optional<std::uint64_t> parse_count(std::string_view text);

// How many bytes a mask of the address bits that are known leaves open: a power of two. 0 when its
// ones are not together, or there are none.
std::uint64_t size_of_address_mask(std::uint64_t mask);

// kBadData, "PLACE`problem`": every error of a parser.
Error bad_data(std::string_view place, std::string_view problem);

}  // namespace poisonctl
