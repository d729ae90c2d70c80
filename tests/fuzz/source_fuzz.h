// What must hold for every event of every source, whatever the input was.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "registry/sources/source.h"
#include "registry/text.h"
#include "tests/fuzz/fuzz_check.h"

namespace poisonctl {

// What a source does with the texts that it hands over.
enum class FuzzTexts {
  kAsRead,     // as they stand in the input
  kPrintable,  // fit for a terminal
};

inline void fuzz_check_text(std::string_view text, std::size_t limit, FuzzTexts texts) {
  fuzz_check(text.size() <= limit, "a text is within its limit");
  fuzz_check(texts == FuzzTexts::kAsRead || printable(text, limit) == text,
             "a text is fit for a terminal");
}

inline void fuzz_check_event(const Event& event, FuzzTexts texts) {
  constexpr std::uint64_t kSigned = std::uint64_t{1} << 63U;
  if (event.range) {
    fuzz_check(event.range->size() != 0, "a range is not empty");
    fuzz_check(event.range->end().value() <= kPhysAddrLimit, "a range is inside the limit");
  }
  fuzz_check(event.granularity <= kPhysAddrLimit, "a granularity is a size of memory");
  fuzz_check(event.count >= 1 && event.count < kSigned, "seen at least once, and in 63 bits");
  fuzz_check(is_observation(event.kind), "a source observes");
  fuzz_check(!event.observed || event.observed->time_since_epoch().count() >= 0, "after 1970");
  fuzz_check(dram_coordinates_from(to_text(event.dram)) == event.dram, "coordinates read back");
  fuzz_check_text(event.label, Event::kLabelLimit, texts);
  fuzz_check_text(event.result, Event::kResultLimit, texts);
  fuzz_check_text(event.evidence, Event::kEvidenceLimit, texts);
}

// A sink that checks and counts.
inline EventSink fuzz_sink(std::uint64_t& events, FuzzTexts texts) {
  return [&events, texts](const Event& event, const SourceReport& /*so_far*/) -> Result<void> {
    ++events;
    fuzz_check_event(event, texts);
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

inline SourceSettings fuzz_settings(std::uint64_t page_size) {
  return {.page_shift = *PageShift::from_page_size(page_size),
          .memory_end = PhysAddr(std::uint64_t{1} << 36U)};
}

// Runs a source of streams on the input, for kernels with small and with large pages.
template <typename Collect>
void fuzz_source(Collect collect, const std::uint8_t* data, std::size_t size, FuzzTexts texts,
                 PhysAddr memory_end = fuzz_settings(4096).memory_end) {
  for (const std::uint64_t page : {4096U, 65536U}) {
    TextStream stream(as_text(data, size), "input");
    SourceSettings settings = fuzz_settings(page);
    settings.memory_end = memory_end;
    std::uint64_t events = 0;
    const Result<SourceReport> report = collect(stream, settings, fuzz_sink(events, texts));
    fuzz_check_report(report, events);
  }
}

}  // namespace poisonctl
