// poisonctl audit: whether the log is what was written.
#include <fmt/format.h>

#include "cli/json.h"
#include "cli/verb.h"
#include "registry/checkpoint.h"
#include "registry/text.h"

namespace poisonctl {
namespace {

Json audit_json(const AuditResult& result) {
  Json json = {{"schema", "poisonctl/audit-v1"},
               {"events", result.head.id},
               {"head", to_hex_text(as_bytes(result.head.hash))},
               {"first_bad", result.defect ? Json(result.defect->id) : Json(nullptr)},
               {"findings", result.findings}};
  if (result.checkpoint) {
    json["checkpoint"] = {{"events", result.checkpoint->head.id},
                          {"time", to_rfc3339(result.checkpoint->time)},
                          {"public_key", to_hex_text(result.checkpoint->public_key)}};
  } else {
    json["checkpoint"] = nullptr;
  }
  return json;
}

Result<ExitStatus> run(Invocation& invocation) {
  const std::string what = invocation.arguments().front();
  if (what != "verify") {
    return Error{ErrorCode::kUsage, fmt::format("audit '{}': expected verify", printable(what))};
  }
  auto store = invocation.open_store(Store::Mode::kRead);
  if (!store) return store.error();
  const auto result = audit(*store, invocation.registry_path());
  if (!result) return result.error();

  Output& output = invocation.output();
  if (output.json()) {
    output.object(audit_json(*result));
  } else {
    for (const std::string& finding : result->findings) output.line("error: " + finding);
    if (result->findings.empty() && result->head.id == 0) {
      output.line("0 entries: nothing was ever recorded");
    } else if (result->findings.empty()) {
      output.line(
          fmt::format("{} entries, each as it was written; head {}, pinned by a signed "
                      "checkpoint at entry {}",
                      result->head.id, to_hex_text(as_bytes(result->head.hash)).substr(0, 16),
                      result->checkpoint->head.id));
    }
  }
  return result->findings.empty() ? kExitDone : kExitFindings;
}

}  // namespace

const Verb kAuditVerb = {
    .name = "audit",
    .arguments = "verify",
    .summary = "Prove that no entry of the log was changed, removed, added or moved",
    .least_arguments = 1,
    .most_arguments = 1,
    .has_json = true,
    .add_options = no_options,
    .run = run,
};

}  // namespace poisonctl
