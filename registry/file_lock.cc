#include "registry/file_lock.h"

#include <fcntl.h>
#include <sys/file.h>

#include <cerrno>

namespace poisonctl {

namespace {

// `wait`: 0, or LOCK_NB for not at all.
Result<UniqueFd> lock_file(const std::string& path, int wait) {
  constexpr mode_t kMode = 0600;
  UniqueFd lock(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY, kMode));
  if (!lock.valid()) return os_error("lock " + path, errno, ErrorCode::kCannotWrite);
  while (::flock(lock.get(), LOCK_EX | wait) != 0) {
    if (errno == EINTR) continue;
    if (errno == EWOULDBLOCK) {
      return Error{ErrorCode::kLocked, path + ": another process has it; try again", errno};
    }
    return os_error("lock " + path, errno, ErrorCode::kCannotWrite);
  }
  return lock;
}

}  // namespace

Result<UniqueFd> take_file_lock(const std::string& path) { return lock_file(path, LOCK_NB); }

Result<UniqueFd> wait_for_file_lock(const std::string& path) { return lock_file(path, 0); }

}  // namespace poisonctl
