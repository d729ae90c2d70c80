#include "cli/report/gather.h"

#include <chrono>

#include "cli/steps.h"
#include "registry/generation.h"

namespace poisonctl {

namespace {

Result<void> add_store(Invocation& invocation, const CheckedMachine& machine, ReportDepth depth,
                       WithoutRegistry without_registry, ReportModel& model) {
  auto store = invocation.open_store(Store::Mode::kRead);
  if (!store) {
    const bool is_missing = store.error().code == ErrorCode::kNoInput;
    if (is_missing && without_registry == WithoutRegistry::kIsEmpty) return {};
    return store.error();
  }
  const auto quarantine = invocation.quarantine(*store);
  if (!quarantine) return quarantine.error();
  const auto generation = list_generation(*store, invocation.registry_path());
  if (!generation) return generation.error();
  return add_registry(model, machine, *quarantine, *store, *generation, depth);
}

}  // namespace

Result<ReportModel> gather_report(Invocation& invocation, ReportDepth depth,
                                  WithoutRegistry without_registry) {
  const auto root = invocation.sysroot();
  if (!root) return root.error();
  const auto host = invocation.machine();
  if (!host) return host.error();
  const auto machine = invocation.checked_machine();
  if (!machine) return machine.error();
  const auto topology = invocation.topology();
  if (!topology) return topology.error();
  const auto blocks = load_memory_blocks(**root);
  if (!blocks) return blocks.error();
  const auto corrupted = read_hardware_corrupted(**root);
  if (!corrupted) return corrupted.error();
  ReportModel model = empty_report(
      {.machine = *machine,
       .host = **host,
       .topology = (*topology)->topology,
       .blocks = *blocks,
       .now = std::chrono::time_point_cast<Time::duration>(std::chrono::system_clock::now())});
  model.registry = invocation.registry_path();
  model.hardware_corrupted = *corrupted;
  model.not_known = machine->placement.not_known;
  for (const std::string& missing : (*topology)->not_known) model.not_known.push_back(missing);
  model.replay = last_replay(invocation);
  auto added = add_store(invocation, *machine, depth, without_registry, model);
  if (!added) return added.error();
  return model;
}

}  // namespace poisonctl
