#include "registry/sources/trace/event_queue.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <limits>

#include "registry/range_text.h"

namespace poisonctl {

namespace {

// What one place is: errors of a cell that the hardware tells apart are not thrown together.
std::string place_of(const Event& event) {
  return fmt::format("{}|{}|{}", event.range ? to_text(*event.range) : "", event.label,
                     to_text(event.dram));
}

// The registry counts in 63 bits.
std::uint64_t sum_of(std::uint64_t a, std::uint64_t b) {
  constexpr auto kMost = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  return a > kMost - std::min(b, kMost) ? kMost : a + b;
}

bool lost_data(const Event& event) {
  return event.kind == EventKind::kUncorrected || event.kind == EventKind::kDeferred;
}

}  // namespace

void EventQueue::add(Event event, Clock::time_point now) {
  if (event.kind != EventKind::kCorrected) {
    if (urgent_.empty()) urgent_due_ = now;
    urgent_.push_back(std::move(event));
    return;
  }
  const std::string key = place_of(event);
  auto place = places_.find(key);
  if (place == places_.end()) {
    if (places_.size() == kMostPlaces) {
      count_elsewhere(event, now);
      return;
    }
    place = places_.emplace(key, Place()).first;
    place->second.due = now;
  }
  count(place->second, event);
  if (!counts_due_ || place->second.due < *counts_due_) counts_due_ = place->second.due;
}

// Errors of one place, or of all places that have none of their own: the newest stands for them.
void EventQueue::count(Place& place, const Event& event) {
  const std::uint64_t before = place.pending ? place.pending->count : 0;
  place.pending = event;
  place.pending->count = sum_of(before, event.count);
}

void EventQueue::count_elsewhere(const Event& event, Clock::time_point now) {
  if (!elsewhere_.pending && !elsewhere_.stored) elsewhere_.due = now;
  Event anonymous;
  anonymous.kind = EventKind::kCorrected;
  anonymous.count = event.count;
  anonymous.observed = event.observed;
  anonymous.evidence = fmt::format(
      "corrected errors at more than {} places within minutes; these were counted together. The "
      "newest: {}",
      kMostPlaces, event.evidence);
  limit_texts(anonymous);
  count(elsewhere_, anonymous);
  if (!counts_due_ || elsewhere_.due < *counts_due_) counts_due_ = elsewhere_.due;
}

std::optional<EventQueue::Clock::time_point> EventQueue::due() const {
  if (urgent_due_ && counts_due_) return std::min(*urgent_due_, *counts_due_);
  return urgent_due_ ? urgent_due_ : counts_due_;
}

std::vector<Event> EventQueue::take(Clock::time_point now, bool all) {
  std::vector<Event> batch;
  if (all || full() || (urgent_due_ && *urgent_due_ <= now)) {
    // Lists and injections of a device can be long: they wait for what was lost.
    std::stable_partition(urgent_.begin(), urgent_.end(), lost_data);
    const auto end =
        urgent_.begin() + static_cast<std::ptrdiff_t>(std::min(urgent_.size(), kBatch));
    std::move(urgent_.begin(), end, std::back_inserter(batch));
    urgent_.erase(urgent_.begin(), end);
    urgent_due_ = urgent_.empty() ? std::nullopt : std::optional(now);
  }
  if (all || (counts_due_ && *counts_due_ <= now)) take_counts(now, all, batch);
  return batch;
}

void EventQueue::take_counts(Clock::time_point now, bool all, std::vector<Event>& batch) {
  const auto take_one = [&](Place& place) {
    if (!place.pending || (!all && place.due > now) || batch.size() >= kBatch) return;
    batch.push_back(*std::move(place.pending));
    place.pending.reset();
    // The first row comes at once and says nothing of a storm.
    if (place.stored) place.pause = std::min(place.pause * 2, kLongestPause);
    place.stored = true;
    place.due = now + place.pause;
  };
  for (auto place = places_.begin(); place != places_.end();) {
    const bool quiet = !place->second.pending && place->second.due <= now;
    take_one(place->second);
    place = quiet ? places_.erase(place) : std::next(place);
  }
  if (!elsewhere_.pending && elsewhere_.due <= now) elsewhere_ = Place();
  take_one(elsewhere_);
  update_due();
}

void EventQueue::update_due() {
  counts_due_.reset();
  const auto look = [&](const Place& place) {
    if (!place.pending && !place.stored) return;  // `elsewhere_`, when it was not needed
    if (!counts_due_ || place.due < *counts_due_) counts_due_ = place.due;
  };
  for (const auto& [key, place] : places_) look(place);
  look(elsewhere_);
}

}  // namespace poisonctl
