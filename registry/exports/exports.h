// The log in forms that other systems read. They say what happened and prove nothing; a bundle
// (registry/audit) does.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "registry/audit/bundle.h"
#include "registry/audit/json_text.h"
#include "registry/result.h"
#include "registry/store.h"

namespace poisonctl {

using TextSink = std::function<Result<void>(std::string_view)>;

struct FormatSummary {
  std::uint64_t written = 0;
  std::uint64_t left_out = 0;  // what the form has no words for
};

// Writes the events of a selection, in the order of the log, in memory that does not grow with it.
struct ExportFormat {
  std::string_view name;
  std::string_view summary;
  bool is_binary;
  Result<FormatSummary> (*write)(Store& store, const LogSelection& selection, const TextSink& sink);
};
std::span<const ExportFormat> export_formats();

// The same into a new database at `path`, with the tables that rasdaemon 0.6.8 makes and ras-mc-ctl
// reads, and memory_failure_event of later ones (ras-record.c). Outcomes, resolutions, and what is
// about another host have no place in it. Errors: of reading, kCannotWrite.
Result<FormatSummary> export_rasdaemon(Store& store, const LogSelection& selection,
                                       const std::string& path);

// Each in its own file; what they promise is in poisonctl-audit(8).
Result<FormatSummary> export_csv(Store& store, const LogSelection& selection, const TextSink& sink);
Result<FormatSummary> export_ndjson(Store& store, const LogSelection& selection,
                                    const TextSink& sink);
Result<FormatSummary> export_redfish(Store& store, const LogSelection& selection,
                                     const TextSink& sink);
Result<FormatSummary> export_cper(Store& store, const LogSelection& selection,
                                  const TextSink& sink);

// One event, as `show --json` has it and, behind a `schema`, the line of NDJSON.
OrderedJson event_fields(const StoredEvent& stored);

// What one event becomes; empty for nothing. Calls `make` for each event that is selected.
Result<FormatSummary> for_each_selected(Store& store, const LogSelection& selection,
                                        const TextSink& sink,
                                        const std::function<std::string(const StoredEvent&)>& make);

}  // namespace poisonctl
