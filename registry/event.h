// Events: what was observed, by whom and when. They are only ever appended; all else is derived.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "registry/address.h"
#include "registry/page_flags.h"

namespace poisonctl {

// UTC, to the nanosecond.
using Time = std::chrono::sys_time<std::chrono::nanoseconds>;

// "2026-03-01T12:00:00Z" (RFC 3339, whole seconds).
std::string to_rfc3339(Time time);

enum class EventKind {
  kUncorrected,  // "ue": the data was lost
  kCorrected,    // "ce": the data was mended on the way; weak evidence
  kPoisoned,     // "poisoned": the kernel flags the frame HWPOISON; what came before is not known
  kOutcome,      // "outcome": what the page flags said of a retirement
};

// The word of a kind in the registry, in JSON and on the command line, and back.
std::string_view to_word(EventKind kind);
std::optional<EventKind> event_kind_from(std::string_view word);

std::string_view to_word(Retirement retirement);
std::optional<Retirement> retirement_from(std::string_view word);

// One observation. Addresses are bytes: what a frame is depends on the kernel that looks.
struct Event {
  EventKind kind = EventKind::kUncorrected;
  ByteRange range;
  // False when one or more frames of the range are meant and nobody knows which.
  bool exact = true;
  // kOutcome only: the state that was read.
  Retirement retirement = Retirement::kUnknown;
  // What was read, as it was read, or the note that somebody gave: at most kEvidenceLimit bytes.
  std::string evidence;

  static constexpr std::size_t kEvidenceLimit = 64U << 10U;
};

// What all events of one import have in common.
struct Provenance {
  Time time;              // when it was recorded
  std::string source;     // "kernel", "operator", ... (see is_source_name)
  std::string tool;       // name and version of the program that recorded it
  std::uint32_t uid = 0;  // who ran it
  std::string boot_id;    // of the kernel that was looked at
  std::string kernel_release;
  std::string host_id;       // may be empty
  std::string product_uuid;  // may be empty
  PageShift page_shift;      // of the kernel that was looked at
};

// Lower-case letters, digits, '.', '_' and '-', at most 32: what a source may be called.
bool is_source_name(std::string_view name);

}  // namespace poisonctl
