#include "registry/adoption.h"

#include <fmt/format.h>

#include <algorithm>

#include "registry/range_set.h"
#include "registry/text.h"

namespace poisonctl {

namespace {

constexpr std::string_view kVersionPrefix = "generation ";

Event observation(const ByteRange& range, EventKind kind, const Handover& handover) {
  Event event;
  event.kind = kind;
  event.range = range;
  event.granularity = handover.page_shift.page_size();
  event.evidence = fmt::format("in the handover of generation {}", handover.generation);
  return event;
}

Event resolution(const ByteRange& range, const Handover& handover) {
  Event event;
  event.kind = EventKind::kResolution;
  event.range = range;
  // A handover does not say which; this one says no more than that the place is in use again.
  event.resolution = Resolution::kCleared;
  event.evidence =
      fmt::format("resolved already in the handover of generation {}", handover.generation);
  return event;
}

RangeSet ranges_of(std::span<const Record> records, bool faulty_only) {
  std::vector<ByteRange> ranges;
  for (const Record& record : records) {
    if (!faulty_only || record.condition == Condition::kFaulty) ranges.push_back(record.range);
  }
  return RangeSet::from_ranges(std::move(ranges));
}

// The parts of `range` that are not in `set`. Looks at no more of it than overlaps.
RangeSet outside(const ByteRange& range, const RangeSet& set) {
  const auto& all = set.ranges();
  auto at = std::upper_bound(
      all.begin(), all.end(), range.begin(),
      [](PhysAddr begin, const ByteRange& candidate) { return begin < candidate.end(); });
  std::vector<ByteRange> overlapping;
  for (; at != all.end() && at->overlaps(range); ++at) overlapping.push_back(*at);
  return RangeSet::from_ranges({range}).minus(RangeSet::from_ranges(std::move(overlapping)));
}

// Of records in the order of their addresses, those that lie in `range` and are not resolved.
std::vector<ByteRange> open_records_in(std::span<const Record> records, const ByteRange& range) {
  std::vector<ByteRange> open;
  auto at = std::lower_bound(
      records.begin(), records.end(), range.begin(),
      [](const Record& record, PhysAddr begin) { return record.range.begin() < begin; });
  for (; at != records.end() && at->range.begin() < range.end(); ++at) {
    if (range.contains(at->range) && at->condition != Condition::kResolved) {
      open.push_back(at->range);
    }
  }
  return open;
}

}  // namespace

Adoption adopt(const Handover& handover, std::span<const Record> records) {
  const RangeSet known = ranges_of(records, false);
  const RangeSet faulty = ranges_of(records, true);
  Adoption adoption;
  for (const HandoverRange& entry : handover.ranges) {
    switch (entry.condition) {
      case Condition::kFaulty: {
        // Corrected errors alone make no event of them faulty: what another registry decided holds.
        const EventKind kind =
            entry.kind == EventKind::kCorrected ? EventKind::kPoisoned : entry.kind;
        const RangeSet missing = outside(entry.range, faulty);
        for (const ByteRange& piece : missing.ranges()) {
          adoption.events.push_back(observation(piece, kind, handover));
        }
        break;
      }
      case Condition::kSuspect: {
        const RangeSet missing = outside(entry.range, known);
        for (const ByteRange& piece : missing.ranges()) {
          adoption.events.push_back(observation(piece, EventKind::kCorrected, handover));
        }
        break;
      }
      case Condition::kResolved: {
        for (const ByteRange& open : open_records_in(records, entry.range)) {
          adoption.events.push_back(resolution(open, handover));
        }
        const RangeSet missing = outside(entry.range, known);
        for (const ByteRange& piece : missing.ranges()) {
          adoption.events.push_back(observation(piece, entry.kind, handover));
          adoption.events.push_back(resolution(piece, handover));
        }
        break;
      }
      case Condition::kQuarantined:
        ++adoption.quarantined;
        break;
    }
  }
  return adoption;
}

std::string adopted_version(std::uint64_t generation) {
  return fmt::format("{}{}", kVersionPrefix, generation);
}

std::uint64_t adopted_generation(std::string_view version) {
  if (!version.starts_with(kVersionPrefix)) return 0;
  return parse_unsigned(version.substr(kVersionPrefix.size()), 10).value_or(0);
}

}  // namespace poisonctl
