// What a service says to systemd: its state, and entries of the journal with fields. Two small
// protocols that systemd promises to keep; without systemd nothing happens.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "registry/posix_file.h"
#include "registry/result.h"
#include "registry/sysroot.h"

namespace poisonctl {

// "READY=1", "STOPPING=1", "STATUS=..." (sd_notify(3)), to the socket that NOTIFY_SOCKET names. The
// variable is the protocol: systemd sets it for a unit of Type=notify and for nobody else.
void notify_service_manager(std::string_view state);

// Readable once SIGTERM or SIGINT came: from here on they no longer end the program by themselves.
// Errors: kIo.
Result<UniqueFd> signals_to_end();

// A file that the service manager keeps while the service starts again (FileDescriptorStoreMax=,
// systemd.service(5)): those it kept, with their names. LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES
// are the protocol (sd_listen_fds(3)); without them there are none. To be called once.
std::vector<std::pair<std::string, UniqueFd>> take_kept_files();
// It keeps a copy under this name, or gives up the one it has. `name` has no colon.
void keep_file(std::string_view name, const UniqueFd& file);
void forget_file(std::string_view name);

// Asks poisonctl-apply.path for a renewal of what the administrator wants to be kept current.
// Errors: kCannotWrite.
Result<void> request_refresh(const SysRoot& sysroot);

// Whether stderr goes to the journal: JOURNAL_STREAM has its device and inode (systemd.exec(5)).
bool stderr_is_journal();

// One entry, by the native protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL). Names are upper-case;
// values are text without line ends. False when the journal did not take it.
bool send_to_journal(const std::vector<std::pair<std::string, std::string>>& fields);

}  // namespace poisonctl
