// The board's management controller: what of the registry goes into its event log.
#pragma once

#include "cli/exit_status.h"
#include "cli/invocation.h"
#include "registry/result.h"
#include "registry/sel.h"

namespace poisonctl {

// Waits for real.
void sleep_for(std::chrono::milliseconds time);

// Tells the BMC of the frames that are retired now and that it was not told of: they go into a
// queue on disk first (registry/notices.h), and what could not be delivered stays there. In its
// event log over IPMI; where poisonctl.conf names a log or actions of a Redfish service, in those.
// --dry-run only lists them, --now does not wait for the next attempt, --resend sends actions again
// that got no answer. Errors: those of the registry and the queues; why the BMC does not take them.
Result<ExitStatus> apply_bmc(Invocation& invocation);

}  // namespace poisonctl
