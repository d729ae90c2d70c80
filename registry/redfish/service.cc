#include "registry/redfish/service.h"

#include <fmt/format.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <algorithm>
#include <new>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>
#include <vector>

#include "registry/sources/json_stream.h"
#include "registry/text.h"

namespace poisonctl {

namespace {

using nlohmann::json;

constexpr std::string_view kRoot = "/redfish/v1/";
constexpr const char* kId = "@odata.id";
constexpr const char* kNextPage = "Members@odata.nextLink";  // DSP0266, 9.5.7
constexpr std::string_view kTokenHeader = "X-Auth-Token: ";

// RFC 9110, 15. The names are those of its sections.
enum Status : long {
  kOk = 200,
  kCreated = 201,
  kAccepted = 202,
  kMultipleChoices = 300,
  kBadRequest = 400,
  kUnauthorized = 401,
  kForbidden = 403,
  kNotFound = 404,
  kMethodNotAllowed = 405,
  kTooManyRequests = 429,
  kServerError = 500,
  kNotImplemented = 501,
  kUnavailable = 503,
};

bool is_success(const HttpAnswer& answer) {
  return answer.status >= kOk && answer.status < kMultipleChoices;
}
bool is_redirect(const HttpAnswer& answer) {
  return answer.status >= kMultipleChoices && answer.status < kBadRequest;
}
bool is_busy(const HttpAnswer& answer) {
  return answer.status == kTooManyRequests || answer.status == kUnavailable;
}

std::string basic_authorization(const Credentials& credentials) {
  const std::string plain = credentials.user + ":" + credentials.password;
  std::vector<unsigned char> bytes(plain.begin(), plain.end());
  // Three bytes become four characters, with a NUL after them.
  std::vector<unsigned char> text((bytes.size() + 2) / 3 * 4 + 1);
  const int length = ::EVP_EncodeBlock(text.data(), bytes.data(), static_cast<int>(bytes.size()));
  return "Authorization: Basic " + std::string(text.begin(), text.begin() + length);
}

void wipe(std::string& text) {
  ::OPENSSL_cleanse(text.data(), text.size());
  text.clear();
}

// What the service says of an error (DSP0266, 8.6), for people.
std::string reason_in(const HttpAnswer& answer) {
  const json document = json::parse(answer.body, nullptr, false);
  const auto error = document.is_object() ? document.find("error") : document.end();
  if (!document.is_object() || error == document.end() || !error->is_object()) return {};
  const auto details = error->find("@Message.ExtendedInfo");
  if (details != error->end() && details->is_array() && !details->empty()) {
    const std::string text = redfish_text(details->front(), "Message");
    if (!text.empty()) return printable(text, 200);
  }
  return printable(redfish_text(*error, "message"), 200);
}

}  // namespace

std::string redfish_text(const json& object, const char* key) {
  if (!object.is_object()) return {};
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

std::string redfish_link(const json& object, const char* key) {
  if (!object.is_object()) return {};
  const auto found = object.find(key);
  return found == object.end() ? std::string() : redfish_text(*found, kId);
}

Credentials::~Credentials() { wipe(password); }

RedfishService::~RedfishService() {
  try {
    end_session();
  } catch (const std::bad_alloc&) {
    session_.clear();  // the service ends it after a time
  }
  wipe(authorization_);
}

Error RedfishService::error_of(const HttpAnswer& answer, std::string_view path) const {
  const std::string where = fmt::format("{}{}", address_.origin(), path);
  const std::string reason = reason_in(answer);
  const std::string said =
      fmt::format("HTTP status {}{}{}", answer.status, reason.empty() ? "" : ": ", reason);
  if (answer.status == kNotFound) return {ErrorCode::kNoInput, where + ": " + said};
  if (answer.status == kUnauthorized || answer.status == kForbidden) {
    return {ErrorCode::kNoPrivilege, fmt::format("{}: {}; user {} may not do this", where, said,
                                                 printable(credentials_.user))};
  }
  if (is_busy(answer)) {
    return {ErrorCode::kLocked,
            fmt::format("{}: {}; the service is busy, try again{}", where, said,
                        answer.retry_after.count() == 0
                            ? ""
                            : fmt::format(" in {} s", answer.retry_after.count()))};
  }
  if (is_redirect(answer)) {
    return {ErrorCode::kRefused,
            fmt::format("{}: sends us to '{}': not followed", where, printable(answer.location))};
  }
  return {ErrorCode::kIo, where + ": " + said};
}

// Waits and asks again while the service is too busy to look at a request. A GET also where it is
// unavailable or the answer was cut; anything else may have been carried out then.
Result<HttpAnswer> RedfishService::send(HttpRequest request) {
  const bool harmless = request.method == "GET";
  request.authorization = authorization_;
  std::chrono::milliseconds pause{1000};
  for (unsigned attempt = 1;; ++attempt) {
    if (++requests_ > limits_.requests) {
      return Error{ErrorCode::kBadData, fmt::format("{}: more than {} requests; it has no end",
                                                    address_.origin(), limits_.requests)};
    }
    auto answer = transport_.send(request);
    const bool last = attempt == limits_.attempts;
    std::chrono::milliseconds wanted = pause;
    if (answer) {
      const bool again =
          answer->status == kTooManyRequests || (harmless && answer->status == kUnavailable);
      if (!again || last || answer->retry_after > limits_.wait) return answer;
      if (answer->retry_after.count() > 0) wanted = answer->retry_after;
    } else if (last || !harmless || answer.error().code != ErrorCode::kIo) {
      return answer;
    }
    wait_(wanted);
    pause *= 2;
  }
}

// A redirect inside the service is followed, once.
Result<HttpAnswer> RedfishService::fetch_once(std::string path) {
  auto answer = send({.method = "GET", .path = std::move(path)});
  if (!answer || !is_redirect(*answer) || answer->location.empty()) return answer;
  const auto other = path_of_link(address_, answer->location);
  if (!other) return other.error();
  return send({.method = "GET", .path = *other});
}

Result<HttpAnswer> RedfishService::fetch(std::string_view link) {
  const auto path = path_of_link(address_, link);
  if (!path) return path.error();
  auto answer = fetch_once(*path);
  if (!answer) return answer;
  // Sessions end by themselves after a time (DSP0266, 13.3.4.4).
  if (answer->status == kUnauthorized && !session_.empty()) {
    session_.clear();
    if (auto done = authenticate(); !done) return done.error();
    answer = fetch_once(*path);
    if (!answer) return answer;
  }
  if (!is_success(*answer)) return error_of(*answer, *path);
  return answer;
}

Result<json> RedfishService::parsed(const HttpAnswer& answer, std::string_view path) const {
  const std::string shown = fmt::format("{}{}", address_.origin(), path);
  if (answer.content_type.find("json") == std::string::npos) {
    return Error{ErrorCode::kBadData,
                 fmt::format("{}: content of type '{}': expected application/json", shown,
                             printable(answer.content_type))};
  }
  TextStream stream(answer.body, shown);
  auto document = read_json(stream, HttpTransport::kMostBytes);
  if (document && !document->is_object()) {
    return Error{ErrorCode::kBadData, shown + ": expected a JSON object"};
  }
  return document;
}

Result<json> RedfishService::get(std::string_view link) {
  const auto answer = fetch(link);
  if (!answer) return answer.error();
  return parsed(*answer, link);
}

Result<std::string> RedfishService::allowed(std::string_view link) {
  const auto answer = fetch(link);
  if (!answer) return answer.error();
  return answer->allow;
}

Result<void> RedfishService::for_each_member(std::string_view link, const TakeMember& take) {
  std::set<std::string> seen;
  std::uint64_t members = 0;
  std::string next(link);
  while (!next.empty()) {
    const auto path = path_of_link(address_, next);
    if (!path) return path.error();
    if (!seen.insert(*path).second || seen.size() > limits_.pages) {
      return Error{
          ErrorCode::kBadData,
          fmt::format("{}{}: its pages have no end: '{}' comes after {}", address_.origin(), link,
                      printable(next), counted(seen.size(), "page"))};
    }
    const auto page = get(*path);
    if (!page) return page.error();
    const auto list = page->find("Members");
    if (list == page->end() || !list->is_array()) {
      return Error{ErrorCode::kBadData, fmt::format("{}{}: expected a collection with Members",
                                                    address_.origin(), *path)};
    }
    for (const json& member : *list) {
      if (++members > limits_.members) {
        return Error{ErrorCode::kBadData, fmt::format("{}{}: more than {} members",
                                                      address_.origin(), link, limits_.members)};
      }
      // Every resource has these two (DSP0266, 9.6).
      const bool only_link = member.is_object() && member.contains(kId) && !member.contains("Id") &&
                             !member.contains("Name");
      if (!only_link) {
        if (auto taken = take(member); !taken) return taken;
        continue;
      }
      const auto whole = get(redfish_text(member, kId));
      // One that went away while its collection was read is no member of it.
      if (!whole && whole.error().code == ErrorCode::kNoInput) continue;
      if (!whole) return whole.error();
      if (auto taken = take(*whole); !taken) return taken;
    }
    next = redfish_text(*page, kNextPage);
  }
  return {};
}

// False where the service has no sessions.
Result<bool> RedfishService::begin_session() {
  if (sessions_.empty()) return false;
  const json login = {{"UserName", credentials_.user}, {"Password", credentials_.password}};
  std::string body = login.dump(-1, ' ', true, json::error_handler_t::replace);
  auto answer = send({.method = "POST", .path = sessions_, .body = body});
  wipe(body);
  if (!answer) return answer.error();
  const long status = answer->status;
  if (status == kNotFound || status == kMethodNotAllowed || status == kNotImplemented) return false;
  if (status == kUnauthorized || status == kForbidden || status == kBadRequest) {
    // Not what it says: it may repeat what it was sent.
    return Error{ErrorCode::kNoPrivilege,
                 fmt::format("{}: user {} is not let in (HTTP status {}): check user and "
                             "password_file in poisonctl.conf, [redfish]",
                             address_.origin(), printable(credentials_.user), status)};
  }
  if (!is_success(*answer)) {
    return Error{
        is_busy(*answer) ? ErrorCode::kLocked : ErrorCode::kIo,
        fmt::format("{}{}: HTTP status {}: no session", address_.origin(), sessions_, status)};
  }
  if (answer->token.empty()) {
    return Error{ErrorCode::kBadData,
                 fmt::format("{}{}: a session without X-Auth-Token", address_.origin(), sessions_)};
  }
  authorization_ = std::string(kTokenHeader) + answer->token;
  wipe(answer->token);
  const auto place = path_of_link(address_, answer->location);
  session_ = place ? *place : std::string();
  return true;
}

Result<void> RedfishService::authenticate() {
  wipe(authorization_);
  const auto begun = begin_session();
  if (!begun) return begun.error();
  if (!*begun) authorization_ = basic_authorization(credentials_);
  return {};
}

Result<json> RedfishService::open() {
  auto root = get(kRoot);  // needs no authentication: DSP0266, 13.3.3
  if (!root) return root;
  const auto links = root->find("Links");
  const std::string sessions =
      links == root->end() ? std::string() : redfish_link(*links, "Sessions");
  if (!sessions.empty()) {
    const auto path = path_of_link(address_, sessions);
    if (!path) return path.error();
    sessions_ = *path;
  }
  if (auto done = authenticate(); !done) return done.error();
  return root;
}

void RedfishService::end_session() {
  if (session_.empty()) return;
  limits_.attempts = 1;
  // Nobody to tell when it fails: the service ends it after a time.
  static_cast<void>(send({.method = "DELETE", .path = session_}));
  session_.clear();
}

ChangeOutcome RedfishService::change(std::string_view method, std::string_view link,
                                     const std::string& body) {
  using Kind = ChangeOutcome::Kind;
  const auto path = path_of_link(address_, link);
  if (!path) return {.kind = Kind::kNotDone, .error = path.error()};
  HttpRequest request{.method = std::string(method), .path = *path, .body = body};
  if (method == "PATCH") {
    const auto now = fetch(*path);
    if (!now) return {.kind = Kind::kNotDone, .error = now.error()};
    request.if_match = now->etag;
  }
  const auto answer = send(std::move(request));
  if (!answer) {
    return {.kind = answer.error().code == ErrorCode::kNotAvailable ||
                            answer.error().code == ErrorCode::kRefused
                        ? Kind::kNotDone
                        : Kind::kUnknown,
            .error = answer.error()};
  }
  ChangeOutcome outcome{.error = error_of(*answer, *path), .retry_after = answer->retry_after};
  if (is_success(*answer)) {
    outcome.kind = Kind::kDone;
    const auto place = path_of_link(address_, answer->location);
    if (place && answer->status == kCreated) outcome.location = *place;
  } else if (answer->status < kServerError || answer->status == kUnavailable) {
    outcome.kind = Kind::kNotDone;
    // What is wrong with the session or the load is wrong with all.
    outcome.about_this = answer->status >= kBadRequest && answer->status < kServerError &&
                         answer->status != kUnauthorized && answer->status != kForbidden &&
                         !is_busy(*answer);
  }
  return outcome;
}

}  // namespace poisonctl
