// Backend "e820": takes frames out of the x86 memory map before the kernel hands anything out, by a
// memmap= option on the command line of the next kernel. Its other forms say the same to boot
// loaders, kexec tools and Windows (e820_forms.h).
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "backends/backend.h"
#include "backends/command_line.h"
#include "backends/range_choice.h"

namespace poisonctl {

class E820Backend final : public Backend {
 public:
  [[nodiscard]] std::string_view name() const override { return "e820"; }
  [[nodiscard]] std::string_view summary() const override {
    return "leaves frames out of the memory map at boot (x86, memmap= on the command line)";
  }
  [[nodiscard]] std::span<const std::string_view> forms() const override;
  [[nodiscard]] bool is_binary(std::string_view form) const override;
  [[nodiscard]] Availability probe(const SysRoot& sysroot) const override;
  // Errors, besides those of the files: kBadData for a command line that would void the option;
  // kUsage for what cannot be asked for together.
  [[nodiscard]] Result<Plan> plan(const PlanRequest& request,
                                  const SysRoot& sysroot) const override;
};

// Where the option does nothing, or must do nothing, in the kernel that is to be started, and why.
struct OutOfReach {
  RangeSet where;
  std::string reason;
};

// What limits a memmap= list. Public so that each limit can be tested by itself.
struct E820Limits {
  // Bytes that the memmap= option may take on the command line, its name included.
  std::size_t text_bytes = 0;
  // Entries that may be added to the kernel's E820 table before it is full.
  std::size_t table_entries = 0;
  // How many of them a range may take: 2 for each entry that it lies in (__e820__range_update), of
  // which there are several where somebody has added RAM to RAM.
  std::size_t entries_per_range = 2;
  // The longest command line that the loader takes, for messages.
  std::size_t line_bytes = 0;
  // Ranges that may become one.
  Widening widening = {};
  std::vector<OutOfReach> out_of_reach = {};
};

// The plan for `list` within `limits`; the artifact is the option alone. Pure. What goes first when
// not everything fits: choose_ranges().
Plan plan_e820(const RetireList& list, const E820Limits& limits,
               std::optional<Quoting> reserve = {});

}  // namespace poisonctl
