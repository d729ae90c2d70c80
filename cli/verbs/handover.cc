// poisonctl handover: the signed list for the next kernel: make one, look at one, and say whether
// it would be believed here.
#include "registry/handover.h"

#include <fcntl.h>
#include <fmt/format.h>

#include "cli/json.h"
#include "cli/replay/carriers.h"
#include "cli/steps.h"
#include "cli/trusting.h"
#include "cli/verb.h"
#include "registry/checkpoint.h"
#include "registry/posix_file.h"
#include "registry/range_text.h"
#include "registry/text.h"
#include "registry/trust.h"

namespace poisonctl {
namespace {

namespace po = boost::program_options;

void add_options(po::options_description& options) {
  options.add_options()("output,o", po::value<std::string>()->value_name("FILE"),
                        "make: write to FILE, all of it or nothing");
  add_list_options(options);
}

Result<ExitStatus> make(Invocation& invocation) {
  if (!invocation.has("output")) {
    return Error{ErrorCode::kUsage, "handover make: -o FILE is needed: it is no text"};
  }
  const auto loaded = load_checked_list(invocation);
  if (!loaded) return loaded.error();
  const auto made = make_handover(invocation, *loaded, HandoverUse::kHandOut);
  if (!made) return made.error();
  constexpr mode_t kMode = 0644;
  const auto& file = invocation.option<std::string>("output");
  if (auto written = replace_file_at(AT_FDCWD, file, made->blob, kMode, file); !written) {
    return written.error();
  }
  const RetireList& list = loaded->checked.list;
  Output& output = invocation.output();
  for (const Refusal& refusal : list.refused) {
    output.warning(fmt::format("{} is not on it: it {}", to_text(refusal.range), refusal.reason));
  }
  output.note(fmt::format("{}: generation {}, {} to retire, {}, {}", file, made->generation,
                          to_human_size(list.frames.bytes()), counted(made->ranges, "range"),
                          counted(made->blob.size(), "byte")));
  return list.refused.empty() ? kExitDone : kExitFindings;
}

Json check_json(const SignedHandover& handover, const TrustDecision& decision,
                const CheckedList& list) {
  const Handover& content = handover.content;
  Json findings = Json::array();
  for (const TrustFinding& finding : decision.findings) {
    findings.push_back({{"rule", finding.rule}, {"message", finding.message}});
  }
  return {{"schema", "poisonctl/handover-v1"},
          {"trust", to_word(decision.trust)},
          {"findings", std::move(findings)},
          {"generation", content.generation},
          {"created", to_rfc3339(content.created)},
          {"host", to_hex_text(as_bytes(content.host.whole))},
          {"topology", to_hex_text(as_bytes(content.topology.whole))},
          {"page_size", content.page_shift.page_size()},
          {"ranges", content.ranges.size()},
          {"public_key", to_hex_text(handover.public_key)},
          {"retire", to_json(list.list.frames)},
          {"refused", to_json(list.list.refused)}};
}

void print_people(Output& output, const SignedHandover& handover, const TrustDecision& decision,
                  const CheckedList& list) {
  const Handover& content = handover.content;
  output.line(fmt::format(
      "generation {}, made {} for pages of {}, {}", content.generation, to_rfc3339(content.created),
      to_human_size(content.page_shift.page_size()), counted(content.ranges.size(), "range")));
  output.line(fmt::format("signed by  {}{}", to_hex_text(handover.public_key),
                          handover.signature_fits ? "" : ", as it says, and that is not so"));
  output.line(fmt::format("trust      {}", to_word(decision.trust)));
  for (const TrustFinding& finding : decision.findings) {
    output.line(fmt::format("  {} [{}]", finding.message, finding.rule));
  }
  output.line(
      fmt::format("to retire  {} in {}; refused {}", to_human_size(list.list.frames.bytes()),
                  counted(list.list.frames.ranges().size(), "range"), list.list.refused.size()));
  for (const Refusal& refusal : list.list.refused) {
    output.line(fmt::format("  REFUSED  {}: {}", to_text(refusal.range), refusal.reason));
  }
}

Result<ExitStatus> check(Invocation& invocation, const std::string& file) {
  const auto blob = read_handover_file(file);
  if (!blob) return blob.error();
  const auto handover = read_handover(*blob, file);
  if (!handover) return handover.error();
  const auto judged = judge_here(invocation, *handover);
  if (!judged) return judged.error();
  const TrustDecision& decision = *judged;
  const auto machine = invocation.checked_machine();
  if (!machine) return machine.error();
  const auto policy = list_policy(invocation);
  if (!policy) return policy.error();
  const std::vector<Claim> claims = believed_claims(*handover, decision);
  const CheckedList list = make_retire_list(std::span<const Claim>(claims), *machine, *policy,
                                            handover->content.generation);
  Output& output = invocation.output();
  if (output.json()) {
    output.object(check_json(*handover, decision, list));
  } else {
    print_people(output, *handover, decision, list);
  }
  const bool clean = decision.findings.empty() && list.list.refused.empty();
  return decision.trust == Trust::kRefuse ? kExitRefused : clean ? kExitDone : kExitFindings;
}

Result<ExitStatus> print_key(Invocation& invocation) {
  const auto key = SigningKey::load(key_path(invocation.registry_path()));
  if (!key) return key.error();
  invocation.output().line(trusted_key_line(key->public_key()));
  return kExitDone;
}

Result<ExitStatus> run(Invocation& invocation) {
  const auto words = invocation.arguments();
  if (words[0] == "make" && words.size() == 1) return make(invocation);
  if (words[0] == "check" && words.size() == 2) return check(invocation, words[1]);
  if (words[0] == "key" && words.size() == 1) return print_key(invocation);
  return Error{ErrorCode::kUsage,
               "usage: poisonctl handover make -o FILE, handover check FILE, or "
               "handover key; see 'poisonctl --help'"};
}

}  // namespace

const Verb kHandoverVerb = {
    .name = "handover",
    .arguments = "make|check FILE|key",
    .summary = "Make the signed list for the next kernel, or say whether one would be believed",
    .least_arguments = 1,
    .most_arguments = 2,
    .has_json = true,
    .add_options = add_options,
    .run = run,
};

}  // namespace poisonctl
