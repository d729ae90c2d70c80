// Events and provenances for tests: a test names only what it is about.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <utility>

#include "registry/event.h"
#include "tests/unit/test_ranges.h"

namespace poisonctl {

// Seconds after 2026-01-01T00:00:00Z.
inline Time at_second(int seconds) {
  return Time(std::chrono::sys_days(std::chrono::January / 1 / 2026)) +
         std::chrono::seconds(seconds);
}

inline Provenance provenance_of(std::string source, std::string boot_id, Time time) {
  return {.time = time,
          .source = std::move(source),
          .source_version = {},
          .origin = {},
          .tool = "poisonctl test",
          .uid = 1000,
          .boot_id = std::move(boot_id),
          .kernel_release = "7.2.13",
          .host_id = "host",
          .product_uuid = {},
          .product_serial = {},
          .page_shift = shift_of(4096)};
}

inline Event event_of(EventKind kind, const ByteRange& where, std::string evidence = {}) {
  Event event;
  event.kind = kind;
  event.range = where;
  event.evidence = std::move(evidence);
  return event;
}

inline Event outcome_of(Retirement retirement, const ByteRange& where, std::string how) {
  Event event = event_of(EventKind::kOutcome, where, std::move(how));
  event.retirement = retirement;
  return event;
}

inline Event resolution_of(Resolution resolution, const ByteRange& where, std::string reason) {
  Event event = event_of(EventKind::kResolution, where, std::move(reason));
  event.resolution = resolution;
  return event;
}

// The `number`th frame of 4 KiB.
inline ByteRange frame_at(std::uint64_t number) {
  return ByteRange::from_frames(Pfn(number), 1, shift_of(4096)).value();
}

}  // namespace poisonctl
