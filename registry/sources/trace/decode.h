// From a trace event to what it says of memory. Pure: no kernel is needed to test it.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "registry/event.h"
#include "registry/sources/source.h"
#include "registry/sources/trace/event.h"

namespace poisonctl {

// A trace event that is known here, and the systems in which kernels have it: the first one that is
// there is taken.
struct KnownTraceEvent {
  std::string_view name;
  std::vector<std::string_view> systems;
};
// memory_failure_event (include/ras/ras_event.h; some kernels have it in a system of its own),
// mce_record (include/trace/events/mce.h), mc_event, extlog_mem_event, arm_event,
// non_standard_event (include/ras/ras_event.h), cxl_poison, cxl_general_media, cxl_dram
// (drivers/cxl/core/trace.h).
std::span<const KnownTraceEvent> known_trace_events();

// The name of the trace event that says what the kernel did about a frame.
inline constexpr std::string_view kMemoryFailureEvent = "memory_failure_event";

// Whether the kernel counted a frame in HardwareCorrupted with this event. It does not for one that
// was poisoned before (action_result() in mm/memory-failure.c): taken for a new one, it would
// explain a frame that was retired without an event, such as by soft offline.
bool raises_counter(const TraceEvent& trace);

// The events that `trace` is: none when it is no error of memory, two when the same bytes have two
// addresses. What has no physical address of memory is evidence without a place. `observed` is the
// time of the trace event. A frame number is one of settings.page_shift: the kernel that traces is
// the one that runs.
std::vector<Event> events_of(const TraceEvent& trace, const SourceSettings& settings);

// What is recorded where the ring buffer lost `lost` trace events until a time: evidence without a
// place. Without `since` they were lost before this program looked for the first time.
Event gap_of(std::uint64_t lost, std::optional<Time> since, Time until);

}  // namespace poisonctl
