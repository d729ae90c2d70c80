#include "cli/cxl_trace.h"

#include <sys/file.h>

#include <algorithm>
#include <cerrno>
#include <new>
#include <utility>

namespace poisonctl {

namespace {

constexpr const char* kInstance = "poisonctl-cxl";
constexpr const char* kLock = "run/poisonctl/cxl.lock";

}  // namespace

Result<CxlTrace> CxlTrace::open(const SysRoot& sysroot) {
  if (sysroot.root() != "/") {
    return Error{ErrorCode::kNotAvailable,
                 sysroot.root() +
                     " is no running machine: its CXL devices cannot be asked. Give the output of "
                     "'cxl list --media-errors' of that machine as a file"};
  }
  auto lock = sysroot.open_lock(kLock);
  if (!lock) return lock.error();
  if (::flock(lock->get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK) {
      return Error{ErrorCode::kLocked,
                   sysroot.shown(kLock) + ": another poisonctl asks the CXL devices now"};
    }
    return os_error(sysroot.shown(kLock), errno, ErrorCode::kIo);
  }
  auto reader = TraceReader::open(kInstance);
  if (!reader) return reader.error();
  const auto& enabled = reader->enabled();
  if (std::find(enabled.begin(), enabled.end(), "cxl:cxl_poison") == enabled.end()) {
    static_cast<void>(reader->remove());
    return Error{ErrorCode::kNotAvailable,
                 "this kernel has no trace event cxl:cxl_poison, which poison lists are answered "
                 "with (Linux 6.4, module cxl_core)"};
  }
  return CxlTrace(*std::move(lock), *std::move(reader));
}

CxlTrace::~CxlTrace() {
  if (!reader_) return;  // moved away
  try {
    reader_->stop();
    static_cast<void>(reader_->remove());
  } catch (const std::bad_alloc&) {
    return;  // the next one takes over what is left
  }
}

TracedEvents CxlTrace::feed() {
  return [this](const std::function<void(const TraceEvent&)>& take) -> Result<void> {
    const auto more = reader_->read(take, [] { return true; });
    if (!more) return more.error();
    return {};
  };
}

}  // namespace poisonctl
