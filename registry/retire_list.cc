#include "registry/retire_list.h"

#include <algorithm>
#include <utility>

namespace poisonctl {

namespace {

bool lost_data(const Claim& claim) {
  return claim.condition == Condition::kFaulty && claim.kind != EventKind::kCorrected &&
         claim.kind != EventKind::kInjected;
}

RangeSet uncorrected_frames(std::span<const Claim> claims, PageShift shift) {
  std::vector<ByteRange> ranges;
  for (const Claim& claim : claims) {
    if (lost_data(claim)) ranges.push_back(claim.range.widened_to(shift));
  }
  return RangeSet::from_ranges(std::move(ranges));
}

RangeSet held_by_kernel(const CheckedMachine& machine) {
  return machine.map.kernel_image()
      .united_with(machine.map.crash_kernel())
      .united_with(machine.placement.initrd)
      .united_with(machine.placement.offline_blocks)
      .widened_to(machine.shift);
}

// Somebody has it, or the kernel kept it: what a replay leaves behind. A free frame it would
// retire.
bool was_in_use(const Record& record) {
  if (record.last_outcome == Retirement::kFailed) return true;
  return record.last_outcome == Retirement::kPending && record.outcome_how != kHowFree;
}

// Frames of records that the newest look found in use. In the next boot somebody is likely to have
// them first again: much of what is taken at boot is taken from the same places.
RangeSet in_use_before(std::span<const Record> records, PageShift shift) {
  std::vector<ByteRange> ranges;
  for (const Record& record : records) {
    if (was_in_use(record)) ranges.push_back(record.range.widened_to(shift));
  }
  return RangeSet::from_ranges(std::move(ranges));
}

// Frames that an option keeps out of this kernel. They have no failure to show only because of it,
// so without this the next list would drop them for others, and the one after that take them back.
RangeSet kept_out_now(const CheckedMachine& machine) {
  return machine.map.installed_ram().minus(machine.map.system_ram());
}

CheckedList bounded(CheckResult checked, std::span<const Claim> claims,
                    const CheckedMachine& machine, const ListPolicy& policy,
                    std::uint64_t generation) {
  BoundedList kept = bound_list(claims, std::move(checked.accepted), machine, policy.bounds);
  CheckedList made{.list = {.generation = generation,
                            .page_shift = machine.shift,
                            .frames = std::move(kept.kept),
                            .refused = std::move(checked.refused)},
                   .findings = std::move(checked.findings)};
  made.list.uncorrected =
      made.list.frames.intersected_with(uncorrected_frames(claims, machine.shift));
  made.list.beyond_replay = made.list.frames.intersected_with(held_by_kernel(machine));
  const auto of_checks = static_cast<std::ptrdiff_t>(made.list.refused.size());
  for (Finding& finding : kept.refused) {
    made.list.refused.push_back({finding.range, reason_of(finding)});
    made.findings.push_back(std::move(finding));
  }
  std::inplace_merge(made.list.refused.begin(), made.list.refused.begin() + of_checks,
                     made.list.refused.end(),
                     [](const Refusal& a, const Refusal& b) { return a.range < b.range; });
  return made;
}

}  // namespace

CheckedList make_retire_list(std::span<const Record> records, const CheckedMachine& machine,
                             const ListPolicy& policy, std::uint64_t generation) {
  std::vector<Claim> claims;
  claims.reserve(records.size());
  for (const Record& record : records) claims.push_back(claim_of(record));
  CheckedList made =
      bounded(check_records(records, machine, policy.checks), claims, machine, policy, generation);
  const RangeSet in_use = in_use_before(records, machine.shift).united_with(kept_out_now(machine));
  RetireList& list = made.list;
  list.beyond_replay = list.beyond_replay.united_with(list.frames.intersected_with(in_use));
  return made;
}

CheckedList make_retire_list(std::span<const Claim> claims, const CheckedMachine& machine,
                             const ListPolicy& policy, std::uint64_t generation) {
  return bounded(check_claims(claims, machine, policy.checks), claims, machine, policy, generation);
}

}  // namespace poisonctl
