#include "registry/sources/trace/correlate.h"

#include <fmt/format.h>

#include "registry/sources/trace/decode.h"
#include "registry/text.h"

namespace poisonctl {

namespace {

// Of the evidence of one event in that of another, and how many such pieces: a machine check, what
// EDAC makes of it, and one more. All of them fit in Event::kEvidenceLimit.
constexpr std::size_t kShownEvidence = 2000;
constexpr int kMostTies = 3;

}  // namespace

void Correlator::carry(const Seen& earlier, Event& event) {
  if (event.label.empty()) event.label = earlier.label;
  if (event.result.empty()) event.result = earlier.result;
  fill_missing(event.dram, earlier.dram);
  event.evidence += fmt::format(" | same incident, {}: {}", to_rfc3339(earlier.time),
                                printable(earlier.evidence, kShownEvidence));
}

void Correlator::tie(const std::string& trace_name, Event& event) {
  if (!event.range || !event.observed || event.kind == EventKind::kCorrected) return;
  const bool from_kernel = trace_name == kMemoryFailureEvent;
  const Seen seen{.range = *event.range,
                  .time = *event.observed,
                  .label = event.label,
                  .dram = event.dram,
                  .result = event.result,
                  .evidence = event.evidence};
  const auto forget = [&](std::deque<Seen>& list) {
    // Events of several processors come a little out of order: both directions count as apart.
    while (!list.empty() && (list.size() > kRemembered || list.front().time + kWindow < seen.time))
      list.pop_front();
  };
  std::deque<Seen>& others = from_kernel ? hardware_ : kernel_;
  forget(others);
  int ties = 0;
  for (const Seen& earlier : others) {
    const bool together = earlier.range.overlaps(seen.range) && seen.time + kWindow >= earlier.time;
    if (!together || ties == kMostTies) continue;
    carry(earlier, event);
    ++ties;
  }
  limit_texts(event);
  std::deque<Seen>& own = from_kernel ? kernel_ : hardware_;
  own.push_back(seen);
  forget(own);
}

}  // namespace poisonctl
