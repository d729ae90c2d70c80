// The kernel's ring buffer of trace events, read through an instance of our own (libtracefs,
// libtraceevent): other tracers see nothing of it, and what they do changes nothing here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "registry/result.h"
#include "registry/sources/trace/event.h"

namespace poisonctl {

class TraceReader {
 public:
  // Makes the instance `name`, or takes over what a killed process left, with the events that are
  // still in it, and turns the known events on (decode.h). Errors: kNotAvailable (no tracefs here:
  // a container, lockdown, a kernel without CONFIG_EVENT_TRACING; or none of the events),
  // kNoPrivilege, kIo.
  static Result<TraceReader> open(const std::string& name);

  TraceReader(TraceReader&&) noexcept;
  TraceReader& operator=(TraceReader&&) = delete;
  TraceReader(const TraceReader&) = delete;
  TraceReader& operator=(const TraceReader&) = delete;
  // Leaves the instance on: what comes now is there for whoever opens it next.
  ~TraceReader();

  // "ras:mc_event" for each event that is on, sorted as in decode.h.
  [[nodiscard]] const std::vector<std::string>& enabled() const;
  // The names of those that this kernel does not have, now.
  [[nodiscard]] std::vector<std::string> missing() const;
  // Turns on what a module has brought since; returns what is new.
  std::vector<std::string> enable_missing();

  // To poll for POLLIN: one a CPU.
  [[nodiscard]] std::vector<int> descriptors() const;

  // Hands over what is in the ring buffers, those of one CPU in their order, until `wants_more`
  // says no (asked between pages of the buffer) or nothing is left; true when something may be.
  // Errors: kIo.
  Result<bool> read(const std::function<void(const TraceEvent&)>& take,
                    const std::function<bool()>& wants_more);

  // Events that the kernel overwrote or dropped since the instance was made. Errors: kIo.
  [[nodiscard]] Result<std::uint64_t> lost() const;

  // Nothing more is recorded; what is there can still be read.
  void stop();
  // Removes the instance from the kernel. Nothing else may be called then. Errors: kIo.
  Result<void> remove();

 private:
  struct State;
  explicit TraceReader(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// The size of the ring buffer of one CPU. A machine check takes 120 to 140 bytes in it, so that
// 4 MiB hold 3 s of 10,000 errors a second: a disk that is slow, or a registry that another process
// writes, loses nothing. More CPUs share such a storm, and have 32 MiB together, but 256 KiB each
// at the least. (The kernel's default is 1.4 MiB each: 360 MiB on 256 CPUs.)
unsigned buffer_kib_per_cpu(unsigned cpus);

// The sum of the counters of lost events in per_cpu/cpuN/stats of one CPU (kernel/trace/trace.c,
// tracing_stats_read): overwritten, dropped, and those whose commit was overrun.
std::uint64_t lost_events(std::string_view stats);

}  // namespace poisonctl
