#include "registry/exports/exports.h"

#include <array>

namespace poisonctl {

std::span<const ExportFormat> export_formats() {
  static constexpr std::array<ExportFormat, 4> kFormats = {{
      {"csv", "a table (RFC 4180)", false, export_csv},
      {"ndjson", "one JSON object a line", false, export_ndjson},
      {"redfish", "a LogEntryCollection (DSP8010)", false, export_redfish},
      {"cper", "memory error records (UEFI 2.10, appendix N)", true, export_cper},
  }};
  return kFormats;
}

Result<FormatSummary> for_each_selected(
    Store& store, const LogSelection& selection, const TextSink& sink,
    const std::function<std::string(const StoredEvent&)>& make) {
  FormatSummary summary;
  Result<void> status;
  const auto read = store.for_each_event([&](const StoredEvent& stored) {
    if (!selection.takes(stored)) return true;
    const std::string text = make(stored);
    if (text.empty()) {
      ++summary.left_out;
      return true;
    }
    ++summary.written;
    status = sink(text);
    return status.ok();
  });
  if (!read) return read.error();
  if (!status) return status.error();
  return summary;
}

}  // namespace poisonctl
