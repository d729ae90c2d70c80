#include "registry/sources/kernel.h"

#include <fmt/format.h>

#include "registry/memory_map.h"
#include "registry/page_flags.h"

namespace poisonctl {

namespace {

Event event_for(const FlaggedFrame& frame, PageShift shift) {
  const std::string evidence =
      fmt::format("kpageflags[{:#x}]={:#x} page_size={}", shift.pfn_of(frame.range.begin()).value(),
                  frame.flags, shift.page_size());
  Event event;
  event.kind = EventKind::kPoisoned;
  event.range = frame.range;
  event.granularity = frame.exact ? shift.page_size() : frame.range.size();
  event.evidence = evidence;
  return event;
}

}  // namespace

Result<KernelSourceResult> collect_from_kernel(const SysRoot& sysroot, const Machine& machine,
                                               const KernelSourceOptions& options) {
  const auto corrupted = read_hardware_corrupted(sysroot);
  if (!corrupted) return corrupted.error();
  if (!*corrupted) {
    return Error{ErrorCode::kNotAvailable,
                 sysroot.shown("proc/meminfo") +
                     ": has no HardwareCorrupted line; this kernel was built without "
                     "CONFIG_MEMORY_FAILURE and never takes a frame out of use"};
  }
  KernelSourceResult result{.events = {}, .hardware_corrupted = **corrupted};
  if (**corrupted == 0 && !options.full) return result;

  constexpr int kAttempts = 3;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    const auto before = load_memory_map(sysroot);
    if (!before) return before.error();
    const RangeSet& ram = before->system_ram();
    const auto frames =
        scan_poisoned_frames(sysroot, ram, machine.page_shift, {.threads = options.threads});
    const auto after = load_memory_map(sysroot);
    if (!after) return after.error();
    // Memory was plugged or unplugged: what was read belongs to no one map.
    if (after->system_ram() != ram) continue;
    if (!frames) return frames.error();
    for (const FlaggedFrame& frame : *frames) {
      result.events.push_back(event_for(frame, machine.page_shift));
    }
    result.scanned = ram.bytes();
    return result;
  }
  return Error{
      ErrorCode::kLocked,
      fmt::format("{} changed during each of {} scans; memory is being added or removed. Try "
                  "again when that is done",
                  sysroot.shown("proc/iomem"), kAttempts)};
}

}  // namespace poisonctl
