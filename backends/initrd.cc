#include "backends/initrd.h"

#include <fmt/format.h>

#include "backends/cpio.h"
#include "registry/text.h"

namespace poisonctl {

Availability InitrdBackend::probe(const SysRoot& /*sysroot*/) const {
  return {true, "whatever loads an initramfs can load one more archive"};
}

Result<Plan> InitrdBackend::plan(const PlanRequest& request, const SysRoot& /*sysroot*/) const {
  Plan plan{.covered = request.list.frames,
            .refused = request.list.refused,
            .side_effects = {},
            .artifact = cpio_with_file(kInitrdFolder, kInitrdFile, request.handover)};
  if (plan.covered.empty()) return plan;
  plan.side_effects = {
      "keeps nothing out before the next kernel begins: its frames are free until the list is "
      "acted "
      "on there",
      fmt::format("the archive is {}; it has to be loaded beside the initramfs at every boot",
                  to_human_size(plan.artifact.size())),
  };
  return plan;
}

}  // namespace poisonctl
