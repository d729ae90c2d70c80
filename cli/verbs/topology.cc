// poisonctl topology: the memory that gives addresses their meaning, and what changed of it since
// the records were made.
#include "registry/topology.h"

#include <fmt/format.h>

#include "cli/json.h"
#include "cli/steps.h"
#include "cli/verb.h"
#include "registry/quarantine.h"
#include "registry/range_text.h"
#include "registry/text.h"
#include "registry/topology_compare.h"

namespace poisonctl {
namespace {

namespace po = boost::program_options;

void add_options(po::options_description& options) {
  options.add_options()("resolve-replaced",
                        "diff: resolve as replaced what lay in a module that was exchanged");
}

Json modules_json(const Topology& topology) {
  Json modules = Json::array();
  for (const MemoryModule& module : topology.modules) {
    Json mappings = Json::array();
    for (const MemoryModule::Mapping& mapping : module.mappings) {
      Json one = to_json(mapping.range);
      one["way"] = mapping.way;
      mappings.push_back(std::move(one));
    }
    modules.push_back({{"slot", module.slot},
                       {"manufacturer", module.manufacturer},
                       {"serial", module.serial},
                       {"part", module.part},
                       {"bytes", module.bytes},
                       {"speed", module.speed},
                       {"mappings", std::move(mappings)}});
  }
  return modules;
}

Json topology_json(const Topology& topology) {
  Json nodes = Json::array();
  for (const NodeRange& node : topology.nodes) {
    Json one = to_json(node.range);
    one["node"] = node.node;
    nodes.push_back(std::move(one));
  }
  Json regions = Json::array();
  for (const CxlRegion& region : topology.cxl) {
    Json one = to_json(region.range);
    one["granularity"] = region.granularity;
    one["serials"] = region.serials;
    regions.push_back(std::move(one));
  }
  return {{"schema", "poisonctl/topology-v1"},
          {"digest", to_hex_text(as_bytes(hardware_digest(topology)))},
          {"can_tell", what_it_can_tell(topology)},
          {"modules", modules_json(topology)},
          {"ram", to_json(RangeSet::from_ranges(topology.ram))},
          {"nodes", std::move(nodes)},
          {"cxl", std::move(regions)}};
}

Result<ExitStatus> show(Invocation& invocation) {
  const auto reading = invocation.topology();
  if (!reading) return reading.error();
  const Topology& topology = (*reading)->topology;
  Output& output = invocation.output();
  for (const std::string& missing : (*reading)->not_known) output.warning(missing);
  if (output.json()) {
    output.object(topology_json(topology));
    return kExitDone;
  }
  output.line("digest     " + to_hex_text(as_bytes(hardware_digest(topology))));
  output.line("can tell   " + what_it_can_tell(topology));
  // Against nothing, every part is a difference.
  const Topology nothing;
  const auto lines = Comparison(nothing, topology).differences();
  for (const std::string& line : lines) {
    if (line.starts_with("+ ") && !line.starts_with("+ page size")) output.line(line.substr(2));
  }
  return kExitDone;
}

struct Sorted {
  std::uint64_t unaffected = 0;
  std::uint64_t not_known = 0;
  std::uint64_t quarantined = 0;
  std::vector<Record> replaced;
};

Result<Sorted> sort_records(Store& store, const Quarantine& quarantine) {
  Sorted sorted;
  auto read = store.for_each_record([&](const Record& stored) {
    if (stored.condition == Condition::kResolved) return true;
    Record record = stored;
    const Judgement judgement = quarantine.apply(record);
    if (record.condition == Condition::kQuarantined) {
      ++sorted.quarantined;
      if (judgement.meaning == Meaning::kReplaced) sorted.replaced.push_back(std::move(record));
    } else {
      ++(record.topologies.empty() ? sorted.not_known : sorted.unaffected);
    }
    return true;
  });
  if (!read) return read.error();
  return sorted;
}

// `read_up_to`: the newest entry when they were read.
Result<void> resolve_replaced(Invocation& invocation, const std::vector<Record>& replaced,
                              std::int64_t read_up_to) {
  if (replaced.empty()) return {};
  const auto provenance = invocation.provenance("operator");
  if (!provenance) return provenance.error();
  std::vector<Event> events;
  for (const Record& record : replaced) {
    Event event;
    event.kind = EventKind::kResolution;
    event.range = record.range;
    event.resolution = Resolution::kReplaced;
    event.evidence = record.quarantine_reason;
    events.push_back(std::move(event));
  }
  const auto stored = store_resolutions(invocation, *provenance, events, read_up_to);
  if (!stored) return stored.error();
  invocation.output().note(fmt::format("{} resolved as replaced", stored->added));
  return {};
}

Result<ExitStatus> diff(Invocation& invocation) {
  std::vector<Quarantine::Difference> differences;
  Sorted sorted;
  std::int64_t read_up_to = 0;
  {
    auto store = invocation.open_store(Store::Mode::kRead);
    if (!store) return store.error();
    const auto head = store->head();
    if (!head) return head.error();
    read_up_to = head->id;
    const auto reading = invocation.topology();
    if (!reading) return reading.error();
    for (const std::string& missing : (*reading)->not_known) invocation.output().warning(missing);
    const auto snapshots = store->snapshots();
    if (!snapshots) return snapshots.error();
    const auto quarantine = Quarantine::prepare(*snapshots, (*reading)->topology);
    if (!quarantine) return quarantine.error();
    auto records = sort_records(*store, *quarantine);
    if (!records) return records.error();
    differences = quarantine->differences();
    sorted = *std::move(records);
  }
  Output& output = invocation.output();
  if (output.json()) {
    Json list = Json::array();
    for (const auto& difference : differences) {
      list.push_back({{"snapshot", difference.name}, {"lines", difference.lines}});
    }
    output.object({{"schema", "poisonctl/topology-diff-v1"},
                   {"differences", std::move(list)},
                   {"unaffected", sorted.unaffected},
                   {"not_known", sorted.not_known},
                   {"quarantined", sorted.quarantined},
                   {"replaced", sorted.replaced.size()}});
  } else {
    for (const auto& difference : differences) {
      output.line(fmt::format("since snapshot {}:", difference.name));
      for (const std::string& line : difference.lines) output.line("  " + line);
    }
    output.line(fmt::format(
        "records: {} unaffected, {} quarantined ({} of them in a module that "
        "was exchanged), {} of before snapshots were kept",
        sorted.unaffected, sorted.quarantined, sorted.replaced.size(), sorted.not_known));
  }
  if (invocation.has("resolve-replaced")) {
    if (auto done = resolve_replaced(invocation, sorted.replaced, read_up_to); !done)
      return done.error();
  }
  return differences.empty() ? kExitDone : kExitFindings;
}

Result<ExitStatus> run(Invocation& invocation) {
  const std::string what = invocation.arguments().front();
  if (what == "show") return show(invocation);
  if (what == "diff") return diff(invocation);
  return Error{ErrorCode::kUsage,
               fmt::format("topology '{}': expected show or diff", printable(what))};
}

}  // namespace

const Verb kTopologyVerb = {
    .name = "topology",
    .arguments = "show|diff",
    .summary = "Show the memory modules and map, or what changed of them since records were made",
    .least_arguments = 1,
    .most_arguments = 1,
    .has_json = true,
    .add_options = add_options,
    .run = run,
};

}  // namespace poisonctl
