// poisonctl check: the records against the machine.
#include "registry/check.h"

#include <fmt/format.h>

#include "cli/json.h"
#include "cli/steps.h"
#include "cli/verb.h"
#include "registry/range_text.h"
#include "registry/text.h"

namespace poisonctl {
namespace {

std::string message_of(const Finding& finding) {
  return fmt::format(
      "{} {}{}", to_text(finding.range), reason_of(finding),
      finding.other ? fmt::format(" (the other is {})", to_text(*finding.other)) : "");
}

Json finding_json(const Finding& finding) {
  return {{"rule", finding.rule->id},
          {"severity", to_word(finding.rule->severity)},
          {"address", finding.range.begin().value()},
          {"size", finding.range.size()},
          {"other", finding.other ? Json(finding.other->begin().value()) : Json(nullptr)},
          {"message", message_of(finding)}};
}

Result<ExitStatus> run(Invocation& invocation) {
  const auto loaded = load_checked_list(invocation, true);
  if (!loaded) return loaded.error();
  const CheckedList& checked = loaded->checked;

  Output& output = invocation.output();
  if (output.json()) {
    Json list = Json::array();
    for (const Finding& finding : checked.findings) list.push_back(finding_json(finding));
    output.object({{"schema", "poisonctl/findings-v1"}, {"findings", std::move(list)}});
  } else {
    for (const Finding& finding : checked.findings) {
      output.line(fmt::format("{}: {} [{}]", to_word(finding.rule->severity), message_of(finding),
                              finding.rule->id));
    }
    if (checked.findings.empty()) {
      output.note(fmt::format("{}, no findings", counted(loaded->records.size(), "record")));
    }
  }
  return checked.findings.empty() ? kExitDone : kExitFindings;
}

}  // namespace

const Verb kCheckVerb = {
    .name = "check",
    .arguments = "",
    .summary = "Check the records against this machine",
    .least_arguments = 0,
    .most_arguments = 0,
    .has_json = true,
    .add_options = add_list_options,
    .run = run,
};

}  // namespace poisonctl
