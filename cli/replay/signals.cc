#include "cli/replay/signals.h"

#include <ctime>

namespace poisonctl {

namespace {

volatile std::sig_atomic_t signal_arrived = 0;

void note_signal(int /*number*/) { signal_arrived = 1; }

}  // namespace

StopSignals::StopSignals() {
  signal_arrived = 0;
  struct sigaction action {};
  action.sa_handler = note_signal;  // no SA_RESTART: a pause is to end
  for (std::size_t i = 0; i < kSignals.size(); ++i) {
    sigaction(kSignals.at(i), &action, &before_.at(i));
  }
}

StopSignals::~StopSignals() {
  for (std::size_t i = 0; i < kSignals.size(); ++i) {
    sigaction(kSignals.at(i), &before_.at(i), nullptr);
  }
}

bool StopSignals::arrived() { return signal_arrived != 0; }

void StopSignals::pause(std::chrono::milliseconds time) {
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(time);
  const std::chrono::nanoseconds rest = time - seconds;
  const timespec limit{.tv_sec = seconds.count(), .tv_nsec = rest.count()};
  if (!arrived()) static_cast<void>(::nanosleep(&limit, nullptr));
}

}  // namespace poisonctl
