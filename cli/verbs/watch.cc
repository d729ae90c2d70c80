// poisonctl watch: records memory errors as the kernel reports them.
#include "cli/verb.h"
#include "cli/watcher.h"

namespace poisonctl {
namespace {

Result<ExitStatus> run(Invocation& invocation) {
  if (invocation.option<std::string>("sysroot") != "/") {
    return Error{ErrorCode::kUsage,
                 "watch: follows the kernel that runs; there is none under --sysroot"};
  }
  const auto root = invocation.sysroot();
  if (!root) return root.error();
  const auto machine = invocation.machine();
  if (!machine) return machine.error();
  Watcher watcher(invocation, **root, **machine);
  if (auto watched = watcher.run(); !watched) return watched.error();
  return kExitDone;
}

}  // namespace

const Verb kWatchVerb = {
    .name = "watch",
    .arguments = "",
    .summary = "Record memory errors as the kernel reports them, until a signal ends it",
    .least_arguments = 0,
    .most_arguments = 0,
    .has_json = false,
    .add_options = no_options,
    .run = run,
};

}  // namespace poisonctl
