#include "registry/redfish/evidence.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <utility>

#include "registry/text.h"

namespace poisonctl {

namespace {

using nlohmann::json;

// The hexadecimal digits of a UUID, lower-case; empty when it has not 32.
std::string uuid_digits(std::string_view text) {
  constexpr std::size_t kDigits = 32;
  std::string digits;
  for (const char letter : trim(text)) {
    if (std::isxdigit(static_cast<unsigned char>(letter)) != 0) {
      digits += static_cast<char>(std::tolower(static_cast<unsigned char>(letter)));
    } else if (letter != '-') {
      return {};
    }
  }
  // All zeros and all ones are no identity: DSP0134, 7.2.1.
  const bool set = digits.find_first_not_of('0') != std::string::npos &&
                   digits.find_first_not_of('f') != std::string::npos;
  return digits.size() == kDigits && set ? digits : std::string();
}

// The first three fields in the other byte order: SMBIOS stores them little-endian (DSP0134,
// 7.2.1), and not every firmware minds that.
std::string other_order(const std::string& digits) {
  constexpr std::size_t kOrder[] = {6, 4, 2, 0, 10, 8, 14, 12};
  std::string swapped;
  for (const std::size_t at : kOrder) swapped += digits.substr(at, 2);
  return swapped + digits.substr(16);
}

bool same_uuid(const std::string& one, const std::string& other) {
  return one == other || one == other_order(other);
}

class EvidenceReader {
 public:
  EvidenceReader(RedfishService& service, std::vector<std::string>& warnings)
      : service_(service), warnings_(warnings) {}

  Result<void> read_memory(const json& system);
  Result<void> read_logs_of(const json& resource);
  Result<void> read_managers(const json& system);
  [[nodiscard]] std::string document() const {
    return json{{"Members", members_}}.dump(-1, ' ', false, json::error_handler_t::replace);
  }

 private:
  Result<void> read_module(json memory);
  Result<void> read_log(const json& log);
  Result<void> keep(json member);
  Result<std::optional<json>> get_if_there(const std::string& link);
  Result<void> each_if_there(const std::string& link, const RedfishService::TakeMember& take);

  RedfishService& service_;
  std::vector<std::string>& warnings_;
  json members_ = json::array();
  std::size_t bytes_ = 0;
  std::set<std::string> logs_;  // a log may be listed in several places
};

Result<std::optional<json>> EvidenceReader::get_if_there(const std::string& link) {
  if (link.empty()) return std::optional<json>();
  auto resource = service_.get(link);
  if (resource) return std::optional(*std::move(resource));
  if (resource.error().code != ErrorCode::kNoInput) return resource.error();
  warnings_.push_back(resource.error().message);
  return std::optional<json>();
}

Result<void> EvidenceReader::each_if_there(const std::string& link,
                                           const RedfishService::TakeMember& take) {
  if (link.empty()) return {};
  auto read = service_.for_each_member(link, take);
  if (read || read.error().code != ErrorCode::kNoInput) return read;
  warnings_.push_back(read.error().message);
  return {};
}

Result<void> EvidenceReader::keep(json member) {
  bytes_ += member.dump(-1, ' ', false, json::error_handler_t::replace).size();
  if (bytes_ > kMostEvidenceBytes) {
    return Error{ErrorCode::kBadData,
                 fmt::format("{}: more than {} bytes of log entries: save them and clear the logs",
                             service_.address().origin(), kMostEvidenceBytes)};
  }
  members_.push_back(std::move(member));
  return {};
}

Result<void> EvidenceReader::read_log(const json& log) {
  const std::string entries = redfish_link(log, "Entries");
  if (entries.empty() || !logs_.insert(entries).second) return {};
  return each_if_there(entries, [&](const json& entry) { return keep(entry); });
}

Result<void> EvidenceReader::read_logs_of(const json& resource) {
  return each_if_there(redfish_link(resource, "LogServices"),
                       [&](const json& log) { return read_log(log); });
}

Result<void> EvidenceReader::read_module(json memory) {
  const auto metrics = get_if_there(redfish_link(memory, "Metrics"));
  if (!metrics) return metrics.error();
  if (*metrics) memory["Metrics"] = **metrics;
  const auto log = get_if_there(redfish_link(memory, "Log"));
  if (!log) return log.error();
  if (*log) {
    if (auto read = read_log(**log); !read) return read;
  }
  return keep(std::move(memory));
}

Result<void> EvidenceReader::read_memory(const json& system) {
  return each_if_there(redfish_link(system, "Memory"),
                       [&](const json& memory) { return read_module(memory); });
}

Result<void> EvidenceReader::read_managers(const json& system) {
  const auto links = system.find("Links");
  if (links == system.end() || !links->is_object()) return {};
  const auto managers = links->find("ManagedBy");
  if (managers == links->end() || !managers->is_array()) return {};
  for (const json& link : *managers) {
    const auto manager = get_if_there(redfish_text(link, "@odata.id"));
    if (!manager) return manager.error();
    if (!*manager) continue;
    if (auto read = read_logs_of(**manager); !read) return read;
  }
  return {};
}

}  // namespace

Result<json> find_system(RedfishService& service, const json& root, const std::string& product_uuid,
                         std::vector<std::string>& warnings) {
  const std::string ours = uuid_digits(product_uuid);
  const std::string origin = service.address().origin();
  std::optional<json> unnamed;  // the first that may be ours, and does not say
  std::optional<json> found;
  std::size_t systems = 0;
  std::size_t same = 0;
  const std::string collection = redfish_link(root, "Systems");
  if (collection.empty()) {
    return Error{ErrorCode::kNotAvailable, origin + ": the service knows no systems"};
  }
  const auto read = service.for_each_member(collection, [&](const json& system) -> Result<void> {
    ++systems;
    const std::string theirs = uuid_digits(redfish_text(system, "UUID"));
    if (theirs.empty() || ours.empty()) {
      if (!unnamed) unnamed = system;
    } else if (same_uuid(theirs, ours)) {
      ++same;
      found = system;
    }
    return {};
  });
  if (!read) return read.error();
  if (same > 1) {
    return Error{ErrorCode::kRefused,
                 fmt::format("{}: {} of its systems have the UUID of this machine ({}), so that "
                             "which of them it is cannot be told",
                             origin, same, printable(product_uuid))};
  }
  if (found) return *found;
  if (systems == 1 && unnamed) {
    warnings.push_back(origin +
                       ": whether this is the BMC of this machine cannot be told: one of the two "
                       "has no UUID");
    return *unnamed;
  }
  return Error{ErrorCode::kRefused,
               fmt::format("{}: of its {} none has the UUID of this machine ({}): it is another "
                           "machine's; check url in poisonctl.conf, [redfish]",
                           origin, counted(systems, "system"),
                           ours.empty() ? "not known" : printable(product_uuid))};
}

Result<std::string> read_evidence(RedfishService& service, const json& system,
                                  std::vector<std::string>& warnings) {
  EvidenceReader reader(service, warnings);
  if (auto read = reader.read_logs_of(system); !read) return read.error();
  if (auto read = reader.read_managers(system); !read) return read.error();
  if (auto read = reader.read_memory(system); !read) return read.error();
  return reader.document();
}

}  // namespace poisonctl
