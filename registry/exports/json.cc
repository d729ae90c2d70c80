// The log as JSON: one object a line, and as Redfish has log entries.
#include <fmt/format.h>

#include "registry/audit/json_text.h"
#include "registry/exports/exports.h"
#include "registry/range_text.h"
#include "registry/text.h"

namespace poisonctl {

OrderedJson event_fields(const StoredEvent& stored) {
  const Event& event = stored.event;
  const Provenance& by = stored.provenance;
  return {{"id", stored.id},
          {"time", to_rfc3339(by.time)},
          {"kind", to_word(event.kind)},
          {"state", state_word(event)},
          {"address", event.range ? OrderedJson(event.range->begin().value()) : OrderedJson()},
          {"size", event.range ? OrderedJson(event.range->size()) : OrderedJson()},
          {"granularity", event.granularity},
          {"count", event.count},
          {"observed", event.observed ? OrderedJson(to_rfc3339(*event.observed)) : OrderedJson()},
          {"label", event.label},
          {"dram", to_text(event.dram)},
          {"result", event.result},
          {"evidence", event.evidence},
          {"source", by.source},
          {"source_version", by.source_version},
          {"origin", by.origin},
          {"tool", by.tool},
          {"uid", by.uid},
          {"boot_id", by.boot_id},
          {"monotonic_ns", by.monotonic_ns},
          {"kernel_release", by.kernel_release},
          {"host_id", event.foreign_host.empty() ? by.host_id : event.foreign_host},
          {"product_uuid", by.product_uuid},
          {"product_serial", by.product_serial},
          {"page_size", by.page_shift.page_size()}};
}

namespace {

OrderedJson event_json(const StoredEvent& stored) {
  OrderedJson json = {{"schema", "poisonctl/event-v1"}};
  json.update(event_fields(stored));
  return json;
}

std::string_view redfish_severity(EventKind kind) {
  switch (kind) {
    case EventKind::kUncorrected:
    case EventKind::kDeferred:
    case EventKind::kMedia:
    case EventKind::kPoisoned:
      return "Critical";
    case EventKind::kCorrected:
    case EventKind::kInjected:
      return "Warning";
    case EventKind::kUnpoisoned:
    case EventKind::kOutcome:
    case EventKind::kResolution:
      return "OK";
  }
  return "OK";
}

// A service that has no such words puts entries of its own under Oem.
OrderedJson redfish_json(const StoredEvent& stored) {
  const Event& event = stored.event;
  OrderedJson own = event_json(stored);
  own.erase("schema");
  OrderedJson oem = {{"@odata.type", "#Poisonctl.v1_0_0.Event"}};
  oem.update(own);
  const Time seen = time_seen(event, stored.provenance);
  return {
      {"@odata.id",
       fmt::format("/redfish/v1/Systems/1/LogServices/poisonctl/Entries/{}", stored.id)},
      {"@odata.type", "#LogEntry.v1_4_0.LogEntry"},
      {"Id", fmt::format("{}", stored.id)},
      {"Name", fmt::format("Memory event {}", stored.id)},
      {"EntryType", "Oem"},
      {"OemRecordFormat", "poisonctl"},
      {"Severity", redfish_severity(event.kind)},
      {"Created", to_rfc3339_seconds(stored.provenance.time)},
      {"EventTimestamp", to_rfc3339_seconds(seen)},
      {"Message", fmt::format("{} {}{} at {}, seen {} time(s) by {}", to_word(event.kind),
                              state_word(event), state_word(event).empty() ? "memory error" : "",
                              event.range ? to_text(*event.range) : "no physical address",
                              event.count, printable(stored.provenance.source))},
      {"Oem", {{"Poisonctl", std::move(oem)}}}};
}

}  // namespace

Result<FormatSummary> export_ndjson(Store& store, const LogSelection& selection,
                                    const TextSink& sink) {
  return for_each_selected(store, selection, sink, [](const StoredEvent& stored) {
    return to_line(event_json(stored)) + "\n";
  });
}

Result<FormatSummary> export_redfish(Store& store, const LogSelection& selection,
                                     const TextSink& sink) {
  if (auto done = sink(R"({"@odata.id":"/redfish/v1/Systems/1/LogServices/poisonctl/Entries",)"
                       R"("@odata.type":"#LogEntryCollection.LogEntryCollection",)"
                       R"("Name":"Memory errors","Members":[)");
      !done) {
    return done.error();
  }
  bool first = true;
  const auto summary = for_each_selected(store, selection, sink, [&](const StoredEvent& stored) {
    std::string text = (first ? "\n" : ",\n") + to_line(redfish_json(stored));
    first = false;
    return text;
  });
  if (!summary) return summary.error();
  // At the end, as only then they are counted.
  if (auto done = sink(fmt::format("\n],\"Members@odata.count\":{}}}\n", summary->written));
      !done) {
    return done.error();
  }
  return *summary;
}

}  // namespace poisonctl
