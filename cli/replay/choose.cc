#include "cli/replay/choose.h"

#include <algorithm>

namespace poisonctl {

namespace {

struct Judged {
  std::optional<SignedHandover> handover;  // nothing: it could not be read
  TrustDecision decision;
  SeenHandover seen;
};

void note_decision(Judged& judged) {
  judged.seen.trust = to_word(judged.decision.trust);
  judged.seen.findings.clear();
  for (const TrustFinding& finding : judged.decision.findings) {
    judged.seen.findings.push_back({std::string(finding.rule), finding.message});
  }
}

Judged judge(const FoundHandover& found, const TrustContext& context) {
  Judged judged;
  judged.seen.from = found.from;
  judged.seen.trust = "unreadable";
  if (!found.blob) {
    judged.seen.findings.push_back({"unreadable", found.blob.error().message});
    return judged;
  }
  auto handover = read_handover(*found.blob, found.from);
  if (!handover) {
    judged.seen.findings.push_back({"unreadable", handover.error().message});
    return judged;
  }
  judged.decision = judge_handover(*handover, context);
  judged.seen.generation = handover->content.generation;
  judged.handover = *std::move(handover);
  note_decision(judged);
  return judged;
}

// Whether `left` is the better list. Of equals the first one found stays.
bool is_better(const Judged& left, const Judged& right) {
  if (left.decision.trust != right.decision.trust) {
    return left.decision.trust < right.decision.trust;
  }
  return left.handover->content.generation > right.handover->content.generation;
}

}  // namespace

ChosenHandover choose_handover(const std::vector<FoundHandover>& found,
                               const TrustContext& context) {
  std::vector<Judged> all;
  all.reserve(found.size());
  for (const FoundHandover& one : found) all.push_back(judge(one, context));
  Judged* best = nullptr;
  for (Judged& judged : all) {
    if (!judged.handover || judged.decision.trust == Trust::kRefuse) continue;
    if (best == nullptr || is_better(judged, *best)) best = &judged;
  }
  ChosenHandover chosen;
  if (best != nullptr) {
    best->seen.used = true;
    TrustContext newer = context;
    newer.newest_generation = best->handover->content.generation;
    newer.newer_exists = true;
    for (Judged& judged : all) {
      if (&judged == best || !judged.handover) continue;
      judged.decision = judge_handover(*judged.handover, newer);
      note_decision(judged);
    }
    chosen.claims = believed_claims(*best->handover, best->decision);
    chosen.used = std::move(best->handover);
  }
  for (Judged& judged : all) chosen.seen.push_back(std::move(judged.seen));
  return chosen;
}

}  // namespace poisonctl
