// poisonctl list: all records, one a line.
#include <fmt/format.h>

#include <utility>

#include "cli/json.h"
#include "cli/steps.h"
#include "cli/verb.h"
#include "registry/range_text.h"
#include "registry/text.h"

namespace poisonctl {
namespace {

namespace po = boost::program_options;

void add_options(po::options_description& options) {
  options.add_options()("all",
                        "also resolved records, evidence that names no place, and other hosts'");
}

Json record_json(const Record& record, const Machine& machine,
                 const std::vector<NodeRange>& nodes) {
  const auto node = node_of(nodes, record.range.begin());
  Json json = {{"id", record.id},
               {"host", machine.host_id},
               {"address", record.range.begin().value()},
               {"size", record.range.size()},
               {"exact", record.is_exact(machine.page_shift)},
               {"condition", to_word(record.condition)},
               {"retirement", to_word(record.retirement_in(machine.boot_id))},
               {"severity", to_word(record.severity)},
               {"sources", record.sources},
               {"first_seen", to_rfc3339(record.first_seen)},
               {"last_seen", to_rfc3339(record.last_seen)},
               {"events", record.events},
               {"node", node ? Json(*node) : Json(nullptr)},
               {"label", record.label},
               {"dram", to_text(record.dram)},
               {"reopened", record.reopened}};
  if (record.condition == Condition::kQuarantined) json["reason"] = record.quarantine_reason;
  if (record.condition == Condition::kResolved) {
    json["resolution"] = to_word(record.resolution);
    json["reason"] = record.resolution_reason;
    json["resolved"] = to_rfc3339(record.resolved);
  }
  return json;
}

Json evidence_json(const StoredEvent& stored) {
  return {{"event", stored.id},
          {"kind", to_word(stored.event.kind)},
          {"count", stored.event.count},
          {"source", stored.provenance.source},
          {"host", stored.event.foreign_host},
          {"label", stored.event.label},
          {"dram", to_text(stored.event.dram)},
          {"evidence", stored.event.evidence}};
}

std::vector<Cell> record_row(const Record& record, const Machine& machine,
                             const std::vector<NodeRange>& nodes) {
  const auto node = node_of(nodes, record.range.begin());
  const Retirement retirement = record.retirement_in(machine.boot_id);
  const std::uint64_t frames = record.range.frame_count(machine.page_shift);
  return {
      {.text = std::to_string(record.id), .right = true},
      {.text = to_text(record.range)},
      {.text = fmt::format("{}{}", record.is_exact(machine.page_shift) ? "" : "among ", frames),
       .right = true},
      {.text = std::string(to_word(record.condition)),
       .tint =
           record.condition == Condition::kFaulty ? Tint::kBad
           : record.condition == Condition::kSuspect || record.condition == Condition::kQuarantined
               ? Tint::kWarn
               : Tint::kNone},
      {.text = std::string(to_word(retirement)), .tint = tint_of(retirement)},
      {.text = std::string(to_word(record.severity))},
      {.text = std::to_string(record.events), .right = true},
      {.text = node ? std::to_string(*node) : "-", .right = true},
      {.text = to_rfc3339_seconds(record.last_seen)},
      {.text = fmt::format("{}", fmt::join(record.sources, ","))},
  };
}

std::string_view first_line(std::string_view text) { return text.substr(0, text.find('\n')); }

void print_evidence(Output& output, const StoredEvent& stored) {
  constexpr std::size_t kShownEvidence = 100;
  const Event& event = stored.event;
  output.line(fmt::format(
      "{:>6}  {} x{}  {}  {}{}", stored.id, to_word(event.kind), event.count,
      stored.provenance.source,
      event.foreign_host.empty() ? "" : fmt::format("host {}  ", printable(event.foreign_host)),
      printable(event.label.empty() ? first_line(event.evidence) : event.label, kShownEvidence)));
}

// What a listing shows, read from the registry as often as it is asked for: there may be millions.
struct Listing {
  Store& store;
  const Machine& machine;
  const std::vector<NodeRange>& nodes;
  const Quarantine& quarantine;
  bool all;

  [[nodiscard]] Result<void> for_each(const std::function<void(const Record&)>& visit) const {
    return store.for_each_record([&](const Record& stored) {
      if (!all && stored.condition == Condition::kResolved) return true;
      Record record = stored;
      static_cast<void>(quarantine.apply(record));
      visit(record);
      return true;
    });
  }
  [[nodiscard]] Result<void> for_each(const std::function<void(const StoredEvent&)>& visit) const {
    if (!all) return {};
    return store.for_each_event_without_place([&](const StoredEvent& stored) {
      visit(stored);
      return true;
    });
  }
};

Result<void> print_people(Output& output, const Listing& listing) {
  const auto rows = output.table({"ID", "RANGE", "FRAMES", "CONDITION", "RETIREMENT", "SEVERITY",
                                  "EVENTS", "NODE", "LAST SEEN", "SOURCES"},
                                 [&](const Output::TakeRow& take) {
                                   return listing.for_each([&](const Record& record) {
                                     take(record_row(record, listing.machine, listing.nodes));
                                   });
                                 });
  if (!rows) return rows.error();
  if (*rows == 0) {
    output.note(listing.all ? "the registry has no records" : "no suspect or faulty records");
  }
  bool first = true;
  return listing.for_each([&](const StoredEvent& stored) {
    if (std::exchange(first, false)) output.line("\nEvidence without a place on this host:");
    print_evidence(output, stored);
  });
}

Result<void> print_json(Output& output, const Listing& listing) {
  JsonStream stream(output, {{"schema", "poisonctl/records-v1"},
                             {"page_size", listing.machine.page_shift.page_size()}});
  stream.begin_list("records");
  auto printed = listing.for_each([&](const Record& record) {
    stream.add(record_json(record, listing.machine, listing.nodes));
  });
  if (!printed) return printed;
  stream.end_list();
  if (listing.all) {
    stream.begin_list("evidence");
    printed =
        listing.for_each([&](const StoredEvent& stored) { stream.add(evidence_json(stored)); });
    if (!printed) return printed;
    stream.end_list();
  }
  stream.end();
  return {};
}

Result<ExitStatus> run(Invocation& invocation) {
  auto store = invocation.open_store(Store::Mode::kRead);
  if (!store) return store.error();
  const auto machine = invocation.machine();
  if (!machine) return machine.error();
  const auto root = invocation.sysroot();
  if (!root) return root.error();
  const auto nodes = load_nodes(**root);
  if (!nodes) return nodes.error();
  const auto quarantine = invocation.quarantine(*store);
  if (!quarantine) return quarantine.error();
  const Listing listing{*store, **machine, *nodes, *quarantine, invocation.has("all")};
  Output& output = invocation.output();
  auto printed = output.json() ? print_json(output, listing) : print_people(output, listing);
  if (!printed) return printed.error();
  return kExitDone;
}

}  // namespace

const Verb kListVerb = {
    .name = "list",
    .arguments = "",
    .summary = "List what is bad: suspect and faulty records",
    .least_arguments = 0,
    .most_arguments = 0,
    .has_json = true,
    .add_options = add_options,
    .run = run,
};

}  // namespace poisonctl
