// poisonctl backends: what can be done on this machine, and why not.
#include "backends/table.h"
#include "cli/json.h"
#include "cli/verb.h"

namespace poisonctl {
namespace {

Result<ExitStatus> run(Invocation& invocation) {
  const auto root = invocation.sysroot();
  if (!root) return root.error();
  Output& output = invocation.output();
  Json list = Json::array();
  std::vector<std::vector<Cell>> rows;
  for (const Backend* backend : all_backends()) {
    const Availability availability = backend->probe(**root);
    list.push_back({{"name", backend->name()},
                    {"summary", backend->summary()},
                    {"reach", to_word(backend->reach())},
                    {"available", availability.available},
                    {"reason", availability.reason}});
    rows.push_back({{.text = std::string(backend->name())},
                    {.text = availability.available ? "yes" : "no",
                     .tint = availability.available ? Tint::kGood : Tint::kWarn},
                    {.text = std::string(backend->summary()) + ": " + availability.reason}});
  }
  if (output.json()) {
    output.object({{"schema", "poisonctl/backends-v1"}, {"backends", std::move(list)}});
  } else {
    output.table({"BACKEND", "AVAILABLE", "WHAT IT DOES, AND WHY OR WHY NOT HERE"}, rows);
  }
  return kExitDone;
}

}  // namespace

const Verb kBackendsVerb = {
    .name = "backends",
    .arguments = "",
    .summary = "Show what each backend can do here, and why not",
    .least_arguments = 0,
    .most_arguments = 0,
    .has_json = true,
    .add_options = no_options,
    .run = run,
};

}  // namespace poisonctl
