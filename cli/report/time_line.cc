#include "cli/report/time_line.h"

#include <utility>

namespace poisonctl {

namespace {

// Minutes. Each is a multiple of the one before, so that steps can be joined; the last one divides
// all the time that 64 bits of nanoseconds can tell into fewer than kMostSteps.
constexpr std::int64_t kHour = 60;
constexpr std::int64_t kDay = 24 * kHour;
constexpr std::array<std::int64_t, 10> kWidths = {
    1, 10, kHour, 6 * kHour, kDay, 5 * kDay, 30 * kDay, 150 * kDay, 900 * kDay, 3600 * kDay};

std::int64_t floor_divide(std::int64_t value, std::int64_t by) {
  return value / by - (value % by < 0 ? 1 : 0);
}

}  // namespace

Lane lane_of(EventKind kind) {
  switch (kind) {
    case EventKind::kUncorrected:
    case EventKind::kDeferred:
    case EventKind::kMedia:
    case EventKind::kPoisoned:
    case EventKind::kInjected:
      return Lane::kLost;
    case EventKind::kCorrected:
      return Lane::kCorrected;
    case EventKind::kUnpoisoned:
    case EventKind::kOutcome:
    case EventKind::kResolution:
      return Lane::kDone;
  }
  return Lane::kDone;
}

std::chrono::minutes TimeLine::step() const { return std::chrono::minutes(kWidths.at(width_)); }

Time TimeLine::begin_of(std::int64_t number) const { return Time() + number * step(); }

void TimeLine::add(Time time, Lane lane, std::uint64_t count) {
  const auto minute = std::chrono::floor<std::chrono::minutes>(time.time_since_epoch()).count();
  steps_[floor_divide(minute, kWidths.at(width_))].at(static_cast<std::size_t>(lane)) += count;
  while (steps_.rbegin()->first - steps_.begin()->first >= kMostSteps) widen();
}

void TimeLine::widen() {
  const std::int64_t factor = kWidths.at(width_ + 1) / kWidths.at(width_);
  ++width_;
  std::map<std::int64_t, Counts> wider;
  for (const auto& [number, counts] : steps_) {
    Counts& sum = wider[floor_divide(number, factor)];
    for (std::size_t lane = 0; lane < kLanes; ++lane) sum.at(lane) += counts.at(lane);
  }
  steps_ = std::move(wider);
}

}  // namespace poisonctl
