// Backend "e820": takes frames out of the x86 memory map before the kernel hands anything out, by a
// memmap= option on the command line of the next kernel.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "backends/backend.h"

namespace poisonctl {

class E820Backend final : public Backend {
 public:
  [[nodiscard]] std::string_view name() const override { return "e820"; }
  [[nodiscard]] std::string_view summary() const override {
    return "leaves frames out of the memory map at boot (x86, memmap= on the command line)";
  }
  [[nodiscard]] Availability probe(const SysRoot& sysroot) const override;
  [[nodiscard]] Result<Plan> plan(const PlanRequest& request,
                                  const SysRoot& sysroot) const override;
};

// What limits a memmap= list. Public so that each limit can be tested by itself.
struct E820Limits {
  // Bytes that the memmap= option may take on the command line, its name included.
  std::size_t text_bytes = 0;
  // Entries that may be added to the kernel's E820 table before it is full.
  std::size_t table_entries = 0;
};

// The plan for `list` within `limits`. Pure. When not everything fits, larger ranges go first, then
// lower addresses: the same list always gives the same plan.
Plan plan_e820(const RetireList& list, const E820Limits& limits);

// `command_line` without the memmap= options that poisonctl has put there: lists in which every
// item has the form SIZE%ADDR-1+5. Anybody else's options stay as they are.
std::string without_own_memmap(std::string_view command_line);

}  // namespace poisonctl
