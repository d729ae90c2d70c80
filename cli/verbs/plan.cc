// poisonctl plan: what each backend would cover, what it refuses and what else would change.
// Nothing is written.
#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <utility>

#include "backends/table.h"
#include "cli/json.h"
#include "cli/shell.h"
#include "cli/steps.h"
#include "cli/verb.h"
#include "registry/range_text.h"
#include "registry/text.h"

namespace poisonctl {
namespace {

struct BackendPlan {
  const Backend* backend;
  Availability availability;
  Plan plan;  // of one that is not available, only while it is printed
};

Result<std::vector<const Backend*>> chosen_backends(const std::vector<std::string>& names) {
  std::vector<const Backend*> chosen;
  for (const std::string& name : names) {
    const Backend* const backend = find_backend(name);
    if (backend == nullptr) {
      return Error{ErrorCode::kUsage,
                   fmt::format("there is no backend '{}'; 'poisonctl backends' lists them",
                               printable(name))};
    }
    chosen.push_back(backend);
  }
  if (chosen.empty()) chosen.assign(all_backends().begin(), all_backends().end());
  return chosen;
}

// A backend that is not available covers nothing, and says so for every byte.
Plan plan_of_unavailable(const RetireList& list, const std::string& reason) {
  Plan plan{.covered = {}, .refused = list.refused, .side_effects = {}, .artifact = {}};
  for (const ByteRange& range : list.frames.ranges()) plan.refused.push_back({range, reason});
  return plan;
}

Result<BackendPlan> make_plan(const Backend& backend, const RetireList& list,
                              const CommandLineRequest& command_line,
                              const Result<MadeHandover>& handover, const SysRoot& sysroot) {
  BackendPlan made{&backend, backend.probe(sysroot), {}};
  const bool carries = backend.reach() == Reach::kCarries;
  if (carries && made.availability.available && !handover) {
    made.availability = {false, "the list cannot be signed: " + handover.error().message};
  }
  if (!made.availability.available) return made;
  auto plan = backend.plan({.list = list,
                            .command_line = command_line,
                            .handover = carries ? std::string_view(handover->blob) : ""},
                           sysroot);
  if (!plan) return plan.error();
  made.plan = *std::move(plan);
  return made;
}

Json plan_json(const BackendPlan& made) {
  return {{"name", made.backend->name()},
          {"reach", to_word(made.backend->reach())},
          {"available", made.availability.available},
          {"reason", made.availability.reason},
          {"covered", to_json(made.plan.covered)},
          {"refused", to_json(made.plan.refused)},
          {"side_effects", made.plan.side_effects},
          {"artifact", made.backend->is_binary({}) ? Json() : Json(made.plan.artifact)}};
}

void print_text(Output& output, const BackendPlan& made) {
  output.text(fmt::format("\n{}: ", made.backend->name()));
  if (!made.availability.available) {
    return output.line("not available: " + made.availability.reason);
  }
  const Plan& plan = made.plan;
  const bool carries = made.backend->reach() == Reach::kCarries;
  output.line(fmt::format("{} {} in {}, refuses {}", carries ? "carries" : "covers",
                          to_human_size(plan.covered.bytes()),
                          counted(plan.covered.ranges().size(), "range"), plan.refused.size()));
  constexpr std::size_t kShownRanges = 20;
  std::size_t shown = 0;
  for (const ByteRange& range : plan.covered.ranges()) {
    if (++shown > kShownRanges) break;
    output.line(fmt::format("  {}  {}", carries ? "carried" : "covered", to_text(range)));
  }
  if (plan.covered.ranges().size() > kShownRanges) {
    output.line(fmt::format("  {}  and {} more (--json lists all)", carries ? "carried" : "covered",
                            plan.covered.ranges().size() - kShownRanges));
  }
  for (const Refusal& refusal : plan.refused) {
    output.line(fmt::format("  REFUSED  {}: {}", to_text(refusal.range), refusal.reason));
  }
  for (const std::string& effect : plan.side_effects) {
    output.line(fmt::format("  effect   {}", effect));
  }
}

// "0x1000+4096 0x8000+8192": as 'poisonctl record' takes them.
template <typename Ranges, typename RangeOf>
std::string as_words(const Ranges& ranges, RangeOf range_of) {
  std::string words;
  for (const auto& item : ranges) {
    const ByteRange& range = range_of(item);
    words += fmt::format("{}{}+{}", words.empty() ? "" : " ", to_hex(range.begin().value()),
                         range.size());
  }
  return words;
}

// For eval: poisonctl(8) has the variables. Each is always set, so that none is left from a run
// before.
void add_shell(std::vector<std::string>& assignments, const BackendPlan& made) {
  const Plan& plan = made.plan;
  const std::string prefix = "POISONCTL_" + shell_name(made.backend->name()) + "_";
  const auto refused_range = [](const Refusal& refusal) -> const ByteRange& {
    return refusal.range;
  };
  assignments.push_back(
      shell_assignment(prefix + "AVAILABLE", made.availability.available ? "yes" : "no"));
  assignments.push_back(shell_assignment(prefix + "REASON", made.availability.reason));
  assignments.push_back(
      shell_assignment(prefix + "COVERED", as_words(plan.covered.ranges(), std::identity())));
  assignments.push_back(shell_assignment(prefix + "COVERED_BYTES", plan.covered.bytes()));
  assignments.push_back(
      shell_assignment(prefix + "REFUSED", as_words(plan.refused, refused_range)));
  std::string reasons;
  for (const Refusal& refusal : plan.refused) {
    reasons += fmt::format("{}{}: {}", reasons.empty() ? "" : "; ", to_text(refusal.range),
                           refusal.reason);
  }
  assignments.push_back(shell_assignment(prefix + "REFUSED_REASONS", reasons));
  assignments.push_back(shell_assignment(prefix + "SIDE_EFFECTS",
                                         fmt::format("{}", fmt::join(plan.side_effects, "; "))));
  std::string artifact = made.backend->is_binary({}) ? "" : plan.artifact;
  if (artifact.ends_with('\n')) artifact.pop_back();
  assignments.push_back(shell_assignment(prefix + "ARTIFACT", artifact));
}

// Hands each plan to `take` and frees it: that of a million ranges takes hundreds of MiB. Those of
// backends that are not available cannot fail, and are only made here.
void take_each(std::vector<BackendPlan> plans, const RetireList& list,
               const std::function<void(const BackendPlan&)>& take) {
  for (BackendPlan& made : plans) {
    if (!made.availability.available) {
      made.plan = plan_of_unavailable(list, made.availability.reason);
    }
    take(made);
    made.plan = {};
  }
}

void print_plans(Output& output, bool shell, std::vector<BackendPlan> plans, const RetireList& list,
                 ExitStatus status) {
  if (shell) {
    // All are made before the first is printed: eval of a cut answer would go on with variables of
    // a run before.
    std::vector<std::string> assignments;
    assignments.push_back(shell_assignment("POISONCTL_GENERATION", list.generation));
    std::string names;
    take_each(std::move(plans), list, [&](const BackendPlan& made) {
      names += fmt::format("{}{}", names.empty() ? "" : " ", made.backend->name());
      add_shell(assignments, made);
    });
    assignments.push_back(shell_assignment("POISONCTL_BACKENDS", names));
    assignments.push_back(shell_assignment("POISONCTL_STATUS", static_cast<std::uint64_t>(status)));
    for (const std::string& assignment : assignments) output.text(assignment);
  } else if (output.json()) {
    JsonStream stream(output, {{"schema", "poisonctl/plan-v1"}, {"generation", list.generation}});
    stream.begin_list("backends");
    take_each(std::move(plans), list,
              [&](const BackendPlan& made) { stream.add(plan_json(made)); });
    stream.end_list();
    stream.end();
  } else {
    output.line(fmt::format("retire list of generation {}: {} in {}", list.generation,
                            to_human_size(list.frames.bytes()),
                            counted(list.frames.ranges().size(), "range")));
    take_each(std::move(plans), list, [&](const BackendPlan& made) { print_text(output, made); });
  }
}

void add_options(boost::program_options::options_description& options) {
  options.add_options()("shell", "print assignments for a shell to evaluate");
  add_list_options(options);
  add_command_line_options(options);
}

Result<ExitStatus> run(Invocation& invocation) {
  if (invocation.has("shell") && invocation.output().json()) {
    return Error{ErrorCode::kUsage, "plan: --shell and --json are two forms; give one of them"};
  }
  const auto backends = chosen_backends(invocation.arguments());
  if (!backends) return backends.error();
  const auto root = invocation.sysroot();
  if (!root) return root.error();
  const auto command_line = command_line_request(invocation);
  if (!command_line) return command_line.error();
  auto loaded = load_checked_list(invocation);
  if (!loaded) return loaded.error();
  const RetireList* const list = &loaded->checked.list;
  const bool carries = std::ranges::any_of(
      *backends, [](const Backend* backend) { return backend->reach() == Reach::kCarries; });
  const Result<MadeHandover> handover =
      carries ? make_handover(invocation, *loaded, HandoverUse::kLook) : MadeHandover{};

  loaded->records = {};  // of a million frames they take more than the plans

  // All are made before the first is printed: an error comes in place of the answer, not amid it.
  std::vector<BackendPlan> plans;
  bool refused = false;
  for (const Backend* backend : *backends) {
    auto made = make_plan(*backend, *list, *command_line, handover, **root);
    if (!made) return made.error();
    const bool asked_for = !invocation.arguments().empty();
    if (asked_for && !made->availability.available) {
      return Error{ErrorCode::kNotAvailable,
                   fmt::format("{}: {}", backend->name(), made->availability.reason)};
    }
    if (made->availability.available && !made->plan.refused.empty()) refused = true;
    plans.push_back(*std::move(made));
  }

  const ExitStatus status = refused ? kExitFindings : kExitDone;
  print_plans(invocation.output(), invocation.has("shell"), std::move(plans), *list, status);
  return status;
}

}  // namespace

const Verb kPlanVerb = {
    .name = "plan",
    .arguments = "[BACKEND...]",
    .summary = "Show what each backend would keep out, and what not, without writing anything",
    .least_arguments = 0,
    .most_arguments = 64,
    .has_json = true,
    .add_options = add_options,
    .run = run,
};

}  // namespace poisonctl
