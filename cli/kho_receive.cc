#include "cli/kho_receive.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "cli/output.h"
#include "cli/replay/carriers.h"
#include "cli/trusting.h"
#include "registry/live_update.h"
#include "registry/text.h"

namespace poisonctl {

namespace {

struct Candidate {
  std::string from;
  std::string blob;
  SignedHandover handover;
  TrustDecision decision;
};

struct Carriers {
  std::vector<Candidate> candidates;
  std::vector<std::string> findings;  // what somebody has to look at
};

// Refused for its age alone: a carrier that was not renewed, and no reason to worry.
bool is_only_old(const TrustDecision& decision) {
  return decision.trust == Trust::kRefuse &&
         std::all_of(
             decision.findings.begin(), decision.findings.end(), [](const TrustFinding& finding) {
               return finding.rule == "older-generation" || finding.rule == "host-not-known" ||
                      finding.rule == "topology-not-known";
             });
}

Result<void> add_candidate(Invocation& invocation, const std::string& from,
                           const Result<std::string>& blob, Carriers& all) {
  if (!blob) {
    all.findings.push_back(blob.error().message);
    return {};
  }
  auto handover = read_handover(*blob, from);
  if (!handover) {
    all.findings.push_back(handover.error().message);
    return {};
  }
  auto decision = judge_here(invocation, *handover);
  if (!decision) return decision.error();
  if (decision->trust != Trust::kAccept && !is_only_old(*decision)) {
    for (const TrustFinding& finding : decision->findings) {
      all.findings.push_back(fmt::format("{}: {}: {}", from, finding.rule, finding.message));
    }
  }
  all.candidates.push_back({from, *blob, *std::move(handover), *std::move(decision)});
  return {};
}

// The newest of those that are believed.
const Candidate* newest_of(const Carriers& all) {
  const Candidate* newest = nullptr;
  for (const Candidate& candidate : all.candidates) {
    if (candidate.decision.trust != Trust::kAccept) continue;
    if (newest == nullptr ||
        candidate.handover.content.generation > newest->handover.content.generation) {
      newest = &candidate;
    }
  }
  return newest;
}

// Of one generation there is one list: two that differ were made by two registries.
void find_disagreement(const Candidate& newest, Carriers& all) {
  for (const Candidate& other : all.candidates) {
    const Handover& content = other.handover.content;
    if (other.decision.trust != Trust::kAccept ||
        content.generation != newest.handover.content.generation ||
        content.ranges == newest.handover.content.ranges) {
      continue;
    }
    all.findings.push_back(
        fmt::format("{} and {}: both are of generation {}, and their ranges differ; the first is "
                    "taken. 'poisonctl handover check' shows each",
                    newest.from, other.from, content.generation));
  }
}

void report(Output& output, const Carriers& all, const Candidate* taken,
            const std::optional<Adopted>& adopted) {
  if (output.json()) {
    Json lists = Json::array();
    for (const Candidate& one : all.candidates) {
      lists.push_back({{"from", one.from},
                       {"trust", to_word(one.decision.trust)},
                       {"generation", one.handover.content.generation},
                       {"ranges", one.handover.content.ranges.size()},
                       {"bytes", one.blob.size()}});
    }
    output.object({{"schema", "poisonctl/kho-receive-v1"},
                   {"lists", std::move(lists)},
                   {"taken", taken == nullptr ? Json() : Json(taken->from)},
                   {"added", adopted ? adopted->added : 0},
                   {"quarantined", adopted ? adopted->quarantined : 0},
                   {"findings", all.findings}});
    return;
  }
  for (const Candidate& one : all.candidates) {
    output.detail(fmt::format("{}: {}, generation {}, {}", one.from, to_word(one.decision.trust),
                              one.handover.content.generation,
                              counted(one.handover.content.ranges.size(), "range")));
  }
  for (const std::string& finding : all.findings) output.warning(finding);
  if (taken == nullptr) {
    output.note(all.candidates.empty() ? "no list came with this boot"
                                       : "no list was taken: none is newer than the registry and "
                                         "believed");
    return;
  }
  output.note(fmt::format("{}: generation {}, {}: {} recorded", taken->from,
                          taken->handover.content.generation,
                          counted(taken->handover.content.ranges.size(), "range"),
                          counted(adopted ? adopted->added : 0, "event")));
  if (adopted && adopted->quarantined != 0) {
    output.warning(fmt::format("not taken: {} in quarantine there, about memory that had changed",
                               counted(adopted->quarantined, "range")));
  }
}

// What the kernel before has left, and could not be kept in a file; nothing where there is no LUO,
// which is said.
Result<std::vector<FoundHandover>> receive(Invocation& invocation, const SysRoot& sysroot) {
  auto device = open_live_update(sysroot);
  if (device) return keep_preserved(**device, sysroot);
  if (device.error().code == ErrorCode::kNotAvailable) {
    invocation.output().detail(device.error().message);
    return std::vector<FoundHandover>();
  }
  if (device.error().code != ErrorCode::kIo) return device.error();
  return std::vector<FoundHandover>{{sysroot.shown(kLiveUpdateDevice), device.error()}};
}

}  // namespace

Result<ExitStatus> receive_list(Invocation& invocation) {
  const auto root = invocation.sysroot();
  if (!root) return root.error();
  Carriers all;
  auto found = receive(invocation, **root);
  if (!found) return found.error();
  for (FoundHandover& one : find_handovers(**root)) found->push_back(std::move(one));
  for (const FoundHandover& one : *found) {
    if (auto added = add_candidate(invocation, one.from, one.blob, all); !added) {
      return added.error();
    }
  }
  const Candidate* const newest = newest_of(all);
  std::optional<Adopted> adopted;
  if (newest != nullptr) {
    find_disagreement(*newest, all);
    auto done = adopt_here(invocation, newest->handover.content, newest->from);
    if (!done) return done.error();
    adopted = *done;
  }
  report(invocation.output(), all, newest, adopted);
  return all.findings.empty() ? kExitDone : kExitFindings;
}

}  // namespace poisonctl
