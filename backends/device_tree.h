// Backend "devicetree": takes frames out of memory by nodes below /reserved-memory with no-map, in
// a flattened device tree for kexec --dtb, GRUB's devicetree or U-Boot, or as an overlay.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "backends/backend.h"
#include "registry/fdt.h"

namespace poisonctl {

class DeviceTreeBackend final : public Backend {
 public:
  [[nodiscard]] std::string_view name() const override { return "devicetree"; }
  [[nodiscard]] std::string_view summary() const override {
    return "leaves frames out of memory at boot (no-map nodes in the device tree)";
  }
  [[nodiscard]] bool is_binary(std::string_view /*form*/) const override { return true; }
  [[nodiscard]] Availability probe(const SysRoot& sysroot) const override;
  // The artifact is the tree, without nodes of an earlier list, or the overlay. Errors besides
  // those of files: kBadData for a tree that no kernel takes reservations from; kNotAvailable for
  // the stub of a machine that boots by ACPI.
  [[nodiscard]] Result<Plan> plan(const PlanRequest& request,
                                  const SysRoot& sysroot) const override;
};

// A node with this property, which has no value, is one of ours: it is replaced by the next list.
inline constexpr std::string_view kOwnNodeProperty = "poisonctl,retired";

// What limits the nodes that are added. Public so that each limit can be tested by itself.
struct DeviceTreeLimits {
  std::size_t bytes = std::size_t{2} << 20U;  // of the whole tree
  std::size_t nodes = 0;                      // that the memory map of the kernel has room for
};

// The plan for `list` in `tree`, or as an overlay to it. Pure. When not everything fits, ranges
// with an uncorrected error go first, then larger ones, then lower addresses. `shown` names the
// tree in errors. Errors: kBadData, kNotAvailable as above.
Result<Plan> plan_device_tree(const RetireList& list, fdt::Document tree, bool overlay,
                              const DeviceTreeLimits& limits, const std::string& shown);

}  // namespace poisonctl
