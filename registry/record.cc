#include "registry/record.h"

#include <algorithm>

namespace poisonctl {

namespace {

Condition condition_after(EventKind kind) {
  return kind == EventKind::kCorrected ? Condition::kSuspect : Condition::kFaulty;
}

// Which of two observations weighs more: lost data, then the kernel's flag, then mended data.
int weight(EventKind kind) {
  switch (kind) {
    case EventKind::kUncorrected:
      return 3;
    case EventKind::kPoisoned:
      return 2;
    case EventKind::kCorrected:
      return 1;
    case EventKind::kOutcome:
      return 0;
  }
  return 0;
}

}  // namespace

std::string_view to_word(Condition condition) {
  return condition == Condition::kFaulty ? "faulty" : "suspect";
}

std::optional<Condition> condition_from(std::string_view word) {
  if (word == "faulty") return Condition::kFaulty;
  if (word == "suspect") return Condition::kSuspect;
  return std::nullopt;
}

Record new_record(std::int64_t event_id, const Event& event, const Provenance& provenance) {
  Record record{.id = event_id,
                .range = event.range,
                .exact = event.exact,
                .sources = {},
                .first_seen = provenance.time,
                .last_seen = provenance.time,
                .outcome_boot_id = {},
                .outcome_how = {}};
  fold_event(record, event, provenance);
  return record;
}

void fold_event(Record& record, const Event& event, const Provenance& provenance) {
  if (event.kind == EventKind::kOutcome) {
    record.last_outcome = event.retirement;
    record.outcome_boot_id = provenance.boot_id;
    record.outcome_how = event.evidence;
    return;
  }
  ++record.events;
  record.exact = record.exact || event.exact;
  record.first_seen = std::min(record.first_seen, provenance.time);
  record.last_seen = std::max(record.last_seen, provenance.time);
  if (weight(event.kind) > weight(record.severity)) record.severity = event.kind;
  if (condition_after(event.kind) == Condition::kFaulty) record.condition = Condition::kFaulty;
  const auto place =
      std::lower_bound(record.sources.begin(), record.sources.end(), provenance.source);
  if (place == record.sources.end() || *place != provenance.source) {
    record.sources.insert(place, provenance.source);
  }
}

}  // namespace poisonctl
