#include "backends/table.h"

#include <algorithm>
#include <array>

#include "backends/device_tree.h"
#include "backends/e820.h"
#include "backends/initrd.h"
#include "backends/kho.h"
#include "backends/offline.h"
#include "backends/reserve_mem.h"

namespace poisonctl {

std::span<const Backend* const> all_backends() {
  static const E820Backend e820;
  static const DeviceTreeBackend device_tree;
  static const OfflineBackend offline;
  static const InitrdBackend initrd;
  static const KhoBackend kho;
  static const ReserveMemBackend reserve_mem;
  static const std::array<const Backend*, 6> table = {&e820,   &device_tree, &offline,
                                                      &initrd, &kho,         &reserve_mem};
  return table;
}

const Backend* find_backend(std::string_view name) {
  const auto table = all_backends();
  const auto found = std::find_if(table.begin(), table.end(),
                                  [&](const Backend* backend) { return backend->name() == name; });
  return found == table.end() ? nullptr : *found;
}

}  // namespace poisonctl
