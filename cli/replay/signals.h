// SIGTERM, SIGINT and SIGHUP while frames are retired: the run ends after the frame that it is at,
// and its result is written. No handler: they are blocked and looked for.
#pragma once

#include <chrono>
#include <csignal>

namespace poisonctl {

class StopSignals {
 public:
  StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;
  ~StopSignals();

  [[nodiscard]] bool arrived();
  // Waits so long, or until one arrives.
  void pause(std::chrono::milliseconds time);

 private:
  sigset_t wanted_{};
  sigset_t before_{};
  bool arrived_ = false;
};

}  // namespace poisonctl
