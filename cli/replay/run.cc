#include "cli/replay/run.h"

#include <chrono>
#include <optional>

#include "cli/replay/console.h"
#include "cli/replay/signals.h"

namespace poisonctl {

Result<void> run_replay(const RetireList& list, const SysRoot& sysroot,
                        const CheckedMachine& machine, const ReplayPolicy& policy,
                        ReplayReport& report) {
  using Clock = std::chrono::steady_clock;
  report.generation = list.generation;
  report.refused = list.refused;
  report.dry_run = policy.dry_run;
  const auto started = Clock::now();
  Result<ReplayResult> result = [&] {
    StopSignals signals;
    std::optional<QuietConsole> quiet;
    if (sysroot.root() == "/" && !policy.dry_run) quiet.emplace();
    const ReplayHooks hooks{
        .stopped = [&] { return signals.arrived(); },
        .pause = [&](std::chrono::milliseconds time) { signals.pause(time); },
    };
    return replay(list.frames, sysroot, machine.map, machine.shift, policy, hooks);
  }();
  report.duration = std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - started);
  report.time = std::chrono::time_point_cast<Time::duration>(std::chrono::system_clock::now());
  if (result) {
    add_result(report, *result);
  } else if (result.error().code == ErrorCode::kNotAvailable) {
    report.not_replayed = result.error().message;
  } else {
    return result.error();
  }
  return {};
}

}  // namespace poisonctl
