// Backend "kho": carries the signed list to the next kernel in memory that kexec handover
// preserves, in a session of the live update orchestrator (registry/preserved_list.h). Keeps
// nothing out by itself.
#pragma once

#include <string_view>

#include "backends/backend.h"

namespace poisonctl {

class KhoBackend final : public Backend {
 public:
  [[nodiscard]] std::string_view name() const override { return "kho"; }
  [[nodiscard]] std::string_view summary() const override {
    return "carries the signed list over a kexec in memory that the kernel preserves";
  }
  [[nodiscard]] bool is_binary(std::string_view /*form*/) const override { return true; }
  [[nodiscard]] Reach reach() const override { return Reach::kCarries; }
  [[nodiscard]] Availability probe(const SysRoot& sysroot) const override;
  // The artifact is the handover as it lies in that memory: a device tree.
  [[nodiscard]] Result<Plan> plan(const PlanRequest& request,
                                  const SysRoot& sysroot) const override;
};

}  // namespace poisonctl
