#include "registry/record.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

namespace poisonctl {

namespace {

void fold_resolution(Record& record, const Event& event, const Provenance& provenance) {
  record.condition = Condition::kResolved;
  record.resolution = event.resolution;
  record.resolution_reason = event.evidence;
  record.resolved = provenance.time;
  record.corrected = {};
  record.topologies.clear();
}

void insert_sorted(std::vector<std::string>& words, const std::string& word) {
  const auto place = std::lower_bound(words.begin(), words.end(), word);
  if (place == words.end() || *place != word) words.insert(place, word);
}

// What an observation makes of the condition.
void fold_condition(Record& record, const Event& event, const Provenance& provenance,
                    const CorrectedErrorPolicy& policy, bool row_is_faulty) {
  const Time seen = time_seen(event, provenance);
  if (record.condition == Condition::kResolved) {
    // An old error that is imported late says nothing against a resolution that came after it. An
    // import that seems to come before the resolution comes after it in the log: a clock was set,
    // and what it says of times tells nothing.
    const bool is_old = event.observed && seen <= record.resolved;
    if (is_old && provenance.time >= record.resolved) return;
    ++record.reopened;
    record.condition = Condition::kSuspect;
  }
  bool faulty = true;
  if (event.kind == EventKind::kCorrected) {
    faulty = record.corrected.add(event.count, seen, provenance.time, policy.frame_limit,
                                  policy.window) ||
             row_is_faulty;
  }
  if (faulty) record.condition = Condition::kFaulty;
}

}  // namespace

int severity_weight(EventKind kind) {
  switch (kind) {
    case EventKind::kUncorrected:
      return 6;
    case EventKind::kDeferred:
      return 5;
    case EventKind::kMedia:
      return 4;
    case EventKind::kPoisoned:
      return 3;
    case EventKind::kInjected:
      return 2;
    case EventKind::kCorrected:
      return 1;
    case EventKind::kUnpoisoned:
    case EventKind::kOutcome:
    case EventKind::kResolution:
      return 0;
  }
  return 0;
}

std::string_view to_word(Condition condition) {
  switch (condition) {
    case Condition::kSuspect:
      return "suspect";
    case Condition::kFaulty:
      return "faulty";
    case Condition::kResolved:
      return "resolved";
    case Condition::kQuarantined:
      return "quarantined";
  }
  return "";
}

std::optional<Condition> condition_from(std::string_view word) {
  for (const Condition condition :
       {Condition::kSuspect, Condition::kFaulty, Condition::kResolved}) {
    if (to_word(condition) == word) return condition;
  }
  return std::nullopt;
}

bool ErrorBucket::add(std::uint64_t count, Time time, Time recorded, std::uint64_t limit,
                      std::chrono::seconds window) {
  // What is recorded later is recorded at a later time, unless a clock was ahead: without this,
  // nothing would leak away until that time has come.
  if (recorded < filled) filled = recorded;
  if (level == 0) filled = time;
  // Times from 1970 on: their difference does not overflow.
  constexpr Time kEpoch{};
  if (time > filled && filled >= kEpoch && limit != 0) {
    // One error leaks away every window / limit; what is left of that step stays for the next time.
    const auto step = std::chrono::nanoseconds(window) / static_cast<std::int64_t>(limit);
    const auto leaks = static_cast<std::uint64_t>((time - filled) / step);
    level -= std::min(level, leaks);
    filled += step * static_cast<std::int64_t>(leaks);
    if (level == 0) filled = time;
  }
  level += std::min(count, std::numeric_limits<std::uint64_t>::max() / 2 - level);
  return level > limit;
}

ByteRange record_range(const ByteRange& event_range) {
  return event_range.widened_to(PageShift::smallest());
}

Record empty_record(std::int64_t event_id, const ByteRange& range, Time time) {
  return {.id = event_id,
          .range = range,
          .granularity = std::numeric_limits<std::uint64_t>::max(),
          .sources = {},
          .first_seen = time,
          .last_seen = time,
          .corrected = {},
          .label = {},
          .dram = {},
          .outcome_boot_id = {},
          .outcome_how = {},
          .resolution_reason = {},
          .resolved = {}};
}

Time time_seen(const Event& event, const Provenance& provenance) {
  return std::min(event.observed.value_or(provenance.time), provenance.time);
}

void fold_event(Record& record, const Event& event, const Provenance& provenance,
                const CorrectedErrorPolicy& policy, bool row_is_faulty,
                const std::string& snapshot) {
  if (event.kind == EventKind::kOutcome) {
    record.last_outcome = event.retirement;
    record.outcome_boot_id = provenance.boot_id;
    record.outcome_how = event.evidence;
    return;
  }
  if (event.kind == EventKind::kResolution) {
    fold_resolution(record, event, provenance);
    return;
  }
  if (!is_observation(event.kind)) return;
  const Time seen = time_seen(event, provenance);
  record.first_seen = record.events == 0 ? seen : std::min(record.first_seen, seen);
  record.last_seen = record.events == 0 ? seen : std::max(record.last_seen, seen);
  // A count of a log that was not written by us can be anything; SQLite has 63 bits for it.
  constexpr auto kMost = std::uint64_t{std::numeric_limits<std::int64_t>::max()};
  record.events += std::min(event.count, kMost - std::min(kMost, record.events));
  record.granularity = std::min(record.granularity, event.granularity);
  if (severity_weight(event.kind) > severity_weight(record.severity)) record.severity = event.kind;
  if (!event.label.empty()) record.label = event.label;
  if (event.dram != DramCoordinates{}) record.dram = event.dram;
  insert_sorted(record.sources, provenance.source);
  // Where the import could not tell the topology, what is seen is about the memory that is there
  // all the same: it is not to be set aside for a change of before.
  if (snapshot.empty()) {
    record.topologies.clear();
  } else {
    insert_sorted(record.topologies, snapshot);
  }
  fold_condition(record, event, provenance, policy, row_is_faulty);
}

std::string row_key(const std::string& label, const DramCoordinates& dram) {
  if (!dram.row) return {};
  DramCoordinates row = dram;
  row.column.reset();
  row.device.reset();  // one chip of the rank; the row spans all of them
  return fmt::format("{}|{}", label, to_text(row));
}

}  // namespace poisonctl
