#include "cli/replay/signals.h"

#include <ctime>

namespace poisonctl {

StopSignals::StopSignals() {
  sigemptyset(&wanted_);
  for (const int number : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&wanted_, number);
  sigprocmask(SIG_BLOCK, &wanted_, &before_);
}

StopSignals::~StopSignals() {
  constexpr timespec kNow{};
  // What arrived has been obeyed; it must not end the program before its result is written.
  while (arrived_ && sigtimedwait(&wanted_, nullptr, &kNow) > 0) {
  }
  sigprocmask(SIG_SETMASK, &before_, nullptr);
}

bool StopSignals::arrived() {
  if (!arrived_) pause(std::chrono::milliseconds(0));
  return arrived_;
}

void StopSignals::pause(std::chrono::milliseconds time) {
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(time);
  const std::chrono::nanoseconds rest = time - seconds;
  const timespec limit{.tv_sec = seconds.count(), .tv_nsec = rest.count()};
  if (sigtimedwait(&wanted_, nullptr, &limit) > 0) arrived_ = true;
}

}  // namespace poisonctl
