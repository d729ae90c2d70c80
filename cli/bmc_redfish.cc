#include "cli/bmc_redfish.h"

#include <utility>

#include "cli/bmc.h"
#include "registry/redfish/curl_transport.h"
#include "registry/redfish/evidence.h"

namespace poisonctl {

Result<RedfishConnection> connect_redfish(Invocation& invocation, const RedfishSettings& settings) {
  const auto root = invocation.sysroot();
  if (!root) return root.error();
  const auto machine = invocation.provenance("redfish");
  if (!machine) return machine.error();
  const auto address = parse_service_url(settings.url);
  if (!address) return address.error();
  const auto authorities = read_authorities(settings, **root);
  if (!authorities) return authorities.error();
  auto credentials = read_credentials(settings, **root);
  if (!credentials) return credentials.error();
  auto transport =
      open_curl_transport(*address, {.authorities = *authorities, .timeout = settings.timeout});
  if (!transport) return transport.error();
  RedfishConnection connection;
  connection.transport = *std::move(transport);
  connection.service = std::make_unique<RedfishService>(*connection.transport, *address,
                                                        *std::move(credentials), sleep_for);
  const auto service_root = connection.service->open();
  if (!service_root) return service_root.error();
  std::vector<std::string> warnings;
  auto system = find_system(*connection.service, *service_root, machine->product_uuid, warnings);
  if (!system) return system.error();
  connection.system = *std::move(system);
  for (const std::string& warning : warnings) invocation.output().warning(warning);
  return connection;
}

}  // namespace poisonctl
