// What a service says to systemd: its state, and entries of the journal with fields. Two small
// protocols that systemd promises to keep; without systemd nothing happens.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace poisonctl {

// "READY=1", "STOPPING=1", "STATUS=..." (sd_notify(3)), to the socket that NOTIFY_SOCKET names. The
// variable is the protocol: systemd sets it for a unit of Type=notify and for nobody else.
void notify_service_manager(std::string_view state);

// Whether stderr goes to the journal: JOURNAL_STREAM has its device and inode (systemd.exec(5)).
bool stderr_is_journal();

// One entry, by the native protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL). Names are upper-case;
// values are text without line ends. False when the journal did not take it.
bool send_to_journal(const std::vector<std::pair<std::string, std::string>>& fields);

}  // namespace poisonctl
