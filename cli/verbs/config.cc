// poisonctl config: check tells which files of the configuration are read, what each setting is and
// where it comes from, and what is not understood; bounds prints the bounds for an initramfs, where
// poison-replay reads them.
#include "cli/config.h"

#include <fmt/format.h>

#include <array>

#include "cli/verb.h"
#include "registry/posix_file.h"
#include "registry/text.h"

namespace poisonctl {
namespace {

// As a file has it.
std::string to_text(const Bounds& bounds) {
  constexpr unsigned kMegaBits = 20;
  const bool whole = (bounds.floor & ((std::uint64_t{1} << kMegaBits) - 1)) == 0;
  return fmt::format("frames={},per-mille={},node-per-mille={},floor={}{},hard-per-mille={}",
                     bounds.frames, bounds.per_mille, bounds.node_per_mille,
                     whole ? bounds.floor >> kMegaBits : bounds.floor, whole ? "M" : "",
                     bounds.hard_per_mille);
}

std::string to_text(const ActionTemplate& action) {
  return action.configured() ? action.method + " " + action.uri : std::string();
}

struct Shown {
  std::string_view section;
  std::string_view key;
  std::string value;
  const ConfigPlace* from;
};

std::array<Shown, 12> settings_of(const Config& config) {
  const RedfishSettings& redfish = config.redfish;
  return {{{"list", "bounds", to_text(config.bounds), &config.bounds_from},
           {"watch", "refresh", fmt::format("{}", fmt::join(config.refresh, ", ")),
            &config.refresh_from},
           {"redfish", "url", redfish.url, &config.redfish_url_from},
           {"redfish", "ca_file", redfish.ca_file, &config.redfish_ca_file_from},
           {"redfish", "user", redfish.user, &config.redfish_user_from},
           {"redfish", "password_file", redfish.password_file, &config.redfish_password_file_from},
           {"redfish", "timeout", std::to_string(redfish.timeout.count()),
            &config.redfish_timeout_from},
           {"redfish", "entries", redfish.entries, &config.redfish_entries_from},
           {"redfish", "retire", to_text(redfish.retire), &config.redfish_retire_from},
           {"redfish", "retire_body", redfish.retire.body, &config.redfish_retire_body_from},
           {"redfish", "repair", to_text(redfish.repair), &config.redfish_repair_from},
           {"redfish", "repair_body", redfish.repair.body, &config.redfish_repair_body_from}}};
}

constexpr std::size_t kLongestShown = 200;

void print(const Config& config, Output& output) {
  for (const std::string& file : config.files) output.line("read: " + file);
  if (config.files.empty()) output.line("no file is there: all is as by default");
  std::vector<std::vector<Cell>> rows;
  for (const Shown& shown : settings_of(config)) {
    rows.push_back({{fmt::format("[{}] {}", shown.section, shown.key)},
                    {shown.value.empty() ? "-" : printable(shown.value, kLongestShown)},
                    {shown.from->file.empty()
                         ? "default"
                         : fmt::format("{}, line {}", shown.from->file, shown.from->line)}});
  }
  output.table({"SETTING", "VALUE", "FROM"}, rows);
  for (const ConfigProblem& problem : config.problems) {
    output.line(
        {{fmt::format("{}: line {}: {}", problem.place.file, problem.place.line, problem.message),
          Tint::kBad}});
  }
}

void print_json(const Config& config, Output& output) {
  Json settings = Json::array();
  for (const Shown& shown : settings_of(config)) {
    settings.push_back({{"section", shown.section},
                        {"key", shown.key},
                        {"value", shown.value},
                        {"file", shown.from->file},
                        {"line", shown.from->line}});
  }
  Json problems = Json::array();
  for (const ConfigProblem& problem : config.problems) {
    problems.push_back(
        {{"file", problem.place.file}, {"line", problem.place.line}, {"message", problem.message}});
  }
  output.object({{"schema", "poisonctl/config-v1"},
                 {"files", config.files},
                 {"settings", std::move(settings)},
                 {"problems", std::move(problems)}});
}

// The file that was named and no other, else what this machine has.
Result<Config> config_to_check(Invocation& invocation) {
  const auto words = invocation.arguments();
  if (words.size() > 1) {
    const auto content = read_named_file(words[1], kMostConfigBytes);
    if (!content) return content.error();
    Config config;
    add_config(*content, printable(words[1]), config);
    return config;
  }
  const auto root = invocation.sysroot();
  if (!root) return root.error();
  return read_config(**root);
}

Result<ExitStatus> print_bounds(Invocation& invocation) {
  if (invocation.arguments().size() > 1 || invocation.output().json()) {
    return Error{ErrorCode::kUsage, "config bounds: takes no file, and has no --json"};
  }
  const auto root = invocation.sysroot();
  if (!root) return root.error();
  const auto config = load_config(**root);
  if (!config) return config.error();
  invocation.output().line(to_text(config->bounds));
  return kExitDone;
}

Result<ExitStatus> run(Invocation& invocation) {
  const std::string what = invocation.arguments().front();
  if (what == "bounds") return print_bounds(invocation);
  if (what != "check") {
    return Error{ErrorCode::kUsage,
                 fmt::format("config '{}': expected check or bounds", printable(what))};
  }
  const auto config = config_to_check(invocation);
  if (!config) return config.error();
  if (invocation.output().json()) {
    print_json(*config, invocation.output());
  } else {
    print(*config, invocation.output());
  }
  return config->problems.empty() ? kExitDone : kExitFindings;
}

}  // namespace

const Verb kConfigVerb = {
    .name = "config",
    .arguments = "check [FILE]|bounds",
    .summary =
        "Show what poisonctl.conf says and what of it is not understood, or its bounds alone",
    .least_arguments = 1,
    .most_arguments = 2,
    .has_json = true,
    .add_options = no_options,
    .run = run,
};

}  // namespace poisonctl
