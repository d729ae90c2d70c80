// poisonctl upgrade: brings a registry of an older version to this one's schema.
#include <fmt/format.h>

#include "cli/verb.h"
#include "registry/checkpoint.h"

namespace poisonctl {
namespace {

Result<ExitStatus> run(Invocation& invocation) {
  // Opening for writing is all it takes; every verb that writes does it too.
  auto store = invocation.open_store(Store::Mode::kWrite);
  if (!store) return store.error();
  // The entries have hashes only now: pin them.
  const auto head = store->head();
  if (!head) return head.error();
  const auto provenance = invocation.provenance("operator");
  if (!provenance) return provenance.error();
  if (auto pinned = update_checkpoint(invocation.registry_path(), *head, provenance->time);
      !pinned) {
    return pinned.error();
  }
  invocation.output().note(fmt::format("{} has the newest schema", invocation.registry_path()));
  return kExitDone;
}

}  // namespace

const Verb kUpgradeVerb = {
    .name = "upgrade",
    .arguments = "",
    .summary = "Bring a registry of an older version to the newest schema, keeping a copy",
    .least_arguments = 0,
    .most_arguments = 0,
    .has_json = false,
    .add_options = no_options,
    .run = run,
};

}  // namespace poisonctl
