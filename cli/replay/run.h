// One replay with what surrounds it: the console kept quiet, signals obeyed, the time taken.
#pragma once

#include <optional>

#include "backends/replay.h"
#include "cli/replay/report.h"
#include "cli/replay/signals.h"
#include "cli/replay/turn.h"
#include "registry/check.h"
#include "registry/retire_list.h"

namespace poisonctl {

// What the replays before this one in this boot leave to it.
void take_over(const std::optional<ReplayReport>& before, bool was_cut_off, ReplayPolicy& policy);

// After the report is written: nothing is left unsaid. Where nothing was replayed, what a run that
// was cut off left unsaid still is. Errors: kIo.
Result<void> end_turn(ReplayTurn& turn, const ReplayReport& report);

// Replays the list and puts the result into the report. A machine on which nothing may be retired
// is told in `not_replayed`, no error. `signals` end it, and have to be held until the report is
// written: what the kernel said to an order is said once. Errors: those of replay() otherwise.
Result<void> run_replay(const RetireList& list, const SysRoot& sysroot,
                        const CheckedMachine& machine, const ReplayPolicy& policy,
                        const StopSignals& signals, ReplayReport& report);

}  // namespace poisonctl
