// poisonctl upgrade: brings a registry of an older version to this one's schema.
#include <fmt/format.h>

#include "cli/verb.h"

namespace poisonctl {
namespace {

Result<ExitStatus> run(Invocation& invocation) {
  // Opening for writing is all it takes; every verb that writes does it too.
  auto store = invocation.open_store(Store::Mode::kWrite);
  if (!store) return store.error();
  if (!store->upgraded_from()) {
    invocation.output().note(invocation.registry_path() + ": has the newest schema already");
  }
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
