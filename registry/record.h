// Records: what the events about one range add up to.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "registry/event.h"

namespace poisonctl {

// What we believe of the hardware.
enum class Condition {
  kSuspect,  // corrected errors only
  kFaulty,   // must be retired
};
std::string_view to_word(Condition condition);
std::optional<Condition> condition_from(std::string_view word);

// One record for each distinct range that events name. Ranges of different records may overlap: two
// sources may know the same cell to different precision.
struct Record {
  std::int64_t id = 0;  // of the first event about the range
  ByteRange range;
  bool exact = true;
  Condition condition = Condition::kSuspect;
  EventKind severity = EventKind::kCorrected;  // of the worst event
  std::vector<std::string> sources;            // sorted, each once
  Time first_seen;
  Time last_seen;
  std::uint64_t events = 0;  // observations, outcomes not counted

  // The newest outcome, and the boot it is about: worth nothing in any other boot.
  Retirement last_outcome = Retirement::kUnknown;
  std::string outcome_boot_id;
  std::string outcome_how;

  // What is known of the retirement in the boot `boot_id`.
  [[nodiscard]] Retirement retirement_in(std::string_view boot_id) const {
    return boot_id == outcome_boot_id ? last_outcome : Retirement::kUnknown;
  }
};

// The record of a range whose first event this is.
Record new_record(std::int64_t event_id, const Event& event, const Provenance& provenance);

// Adds one more event about the same range. Pure: a record is the fold of its events in the order
// of their ids, whenever that is computed.
void fold_event(Record& record, const Event& event, const Provenance& provenance);

}  // namespace poisonctl
