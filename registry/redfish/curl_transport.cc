#include "registry/redfish/curl_transport.h"

#include <curl/curl.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>
#include <string_view>
#include <utility>

#include "registry/text.h"

namespace poisonctl {

namespace {

struct CloseHandle {
  void operator()(CURL* handle) const { ::curl_easy_cleanup(handle); }
};
struct FreeLines {
  void operator()(curl_slist* lines) const { ::curl_slist_free_all(lines); }
};
using Handle = std::unique_ptr<CURL, CloseHandle>;
using Lines = std::unique_ptr<curl_slist, FreeLines>;

// curl_write_callback: anything but the size ends the transfer.
std::size_t take_body(char* data, std::size_t size, std::size_t count, void* taken) {
  auto& body = *static_cast<std::string*>(taken);
  const std::size_t bytes = size * count;
  if (bytes > HttpTransport::kMostBytes - body.size()) return 0;
  body.append(data, bytes);
  return bytes;
}

bool add_line(Lines& lines, const std::string& line) {
  curl_slist* const longer = ::curl_slist_append(lines.get(), line.c_str());
  if (longer == nullptr) return false;
  static_cast<void>(lines.release());
  lines.reset(longer);
  return true;
}

// The last of that name of the final answer.
std::string header_of(CURL* handle, const char* name) {
  curl_header* header = nullptr;
  if (::curl_easy_header(handle, name, 0, CURLH_HEADER, -1, &header) != CURLHE_OK) return {};
  return header->value;
}

// Whether this ended before the request was sent: then it was surely not carried out.
std::optional<ErrorCode> before_sending(CURLcode code) {
  switch (code) {
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_CONNECT:
    case CURLE_INTERFACE_FAILED:
      return ErrorCode::kNotAvailable;
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CRL_BADFILE:
      return ErrorCode::kRefused;
    default:
      return std::nullopt;
  }
}

class CurlTransport final : public HttpTransport {
 public:
  CurlTransport(Handle handle, std::string origin, CurlSettings settings)
      : handle_(std::move(handle)), origin_(std::move(origin)), settings_(std::move(settings)) {}
  Result<HttpAnswer> send(const HttpRequest& request) override;

 private:
  [[nodiscard]] bool set_connection();
  [[nodiscard]] bool set_authorities();
  [[nodiscard]] bool set_request(const HttpRequest& request, const Lines& lines, std::string& body);
  [[nodiscard]] Error error_of(CURLcode code, const std::string& url) const;

  template <typename Value>
  bool set(CURLoption option, Value value) {
    // NOLINTNEXTLINE(cppcoreguidelines-pro-type-vararg): libcurl's interface
    return ::curl_easy_setopt(handle_.get(), option, value) == CURLE_OK;
  }

  Handle handle_;
  std::string origin_;
  CurlSettings settings_;
  std::array<char, CURL_ERROR_SIZE> why_{};
};

// Those alone, when there are any.
bool CurlTransport::set_authorities() {
  if (settings_.authorities.empty()) return true;
  curl_blob blob{.data = settings_.authorities.data(),
                 .len = settings_.authorities.size(),
                 .flags = CURL_BLOB_NOCOPY};
  return set(CURLOPT_CAINFO_BLOB, &blob) && set(CURLOPT_CAPATH, static_cast<char*>(nullptr));
}

bool CurlTransport::set_connection() {
  constexpr long kLongestConnect = 10;
  constexpr long kLeastBytesASecond = 16;
  constexpr long kSlowShare = 4;
  const long timeout = static_cast<long>(settings_.timeout.count());
  return set(CURLOPT_PROTOCOLS_STR, "https") && set(CURLOPT_FOLLOWLOCATION, 0L) &&
         // "": not what https_proxy, all_proxy and no_proxy say.
         set(CURLOPT_PROXY, "") && set(CURLOPT_NOPROXY, "*") &&
         set(CURLOPT_NETRC, static_cast<long>(CURL_NETRC_IGNORED)) &&
         set(CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1)) &&
         set(CURLOPT_SSLVERSION, static_cast<long>(CURL_SSLVERSION_TLSv1_2)) &&
         set(CURLOPT_SSL_VERIFYPEER, 1L) && set(CURLOPT_SSL_VERIFYHOST, 2L) && set_authorities() &&
         set(CURLOPT_NOSIGNAL, 1L) && set(CURLOPT_TIMEOUT, timeout) &&
         set(CURLOPT_CONNECTTIMEOUT, std::min(kLongestConnect, timeout)) &&
         set(CURLOPT_LOW_SPEED_LIMIT, kLeastBytesASecond) &&
         set(CURLOPT_LOW_SPEED_TIME, std::max(1L, timeout / kSlowShare)) &&
         set(CURLOPT_MAXFILESIZE_LARGE, static_cast<curl_off_t>(kMostBytes)) &&
         set(CURLOPT_ERRORBUFFER, why_.data());
}

bool CurlTransport::set_request(const HttpRequest& request, const Lines& lines, std::string& body) {
  const std::string url = origin_ + request.path;
  // When a connection that was used before turns out to be dead, libcurl sends the request again
  // over a new one, whatever the method: the service may have carried it out by then.
  const bool repeatable = request.method == "GET";
  const bool has_body = !request.body.empty() || request.method == "POST";
  return set(CURLOPT_URL, url.c_str()) && set(CURLOPT_PATH_AS_IS, 1L) &&
         set(CURLOPT_CUSTOMREQUEST, request.method.c_str()) &&
         set(CURLOPT_FRESH_CONNECT, repeatable ? 0L : 1L) && set(CURLOPT_HTTPHEADER, lines.get()) &&
         set(CURLOPT_WRITEFUNCTION, take_body) && set(CURLOPT_WRITEDATA, &body) &&
         (!has_body ||
          (set(CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(request.body.size())) &&
           set(CURLOPT_COPYPOSTFIELDS, request.body.c_str())));
}

Error CurlTransport::error_of(CURLcode code, const std::string& url) const {
  const std::string why =
      printable(why_.front() == '\0' ? ::curl_easy_strerror(code) : why_.data(), 200);
  const auto early = before_sending(code);
  if (early == ErrorCode::kRefused) {
    return {*early,
            fmt::format("{}: TLS: {}; nothing was sent. A certificate of an authority of your own "
                        "needs ca_file in poisonctl.conf, [redfish]",
                        url, why)};
  }
  if (early) return {*early, fmt::format("{}: {}", url, why)};
  curl_off_t encrypted = 0;  // when TLS stood, in microseconds; 0: never, or before this request
  long connections = 0;      // that were made for this request
  // NOLINTBEGIN(cppcoreguidelines-pro-type-vararg): libcurl's interface
  ::curl_easy_getinfo(handle_.get(), CURLINFO_APPCONNECT_TIME_T, &encrypted);
  ::curl_easy_getinfo(handle_.get(), CURLINFO_NUM_CONNECTS, &connections);
  // NOLINTEND(cppcoreguidelines-pro-type-vararg)
  if (connections != 0 && encrypted == 0)
    return {ErrorCode::kNotAvailable, fmt::format("{}: {}", url, why)};
  if (code == CURLE_WRITE_ERROR || code == CURLE_FILESIZE_EXCEEDED) {
    return {ErrorCode::kBadData,
            fmt::format("{}: an answer of more than {} bytes", url, kMostBytes)};
  }
  return {ErrorCode::kIo, fmt::format("{}: no whole answer: {}", url, why)};
}

Result<HttpAnswer> CurlTransport::send(const HttpRequest& request) {
  const std::string url = origin_ + request.path;
  Lines lines;
  bool complete = add_line(lines, "Accept: application/json") &&
                  add_line(lines, "OData-Version: 4.0") && add_line(lines, "Expect:") &&
                  add_line(lines, "User-Agent: poisonctl");
  if (!request.body.empty()) {
    complete = complete && add_line(lines, "Content-Type: application/json");
  }
  if (!request.authorization.empty()) complete = complete && add_line(lines, request.authorization);
  if (!request.if_match.empty()) {
    complete = complete && add_line(lines, "If-Match: " + request.if_match);
  }
  HttpAnswer answer;
  why_.front() = '\0';
  // All options anew, so that nothing of the request before is left; connections are kept.
  ::curl_easy_reset(handle_.get());
  if (!complete || !set_connection() || !set_request(request, lines, answer.body)) {
    return Error{ErrorCode::kBug, "libcurl does not take an option, or has no memory"};
  }
  const CURLcode code = ::curl_easy_perform(handle_.get());
  if (code != CURLE_OK) return error_of(code, url);
  curl_off_t retry_after = 0;
  // NOLINTBEGIN(cppcoreguidelines-pro-type-vararg): libcurl's interface
  ::curl_easy_getinfo(handle_.get(), CURLINFO_RESPONSE_CODE, &answer.status);
  ::curl_easy_getinfo(handle_.get(), CURLINFO_RETRY_AFTER, &retry_after);
  // NOLINTEND(cppcoreguidelines-pro-type-vararg)
  answer.retry_after = std::chrono::seconds(retry_after);
  answer.content_type = header_of(handle_.get(), "Content-Type");
  answer.etag = header_of(handle_.get(), "ETag");
  answer.location = header_of(handle_.get(), "Location");
  answer.allow = header_of(handle_.get(), "Allow");
  answer.token = header_of(handle_.get(), "X-Auth-Token");
  return answer;
}

}  // namespace

Result<std::unique_ptr<HttpTransport>> open_curl_transport(const ServiceAddress& service,
                                                           const CurlSettings& settings) {
  static const CURLcode started = ::curl_global_init(CURL_GLOBAL_DEFAULT);
  Handle handle(started == CURLE_OK ? ::curl_easy_init() : nullptr);
  if (!handle) return Error{ErrorCode::kBug, "libcurl does not start"};
  return std::unique_ptr<HttpTransport>(
      new CurlTransport(std::move(handle), service.origin(), settings));
}

}  // namespace poisonctl
