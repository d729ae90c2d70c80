// Backend "offline": asks the running kernel to take frames out of use. Needs no reboot, and
// reaches only what the kernel has not taken for itself.
#pragma once

#include <string_view>

#include "backends/backend.h"

namespace poisonctl {

class OfflineBackend final : public Backend {
 public:
  [[nodiscard]] std::string_view name() const override { return "offline"; }
  [[nodiscard]] std::string_view summary() const override {
    return "takes frames out of use in the running kernel (hard_offline_page)";
  }
  [[nodiscard]] Availability probe(const SysRoot& sysroot) const override;
  // The artifact is one address a line, each to be written to hard_offline_page by itself.
  [[nodiscard]] Result<Plan> plan(const PlanRequest& request,
                                  const SysRoot& sysroot) const override;
};

}  // namespace poisonctl
