#include "cli/replay/console.h"

#include <sys/klog.h>

namespace poisonctl {

namespace {

// syslog(2); glibc has no names for them.
constexpr int kConsoleOff = 6;
constexpr int kConsoleOn = 7;

}  // namespace

QuietConsole::QuietConsole() { static_cast<void>(::klogctl(kConsoleOff, nullptr, 0)); }
QuietConsole::~QuietConsole() { static_cast<void>(::klogctl(kConsoleOn, nullptr, 0)); }

}  // namespace poisonctl
