// Between the kernel's ring buffer and the registry: decides what is stored when. Bounded in memory
// and in rows, however many errors there are. Pure: the time is passed in.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "registry/event.h"

namespace poisonctl {

// Errors that lost data are stored one by one, first, and at once: a batch is what came while the
// one before it was written. Of corrected errors the first one of a place is as urgent; those that
// follow on the same place are counted, and the count is stored as one event, at first every 5 s
// and ever more rarely while the storm goes on. Places beyond kMostPlaces are counted together, as
// evidence without a place.
class EventQueue {
 public:
  using Clock = std::chrono::steady_clock;

  static constexpr std::size_t kBatch = 256;
  static constexpr std::size_t kMostPlaces = 512;
  // Between two rows about corrected errors of one place.
  static constexpr std::chrono::seconds kFirstPause{5};
  static constexpr std::chrono::seconds kLongestPause{320};

  void add(Event event, Clock::time_point now);

  // Enough for a batch: take it before adding more.
  [[nodiscard]] bool full() const { return urgent_.size() >= kBatch; }
  // When take() has something next; nothing when the queue is empty.
  [[nodiscard]] std::optional<Clock::time_point> due() const;
  // What is due at `now`, at most kBatch events, the worst first; with `all`, what is not due too.
  std::vector<Event> take(Clock::time_point now, bool all = false);

 private:
  struct Place {
    std::optional<Event> pending;  // not stored yet: the newest of `count` errors
    Clock::time_point due;         // not before
    std::chrono::seconds pause = kFirstPause;
    bool stored = false;  // one was, since the place was new or quiet
  };
  void count_elsewhere(const Event& event, Clock::time_point now);
  static void count(Place& place, const Event& event);
  void take_counts(Clock::time_point now, bool all, std::vector<Event>& batch);
  void update_due();

  std::vector<Event> urgent_;
  std::optional<Clock::time_point> urgent_due_;
  std::map<std::string, Place> places_;
  Place elsewhere_;  // all places that have no room in places_
  std::optional<Clock::time_point> counts_due_;
};

}  // namespace poisonctl
