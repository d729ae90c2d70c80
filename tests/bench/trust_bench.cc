// Check and bound a million ranges against a map of ten thousand regions; write and read handovers.
#include <benchmark/benchmark.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "registry/handover.h"
#include "registry/retire_list.h"
#include "tests/throwaway_key.h"

namespace poisonctl {
namespace {

constexpr std::uint64_t kPage = 4096;
constexpr std::uint64_t kRegion = 512U << 20U;

ByteRange bytes(std::uint64_t begin, std::uint64_t size) {
  return *ByteRange::from_size(PhysAddr(begin), size);
}

// 5 TB of RAM, in as many regions as asked, with a hole between any two.
MemoryMap map_of(std::uint64_t regions) {
  std::vector<Resource> resources;
  for (std::uint64_t i = 0; i < regions; ++i) {
    resources.push_back({bytes(i * kRegion, kRegion - (1U << 20U)), 0, "System RAM"});
  }
  return {std::move(resources), {}};
}

// Single frames, spread evenly over the regions, every sixteenth a corrected error.
std::vector<Claim> claims_over(std::uint64_t count, std::uint64_t regions) {
  const std::uint64_t step = regions * kRegion / count / kPage * kPage;
  std::vector<Claim> claims;
  for (std::uint64_t i = 0; i < count; ++i) {
    claims.push_back({.range = bytes(i * step, kPage),
                      .kind = i % 16 == 0 ? EventKind::kCorrected : EventKind::kUncorrected,
                      .last_seen = Time(std::chrono::nanoseconds(
                          static_cast<std::int64_t>(i * 0x9e3779b1U % 1000003U)))});
  }
  return claims;
}

void check_and_bound(benchmark::State& state, const Bounds& bounds) {
  const auto count = static_cast<std::uint64_t>(state.range(0));
  constexpr std::uint64_t kRegions = 10'000;
  const MemoryMap map = map_of(kRegions);
  const Placement placement;
  const std::vector<NodeRange> nodes = {{bytes(0, kRegions / 2 * kRegion), 0},
                                        {bytes(kRegions / 2 * kRegion, kRegions / 2 * kRegion), 1}};
  const CheckedMachine machine{map, placement, nodes, PageShift::smallest()};
  const std::vector<Claim> claims = claims_over(count, kRegions);
  for (auto _ : state) {
    const CheckedList list = make_retire_list(std::span<const Claim>(claims), machine,
                                              {.checks = {}, .bounds = bounds}, 1);
    benchmark::DoNotOptimize(list.list.frames.bytes());
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}

void BM_CheckAndBound(benchmark::State& state) { check_and_bound(state, {}); }
BENCHMARK(BM_CheckAndBound)
    ->Arg(10'000)
    ->Arg(100'000)
    ->Arg(1'000'000)
    ->Unit(benchmark::kMillisecond);

// Half of them are past the bound, so that they have to be put in order.
void BM_CheckAndCut(benchmark::State& state) {
  check_and_bound(state, {.frames = static_cast<std::uint64_t>(state.range(0)) / 2});
}
BENCHMARK(BM_CheckAndCut)->Arg(10'000)->Arg(100'000)->Arg(1'000'000)->Unit(benchmark::kMillisecond);

Handover handover_of(std::int64_t ranges) {
  Handover handover;
  for (std::int64_t i = 0; i < ranges; ++i) {
    handover.ranges.push_back({bytes(static_cast<std::uint64_t>(i) * 2 * kPage, kPage),
                               Condition::kFaulty, EventKind::kUncorrected});
  }
  return handover;
}

void BM_WriteHandover(benchmark::State& state) {
  const SigningKey key = throwaway_key();
  const Handover handover = handover_of(state.range(0));
  std::size_t size = 0;
  for (auto _ : state) size = write_handover(handover, key).value().size();
  state.counters["bytes"] = static_cast<double>(size);
}
BENCHMARK(BM_WriteHandover)
    ->Arg(0)
    ->Arg(10)
    ->Arg(10'000)
    ->Arg(1'000'000)
    ->Unit(benchmark::kMicrosecond);

void BM_ReadHandover(benchmark::State& state) {
  const SigningKey key = throwaway_key();
  const std::string blob = write_handover(handover_of(state.range(0)), key).value();
  for (auto _ : state) {
    const auto read = read_handover(blob, "bench");
    if (!read.ok() || !read->signature_fits) std::abort();
    benchmark::DoNotOptimize(read->content.ranges.data());
  }
}
BENCHMARK(BM_ReadHandover)
    ->Arg(0)
    ->Arg(10)
    ->Arg(10'000)
    ->Arg(1'000'000)
    ->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace poisonctl
