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

// "2026-03-01T12:00:00Z" (RFC 3339). Whole seconds, or with as many of nine decimals as it takes.
std::string to_rfc3339(Time time);
// Whole seconds always, for people; rounded down.
std::string to_rfc3339_seconds(Time time);
// What to_rfc3339 writes back: seconds may have up to nine decimals, the zone is Z or +HH:MM.
// Nothing when malformed, no date of the calendar, or outside 1970 to 2261 (64 bits of
// nanoseconds).
std::optional<Time> time_from_rfc3339(std::string_view text);

enum class EventKind {
  kUncorrected,  // "ue": the data was lost
  kCorrected,    // "ce": the data was mended on the way; weak evidence
  kDeferred,     // "deferred": lost, but nobody has used it yet
  kMedia,        // "media": the device lists the place as bad
  kInjected,     // "injected": a test put it there
  kPoisoned,     // "poisoned": the kernel flags the frame HWPOISON; what came before is not known
  kUnpoisoned,   // "unpoisoned": the kernel flags it no more; says nothing of the cell
  kOutcome,      // "outcome": what the page flags said of a retirement
  kResolution,   // "resolution": somebody ended a record, with a reason
};

// The word of a kind in the registry, in JSON and on the command line, and back.
std::string_view to_word(EventKind kind);
std::optional<EventKind> event_kind_from(std::string_view word);
// Whether it says that something failed. The others are about what became of that.
bool is_observation(EventKind kind);

std::string_view to_word(Retirement retirement);
std::optional<Retirement> retirement_from(std::string_view word);

// How a record was ended.
enum class Resolution {
  kRepaired,   // the cell works again: post-package repair, sparing
  kReplaced,   // other hardware answers at the address
  kCleared,    // the poison was overwritten and the place was tested good
  kAcquitted,  // it was never bad
};
std::string_view to_word(Resolution resolution);
std::optional<Resolution> resolution_from(std::string_view word);

// Where in a memory device a cell lies, as far as the source says. Numbers as the source counts
// them.
struct DramCoordinates {
  std::optional<std::uint32_t> socket;
  std::optional<std::uint32_t> controller;
  std::optional<std::uint32_t> channel;
  std::optional<std::uint32_t> sub_channel;
  std::optional<std::uint32_t> slot;  // the DIMM on the channel
  std::optional<std::uint32_t> rank;
  std::optional<std::uint32_t> device;
  std::optional<std::uint32_t> bank_group;
  std::optional<std::uint32_t> bank;
  std::optional<std::uint32_t> row;
  std::optional<std::uint32_t> column;
  friend bool operator==(const DramCoordinates&, const DramCoordinates&) = default;
};
// "socket=0 channel=1 row=4660": the fields that are set, in the order above, decimal; and back.
// Nothing when a name is unknown, repeated or out of order, or a number does not fit.
std::string to_text(const DramCoordinates& coordinates);
std::optional<DramCoordinates> dram_coordinates_from(std::string_view text);

// Takes from `theirs` what `mine` does not say.
void fill_missing(DramCoordinates& mine, const DramCoordinates& theirs);
// The field of that name; nullptr when there is none.
std::optional<std::uint32_t>* coordinate(DramCoordinates& coordinates, std::string_view name);

// One observation.
struct Event {
  EventKind kind = EventKind::kUncorrected;
  // Physical bytes, as exactly as the source tells them. Nothing when the source names no physical
  // address (a DIMM counter, a device address without a region): then it is evidence without a
  // place.
  std::optional<ByteRange> range;
  // The smallest piece, in bytes, that the source can tell apart; 0 when it does not say. Larger
  // than a page: one or more frames of the range are meant, and nobody knows which.
  std::uint64_t granularity = 0;
  // How many times it was seen: at least 1.
  std::uint64_t count = 1;
  // When, by the source's own clock, if it says.
  std::optional<Time> observed;
  // The machine id of the host it is about, when that is another host than the one that records it:
  // kept apart, never acted on here.
  std::string foreign_host;
  // The name of the DIMM or of the device, as the source writes it.
  std::string label;
  DramCoordinates dram;
  // What the kernel did about it, in its own words ("Recovered", "Ignored").
  std::string result;
  // kOutcome only: the state that was read.
  Retirement retirement = Retirement::kUnknown;
  // kResolution only.
  Resolution resolution = Resolution::kAcquitted;
  // What was read, as it was read, or the reason that somebody gave.
  std::string evidence;

  // Texts longer than these are cut by limit_texts(), with a mark: evidence is bounded in size.
  static constexpr std::size_t kEvidenceLimit = 16U << 10U;
  static constexpr std::size_t kLabelLimit = 256;
  static constexpr std::size_t kResultLimit = 256;
};

// The word of an outcome's retirement or of a resolution's kind; empty for all other events.
std::string_view state_word(const Event& event);

// Cuts the texts of an event to their limits, ending cut ones in "[cut]".
void limit_texts(Event& event);

// What all events of one import have in common.
struct Provenance {
  Time time{};                     // when it was recorded
  std::uint64_t monotonic_ns = 0;  // CLOCK_BOOTTIME then; 0 when the machine is not the one running
  std::string source;              // "kernel", "operator", ... (see is_source_name)
  std::string source_version;      // as far as the source says
  std::string origin;              // the file that was read, or empty
  std::string tool;                // name and version of the program that recorded it
  std::uint32_t uid = 0;           // who ran it
  std::string boot_id;             // of the kernel that was looked at
  std::string kernel_release;
  std::string host_id;                           // may be empty
  std::string product_uuid;                      // may be empty
  std::string product_serial;                    // may be empty
  PageShift page_shift = PageShift::smallest();  // of the kernel that was looked at
  std::string topology = {};                     // the snapshot (topology.h); empty: not known
  friend bool operator==(const Provenance&, const Provenance&) = default;
};

// Lower-case letters, digits, '.', '_' and '-', at most 32: what a source may be called.
bool is_source_name(std::string_view name);

}  // namespace poisonctl
