#include "backends/offline.h"

#include <fmt/format.h>

#include <algorithm>

#include "registry/memory_map.h"
#include "registry/text.h"

namespace poisonctl {

namespace {

constexpr std::string_view kMemoryDir = "sys/devices/system/memory";
constexpr std::string_view kRecovery = "proc/sys/vm/memory_failure_recovery";

bool has(const std::vector<std::string>& names, std::string_view wanted) {
  for (const std::string& name : names) {
    if (name == wanted) return true;
  }
  return false;
}

}  // namespace

Availability OfflineBackend::probe(const SysRoot& sysroot) const {
  const auto names = sysroot.list(kMemoryDir);
  // What cannot be read says nothing of the kernel.
  if (!names && names.error().code != ErrorCode::kNoInput) return {false, names.error().message};
  if (!names || !has(*names, "hard_offline_page")) {
    return {false, sysroot.shown(kMemoryDir) +
                       "/hard_offline_page is not there: this kernel was built without "
                       "CONFIG_MEMORY_FAILURE or without memory hot-plug"};
  }
  const auto recovery = sysroot.read(kRecovery);
  if (!recovery && recovery.error().code != ErrorCode::kNoInput) {
    return {false, recovery.error().message};
  }
  if (!recovery || trim(*recovery) != "1") {
    // mm/memory-failure.c panics instead of retiring then.
    return {false, sysroot.shown(kRecovery) +
                       " is not 1: any attempt to retire a frame would panic the machine. Set "
                       "vm.memory_failure_recovery=1 first"};
  }
  return {true,
          "the kernel takes frames out of use at run time; the result is read from page flags"};
}

Result<Plan> OfflineBackend::plan(const PlanRequest& request, const SysRoot& sysroot) const {
  const RetireList& list = request.list;
  const auto map = load_memory_map(sysroot);
  if (!map) return map.error();
  Plan plan{.covered = list.frames.intersected_with(map->system_ram().narrowed_to(list.page_shift)),
            .refused = list.refused,
            .side_effects = {},
            .artifact = {}};
  const RangeSet absent = list.frames.minus(plan.covered);
  for (const ByteRange& range : absent.ranges()) {
    plan.refused.push_back({range,
                            "is not in the running kernel's memory map, so there is nothing to "
                            "take out of use"});
  }
  std::sort(plan.refused.begin(), plan.refused.end(),
            [](const auto& a, const auto& b) { return a.range < b.range; });
  if (plan.covered.empty()) return plan;
  for (const ByteRange& range : plan.covered.ranges()) {
    for (std::uint64_t at = range.begin().value(); at < range.end().value();
         at += list.page_shift.page_size()) {
      plan.artifact += fmt::format("{:#x}\n", at);
    }
  }
  plan.side_effects = {
      "a process that uses one of the frames loses the page and may be killed",
      "frames that the kernel uses itself stay in use; only 'poisonctl verify' tells which",
      "the effect ends with this boot",
  };
  return plan;
}

}  // namespace poisonctl
