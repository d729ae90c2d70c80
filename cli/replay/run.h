// One replay with what surrounds it: the console kept quiet, signals obeyed, the time taken.
#pragma once

#include "backends/replay.h"
#include "cli/replay/report.h"
#include "registry/check.h"
#include "registry/retire_list.h"

namespace poisonctl {

// Replays the list and puts the result into the report. A machine on which nothing may be retired
// is told in `not_replayed`, no error. Errors: those of replay() otherwise.
Result<void> run_replay(const RetireList& list, const SysRoot& sysroot,
                        const CheckedMachine& machine, const ReplayPolicy& policy,
                        ReplayReport& report);

}  // namespace poisonctl
