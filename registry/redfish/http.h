// One request to a Redfish service and its answer (DSP0266), and who carries them. The seam for
// tests: the real one is curl_transport.h.
#pragma once

#include <chrono>
#include <cstddef>
#include <string>

#include "registry/result.h"

namespace poisonctl {

struct HttpRequest {
  std::string method = {};         // GET, POST, PATCH or DELETE
  std::string path = {};           // with its query
  std::string body = {};           // JSON; empty for none
  std::string authorization = {};  // a whole header line, or empty; never shown to anybody
  std::string if_match = {};       // an ETag, or empty
};

struct HttpAnswer {
  long status = 0;
  std::string body = {};
  std::string content_type = {};
  std::string etag = {};
  std::string location = {};
  std::string allow = {};
  std::string token = {};  // X-Auth-Token
  std::chrono::seconds retry_after{0};
};

class HttpTransport {
 public:
  // Of one body, in bytes: a log service with thousands of entries in one answer.
  static constexpr std::size_t kMostBytes = std::size_t{16} << 20U;

  HttpTransport() = default;
  HttpTransport(const HttpTransport&) = delete;
  HttpTransport& operator=(const HttpTransport&) = delete;
  virtual ~HttpTransport() = default;
  // Sends it once, never twice, and follows nothing. Errors: kNotAvailable: the service was not
  // reached; kRefused: it is not who it should be (TLS); both before anything was sent. kIo: no
  // whole answer came, and nobody knows whether the request was carried out. kBadData: an answer
  // that is too long or not HTTP.
  virtual Result<HttpAnswer> send(const HttpRequest& request) = 0;
};

}  // namespace poisonctl
