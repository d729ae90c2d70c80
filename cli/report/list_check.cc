#include "cli/report/list_check.h"

#include <algorithm>
#include <utility>

#include "cli/report/model.h"
#include "registry/bounds.h"

namespace poisonctl {

void ListCheck::add(Record record) {
  const ByteRange frames = record.range.widened_to(machine_.shift);
  if (piece_.size() >= kPiece && frames.begin() >= end_) check();
  end_ = std::max(end_, frames.end());
  piece_.push_back(std::move(record));
}

void ListCheck::check() {
  const CheckResult result = check_records(piece_, machine_, {.disagreements = true});
  accepted_ += result.accepted.bytes();
  for (const Refusal& refusal : result.refused) refused_ += refusal.range.size();
  for (std::size_t i = 0; i < of_nodes_.size(); ++i) {
    of_nodes_[i] += result.accepted.within(machine_.nodes[i].range).bytes();
  }
  for (const Finding& finding : result.findings) {
    Found& found = found_[static_cast<std::size_t>(finding.rule - rules().data())];
    ++found.findings;
    if (found.examples.size() < kMostExamples) found.examples.push_back(finding.range);
    if (found.detail.empty()) found.detail = finding.detail;
  }
  ++pieces_;
  piece_.clear();
}

void ListCheck::finish(ReportModel& model) {
  if (!piece_.empty()) check();
  model.checked_in_parts = pieces_ > 1;
  model.list.accepted = accepted_;
  model.list.wanted = accepted_ + refused_;
  model.list.bound = passed_bound(accepted_, of_nodes_, machine_, {});
  for (std::size_t i = 0; i < found_.size(); ++i) {
    Found& found = found_[i];
    if (found.findings == 0) continue;
    model.findings.push_back({.rule = &rules()[i],
                              .findings = found.findings,
                              .examples = std::move(found.examples),
                              .detail = std::move(found.detail)});
  }
}

}  // namespace poisonctl
