#include "backends/kho.h"

#include <fmt/format.h>

#include "registry/live_update.h"
#include "registry/preserved_list.h"
#include "registry/text.h"

namespace poisonctl {

Availability KhoBackend::probe(const SysRoot& sysroot) const {
  const auto live_update = sysroot.list(kLiveUpdateClass);
  if (!live_update && live_update.error().code != ErrorCode::kNoInput) {
    return {false, live_update.error().message};
  }
  if (!live_update) return {false, why_no_live_update(sysroot)};
  return {true,
          "the kernel preserves memory over a kexec (kho, liveupdate): 'poisonctl kho hold' keeps "
          "the list there"};
}

Result<Plan> KhoBackend::plan(const PlanRequest& request, const SysRoot& /*sysroot*/) const {
  Plan plan{.covered = request.list.frames,
            .refused = request.list.refused,
            .side_effects = {},
            .artifact = std::string(request.handover)};
  if (plan.covered.empty()) return plan;
  plan.side_effects = {
      "keeps nothing out before the next kernel begins: its frames are free until the list is "
      "acted "
      "on there, also in the scratch areas of KHO, where memmap= has no effect",
      "holds over a kexec by kexec_file_load (poisonctl kexec, kexec -s) as long as the list is "
      "held; "
      "an image that 'kexec -c' has loaded, and a cold boot, lose it",
      fmt::format("{} of RAM are taken while the list is held, room to grow included",
                  to_human_size(2 * preserved_slot_bytes(plan.artifact.size()))),
  };
  return plan;
}

}  // namespace poisonctl
