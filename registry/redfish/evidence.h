// What a Redfish service knows of this machine's memory, as one JSON document for the source
// redfish (sources/redfish.h): the log entries, and the memory modules with their metrics.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "registry/redfish/service.h"

namespace poisonctl {

// Of the bytes of all log entries together.
inline constexpr std::size_t kMostEvidenceBytes = std::size_t{32} << 20U;

// The system that is this machine: the one whose UUID is `product_uuid`. Where the only system has
// no UUID, or this machine knows none, that one, and `warnings` says so. Errors: kRefused when
// there is none: the service is another machine's; those of RedfishService::get.
Result<nlohmann::json> find_system(RedfishService& service, const nlohmann::json& root,
                                   const std::string& product_uuid,
                                   std::vector<std::string>& warnings);

// {"Members": [...]}: the entries of the system's log services, of its memory modules and of the
// managers that the system names, then the modules, each with its MemoryMetrics in it. What a
// service does not have is left out; parts that it lists and does not give are in `warnings`.
// Errors: those of RedfishService::get but kNoInput; kBadData beyond kMostEvidenceBytes.
Result<std::string> read_evidence(RedfishService& service, const nlohmann::json& system,
                                  std::vector<std::string>& warnings);

}  // namespace poisonctl
