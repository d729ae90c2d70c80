#include "cli/steps.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "registry/range_text.h"

namespace poisonctl {

namespace {

// Which state of a part says most about the whole.
int gravity(Retirement retirement) {
  switch (retirement) {
    case Retirement::kFailed:
      return 3;
    case Retirement::kPending:
      return 2;
    case Retirement::kUnknown:
      return 1;
    case Retirement::kEffective:
      return 0;
  }
  return 0;
}

RangeSet faulty_frames(const std::vector<Record>& records, PageShift shift) {
  std::vector<ByteRange> ranges;
  for (const Record& record : records) {
    if (record.condition == Condition::kFaulty) ranges.push_back(record.range.widened_to(shift));
  }
  return RangeSet::from_ranges(std::move(ranges));
}

// The parts of `runs` (sorted, disjoint) that lie in `range`.
std::vector<RetirementRun> runs_within(std::span<const RetirementRun> runs,
                                       const ByteRange& range) {
  std::vector<RetirementRun> inside;
  auto run = std::upper_bound(
      runs.begin(), runs.end(), range.begin(),
      [](PhysAddr begin, const RetirementRun& candidate) { return begin < candidate.range.end(); });
  for (; run != runs.end() && run->range.overlaps(range); ++run) {
    const PhysAddr begin = std::max(run->range.begin(), range.begin());
    const PhysAddr last = std::min(run->range.last(), range.last());
    inside.push_back({*ByteRange::from_last(begin, last), run->retirement, run->how});
  }
  return inside;
}

}  // namespace

Result<RetireList> load_retire_list(Invocation& invocation) {
  const auto machine = invocation.machine();
  if (!machine) return machine.error();
  const auto map = invocation.memory_map();
  if (!map) return map.error();
  auto store = invocation.open_store(Store::Mode::kRead);
  if (!store) return store.error();
  const auto generation = store->generation();
  if (!generation) return generation.error();
  const auto records = store->records();
  if (!records) return records.error();
  CheckResult checked = check_records(*records, **map, (*machine)->page_shift);
  return RetireList{.generation = *generation,
                    .page_shift = (*machine)->page_shift,
                    .frames = std::move(checked.accepted),
                    .refused = std::move(checked.refused)};
}

Result<ImportSummary> store_events(Invocation& invocation, Store::Mode mode,
                                   const Provenance& provenance, std::span<const Event> events) {
  auto store = invocation.open_store(mode);
  if (!store) return store.error();
  auto import = store->begin_import(provenance, Store::Repeats::kCount);
  if (!import) return import.error();
  for (const Event& event : events) {
    if (auto added = import->add(event); !added) return added.error();
  }
  auto summary = import->commit();
  if (summary) report_import(invocation.output(), *summary);
  return summary;
}

void report_import(const Output& output, const ImportSummary& summary) {
  for (const ByteRange& range : summary.reopened) {
    output.warning(fmt::format("{} was resolved, and has failed again since", to_text(range)));
  }
  if (summary.checkpoint_problem) {
    output.warning("stored, but the signed checkpoint could not follow: " +
                   *summary.checkpoint_problem);
  }
}

RecordOutcome combine(std::span<const RetirementRun> runs, PageShift shift) {
  RecordOutcome outcome{.retirement = Retirement::kEffective, .how = {}};
  std::map<std::string, std::uint64_t> frames_by_how;
  for (const RetirementRun& run : runs) {
    frames_by_how[run.how] += run.range.frame_count(shift);
    if (gravity(run.retirement) > gravity(outcome.retirement)) outcome.retirement = run.retirement;
  }
  if (frames_by_how.size() == 1) {
    outcome.how = frames_by_how.begin()->first;
    return outcome;
  }
  for (const auto& [how, frames] : frames_by_how) {
    if (!outcome.how.empty()) outcome.how += "; ";
    outcome.how += fmt::format("{} {}: {}", frames, frames == 1 ? "frame" : "frames", how);
  }
  return outcome;
}

Result<Verification> verify_records(Invocation& invocation) {
  const auto root = invocation.sysroot();
  if (!root) return root.error();
  const auto map = invocation.memory_map();
  if (!map) return map.error();
  const auto provenance = invocation.provenance("kernel");
  if (!provenance) return provenance.error();
  const PageShift shift = provenance->page_shift;

  auto store = invocation.open_store(Store::Mode::kRead);
  if (!store) return store.error();
  const auto records = store->records();
  if (!records) return records.error();
  auto runs = read_retirement(**root, faulty_frames(*records, shift), **map, shift);
  if (!runs) return runs.error();

  std::vector<Event> outcomes;
  for (const Record& record : *records) {
    if (record.condition != Condition::kFaulty) continue;
    RecordOutcome outcome = combine(runs_within(*runs, record.range.widened_to(shift)), shift);
    const bool known = record.retirement_in(provenance->boot_id) == outcome.retirement &&
                       record.outcome_boot_id == provenance->boot_id &&
                       record.outcome_how == outcome.how;
    if (known) continue;
    Event event;
    event.kind = EventKind::kOutcome;
    event.range = record.range;
    event.retirement = outcome.retirement;
    event.evidence = std::move(outcome.how);
    outcomes.push_back(std::move(event));
  }
  Verification verification{.runs = *std::move(runs), .not_stored = std::nullopt};
  if (outcomes.empty()) return verification;
  const auto stored = store_events(invocation, Store::Mode::kWrite, *provenance, outcomes);
  if (!stored) verification.not_stored = stored.error().message;
  return verification;
}

Tint tint_of(Retirement retirement) {
  switch (retirement) {
    case Retirement::kEffective:
      return Tint::kGood;
    case Retirement::kPending:
      return Tint::kWarn;
    case Retirement::kFailed:
      return Tint::kBad;
    case Retirement::kUnknown:
      return Tint::kNone;
  }
  return Tint::kNone;
}

}  // namespace poisonctl
