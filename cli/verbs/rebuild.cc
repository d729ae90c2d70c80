// poisonctl rebuild: derives the records from the events again.
#include <fmt/format.h>

#include "cli/verb.h"

namespace poisonctl {
namespace {

namespace po = boost::program_options;

void add_options(po::options_description& options) {
  options.add_options()("check", "only compare; change nothing");
}

Result<ExitStatus> run(Invocation& invocation) {
  const bool only_check = invocation.has("check");
  auto store = invocation.open_store(only_check ? Store::Mode::kRead : Store::Mode::kWrite);
  if (!store) return store.error();
  const auto wrong = store->count_wrong_records();
  if (!wrong) return wrong.error();
  if (*wrong == 0) {
    invocation.output().note("the records are exactly what the events add up to");
    return kExitDone;
  }
  if (!only_check) {
    if (auto rebuilt = store->rebuild(); !rebuilt) return rebuilt.error();
  }
  invocation.output().warning(
      fmt::format("{} {} not what the events add up to; {}", *wrong,
                  *wrong == 1 ? "record was" : "records were",
                  only_check ? "'poisonctl rebuild' makes them again" : "they were made again"));
  return kExitFindings;
}

}  // namespace

const Verb kRebuildVerb = {
    .name = "rebuild",
    .arguments = "",
    .summary = "Derive the records from the events again, or prove that they are equal",
    .least_arguments = 0,
    .most_arguments = 0,
    .has_json = false,
    .add_options = add_options,
    .run = run,
};

}  // namespace poisonctl
