// One replay at a time. Two would each write the report, and what only one of them was told by the
// kernel would be lost.
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "registry/posix_file.h"
#include "registry/result.h"
#include "registry/sysroot.h"

namespace poisonctl {

// Locked while a replay runs, and with the id of the boot in it from its first order until its
// report is written.
inline constexpr std::string_view kTurnPath = "run/poisonctl/replay.lock";

class ReplayTurn {
 public:
  // Waits for a replay that is under way. Errors: kCannotWrite, kIo.
  static Result<ReplayTurn> take(const SysRoot& sysroot, const std::string& boot_id);

  // Whether the replay before this one, of this boot, never wrote its report.
  [[nodiscard]] bool was_cut_off() const { return was_cut_off_; }
  // Orders follow. Errors: kIo.
  Result<void> begin();
  // The report of them is written. Errors: kIo.
  Result<void> finish();

 private:
  ReplayTurn(UniqueFd lock, std::string boot_id, bool was_cut_off)
      : lock_(std::move(lock)), boot_id_(std::move(boot_id)), was_cut_off_(was_cut_off) {}
  UniqueFd lock_;
  std::string boot_id_;
  bool was_cut_off_;
};

// Whether a replay of this boot is under way or was cut off: no report tells of it. Errors: as
// SysRoot::read.
Result<bool> is_replay_unreported(const SysRoot& sysroot, const std::string& boot_id);

}  // namespace poisonctl
