// What kexec handover holds, as its debugfs shows it: what the kernel before left ("in") and what
// the next one gets ("out").
#pragma once

#include <optional>
#include <string>

#include "cli/exit_status.h"
#include "cli/invocation.h"
#include "registry/result.h"

namespace poisonctl {

// `direction` is "in" or "out"; nothing: both.
Result<ExitStatus> inspect_kho(Invocation& invocation, const std::optional<std::string>& direction);

}  // namespace poisonctl
