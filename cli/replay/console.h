// The kernel says some lines about every frame that it retires, and on a serial console each takes
// milliseconds. They stay in the kernel's log.
#pragma once

namespace poisonctl {

// Keeps them off the console while it lives. The kernel remembers the level of before (syslog(2),
// SYSLOG_ACTION_CONSOLE_OFF), so that the next run restores it when this one was killed. Without
// CAP_SYSLOG nothing happens.
class QuietConsole {
 public:
  QuietConsole();
  QuietConsole(const QuietConsole&) = delete;
  QuietConsole& operator=(const QuietConsole&) = delete;
  ~QuietConsole();
};

}  // namespace poisonctl
