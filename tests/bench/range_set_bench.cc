// How RangeSet grows: linear in the number of ranges, and a million of them is nothing to wait for.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <random>

#include "registry/range_set.h"

namespace poisonctl {
namespace {

constexpr std::uint64_t kPage = 4096;

// `count` single frames, every fourth from frame `first`: no two of them touch.
std::vector<ByteRange> every_fourth(std::uint64_t first, std::int64_t count) {
  std::vector<ByteRange> ranges;
  ranges.reserve(static_cast<std::size_t>(count));
  for (std::uint64_t i = 0; i < static_cast<std::uint64_t>(count); ++i) {
    ranges.push_back(ByteRange::from_size(PhysAddr((first + 4 * i) * kPage), kPage).value());
  }
  return ranges;
}

// Neighbours that become one, and frames that stay alone, half and half.
void BM_Union(benchmark::State& state) {
  const RangeSet left = RangeSet::from_ranges(every_fourth(0, state.range(0)));
  const RangeSet right = RangeSet::from_ranges(every_fourth(1, state.range(0)));
  for ([[maybe_unused]] const auto step : state) benchmark::DoNotOptimize(left.united_with(right));
  state.SetItemsProcessed(state.iterations() * 2 * state.range(0));
}

// A cut in the middle of every range: twice as many come out.
void BM_Subtract(benchmark::State& state) {
  std::vector<ByteRange> cuts;
  for (const ByteRange& range : every_fourth(0, state.range(0))) {
    cuts.push_back(ByteRange::from_size(PhysAddr(range.begin().value() + 1024), 1024).value());
  }
  const RangeSet left = RangeSet::from_ranges(every_fourth(0, state.range(0)));
  const RangeSet right = RangeSet::from_ranges(std::move(cuts));
  for ([[maybe_unused]] const auto step : state) benchmark::DoNotOptimize(left.minus(right));
  state.SetItemsProcessed(state.iterations() * 2 * state.range(0));
}

// Frames as events bring them: in any order, half of them next to another. The copy that
// from_ranges sorts in place is part of the time, as it is for a caller who keeps the events.
void BM_CoalesceUnsorted(benchmark::State& state) {
  std::vector<ByteRange> ranges = every_fourth(0, state.range(0) / 2);
  const std::vector<ByteRange> more = every_fourth(1, state.range(0) - state.range(0) / 2);
  ranges.insert(ranges.end(), more.begin(), more.end());
  std::shuffle(ranges.begin(), ranges.end(), std::mt19937(1));
  for ([[maybe_unused]] const auto step : state) {
    benchmark::DoNotOptimize(RangeSet::from_ranges(ranges));
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}

void BM_CoalesceSorted(benchmark::State& state) {
  std::vector<ByteRange> ranges = every_fourth(0, state.range(0) / 2);
  const std::vector<ByteRange> more = every_fourth(1, state.range(0) - state.range(0) / 2);
  ranges.insert(ranges.end(), more.begin(), more.end());
  std::sort(ranges.begin(), ranges.end());
  for ([[maybe_unused]] const auto step : state) {
    benchmark::DoNotOptimize(RangeSet::from_ranges(ranges));
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}

void sizes(benchmark::internal::Benchmark* benchmark) {
  benchmark->Arg(10'000)->Arg(100'000)->Arg(1'000'000)->Unit(benchmark::kMillisecond);
}

BENCHMARK(BM_Union)->Apply(sizes);
BENCHMARK(BM_Subtract)->Apply(sizes);
BENCHMARK(BM_CoalesceUnsorted)->Apply(sizes);
BENCHMARK(BM_CoalesceSorted)->Apply(sizes);

}  // namespace
}  // namespace poisonctl
