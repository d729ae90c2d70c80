// The log as a table for spreadsheets, which take a cell that begins with some characters for a
// formula, and run it.
#include <fmt/format.h>

#include "registry/exports/exports.h"
#include "registry/text.h"

namespace poisonctl {

namespace {

// In quotes, on one line, without anything that moves a cursor. What could be a formula gets an
// apostrophe, as OWASP ("CSV Injection") says.
std::string cell(std::string_view text) {
  constexpr std::string_view kBeginsFormula = "=+-@";
  std::string quoted = "\"";
  const std::string shown = printable(text, 8 * Event::kEvidenceLimit);
  if (!shown.empty() && kBeginsFormula.find(shown.front()) != std::string_view::npos) {
    quoted += '\'';
  }
  for (const char c : shown) {
    quoted += c;
    if (c == '"') quoted += c;
  }
  return quoted + '"';
}

std::string row(const StoredEvent& stored) {
  const Event& event = stored.event;
  const Provenance& by = stored.provenance;
  return fmt::format(
      "{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{}\r\n", stored.id, to_rfc3339(by.time),
      event.observed ? to_rfc3339(*event.observed) : "", to_word(event.kind), state_word(event),
      event.range ? to_hex(event.range->begin().value()) : "",
      event.range ? fmt::format("{}", event.range->size()) : "", event.granularity, event.count,
      cell(by.source), cell(event.foreign_host.empty() ? by.host_id : event.foreign_host),
      cell(event.label), cell(to_text(event.dram)), cell(event.result), cell(by.origin),
      cell(event.evidence));
}

}  // namespace

Result<FormatSummary> export_csv(Store& store, const LogSelection& selection,
                                 const TextSink& sink) {
  if (auto done = sink("id,recorded,observed,kind,state,address,size,granularity,count,source,host,"
                       "label,dram,result,origin,evidence\r\n");
      !done) {
    return done.error();
  }
  return for_each_selected(store, selection, sink, row);
}

}  // namespace poisonctl
