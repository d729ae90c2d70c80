// What must hold for every event of every source, whatever the input was.
#pragma once

#include <cstdint>

#include "registry/sources/source.h"
#include "registry/text.h"
#include "tests/fuzz/fuzz_check.h"

namespace poisonctl {

inline void fuzz_check_text(std::string_view text, std::size_t limit) {
  fuzz_check(text.size() <= limit, "a text is within its limit");
  fuzz_check(printable(text, limit) == text, "a text is fit for a terminal");
}

// A sink that checks.
inline EventSink fuzz_sink(std::uint64_t& events) {
  return [&events](const Event& event, const SourceReport& /*so_far*/) -> Result<void> {
    ++events;
    if (event.range) {
      fuzz_check(event.range->size() != 0, "a range is not empty");
      fuzz_check(event.range->end().value() <= kPhysAddrLimit, "a range is inside the limit");
    }
    fuzz_check(event.granularity <= kPhysAddrLimit, "a granularity is a size of memory");
    fuzz_check(event.count >= 1, "a count is at least 1");
    fuzz_check(event.kind != EventKind::kOutcome && event.kind != EventKind::kResolution,
               "a source observes");
    fuzz_check(!event.observed || event.observed->time_since_epoch().count() >= 0, "after 1970");
    fuzz_check(dram_coordinates_from(to_text(event.dram)) == event.dram, "coordinates read back");
    fuzz_check_text(event.label, Event::kLabelLimit);
    fuzz_check_text(event.result, Event::kResultLimit);
    fuzz_check_text(event.evidence, Event::kEvidenceLimit);
    return {};
  };
}

// What a source returned after `events` events.
inline void fuzz_check_report(const Result<SourceReport>& report, std::uint64_t events) {
  if (!report) {
    if (report.error().code != ErrorCode::kBadData) {
      fuzz_check(false, ("every error is kBadData: " + report.error().message).c_str());
    }
    fuzz_check_shown(report.error().message);
    return;
  }
  fuzz_check(report->events == events, "the report counts the events");
  fuzz_check(report->warnings.size() <= SourceReport::kWarnings, "warnings are bounded");
  for (const std::string& warning : report->warnings) fuzz_check_shown(warning);
}

// Runs a source of streams on the input.
template <typename Collect>
int fuzz_stream_source(const std::uint8_t* data, std::size_t size, Collect collect) {
  for (const std::uint64_t page : {4096U, 65536U}) {
    TextStream stream(as_text(data, size), "input");
    std::uint64_t events = 0;
    const SourceSettings settings{.page_shift = *PageShift::from_page_size(page),
                                  .memory_end = PhysAddr(std::uint64_t{1} << 36)};
    const Result<SourceReport> report = collect(stream, settings, fuzz_sink(events));
    fuzz_check_report(report, events);
  }
  return 0;
}

}  // namespace poisonctl
