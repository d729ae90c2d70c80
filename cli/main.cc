// poisonctl: reads the command line, finds the verb, runs it, and turns errors into exit statuses.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <boost/program_options.hpp>
#include <csignal>
#include <cstdio>
#include <exception>
#include <new>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "cli/exit_status.h"
#include "cli/invocation.h"
#include "cli/output.h"
#include "cli/start.h"
#include "cli/verb.h"
#include "cli/version.h"
#include "registry/signing.h"
#include "registry/text.h"

namespace poisonctl {

std::span<const Verb* const> all_verbs() {
  static const std::array<const Verb*, 28> verbs = {
      &kRecordVerb,   &kCollectVerb, &kWatchVerb,   &kListVerb,     &kShowVerb,     &kStatusVerb,
      &kResolveVerb,  &kCheckVerb,   &kPlanVerb,    &kBackendsVerb, &kEmitVerb,     &kApplyVerb,
      &kVerifyVerb,   &kReplayVerb,  &kCaptureVerb, &kTopologyVerb, &kHandoverVerb, &kKexecVerb,
      &kKhoVerb,      &kReportVerb,  &kMapVerb,     &kMetricsVerb,  &kAuditVerb,    &kRebuildVerb,
      &kSnapshotVerb, &kRecoverVerb, &kUpgradeVerb, &kConfigVerb};
  return verbs;
}

namespace {

namespace po = boost::program_options;

po::options_description global_options() {
  po::options_description options("Options of every verb");
  options.add_options()(
      "registry", po::value<std::string>()->default_value(kDefaultRegistry)->value_name("FILE"),
      "the registry to use")(
      "sysroot", po::value<std::string>()->default_value("/")->value_name("DIR"),
      "look at the machine captured under DIR, not at this one")("json", "print one JSON object")(
      "quiet,q", "print no notes and warnings")("verbose,v", "say more about what is done")(
      "help,h", "print this help")("version,V", "print the version");
  return options;
}

std::string as_text(const po::options_description& options) {
  std::ostringstream text;
  text << options;
  return text.str();
}

std::string synopsis_of(const Verb& verb) {
  return verb.arguments.empty() ? std::string(verb.name)
                                : fmt::format("{} {}", verb.name, verb.arguments);
}

std::string general_help() {
  std::string text =
      "poisonctl keeps memory frames that failed out of use, across kexec and reboot.\n\n"
      "Usage: poisonctl [OPTION...] VERB [ARGUMENT...]\n\nVerbs\n";
  for (const Verb* verb : all_verbs()) {
    const std::string synopsis = synopsis_of(*verb);
    // A long one has a line of its own.
    constexpr std::size_t kColumn = 24;
    text += fmt::format("  {:<{}}", synopsis, kColumn);
    if (synopsis.size() > kColumn) text += fmt::format("\n  {:<{}}", "", kColumn);
    text += fmt::format("  {}\n", verb->summary);
  }
  text += fmt::format(
      "\n{}\nRANGE is 0xADDR (one frame), 0xADDR+SIZE (K, M, G), 0xFIRST-0xLAST (inclusive) or\n"
      "pfn:0xN[+COUNT]. 'poisonctl VERB --help' says more about a verb, poisonctl(8) about all.\n",
      as_text(global_options()));
  return text;
}

std::string verb_help(const Verb& verb) {
  po::options_description own("Options");
  verb.add_options(own);
  std::string text = fmt::format("Usage: poisonctl [OPTION...] {}{}\n\n{}.\n\n", synopsis_of(verb),
                                 own.options().empty() ? "" : " [OPTION...]", verb.summary);
  if (!own.options().empty()) text += as_text(own) + "\n";
  return text + as_text(global_options());
}

// The first word that is neither an option nor the value of a global option is the verb.
std::optional<std::size_t> verb_position(const std::vector<std::string>& words) {
  for (std::size_t i = 0; i < words.size(); ++i) {
    const std::string& word = words.at(i);
    if (word == "--registry" || word == "--sysroot") {
      ++i;
    } else if (!word.starts_with("-")) {
      return i;
    }
  }
  return std::nullopt;
}

Error usage_error(std::string message) {
  return {ErrorCode::kUsage, std::move(message) + "; see 'poisonctl --help'"};
}

Result<const Verb*> find_verb(const std::string& name) {
  for (const Verb* verb : all_verbs()) {
    if (verb->name == name) return verb;
  }
  return usage_error(fmt::format("there is no verb '{}'", printable(name)));
}

Result<po::variables_map> parse_options(const Verb* verb, const std::vector<std::string>& words) {
  po::options_description described;
  described.add(global_options());
  po::options_description own;
  if (verb != nullptr) verb->add_options(own);
  po::options_description arguments;
  arguments.add_options()("argument", po::value<std::vector<std::string>>());
  described.add(own).add(arguments);
  po::positional_options_description positions;
  positions.add("argument", -1);
  try {
    po::variables_map options;
    // No guessing of shortened names: a script must not change its meaning when an option is added.
    po::store(
        po::command_line_parser(words)
            .options(described)
            .positional(positions)
            .style(po::command_line_style::unix_style & ~po::command_line_style::allow_guessing)
            .run(),
        options);
    return options;
  } catch (const po::error& error) {
    return usage_error(printable(error.what(), 200));
  }
}

Result<void> check_usage(const Verb& verb, const po::variables_map& options) {
  const std::size_t given = options.count("argument") != 0
                                ? options["argument"].as<std::vector<std::string>>().size()
                                : 0;
  if (given < verb.least_arguments || given > verb.most_arguments) {
    return usage_error(fmt::format("usage: poisonctl {} {}", verb.name, verb.arguments));
  }
  if (options.count("json") != 0 && !verb.has_json) {
    return usage_error(fmt::format("'{}' has no --json", verb.name));
  }
  return {};
}

Output::Verbosity verbosity_of(const po::variables_map& options) {
  if (options.count("quiet") != 0) return Output::Verbosity::kQuiet;
  return options.count("verbose") != 0 ? Output::Verbosity::kVerbose : Output::Verbosity::kNormal;
}

Result<ExitStatus> run_verb(const Verb& verb, const po::variables_map& options, Output& output) {
  if (options.count("help") != 0) {
    output.text(verb_help(verb));
    return kExitDone;
  }
  if (auto usable = check_usage(verb, options); !usable) return usable.error();
  Invocation invocation(options, output);
  return verb.run(invocation);
}

Result<ExitStatus> run(std::vector<std::string> words) {
  const auto at = verb_position(words);
  const Verb* verb = nullptr;
  if (at) {
    const auto found = find_verb(words.at(*at));
    if (!found) return found.error();
    verb = *found;
    words.erase(words.begin() + static_cast<std::ptrdiff_t>(*at));
  }
  const auto options = parse_options(verb, words);
  if (!options) return options.error();

  Output output(options->count("json") != 0, verbosity_of(*options));
  Result<ExitStatus> status = kExitDone;
  if (options->count("version") != 0) {
    output.line(fmt::format("poisonctl {}", kVersion));
  } else if (verb != nullptr) {
    status = run_verb(*verb, *options, output);
  } else if (options->count("help") != 0) {
    output.text(general_help());
  } else {
    return usage_error("a verb is missing");
  }
  // An error comes first; else what could not be printed is one.
  const auto finished = output.finish();
  if (status && !finished) return finished.error();
  return status;
}

}  // namespace
}  // namespace poisonctl

int main(int argc, char** argv) {
  using namespace poisonctl;
  start_program("poisonctl");
  // A reader that goes away (head) is told by the failing write, in finish().
  static_cast<void>(std::signal(SIGPIPE, SIG_IGN));
  // A file size limit is told by the failing write too, so that it can be undone.
  static_cast<void>(std::signal(SIGXFSZ, SIG_IGN));
  leave_openssl_configuration_alone();
  try {
    const auto status = run(std::vector<std::string>(argv + std::min(argc, 1), argv + argc));
    if (status) return *status;
    Output::error(status.error());
    return exit_status_for(status.error().code);
  } catch (const std::bad_alloc&) {
    // Without std::string: there is no memory for it.
    static_cast<void>(std::fputs("poisonctl: out of memory; nothing more was done\n", stderr));
    return kExitIo;
  } catch (const std::exception& error) {
    Output::error({ErrorCode::kBug, fmt::format("internal error: {}", error.what())});
    return kExitBug;
  }
}
