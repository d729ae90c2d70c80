#include "cli/replay/turn.h"

#include <sys/file.h>
#include <unistd.h>

#include <cerrno>

namespace poisonctl {

namespace {

constexpr std::size_t kMostIdBytes = 64;

Result<void> set_content(const UniqueFd& lock, std::string_view content) {
  if (::ftruncate(lock.get(), 0) != 0 || ::lseek(lock.get(), 0, SEEK_SET) != 0) {
    return os_error(kTurnPath, errno, ErrorCode::kIo);
  }
  if (const int error = write_fully(lock.get(), content); error != 0) {
    return os_error(kTurnPath, error, ErrorCode::kIo);
  }
  return {};
}

}  // namespace

Result<ReplayTurn> ReplayTurn::take(const SysRoot& sysroot, const std::string& boot_id) {
  auto lock = sysroot.open_lock(kTurnPath);
  if (!lock) return lock.error();
  while (::flock(lock->get(), LOCK_EX) != 0) {
    if (errno != EINTR) return os_error(sysroot.shown(kTurnPath), errno, ErrorCode::kIo);
  }
  const auto content = read_up_to(*lock, kMostIdBytes, sysroot.shown(kTurnPath));
  if (!content) return content.error();
  return ReplayTurn(*std::move(lock), boot_id, *content == boot_id);
}

Result<void> ReplayTurn::begin() { return set_content(lock_, boot_id_); }

Result<void> ReplayTurn::finish() { return set_content(lock_, ""); }

Result<bool> is_replay_unreported(const SysRoot& sysroot, const std::string& boot_id) {
  const auto content = sysroot.read(kTurnPath, kMostIdBytes);
  if (content) return *content == boot_id;
  if (content.error().code == ErrorCode::kNoInput) return false;
  return content.error();
}

}  // namespace poisonctl
