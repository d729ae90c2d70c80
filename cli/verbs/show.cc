// poisonctl show: one range with all that was ever said about it.
#include <fmt/format.h>

#include "cli/json.h"
#include "cli/steps.h"
#include "cli/verb.h"
#include "registry/range_text.h"
#include "registry/text.h"

namespace poisonctl {
namespace {

Json event_json(const StoredEvent& stored) {
  Json entry = {{"id", stored.id},
                {"time", to_rfc3339(stored.provenance.time)},
                {"kind", to_word(stored.event.kind)},
                {"address", stored.event.range.begin().value()},
                {"size", stored.event.range.size()},
                {"exact", stored.event.exact}};
  if (stored.event.kind == EventKind::kOutcome) {
    entry["retirement"] = to_word(stored.event.retirement);
  }
  entry.update({{"evidence", stored.event.evidence},
                {"source", stored.provenance.source},
                {"tool", stored.provenance.tool},
                {"uid", stored.provenance.uid},
                {"boot_id", stored.provenance.boot_id},
                {"kernel_release", stored.provenance.kernel_release},
                {"host_id", stored.provenance.host_id},
                {"product_uuid", stored.provenance.product_uuid},
                {"page_size", stored.provenance.page_shift.page_size()}});
  return entry;
}

std::string event_text(const StoredEvent& stored) {
  const Provenance& by = stored.provenance;
  const std::string what =
      stored.event.kind == EventKind::kOutcome
          ? fmt::format("{} {}", to_word(stored.event.kind), to_word(stored.event.retirement))
          : std::string(to_word(stored.event.kind));
  std::string text = fmt::format("{:>6}  {}  {}  {}  from {}\n", stored.id, to_rfc3339(by.time),
                                 to_text(stored.event.range), what, by.source);
  constexpr std::size_t kShownEvidence = 400;
  if (!stored.event.evidence.empty()) {
    text += fmt::format("        evidence  {}\n", printable(stored.event.evidence, kShownEvidence));
  }
  text += fmt::format("        seen by   {}, uid {}, Linux {}, {} pages\n", by.tool, by.uid,
                      printable(by.kernel_release), to_human_size(by.page_shift.page_size()));
  text += fmt::format("        boot      {}{}\n", printable(by.boot_id),
                      by.host_id.empty() ? "" : ", host " + printable(by.host_id));
  return text;
}

std::string record_text(const Record& record, const Machine& machine) {
  const Retirement retirement = record.retirement_in(machine.boot_id);
  std::string text =
      fmt::format("{}  ({}, frame {:#x}, record {})\n", to_text(record.range),
                  to_human_size(record.range.size()),
                  machine.page_shift.pfn_of(record.range.begin()).value(), record.id);
  text += fmt::format("  condition   {}{}\n", to_word(record.condition),
                      record.exact ? "" : " (one or more of its frames; not known which)");
  text +=
      fmt::format("  retirement  {}{}\n", to_word(retirement),
                  retirement == Retirement::kUnknown && record.outcome_boot_id != machine.boot_id
                      ? ": nobody has looked in this boot ('poisonctl verify' does)"
                      : ": " + printable(record.outcome_how, 200));
  text += fmt::format("  events      {}, first {}, last {}\n", record.events,
                      to_rfc3339(record.first_seen), to_rfc3339(record.last_seen));
  return text;
}

Result<ExitStatus> run(Invocation& invocation) {
  const auto ranges = invocation.ranges(invocation.arguments());
  if (!ranges) return ranges.error();
  const ByteRange wanted = ranges->front();
  const auto machine = invocation.machine();
  if (!machine) return machine.error();
  auto store = invocation.open_store(Store::Mode::kRead);
  if (!store) return store.error();
  auto records = load_records(*store);
  if (!records) return records.error();
  std::erase_if(*records, [&](const Record& record) { return !record.range.overlaps(wanted); });
  const auto events = store->events_about(wanted);
  if (!events) return events.error();

  Output& output = invocation.output();
  if (output.json()) {
    Json list = Json::array();
    for (const StoredEvent& stored : *events) list.push_back(event_json(stored));
    output.object({{"schema", "poisonctl/events-v1"},
                   {"address", wanted.begin().value()},
                   {"size", wanted.size()},
                   {"events", std::move(list)}});
    return kExitDone;
  }
  if (records->empty()) {
    output.line(fmt::format("{}: no record", to_text(wanted)));
    return kExitDone;
  }
  for (const Record& record : *records) output.text(record_text(record, **machine));
  output.line("");
  for (const StoredEvent& stored : *events) output.text(event_text(stored));
  return kExitDone;
}

}  // namespace

const Verb kShowVerb = {
    .name = "show",
    .arguments = "RANGE",
    .summary = "Show what is known of a range, and every event behind it",
    .least_arguments = 1,
    .most_arguments = 1,
    .has_json = true,
    .add_options = no_options,
    .run = run,
};

}  // namespace poisonctl
