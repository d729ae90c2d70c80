// poisonctl snapshot and poisonctl recover: a copy for bad days, and what to do on one.
#include <fmt/format.h>

#include "cli/verb.h"
#include "registry/recovery.h"
#include "registry/text.h"

namespace poisonctl {
namespace {

namespace po = boost::program_options;

void add_snapshot_options(po::options_description& options) {
  options.add_options()("keep", po::value<std::int64_t>()->default_value(3)->value_name("N"),
                        "how many of the newest snapshots stay");
}

Result<ExitStatus> run_snapshot(Invocation& invocation) {
  const auto provenance = invocation.provenance("operator");
  if (!provenance) return provenance.error();
  const auto keep = invocation.option<std::int64_t>("keep");
  if (keep < 1) return Error{ErrorCode::kUsage, fmt::format("--keep {}: expected 1 or more", keep)};
  const auto made =
      make_snapshot(invocation.registry_path(), provenance->time, static_cast<std::size_t>(keep));
  if (!made) return made.error();
  invocation.output().line(*made);
  return kExitDone;
}

Result<ExitStatus> run_recover(Invocation& invocation) {
  const auto provenance = invocation.provenance("operator");
  if (!provenance) return provenance.error();
  const auto report = recover(invocation.registry_path(), provenance->time);
  if (!report) return report.error();
  Output& output = invocation.output();
  if (!report->was_needed) {
    output.note(invocation.registry_path() + " is whole; nothing was done");
    return kExitDone;
  }
  for (const std::string& other : report->of_other_logs) {
    output.warning(other + " is of another log, and nothing was taken from it");
  }
  output.line("damaged file      " + report->set_aside);
  output.line(
      fmt::format("from a snapshot   {}{}", counted(report->from_snapshot, "entry"),
                  report->snapshot ? " of " + *report->snapshot : " (there is no good one)"));
  output.line(fmt::format("from the damaged  {}", counted(report->from_damaged, "entry")));
  output.line(fmt::format("lost              {}", counted(report->lost, "entry")));
  output.line(fmt::format("chained anew      {} that followed a lost one",
                          counted(report->chained_anew, "entry")));
  return kExitFindings;
}

}  // namespace

const Verb kSnapshotVerb = {
    .name = "snapshot",
    .arguments = "",
    .summary = "Keep a checked copy of the registry beside it",
    .least_arguments = 0,
    .most_arguments = 0,
    .has_json = false,
    .add_options = add_snapshot_options,
    .run = run_snapshot,
};

const Verb kRecoverVerb = {
    .name = "recover",
    .arguments = "",
    .summary = "Set a damaged registry aside and save what can still be read",
    .least_arguments = 0,
    .most_arguments = 0,
    .has_json = false,
    .add_options = no_options,
    .run = run_recover,
};

}  // namespace poisonctl
