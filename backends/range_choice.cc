#include "backends/range_choice.h"

#include <algorithm>
#include <tuple>
#include <utility>

namespace poisonctl {

namespace {

// Neighbouring ranges of the list that are kept out as one.
struct Run {
  ByteRange range;
  std::size_t first = 0;  // of the list's ranges
  std::size_t count = 0;
};

// A gap that may be closed: that between range `before` and the next.
struct Gap {
  std::uint64_t bytes;
  std::size_t before;
};

std::vector<Gap> closable_gaps(const std::vector<ByteRange>& ranges, const Widening& widening) {
  std::vector<Gap> gaps;
  for (std::size_t i = 1; i < ranges.size(); ++i) {
    const std::uint64_t bytes = ranges[i].begin().value() - ranges[i - 1].end().value();
    if (bytes >= widening.gap) continue;
    if (widening.within.contains(*ByteRange::from_size(ranges[i - 1].end(), bytes))) {
      gaps.push_back({bytes, i - 1});
    }
  }
  std::sort(gaps.begin(), gaps.end(), [](const Gap& a, const Gap& b) {
    return std::tie(a.bytes, a.before) < std::tie(b.bytes, b.before);
  });
  return gaps;
}

// The runs when the first `closed` of `gaps` are closed.
std::vector<Run> runs_of(const std::vector<ByteRange>& ranges, const std::vector<Gap>& gaps,
                         std::size_t closed) {
  std::vector<bool> joined(ranges.size(), false);
  for (std::size_t i = 0; i < closed; ++i) joined[gaps[i].before] = true;
  std::vector<Run> runs;
  for (std::size_t i = 0; i < ranges.size(); ++i) {
    if (i != 0 && joined[i - 1]) {
      runs.back().range = *ByteRange::from_last(runs.back().range.begin(), ranges[i].last());
      ++runs.back().count;
    } else {
      runs.push_back({ranges[i], i, 1});
    }
  }
  return runs;
}

std::size_t text_of(const Room& room, const ByteRange& range) {
  return room.text_of == nullptr ? 0 : room.text_of(range);
}

bool all_fit(const std::vector<Run>& runs, const Room& room) {
  if (runs.size() > room.ranges) return false;
  std::size_t text = 0;
  for (const Run& run : runs) {
    text += text_of(room, run.range);
    if (text > room.text) return false;
  }
  return true;
}

// With more gaps closed there are fewer runs and less text, so that the fewest that do can be found
// by halving. All of them when even they do not do: then the most bad frames fit.
std::vector<Run> fewest_joins(const std::vector<ByteRange>& ranges, const Widening& widening,
                              const Room& room) {
  std::vector<Run> runs = runs_of(ranges, {}, 0);
  if (widening.gap == 0 || all_fit(runs, room)) return runs;
  const std::vector<Gap> gaps = closable_gaps(ranges, widening);
  std::size_t low = 0;
  std::size_t high = gaps.size();
  while (low < high) {
    const std::size_t middle = low + (high - low) / 2;
    if (all_fit(runs_of(ranges, gaps, middle), room)) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return runs_of(ranges, gaps, low);
}

// The runs, the most important first.
std::vector<Run> in_order(std::vector<Run> runs, const RetireList& list,
                          const std::vector<ByteRange>& ranges) {
  std::vector<std::pair<Importance, Run>> ranked;
  ranked.reserve(runs.size());
  for (const Run& run : runs) {
    std::uint64_t bad = 0;
    for (std::size_t i = run.first; i < run.first + run.count; ++i) bad += ranges[i].size();
    ranked.emplace_back(importance_of(run.range, bad, list), run);
  }
  std::sort(ranked.begin(), ranked.end(),
            [](const auto& a, const auto& b) { return a.first < b.first; });
  for (std::size_t i = 0; i < runs.size(); ++i) runs[i] = ranked[i].second;
  return runs;
}

}  // namespace

Importance importance_of(const ByteRange& range, std::uint64_t bad_bytes, const RetireList& list) {
  return {.milder = !list.uncorrected.overlaps(range),
          .replayable = !list.beyond_replay.overlaps(range),
          .good = kPhysAddrLimit - bad_bytes,
          .range = range};
}

Choice choose_ranges(const RetireList& list, const RangeSet& frames, const Widening& widening,
                     const Room& room) {
  const std::vector<ByteRange>& ranges = frames.ranges();
  Choice choice;
  std::vector<ByteRange> taken;
  std::vector<ByteRange> covered;
  std::size_t text = 0;
  for (const Run& run : in_order(fewest_joins(ranges, widening, room), list, ranges)) {
    const auto first = ranges.begin() + static_cast<std::ptrdiff_t>(run.first);
    const auto last = first + static_cast<std::ptrdiff_t>(run.count);
    const std::size_t needed = text_of(room, run.range);
    const bool has_place = taken.size() < room.ranges;
    if (has_place && needed <= room.text - text) {
      taken.push_back(run.range);
      covered.insert(covered.end(), first, last);
      text += needed;
      continue;
    }
    for (auto range = first; range != last; ++range) {
      choice.refused.push_back({*range, has_place ? room.no_text_left : room.no_range_left});
    }
  }
  choice.taken = RangeSet::from_ranges(std::move(taken));
  choice.covered = RangeSet::from_ranges(std::move(covered));
  return choice;
}

}  // namespace poisonctl
