// A lock that one process has at a time: flock(2) on a file of its own, which stays.
#pragma once

#include <string>

#include "registry/posix_file.h"
#include "registry/result.h"

namespace poisonctl {

// Locks the file at `path`, which is made (0600) where it is not; never through a symbolic link.
// Held until the descriptor is closed. Does not wait. Errors: kLocked when another process has it;
// kCannotWrite.
Result<UniqueFd> take_file_lock(const std::string& path);
// The same, but waits until the other process has ended.
Result<UniqueFd> wait_for_file_lock(const std::string& path);

}  // namespace poisonctl
