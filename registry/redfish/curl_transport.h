// HTTPS with libcurl. Nothing of the environment counts: no proxy, no .netrc, no cookies.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "registry/redfish/address.h"
#include "registry/redfish/http.h"

namespace poisonctl {

struct CurlSettings {
  std::string authorities = {};      // certificates in PEM; empty: those that the system trusts
  std::chrono::seconds timeout{60};  // of one request, from the connection on; at least 1
};

// TLS 1.2 or newer; certificate and host name are always verified. Errors: kBug.
Result<std::unique_ptr<HttpTransport>> open_curl_transport(const ServiceAddress& service,
                                                           const CurlSettings& settings);

}  // namespace poisonctl
