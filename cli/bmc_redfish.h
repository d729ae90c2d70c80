// The BMC's Redfish service that poisonctl.conf names: connected to, and known to be this
// machine's.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>

#include "cli/invocation.h"
#include "registry/redfish/http.h"
#include "registry/redfish/service.h"
#include "registry/redfish/settings.h"
#include "registry/result.h"

namespace poisonctl {

// NOLINTNEXTLINE(bugprone-exception-escape): JSON that is null allocates nothing
struct RedfishConnection {
  std::unique_ptr<HttpTransport> transport;
  std::unique_ptr<RedfishService> service;  // goes before the transport does
  nlohmann::json system;                    // the ComputerSystem that is this machine
};

// A session, and the system. What is to be known besides is warned of. Errors: those of
// read_authorities, read_credentials, RedfishService::open and find_system.
Result<RedfishConnection> connect_redfish(Invocation& invocation, const RedfishSettings& settings);

}  // namespace poisonctl
