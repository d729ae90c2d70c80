// A Redfish service (DSP0266): a session with it, its resources, its collections. Everything it
// says is bounded: bytes, requests, pages, members, and how long it makes us wait.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "registry/redfish/address.h"
#include "registry/redfish/http.h"
#include "registry/result.h"

namespace poisonctl {

// Wiped when it goes; never in a message.
struct Credentials {
  std::string user;
  std::string password;
  Credentials() = default;
  Credentials(const Credentials&) = delete;
  Credentials& operator=(const Credentials&) = delete;
  Credentials(Credentials&&) = default;
  Credentials& operator=(Credentials&&) = default;
  ~Credentials();
};

struct ServiceLimits {
  std::uint64_t requests = 20000;  // of one session
  std::uint64_t pages = 1000;      // of one collection
  std::uint64_t members = 100000;  // the same
  unsigned attempts = 3;           // of one request
  // The longest that is waited for between attempts; who asks for more is told that we come later.
  std::chrono::seconds wait{30};
};

// What became of a request that changes something.
struct ChangeOutcome {
  enum class Kind {
    kDone,     // the service says so
    kNotDone,  // the service says so, or was not reached
    kUnknown,  // no answer, or one that leaves it open
  };
  Kind kind = Kind::kUnknown;
  bool about_this = false;             // not done, and another request may well be
  Error error = {};                    // unless it is done
  std::string location = {};           // of what was made, a path; empty when it does not say
  std::chrono::seconds retry_after{};  // when it wants to be asked again; 0: it does not say
};

class RedfishService {
 public:
  using Wait = std::function<void(std::chrono::milliseconds)>;

  // The transport must outlive it.
  RedfishService(HttpTransport& transport, ServiceAddress address, Credentials credentials,
                 Wait wait, ServiceLimits limits = {})
      : transport_(transport),
        address_(std::move(address)),
        credentials_(std::move(credentials)),
        wait_(std::move(wait)),
        limits_(limits) {}
  RedfishService(const RedfishService&) = delete;
  RedfishService& operator=(const RedfishService&) = delete;
  // Ends the session, as far as the service listens.
  ~RedfishService();

  // Reads the service root and begins a session, or takes Basic where there are none. Errors:
  // kNoPrivilege: user or password are wrong, and it is not tried again; those of get().
  Result<nlohmann::json> open();

  // A resource, by a link or a path. Asked for again when the service is busy (429, 503, honouring
  // Retry-After) or the answer was cut. Errors: kNoInput: there is no such resource (404);
  // kNoPrivilege (401, 403); kRefused: it leads to another host; kLocked: the service is busy for
  // longer; kBadData: the answer is no JSON; those of HttpTransport::send.
  Result<nlohmann::json> get(std::string_view link);

  // Every member of a collection, over all its pages, those that are only links fetched. `take`
  // ends the reading with an error. Errors: those of get(); kBadData for pages that lead back to
  // one that was read, or more than the limits.
  using TakeMember = std::function<Result<void>(const nlohmann::json& member)>;
  Result<void> for_each_member(std::string_view link, const TakeMember& take);

  // What the service allows for the resource: the header Allow of an answer to GET; empty when it
  // does not say. Errors: those of get().
  Result<std::string> allowed(std::string_view link);

  // Sends a change once; again only where the service was too busy to look at it (429). PATCH goes
  // with the ETag that the resource has now, if it has one, and is refused by the service if that
  // has changed. Errors in the outcome are those of get().
  ChangeOutcome change(std::string_view method, std::string_view link, const std::string& body);

  [[nodiscard]] const ServiceAddress& address() const { return address_; }

 private:
  Result<HttpAnswer> send(HttpRequest request);
  Result<HttpAnswer> fetch(std::string_view link);
  Result<HttpAnswer> fetch_once(std::string path);
  Result<void> authenticate();
  Result<bool> begin_session();
  void end_session();
  [[nodiscard]] Error error_of(const HttpAnswer& answer, std::string_view path) const;
  [[nodiscard]] Result<nlohmann::json> parsed(const HttpAnswer& answer,
                                              std::string_view path) const;

  HttpTransport& transport_;
  ServiceAddress address_;
  Credentials credentials_;
  Wait wait_;
  ServiceLimits limits_;
  std::string sessions_;       // path of the collection of sessions, if there is one
  std::string session_;        // path of ours
  std::string authorization_;  // header line
  std::uint64_t requests_ = 0;
};

// A text of an object; empty when there is none.
std::string redfish_text(const nlohmann::json& object, const char* key);
// The link in an object: {"@odata.id": "..."} under `key`; empty when there is none.
std::string redfish_link(const nlohmann::json& object, const char* key);

}  // namespace poisonctl
