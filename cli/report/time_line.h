// When things happened, counted in equal steps that grow with the time they span.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <map>

#include "registry/event.h"

namespace poisonctl {

// What a time line tells apart.
enum class Lane { kLost, kCorrected, kDone };
inline constexpr std::size_t kLanes = 3;
// Errors that lost data, or were put there by a test; corrected errors; outcomes and resolutions.
Lane lane_of(EventKind kind);

class TimeLine {
 public:
  using Counts = std::array<std::uint64_t, kLanes>;

  void add(Time time, Lane lane, std::uint64_t count);

  // The steps that have something in them, by their number since 1970.
  [[nodiscard]] const std::map<std::int64_t, Counts>& steps() const { return steps_; }
  [[nodiscard]] std::chrono::minutes step() const;
  // When step `number` begins.
  [[nodiscard]] Time begin_of(std::int64_t number) const;

  // At most so many steps from the first to the last.
  static constexpr std::int64_t kMostSteps = 120;

 private:
  void widen();

  std::size_t width_ = 0;  // in the table of widths
  std::map<std::int64_t, Counts> steps_;
};

}  // namespace poisonctl
