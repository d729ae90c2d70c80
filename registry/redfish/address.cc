#include "registry/redfish/address.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <optional>

#include "registry/text.h"

namespace poisonctl {

namespace {

constexpr std::string_view kScheme = "https://";
constexpr std::uint16_t kHttpsPort = 443;
constexpr std::size_t kLongestHost = 255;  // RFC 1035, 2.3.4
constexpr std::size_t kLongestPath = 2048;
constexpr std::string_view kLowerLetters = "abcdefghijklmnopqrstuvwxyz";

std::string lower(std::string_view text) {
  std::string result(text);
  std::transform(result.begin(), result.end(), result.begin(), [](char letter) {
    return letter >= 'A' && letter <= 'Z' ? static_cast<char>(letter - 'A' + 'a') : letter;
  });
  return result;
}

bool is_host(std::string_view host) {
  if (host.empty() || host.size() > kLongestHost) return false;
  if (host.front() == '[') {
    return host.size() > 2 && host.back() == ']' &&
           host.substr(1, host.size() - 2).find_first_not_of("0123456789abcdef:.") ==
               std::string_view::npos;
  }
  const std::string allowed = std::string(kLowerLetters) + "0123456789.-";
  return host.front() != '-' && host.find_first_not_of(allowed) == std::string_view::npos;
}

// "HOST[:PORT]" of a URL.
std::optional<ServiceAddress> parse_authority(std::string_view text) {
  ServiceAddress address;
  const std::size_t bracket = text.find(']');
  const std::size_t colon =
      text.find(':', bracket == std::string_view::npos ? std::size_t{0} : bracket);
  address.host = lower(text.substr(0, colon));
  if (!is_host(address.host)) return std::nullopt;
  if (colon == std::string_view::npos) return address;
  const auto port = parse_unsigned(text.substr(colon + 1), 10);
  if (!port || *port == 0 || *port > std::numeric_limits<std::uint16_t>::max()) return std::nullopt;
  address.port = static_cast<std::uint16_t>(*port);
  return address;
}

bool has_scheme(std::string_view text) { return lower(text.substr(0, kScheme.size())) == kScheme; }

bool is_path(std::string_view path) {
  if (path.empty() || path.front() != '/' || path.starts_with("//") || path.size() > kLongestPath) {
    return false;
  }
  const bool visible = std::all_of(path.begin(), path.end(), [](char letter) {
    return letter > ' ' && letter <= '~' && letter != '\\' && letter != '#';
  });
  const std::string_view names = path.substr(0, path.find('?'));
  return visible && (std::string(names) + "/").find("/../") == std::string::npos;
}

}  // namespace

std::string ServiceAddress::origin() const {
  return port == kHttpsPort ? fmt::format("{}{}", kScheme, host)
                            : fmt::format("{}{}:{}", kScheme, host, port);
}

Result<ServiceAddress> parse_service_url(std::string_view text) {
  const Error error{
      ErrorCode::kBadData,
      fmt::format("'{}': expected https://HOST or https://HOST:PORT, without a user",
                  text.find('@') == std::string_view::npos ? printable(text) : "https://...@...")};
  if (!has_scheme(text)) return error;
  const std::string_view rest = text.substr(kScheme.size());
  const std::size_t slash = rest.find('/');
  const std::string_view path =
      slash == std::string_view::npos ? std::string_view() : rest.substr(slash);
  if (!path.empty() && path != "/" && path != "/redfish/v1" && path != "/redfish/v1/") return error;
  const auto address = parse_authority(rest.substr(0, slash));
  if (!address) return error;
  return *address;
}

Result<std::string> path_of_link(const ServiceAddress& service, std::string_view link) {
  std::string_view path = link;
  if (has_scheme(link)) {
    const std::string_view rest = link.substr(kScheme.size());
    const std::size_t slash = rest.find('/');
    const auto other = parse_authority(rest.substr(0, slash));
    if (!other || other->host != service.host || other->port != service.port) {
      return Error{ErrorCode::kRefused,
                   fmt::format("{}: a link to another host, '{}': not followed", service.origin(),
                               printable(link))};
    }
    path = slash == std::string_view::npos ? std::string_view("/") : rest.substr(slash);
  }
  if (is_path(path)) return std::string(path);
  return Error{link.starts_with("//") || link.find("://") < link.find('/') ? ErrorCode::kRefused
                                                                           : ErrorCode::kBadData,
               fmt::format("{}: '{}': expected the path of a resource of this service",
                           service.origin(), printable(link))};
}

}  // namespace poisonctl
