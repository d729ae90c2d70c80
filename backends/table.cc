#include "backends/table.h"

#include <algorithm>
#include <array>

#include "backends/e820.h"
#include "backends/offline.h"

namespace poisonctl {

std::span<const Backend* const> all_backends() {
  static const E820Backend e820;
  static const OfflineBackend offline;
  static const std::array<const Backend*, 2> table = {&e820, &offline};
  return table;
}

const Backend* find_backend(std::string_view name) {
  const auto table = all_backends();
  const auto found = std::find_if(table.begin(), table.end(),
                                  [&](const Backend* backend) { return backend->name() == name; });
  return found == table.end() ? nullptr : *found;
}

}  // namespace poisonctl
