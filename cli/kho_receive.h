// Takes over the list that the kernel before has left in memory, compares it with the other
// carriers, and records the newest one that is believed.
#pragma once

#include "cli/exit_status.h"
#include "cli/invocation.h"
#include "registry/result.h"

namespace poisonctl {

Result<ExitStatus> receive_list(Invocation& invocation);

}  // namespace poisonctl
