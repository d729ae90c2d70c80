// SIGTERM, SIGINT and SIGHUP while frames are retired: the run ends after the frame that it is at,
// and its result is written.
#pragma once

#include <array>
#include <chrono>
#include <csignal>

namespace poisonctl {

// One at a time: signals are the process's.
class StopSignals {
 public:
  StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;
  ~StopSignals();

  // Since this was made. Costs no system call: it is asked for every frame.
  [[nodiscard]] static bool arrived();
  // Waits so long, or until one arrives; one that comes just before does not cut it short.
  static void pause(std::chrono::milliseconds time);

 private:
  static constexpr std::array<int, 3> kSignals = {SIGTERM, SIGINT, SIGHUP};
  std::array<struct sigaction, kSignals.size()> before_{};
};

}  // namespace poisonctl
