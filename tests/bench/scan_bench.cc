// The kpageflags scan over the machine that runs this: needs root, as the file does.
#include <benchmark/benchmark.h>
#include <unistd.h>

#include <cstddef>
#include <memory>
#include <string>

#include "registry/memory_map.h"
#include "registry/page_flags.h"
#include "registry/range_set.h"
#include "registry/sysroot.h"

namespace poisonctl {
namespace {

constexpr std::uint64_t kWordBytes = sizeof(PageFlagWord);

// What a scan of the live machine needs.
struct LiveMachine {
  std::unique_ptr<SysRoot> root;
  PageShift shift;
  RangeSet ram;
  RangeSet span;  // every frame that kpageflags has a word for, holes too: what dd reads
};

// How many words kpageflags has: it has no size, so look for the offset where reads stop.
Result<std::uint64_t> count_words(const SysRoot& root) {
  const auto file = root.open("proc/kpageflags");
  if (!file) return file.error();
  std::uint64_t low = 0;
  std::uint64_t high = std::uint64_t{1} << 40U;
  while (low < high) {
    const std::uint64_t middle = low + (high - low) / 2;
    std::byte word[kWordBytes];
    const auto got = (*file)->read_at(middle * kWordBytes, word);
    if (!got) return got.error();
    if (*got == kWordBytes) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

Result<LiveMachine> load_live_machine() {
  auto root = open_sysroot("/");
  if (!root) return root.error();
  const auto shift = PageShift::from_page_size(static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE)));
  if (!shift) return Error{ErrorCode::kNotAvailable, "page size of this machine is not known"};
  const auto map = load_memory_map(**root);
  if (!map) return map.error();
  const auto words = count_words(**root);
  if (!words) return words.error();
  const auto span = ByteRange::from_frames(Pfn(0), *words, *shift);
  if (!span) return Error{ErrorCode::kBadData, "kpageflags is empty"};
  return LiveMachine{*std::move(root), *shift, map->system_ram(), RangeSet::from_ranges({*span})};
}

void scan(benchmark::State& state, RangeSet LiveMachine::*where) {
  const auto machine = load_live_machine();
  if (!machine) {
    state.SkipWithError(machine.error().message.c_str());
    return;
  }
  const RangeSet& frames = machine.value().*where;
  const ScanOptions options{.threads = static_cast<unsigned>(state.range(0))};
  for ([[maybe_unused]] const auto step : state) {
    const auto found = scan_poisoned_frames(*machine->root, frames, machine->shift, options);
    if (!found) {
      state.SkipWithError(found.error().message.c_str());
      return;
    }
  }
  const std::uint64_t words = frames.widened_to(machine->shift).bytes() >> machine->shift.bits();
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(words * kWordBytes));
  state.counters["bytes_read"] = static_cast<double>(words * kWordBytes);
}

void BM_ScanRam(benchmark::State& state) { scan(state, &LiveMachine::ram); }
void BM_ScanSpan(benchmark::State& state) { scan(state, &LiveMachine::span); }

void threads(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgName("threads")->Arg(1)->Arg(2)->UseRealTime()->Unit(benchmark::kMillisecond);
}

BENCHMARK(BM_ScanRam)->Apply(threads);
// Once, as dd does it: scan-vs-dd.sh runs this as a process of its own.
BENCHMARK(BM_ScanSpan)->Apply(threads)->Iterations(1);

}  // namespace
}  // namespace poisonctl
