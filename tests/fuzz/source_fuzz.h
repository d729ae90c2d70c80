// What holds for every source of text, whatever it is given.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "registry/sources/source.h"
#include "tests/fuzz/fuzz_check.h"

namespace poisonctl {

inline void fuzz_check_event(const Event& event) {
  constexpr std::uint64_t kSigned = std::uint64_t{1} << 63U;
  fuzz_check(event.count >= 1 && event.count < kSigned, "seen at least once, and in 63 bits");
  fuzz_check(event.granularity <= kPhysAddrLimit, "nothing is coarser than the address space");
  fuzz_check(
      !event.range || (event.range->size() != 0 && event.range->end().value() <= kPhysAddrLimit),
      "a range is not empty and inside the limits");
  fuzz_check(event.evidence.size() <= Event::kEvidenceLimit, "evidence is bounded");
  fuzz_check(event.label.size() <= Event::kLabelLimit, "a label is bounded");
  fuzz_check(event.result.size() <= Event::kResultLimit, "a result is bounded");
  fuzz_check(!event.evidence.empty(), "an event has evidence");
}

// Runs a source over an input of 16 GiB of memory and returns its events.
template <typename Collect>
std::vector<Event> fuzz_source(Collect collect, const std::uint8_t* data, std::size_t size,
                               std::uint64_t memory_end = std::uint64_t{1} << 34U) {
  TextStream stream(as_text(data, size), "input");
  std::vector<Event> events;
  std::uint64_t count = 0;
  const auto report =
      collect(stream, SourceSettings{*PageShift::from_page_size(4096), PhysAddr(memory_end)},
              [&](const Event& event, const SourceReport& /*so_far*/) -> Result<void> {
                fuzz_check_event(event);
                constexpr std::size_t kKept = 4096;
                if (++count <= kKept) events.push_back(event);
                return {};
              });
  if (!report) {
    fuzz_check(report.error().code == ErrorCode::kBadData, "every error is kBadData");
    fuzz_check_shown(report.error().message);
    return events;
  }
  fuzz_check(report->events == count, "the report counts the events");
  fuzz_check(report->warnings.size() <= SourceReport::kWarnings, "warnings are bounded");
  for (const std::string& warning : report->warnings) fuzz_check_shown(warning);
  return events;
}

}  // namespace poisonctl
