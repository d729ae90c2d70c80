// Records: what the events about one range add up to.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "registry/event.h"

namespace poisonctl {

// What we believe of the hardware.
enum class Condition {
  kSuspect,   // corrected errors only, and not many
  kFaulty,    // must be retired
  kResolved,  // repaired, replaced, cleared or acquitted
  // We no longer trust that the address means the same cell. Never stored: it depends on the
  // machine that is looked at (topology.h).
  kQuarantined,
};
std::string_view to_word(Condition condition);
// Of a condition that can be stored.
std::optional<Condition> condition_from(std::string_view word);

// When corrected errors make a frame faulty: more than `limit` in `window`, by a leaky bucket that
// empties evenly, as mcelog and rasdaemon count them. A weak cell that errs now and then is left
// alone.
struct CorrectedErrorPolicy {
  // rasdaemon's defaults (PAGE_CE_THRESHOLD, PAGE_CE_REFRESH_CYCLE).
  std::uint64_t frame_limit = 50;
  // A row has two frames or more, and a bad row errs in all of them.
  std::uint64_t row_limit = 100;
  std::chrono::seconds window = std::chrono::hours(24);
};

// A leaky bucket.
struct ErrorBucket {
  std::uint64_t level = 0;  // errors not yet leaked away
  Time filled;              // when `level` was right

  // Adds `count` errors at `time`, which were recorded at `recorded`; true when that is more than
  // `limit`.
  bool add(std::uint64_t count, Time time, Time recorded, std::uint64_t limit,
           std::chrono::seconds window);
};

// One record for each distinct range that events name, widened to 4 KiB: the smallest page that any
// kernel has, so that the same registry serves them all. Records may overlap: two sources may know
// the same cell to different precision.
struct Record {
  std::int64_t id = 0;  // of the first event about the range
  ByteRange range;
  std::uint64_t granularity = 0;  // of the most exact event; 0 is as exact as the range
  Condition condition = Condition::kSuspect;
  EventKind severity = EventKind::kCorrected;  // of the worst event
  std::vector<std::string> sources;            // sorted, each once
  Time first_seen;
  Time last_seen;
  std::uint64_t events = 0;  // observations with their counts; outcomes and resolutions not counted
  ErrorBucket corrected;     // since the last resolution
  std::string label;         // newest that an event gave
  DramCoordinates dram;      // newest that an event gave
  std::uint64_t reopened = 0;  // how many times an error came after a resolution
  // The snapshots that it was seen under since the last resolution, by Hasher::snapshot_name,
  // sorted.
  std::vector<std::string> topologies = {};
  // Of a quarantined record: what has changed.
  std::string quarantine_reason = {};

  // The newest outcome, and the boot it is about: worth nothing in any other boot.
  Retirement last_outcome = Retirement::kUnknown;
  std::string outcome_boot_id;
  std::string outcome_how;

  // The newest resolution; means something while the condition is kResolved.
  Resolution resolution = Resolution::kAcquitted;
  std::string resolution_reason;
  Time resolved;

  // What is known of the retirement in the boot `boot_id`.
  [[nodiscard]] Retirement retirement_in(std::string_view boot_id) const {
    return boot_id == outcome_boot_id ? last_outcome : Retirement::kUnknown;
  }
  // False when only some frames of the range are meant, and nobody knows which.
  [[nodiscard]] bool is_exact(PageShift shift) const { return granularity <= shift.page_size(); }
};

// Which of two observations weighs more: the larger number. What is no observation weighs nothing.
int severity_weight(EventKind kind);

// The range of the record that an event belongs to.
ByteRange record_range(const ByteRange& event_range);

// The record of a range before its first event.
Record empty_record(std::int64_t event_id, const ByteRange& range, Time time);

// When an event happened, as far as can be believed: nothing is seen after it was recorded.
Time time_seen(const Event& event, const Provenance& provenance);

// Adds one event about the record's range. Pure: a record is the fold of its events in the order of
// their ids, whenever that is computed. `row_is_faulty`: corrected errors in the same DRAM row have
// passed their limit. `snapshot` is the name of the provenance's topology, or empty.
void fold_event(Record& record, const Event& event, const Provenance& provenance,
                const CorrectedErrorPolicy& policy, bool row_is_faulty,
                const std::string& snapshot = {});

// The DRAM row of a place, as a key: its device and coordinates without the column. Empty when the
// row is not known.
std::string row_key(const std::string& label, const DramCoordinates& dram);

}  // namespace poisonctl
