// Ties what the hardware said about a piece of memory to what the kernel did about it: two events
// of one incident.
#pragma once

#include <chrono>
#include <cstddef>
#include <deque>
#include <string>

#include "registry/event.h"

namespace poisonctl {

// Both events are stored as they are, each the evidence of its own source. The later one of the two
// carries besides what the earlier one knew: label, DRAM coordinates, the kernel's result, and a
// line of its evidence. Either may come first: the kernel handles an error that a program ran into
// before it traces the machine check, and one that the scrubber found after.
class Correlator {
 public:
  // How far apart the two may be. memory_failure() can wait for locks and unmap many users.
  static constexpr std::chrono::seconds kWindow{2};
  // Of each side, how many are remembered: memory use stays bounded in a storm.
  static constexpr std::size_t kRemembered = 256;

  // `trace_name` is that of the trace event which `event` comes from; `event` must have its time
  // (observed).
  void tie(const std::string& trace_name, Event& event);

 private:
  struct Seen {
    ByteRange range;
    Time time;
    std::string label;
    DramCoordinates dram;
    std::string result;
    std::string evidence;
  };
  static void carry(const Seen& earlier, Event& event);

  std::deque<Seen> hardware_;  // oldest first
  std::deque<Seen> kernel_;
};

}  // namespace poisonctl
