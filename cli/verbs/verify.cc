// poisonctl verify: what the running kernel does with the frames, read from its page flags.
#include <fmt/format.h>

#include <algorithm>

#include "cli/json.h"
#include "cli/steps.h"
#include "cli/verb.h"
#include "registry/range_text.h"

namespace poisonctl {
namespace {

// Ranges named on the command line are only read, whatever the registry says of them.
Result<Verification> verify_given(Invocation& invocation, const std::vector<std::string>& words) {
  auto ranges = invocation.ranges(words);
  if (!ranges) return ranges.error();
  const auto root = invocation.sysroot();
  if (!root) return root.error();
  const auto machine = invocation.machine();
  if (!machine) return machine.error();
  const auto map = invocation.memory_map();
  if (!map) return map.error();
  auto runs = read_retirement(**root, RangeSet::from_ranges(*std::move(ranges)), **map,
                              (*machine)->page_shift);
  if (!runs) return runs.error();
  return Verification{.runs = *std::move(runs), .not_stored = std::nullopt};
}

Result<ExitStatus> run(Invocation& invocation) {
  const auto words = invocation.arguments();
  const auto verified =
      words.empty() ? verify_records(invocation) : verify_given(invocation, words);
  if (!verified) return verified.error();
  const auto& runs = verified->runs;

  Output& output = invocation.output();
  if (verified->not_stored) {
    output.warning("what was read could not be recorded: " + *verified->not_stored);
  }
  if (output.json()) {
    Json list = Json::array();
    for (const RetirementRun& run : runs) {
      Json entry = to_json(run.range);
      entry["retirement"] = to_word(run.retirement);
      entry["how"] = run.how;
      list.push_back(std::move(entry));
    }
    output.object({{"schema", "poisonctl/verify-v1"}, {"ranges", std::move(list)}});
  } else if (runs.empty()) {
    output.note("the registry has no faulty records to verify");
  } else {
    const auto machine = invocation.machine();
    if (!machine) return machine.error();
    std::vector<std::vector<Cell>> rows;
    for (const RetirementRun& run : runs) {
      rows.push_back(
          {{.text = to_text(run.range)},
           {.text = std::to_string(run.range.frame_count((*machine)->page_shift)), .right = true},
           {.text = std::string(to_word(run.retirement)), .tint = tint_of(run.retirement)},
           {.text = run.how}});
    }
    output.table({"RANGE", "FRAMES", "RETIREMENT", "HOW"}, rows);
  }
  const bool all_effective = std::all_of(runs.begin(), runs.end(), [](const RetirementRun& run) {
    return run.retirement == Retirement::kEffective;
  });
  return all_effective ? kExitDone : kExitFindings;
}

}  // namespace

const Verb kVerifyVerb = {
    .name = "verify",
    .arguments = "[RANGE...]",
    .summary = "Read from page flags whether the frames are out of use in this kernel",
    .least_arguments = 0,
    .most_arguments = 1U << 20U,
    .has_json = true,
    .add_options = no_options,
    .run = run,
};

}  // namespace poisonctl
