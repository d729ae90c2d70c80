// poisonctl kho: the list in memory that outlives the kernel: hold it, receive it, and look at what
// kexec handover has.
#include <fmt/format.h>

#include "cli/kho_hold.h"
#include "cli/kho_inspect.h"
#include "cli/kho_receive.h"
#include "cli/steps.h"
#include "cli/verb.h"
#include "registry/text.h"

namespace poisonctl {
namespace {

Result<ExitStatus> hold(Invocation& invocation) {
  if (invocation.output().json()) {
    return Error{ErrorCode::kUsage, "kho hold: has no --json"};
  }
  const auto root = invocation.sysroot();
  if (!root) return root.error();
  if ((*root)->root() != "/") {
    return Error{ErrorCode::kUsage,
                 "kho hold: holds memory of this machine; --sysroot cannot be given"};
  }
  if (auto held = KhoHolder(invocation, **root).run(); !held) return held.error();
  return kExitDone;
}

Result<ExitStatus> run(Invocation& invocation) {
  const auto words = invocation.arguments();
  if (words[0] == "inspect" && words.size() == 1) return inspect_kho(invocation, std::nullopt);
  if (words[0] == "inspect" && (words[1] == "in" || words[1] == "out")) {
    return inspect_kho(invocation, words[1]);
  }
  if (words[0] == "hold" && words.size() == 1) return hold(invocation);
  if (words[0] == "receive" && words.size() == 1) return receive_list(invocation);
  return Error{ErrorCode::kUsage,
               "usage: poisonctl kho inspect [in|out], kho hold, or kho receive; see 'poisonctl "
               "--help'"};
}

}  // namespace

const Verb kKhoVerb = {
    .name = "kho",
    .arguments = "inspect [in|out]|hold|receive",
    .summary = "Hold the signed list in memory that outlives the kernel, receive it, look at it",
    .least_arguments = 1,
    .most_arguments = 2,
    .has_json = true,
    .add_options = add_list_options,
    .run = run,
};

}  // namespace poisonctl
