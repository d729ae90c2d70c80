// Backend "initrd": carries the signed list to the next kernel in a small archive beside its
// initramfs. Keeps nothing out by itself: the program that acts on it at boot does.
#pragma once

#include <string_view>

#include "backends/backend.h"

namespace poisonctl {

// Where the handover is in the initramfs: a name that is never changed.
inline constexpr std::string_view kInitrdFolder = "poisonctl";
inline constexpr std::string_view kInitrdFile = "handover";

class InitrdBackend final : public Backend {
 public:
  [[nodiscard]] std::string_view name() const override { return "initrd"; }
  [[nodiscard]] std::string_view summary() const override {
    return "carries the signed list in the initramfs, as /poisonctl/handover";
  }
  [[nodiscard]] Reach reach() const override { return Reach::kCarries; }
  [[nodiscard]] bool is_binary(std::string_view /*form*/) const override { return true; }
  [[nodiscard]] Availability probe(const SysRoot& sysroot) const override;
  // The artifact is an archive (cpio.h) of the request's handover, also of an empty list: it takes
  // the place of an older one.
  [[nodiscard]] Result<Plan> plan(const PlanRequest& request,
                                  const SysRoot& sysroot) const override;
};

}  // namespace poisonctl
