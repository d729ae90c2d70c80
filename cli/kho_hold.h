// Keeps the signed list in preserved memory, and current there, until a signal ends it: any kexec
// by anyone then carries it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "cli/invocation.h"
#include "registry/posix_file.h"
#include "registry/preserved_list.h"
#include "registry/result.h"

namespace poisonctl {

class KhoHolder {
 public:
  explicit KhoHolder(Invocation& invocation, const SysRoot& sysroot)
      : invocation_(invocation), sysroot_(sysroot) {}
  // Errors: those of open_live_update and of the first list. Later ones are warned of, and the list
  // that is held stays.
  Result<void> run();

 private:
  // Whether a signal came within one tick.
  [[nodiscard]] Result<bool> wait() const;
  // Holds the list of the registry as it is now, if it is another one than before.
  Result<void> refresh();
  Result<void> hold(std::string_view handover);

  Invocation& invocation_;
  const SysRoot& sysroot_;
  UniqueFd signals_;
  // The sessions of a holder that was cut off: the next kernel gets their list until there is ours.
  std::vector<std::pair<std::string, UniqueFd>> kept_;
  std::optional<PreservedList> held_;
  std::optional<std::uint64_t> generation_;  // of the list that is held
};

}  // namespace poisonctl
