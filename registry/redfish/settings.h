// What the administrator says of the BMC's Redfish service: the section [redfish] of
// poisonctl.conf.
#pragma once

#include <chrono>
#include <string>

#include "registry/redfish/action_template.h"
#include "registry/redfish/service.h"
#include "registry/result.h"
#include "registry/sysroot.h"

namespace poisonctl {

struct RedfishSettings {
  std::string url;  // as parse_service_url takes it; empty: no such service is used
  // Paths from the root of the machine on, with the / before them.
  std::string ca_file;  // empty: the authorities that the system trusts
  std::string user;
  std::string password_file;
  std::chrono::seconds timeout{60};
  std::string entries;    // path of the LogEntryCollection that is told; empty: none is
  ActionTemplate retire;  // done for each retired block, when configured
  ActionTemplate repair;  // the same

  [[nodiscard]] bool configured() const { return !url.empty(); }
  // Whether it is told of anything, or only read.
  [[nodiscard]] bool tells() const {
    return !entries.empty() || retire.configured() || repair.configured();
  }
};

// What is missing for it to be used; nothing is wrong where nothing of it is configured. Errors:
// kBadData.
Result<void> check_whole(const RedfishSettings& settings);

// The user, and the first line of the password file. From here on this process leaves no core dump.
// Errors: those of SysRoot::read_private; kBadData when it is empty or longer than 1 KiB.
Result<Credentials> read_credentials(const RedfishSettings& settings, const SysRoot& sysroot);

// What is in ca_file; empty when none is configured. Errors: those of SysRoot::read; kBadData for
// what has no certificate.
Result<std::string> read_authorities(const RedfishSettings& settings, const SysRoot& sysroot);

}  // namespace poisonctl
