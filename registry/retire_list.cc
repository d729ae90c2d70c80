#include "registry/retire_list.h"

#include <algorithm>
#include <utility>

namespace poisonctl {

namespace {

RangeSet uncorrected_frames(std::span<const Claim> claims, PageShift shift,
                            const RangeSet& frames) {
  std::vector<ByteRange> ranges;
  for (const Claim& claim : claims) {
    if (claim.condition == Condition::kFaulty && claim.kind == EventKind::kUncorrected) {
      ranges.push_back(claim.range.widened_to(shift));
    }
  }
  return RangeSet::from_ranges(std::move(ranges)).intersected_with(frames);
}

CheckedList bounded(CheckResult checked, std::span<const Claim> claims,
                    const CheckedMachine& machine, const ListPolicy& policy,
                    std::uint64_t generation) {
  BoundedList kept = bound_list(claims, checked.accepted, machine, policy.bounds);
  CheckedList made{.list = {.generation = generation,
                            .page_shift = machine.shift,
                            .frames = std::move(kept.kept),
                            .refused = std::move(checked.refused),
                            .uncorrected = {}},
                   .findings = std::move(checked.findings)};
  made.list.uncorrected = uncorrected_frames(claims, machine.shift, made.list.frames);
  for (Finding& finding : kept.refused) {
    made.list.refused.push_back({finding.range, reason_of(finding)});
    made.findings.push_back(std::move(finding));
  }
  std::sort(made.list.refused.begin(), made.list.refused.end(),
            [](const Refusal& a, const Refusal& b) { return a.range < b.range; });
  return made;
}

}  // namespace

CheckedList make_retire_list(std::span<const Record> records, const CheckedMachine& machine,
                             const ListPolicy& policy, std::uint64_t generation) {
  std::vector<Claim> claims;
  claims.reserve(records.size());
  for (const Record& record : records) claims.push_back(claim_of(record));
  return bounded(check_records(records, machine, policy.checks), claims, machine, policy,
                 generation);
}

CheckedList make_retire_list(std::span<const Claim> claims, const CheckedMachine& machine,
                             const ListPolicy& policy, std::uint64_t generation) {
  return bounded(check_claims(claims, machine, policy.checks), claims, machine, policy, generation);
}

}  // namespace poisonctl
