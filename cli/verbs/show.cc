// poisonctl show: one range with all that was ever said about it.
#include <fmt/format.h>

#include "cli/json.h"
#include "cli/steps.h"
#include "cli/verb.h"
#include "registry/exports/exports.h"
#include "registry/range_text.h"
#include "registry/text.h"

namespace poisonctl {
namespace {

// "        NAME      VALUE\n", or nothing for an empty value.
std::string detail_line(std::string_view name, std::string_view value) {
  constexpr std::size_t kShown = 400;
  return value.empty() ? std::string()
                       : fmt::format("        {:<9} {}\n", name, printable(value, kShown));
}

std::string event_text(const StoredEvent& stored) {
  const Event& event = stored.event;
  const Provenance& by = stored.provenance;
  std::string text =
      fmt::format("{:>6}  {}  {}  {} {}{}from {}{}\n", stored.id,
                  to_rfc3339_seconds(event.observed.value_or(by.time)), to_text(*event.range),
                  to_word(event.kind), state_word(event), state_word(event).empty() ? "" : " ",
                  by.source, event.count == 1 ? "" : fmt::format(", {} times", event.count));
  text += detail_line("DIMM", event.label);
  text += detail_line("DRAM", to_text(event.dram));
  text += detail_line("kernel", event.result);
  text += detail_line("evidence", event.evidence);
  text += detail_line("read from", by.origin);
  text += detail_line(
      "seen by", fmt::format("{}, uid {}, Linux {}, {} pages", by.tool, by.uid, by.kernel_release,
                             to_human_size(by.page_shift.page_size())));
  text += detail_line("boot", by.boot_id + (by.host_id.empty() ? "" : ", host " + by.host_id));
  text += detail_line("host", event.foreign_host.empty() ? "" : "another: " + event.foreign_host);
  return text;
}

std::string record_text(const Record& record, const Machine& machine) {
  const Retirement retirement = record.retirement_in(machine.boot_id);
  std::string text =
      fmt::format("{}  ({}, frame {:#x}, record {})\n", to_text(record.range),
                  to_human_size(record.range.size()),
                  machine.page_shift.pfn_of(record.range.begin()).value(), record.id);
  text += fmt::format(
      "  condition   {}{}\n", to_word(record.condition),
      record.is_exact(machine.page_shift) ? "" : " (one or more of its frames; not known which)");
  if (record.condition == Condition::kQuarantined) {
    text += fmt::format("  quarantined {}\n", printable(record.quarantine_reason, 200));
  }
  if (record.condition == Condition::kResolved) {
    text +=
        fmt::format("  resolved    {} {}: {}\n", to_word(record.resolution),
                    to_rfc3339_seconds(record.resolved), printable(record.resolution_reason, 200));
  }
  if (record.reopened != 0) {
    text += fmt::format("  reopened    {}: it failed again after it was resolved\n",
                        record.reopened == 1 ? "once" : fmt::format("{} times", record.reopened));
  }
  const bool looked = record.outcome_boot_id == machine.boot_id;
  text += fmt::format("  retirement  {}: {}\n", to_word(retirement),
                      looked ? printable(record.outcome_how, 200)
                             : "nobody has looked in this boot ('poisonctl verify' does)");
  text += fmt::format("  events      {}, first {}, last {}\n", record.events,
                      to_rfc3339_seconds(record.first_seen), to_rfc3339_seconds(record.last_seen));
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

  Output& output = invocation.output();
  if (output.json()) {
    Json list = Json::array();
    auto read = store->for_each_event_about(wanted, [&](const StoredEvent& stored) {
      list.push_back(event_fields(stored));
      return true;
    });
    if (!read) return read.error();
    output.object({{"schema", "poisonctl/events-v1"},
                   {"address", wanted.begin().value()},
                   {"size", wanted.size()},
                   {"events", std::move(list)}});
    return kExitDone;
  }
  bool any = false;
  const auto quarantine = invocation.quarantine(*store);
  if (!quarantine) return quarantine.error();
  auto read = store->for_each_record_about(wanted, [&](const Record& stored) {
    any = true;
    Record record = stored;
    static_cast<void>(quarantine->apply(record));
    output.text(record_text(record, **machine));
    return true;
  });
  if (!read) return read.error();
  if (!any) {
    output.line(fmt::format("{}: no record", to_text(wanted)));
    return kExitDone;
  }
  output.line("");
  read = store->for_each_event_about(wanted, [&](const StoredEvent& stored) {
    output.text(event_text(stored));
    return true;
  });
  if (!read) return read.error();
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
