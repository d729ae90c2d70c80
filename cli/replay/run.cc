#include "cli/replay/run.h"

#include <chrono>
#include <optional>

#include "cli/replay/console.h"

namespace poisonctl {

void take_over(const std::optional<ReplayReport>& before, bool was_cut_off, ReplayPolicy& policy) {
  policy.cut_off = was_cut_off;
  if (!before) return;
  policy.doubts = before->doubts;
  policy.settled = settled_by(*before);
}

Result<void> end_turn(ReplayTurn& turn, const ReplayReport& report) {
  if (turn.was_cut_off() && !report.not_replayed.empty()) return {};
  return turn.finish();
}

Result<void> run_replay(const RetireList& list, const SysRoot& sysroot,
                        const CheckedMachine& machine, const ReplayPolicy& policy,
                        const StopSignals& /*signals*/, ReplayReport& report) {
  using Clock = std::chrono::steady_clock;
  report.generation = list.generation;
  report.refused = list.refused;
  report.dry_run = policy.dry_run;
  report.doubts = policy.doubts;
  const auto started = Clock::now();
  Result<ReplayResult> result = [&] {
    std::optional<QuietConsole> quiet;
    if (sysroot.root() == "/" && !policy.dry_run) quiet.emplace();
    const ReplayHooks hooks{
        .stopped = StopSignals::arrived,
        .pause = StopSignals::pause,
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
