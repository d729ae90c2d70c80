// Where a Redfish service is, and which of its links are followed: those that stay with it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "registry/result.h"

namespace poisonctl {

struct ServiceAddress {
  std::string host;  // lower-case; an IPv6 address in brackets
  std::uint16_t port = 443;
  // "https://HOST" or "https://HOST:PORT": what every URL of the service begins with.
  [[nodiscard]] std::string origin() const;
};

// "https://HOST[:PORT]", with "/" or "/redfish/v1/" after it or nothing. A user in it, another
// scheme or path is kBadData: a password in a URL ends in logs.
Result<ServiceAddress> parse_service_url(std::string_view text);

// The path, with its query, that a link of an answer or a configured URI means: an absolute path,
// or a whole URL of the same service. Errors: kRefused for another host; kBadData for anything that
// is no path of at most 2048 visible ASCII characters without "..", "\" and "#".
Result<std::string> path_of_link(const ServiceAddress& service, std::string_view link);

}  // namespace poisonctl
