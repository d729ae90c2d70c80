// poisonctl replay: retires what the registry, or a handover, wants out of use, in the kernel that
// runs now, and records what became of it.
#include <fmt/format.h>

#include "cli/replay/carriers.h"
#include "cli/replay/choose.h"
#include "cli/replay/run.h"
#include "cli/service.h"
#include "cli/steps.h"
#include "cli/trusting.h"
#include "cli/verb.h"
#include "registry/range_text.h"
#include "registry/text.h"

namespace poisonctl {
namespace {

namespace po = boost::program_options;

void add_options(po::options_description& options) {
  options.add_options()("from", po::value<std::string>()->value_name("FILE"),
                        "the list of this handover instead of the registry's")(
      "dry-run", "say what would be done, and do nothing")(
      "take-from-processes",
      "also frames that a process uses, which may kill it, or whose data is not written back");
  add_list_options(options);
}

Result<RetireList> list_of_handover(Invocation& invocation, const std::string& file,
                                    const CheckedMachine& machine, ReplayReport& report) {
  auto blob = read_handover_file(file);
  if (!blob) return blob.error();
  const auto handover = read_handover(*blob, file);
  if (!handover) return handover.error();
  const auto context = trust_context_here(invocation, handover->content.generation);
  if (!context) return context.error();
  const auto policy = list_policy(invocation);
  if (!policy) return policy.error();
  std::vector<FoundHandover> found;
  found.push_back({file, std::move(blob)});
  ChosenHandover chosen = choose_handover(found, *context);
  for (SeenHandover& seen : chosen.seen) report.handovers.push_back(std::move(seen));
  if (!chosen.used) {
    std::string reasons;
    for (const auto& finding : report.handovers.back().findings) {
      reasons += fmt::format("; {} [{}]", finding.message, finding.rule);
    }
    return Error{ErrorCode::kRefused, fmt::format("{} is not believed{}", file, reasons)};
  }
  return make_retire_list(std::span<const Claim>(chosen.claims), machine, *policy,
                          chosen.used->content.generation)
      .list;
}

// What the initramfs did in this boot goes into the registry once: the report of this run takes the
// place of the one it is read from.
Result<void> record_initramfs(Invocation& invocation, const ReplayReport& report) {
  auto provenance = invocation.provenance("replay");
  if (!provenance) return provenance.error();
  provenance->origin = (*invocation.sysroot())->shown(kReportPath);
  auto store = invocation.open_store(Store::Mode::kRead);
  if (!store) return store.error();
  const auto records = load_records(invocation, *store);
  if (!records) return records.error();
  std::vector<RetirementRun> runs;
  for (const ReportedRun& run : report.runs) runs.push_back({run.range, run.retirement, run.how});
  const auto events = outcome_events(*records, runs, *provenance);
  if (events.empty()) return {};
  const auto stored = store_events(invocation, Store::Mode::kWrite, *provenance, events);
  if (!stored) return stored.error();
  return {};
}

void print_people(Output& output, const ReplayReport& report) {
  const PageShift shift = *PageShift::from_page_size(report.page_size);
  std::vector<std::vector<Cell>> rows;
  for (const ReportedRun& run : report.runs) {
    const std::string how =
        run.error == 0 ? run.how : fmt::format("{} (errno {})", run.how, run.error);
    rows.push_back({{.text = to_text(run.range)},
                    {.text = std::to_string(run.range.frame_count(shift)), .right = true},
                    {.text = std::string(to_word(run.state)), .tint = tint_of(run.retirement)},
                    {.text = how}});
  }
  if (!rows.empty()) output.table({"RANGE", "FRAMES", "BECAME", "HOW"}, rows);
  for (const Refusal& refusal : report.refused) {
    output.line(fmt::format("REFUSED {}: {}", to_text(refusal.range), refusal.reason));
  }
}

// For the journal: the dangerous frames, and what helps.
void warn_of_frames_in_use(const Output& output, const ReplayReport& report) {
  constexpr std::size_t kMostNamed = 10;
  std::size_t ranges = 0;
  for (const ReportedRun& run : report.runs) {
    if (run.state != ReplayState::kTaken && run.state != ReplayState::kFailed) continue;
    if (++ranges > kMostNamed) continue;
    output.warning(fmt::format("{} is bad and not retired: {}", to_text(run.range), run.how));
  }
  if (ranges > kMostNamed) {
    output.warning("and " + counted(ranges - kMostNamed, "more range"));
  }
  if (ranges != 0) {
    output.warning(
        "only the next boot can keep them out: 'poisonctl apply', or 'poisonctl emit "
        "e820' for its command line");
  }
}

// What was done is written down.
Result<void> keep(Invocation& invocation, const ReplayReport& report, ReplayTurn& turn) {
  if (auto written = write_report(**invocation.sysroot(), report); !written) return written;
  return end_turn(turn, report);
}

// What the flags say of every record is stored.
Result<void> keep_outcomes(Invocation& invocation) {
  const auto verified = verify_records(invocation);
  if (!verified) {
    // A handover may be replayed where there is no registry.
    if (verified.error().code == ErrorCode::kNoInput && invocation.has("from")) return {};
    return verified.error();
  }
  if (verified->not_stored) {
    invocation.output().warning("what was read could not be recorded: " + *verified->not_stored);
  }
  // What is in use after all comes first where not all fits.
  return request_refresh(**invocation.sysroot());
}

Result<ExitStatus> run(Invocation& invocation) {
  const auto machine = invocation.checked_machine();
  if (!machine) return machine.error();
  const bool dry_run = invocation.has("dry-run");
  std::optional<ReplayTurn> turn;
  if (!dry_run) {
    auto taken = ReplayTurn::take(**invocation.sysroot(), (*invocation.machine())->boot_id);
    if (!taken) return taken.error();
    turn.emplace(*std::move(taken));
  }
  const std::optional<ReplayReport> before = last_replay(invocation);
  ReplayReport report = report_of(**invocation.machine(), ReplayStage::kService);
  if (before) report.handovers = before->handovers;
  auto list =
      invocation.has("from")
          ? list_of_handover(invocation, invocation.option<std::string>("from"), *machine, report)
          : load_retire_list(invocation);
  if (!list) return list.error();
  if (before && before->stage == ReplayStage::kInitramfs && !dry_run) {
    if (auto recorded = record_initramfs(invocation, *before); !recorded) {
      invocation.output().warning("what the initramfs did could not be recorded: " +
                                  recorded.error().message);
    }
  }
  ReplayPolicy policy;
  policy.dry_run = dry_run;
  policy.take_from_processes = invocation.has("take-from-processes");
  take_over(before, turn && turn->was_cut_off(), policy);
  if (turn) {
    if (auto begun = turn->begin(); !begun) return begun.error();
  }
  const StopSignals signals;
  auto done = run_replay(*list, **invocation.sysroot(), *machine, policy, signals, report);
  if (!done) return done.error();
  // Before anything is printed: whoever reads it may keep us waiting.
  const Result<void> kept = turn ? keep(invocation, report, *turn) : Result<void>();
  if (!report.not_replayed.empty()) {
    if (!kept) return kept.error();
    return Error{ErrorCode::kNotAvailable, report.not_replayed};
  }
  Output& output = invocation.output();
  if (output.json()) {
    output.text(to_text(report));
  } else {
    print_people(output, report);
    output.note(summary_of(report));
  }
  if (!dry_run) warn_of_frames_in_use(output, report);
  if (!kept) return kept.error();
  if (turn) {
    if (auto stored = keep_outcomes(invocation); !stored) return stored.error();
  }
  return all_out_of_use(report) ? kExitDone : kExitFindings;
}

}  // namespace

const Verb kReplayVerb = {
    .name = "replay",
    .arguments = "",
    .summary = "Retire the frames in the running kernel, and record what became of them",
    .least_arguments = 0,
    .most_arguments = 0,
    .has_json = true,
    .add_options = add_options,
    .run = run,
};

}  // namespace poisonctl
