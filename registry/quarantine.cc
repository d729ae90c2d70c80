#include "registry/quarantine.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "registry/chain.h"

namespace poisonctl {

namespace {

struct Snapshot {
  std::string name;
  Topology topology;
};

}  // namespace

struct Quarantine::State {
  Topology now;
  std::vector<Snapshot> snapshots;      // oldest first; not changed once compared
  std::vector<Comparison> comparisons;  // of each with `now`
  std::map<std::string, std::size_t, std::less<>> by_name;
  bool all_same = true;
};

Quarantine::Quarantine(std::unique_ptr<State> state) : state_(std::move(state)) {}
Quarantine::Quarantine(Quarantine&&) noexcept = default;
Quarantine& Quarantine::operator=(Quarantine&&) noexcept = default;
Quarantine::~Quarantine() = default;

Result<Quarantine> Quarantine::prepare(const std::vector<std::string>& snapshots,
                                       const Topology& now) {
  auto state = std::make_unique<State>();
  state->now = now;
  Hasher hasher;
  for (std::size_t i = 0; i < snapshots.size(); ++i) {
    auto topology = parse_topology(snapshots[i], fmt::format("topology snapshot {}", i + 1));
    if (!topology) return topology.error();
    state->snapshots.push_back({hasher.snapshot_name(snapshots[i]), *std::move(topology)});
  }
  for (std::size_t i = 0; i < state->snapshots.size(); ++i) {
    state->comparisons.emplace_back(state->snapshots[i].topology, state->now);
    state->by_name.emplace(state->snapshots[i].name, i);
    state->all_same = state->all_same && state->comparisons.back().is_same();
  }
  return Quarantine(std::move(state));
}

Judgement Quarantine::apply(Record& record) const {
  if (state_->all_same || record.condition == Condition::kResolved) return {};
  Judgement newest;
  std::size_t newest_index = 0;
  bool any = false;
  for (const std::string& name : record.topologies) {
    const auto found = state_->by_name.find(name);
    if (found == state_->by_name.end()) continue;
    Judgement judgement = state_->comparisons[found->second].judge(record.range);
    if (judgement.meaning == Meaning::kSame) return {};
    if (!any || found->second >= newest_index) {
      newest = std::move(judgement);
      newest_index = found->second;
    }
    any = true;
  }
  if (!any) return {};
  record.condition = Condition::kQuarantined;
  record.quarantine_reason = newest.reason;
  return newest;
}

std::vector<Quarantine::Difference> Quarantine::differences() const {
  std::vector<Difference> all;
  for (std::size_t i = 0; i < state_->snapshots.size(); ++i) {
    auto lines = state_->comparisons[i].differences();
    if (!lines.empty()) all.push_back({state_->snapshots[i].name, std::move(lines)});
  }
  return all;
}

}  // namespace poisonctl
