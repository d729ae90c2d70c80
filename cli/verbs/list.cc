// poisonctl list: all records, one a line.
#include <fmt/format.h>

#include "cli/json.h"
#include "cli/steps.h"
#include "cli/verb.h"
#include "registry/range_text.h"

namespace poisonctl {
namespace {

Json record_json(const Record& record, const std::string& boot_id,
                 const std::vector<NodeRange>& nodes) {
  const auto node = node_of(nodes, record.range.begin());
  return {{"id", record.id},
          {"address", record.range.begin().value()},
          {"size", record.range.size()},
          {"exact", record.exact},
          {"condition", to_word(record.condition)},
          {"retirement", to_word(record.retirement_in(boot_id))},
          {"severity", to_word(record.severity)},
          {"sources", record.sources},
          {"first_seen", to_rfc3339(record.first_seen)},
          {"last_seen", to_rfc3339(record.last_seen)},
          {"events", record.events},
          {"node", node ? Json(*node) : Json(nullptr)}};
}

std::vector<Cell> record_row(const Record& record, const Machine& machine,
                             const std::vector<NodeRange>& nodes) {
  const auto node = node_of(nodes, record.range.begin());
  const Retirement retirement = record.retirement_in(machine.boot_id);
  const std::uint64_t frames = record.range.frame_count(machine.page_shift);
  return {
      {.text = std::to_string(record.id), .right = true},
      {.text = to_text(record.range)},
      {.text = fmt::format("{}{}", record.exact ? "" : "among ", frames), .right = true},
      {.text = std::string(to_word(record.condition)),
       .tint = record.condition == Condition::kFaulty ? Tint::kBad : Tint::kWarn},
      {.text = std::string(to_word(retirement)), .tint = tint_of(retirement)},
      {.text = std::string(to_word(record.severity))},
      {.text = std::to_string(record.events), .right = true},
      {.text = node ? std::to_string(*node) : "-", .right = true},
      {.text = to_rfc3339(record.last_seen)},
      {.text = fmt::format("{}", fmt::join(record.sources, ","))},
  };
}

Result<ExitStatus> run(Invocation& invocation) {
  auto store = invocation.open_store(Store::Mode::kRead);
  if (!store) return store.error();
  const auto records = load_records(*store);
  if (!records) return records.error();
  const auto machine = invocation.machine();
  if (!machine) return machine.error();
  const auto root = invocation.sysroot();
  if (!root) return root.error();
  const auto nodes = load_nodes(**root);
  if (!nodes) return nodes.error();

  Output& output = invocation.output();
  if (output.json()) {
    Json list = Json::array();
    for (const Record& record : *records) {
      list.push_back(record_json(record, (*machine)->boot_id, *nodes));
    }
    output.object({{"schema", "poisonctl/records-v1"},
                   {"page_size", (*machine)->page_shift.page_size()},
                   {"records", std::move(list)}});
    return kExitDone;
  }
  if (records->empty()) {
    output.note("the registry has no records");
    return kExitDone;
  }
  std::vector<std::vector<Cell>> rows;
  for (const Record& record : *records) rows.push_back(record_row(record, **machine, *nodes));
  output.table({"ID", "RANGE", "FRAMES", "CONDITION", "RETIREMENT", "SEVERITY", "EVENTS", "NODE",
                "LAST SEEN", "SOURCES"},
               rows);
  return kExitDone;
}

}  // namespace

const Verb kListVerb = {
    .name = "list",
    .arguments = "",
    .summary = "List all records",
    .least_arguments = 0,
    .most_arguments = 0,
    .has_json = true,
    .add_options = no_options,
    .run = run,
};

}  // namespace poisonctl
