// poisonctl emit: the artifact of one backend, and nothing else, on standard output or in a file.
#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "backends/table.h"
#include "cli/steps.h"
#include "cli/verb.h"
#include "registry/posix_file.h"
#include "registry/range_text.h"
#include "registry/text.h"

namespace poisonctl {
namespace {

namespace po = boost::program_options;

void add_options(po::options_description& options) {
  options.add_options()("output,o", po::value<std::string>()->value_name("FILE"),
                        "write to FILE, all of it or nothing")(
      "form", po::value<std::string>()->value_name("FORM"),
      "of e820: badram, cutmem, bcdedit, table, setup-data")(
      "dtb", po::value<std::string>()->value_name("FILE"),
      "devicetree: the tree to add to; default: that of this kernel")(
      "overlay", "devicetree: only what is added, to be laid over that tree");
  add_list_options(options);
  add_command_line_options(options);
}

// What --form asks for, which the backend must have.
Result<std::string_view> chosen_form(const Invocation& invocation, const Backend& backend) {
  if (!invocation.has("form")) return std::string_view();
  const auto& name = invocation.option<std::string>("form");
  const auto forms = backend.forms();
  const auto found = std::find(forms.begin(), forms.end(), name);
  if (found != forms.end()) return *found;
  return Error{ErrorCode::kUsage, forms.empty()
                                      ? fmt::format("--form: {} has one form only", backend.name())
                                      : fmt::format("--form '{}': expected one of {}",
                                                    printable(name), fmt::join(forms, ", "))};
}

// The options of one backend mean nothing to another.
Result<void> check_options(const Invocation& invocation, const Backend& backend) {
  for (const char* option : {"dtb", "overlay"}) {
    if (invocation.has(option) && backend.name() != "devicetree") {
      return Error{ErrorCode::kUsage, fmt::format("--{} is for devicetree", option)};
    }
  }
  return {};
}

Result<std::string> device_tree(const Invocation& invocation) {
  if (!invocation.has("dtb")) return std::string();
  return read_named_file(invocation.option<std::string>("dtb"), SysRoot::kReadLimit);
}

Result<void> write_artifact(Invocation& invocation, const Plan& plan) {
  if (!invocation.has("output")) {
    invocation.output().text(plan.artifact);
    return {};
  }
  constexpr mode_t kMode = 0644;
  const auto& file = invocation.option<std::string>("output");
  return replace_file_at(AT_FDCWD, file, plan.artifact, kMode, file);
}

Result<Plan> plan_for(Invocation& invocation, const Backend& backend, std::string_view form,
                      const LoadedList& loaded, const SysRoot& sysroot) {
  const auto command_line = command_line_request(invocation);
  if (!command_line) return command_line.error();
  const auto tree = device_tree(invocation);
  if (!tree) return tree.error();
  std::string handover;
  if (backend.reach() == Reach::kCarries) {
    auto made = make_handover(invocation, loaded, HandoverUse::kHandOut);
    if (!made) return made.error();
    handover = std::move(made->blob);
  }
  return backend.plan(
      {.list = loaded.checked.list,
       .form = form,
       .command_line = *command_line,
       .handover = handover,
       .device_tree = *tree,
       .device_tree_name = invocation.has("dtb") ? invocation.option<std::string>("dtb") : "",
       .overlay = invocation.has("overlay")},
      sysroot);
}

Result<ExitStatus> run(Invocation& invocation) {
  const std::string name = invocation.arguments().front();
  const Backend* const backend = find_backend(name);
  if (backend == nullptr) {
    return Error{ErrorCode::kUsage, fmt::format("there is no backend '{}'; 'poisonctl backends' "
                                                "lists them",
                                                printable(name))};
  }
  const auto root = invocation.sysroot();
  if (!root) return root.error();
  const Availability availability = backend->probe(**root);
  if (!availability.available) {
    return Error{ErrorCode::kNotAvailable, fmt::format("{}: {}", name, availability.reason)};
  }
  if (auto usable = check_options(invocation, *backend); !usable) return usable.error();
  const auto form = chosen_form(invocation, *backend);
  if (!form) return form.error();
  if (backend->is_binary(*form) && !invocation.has("output")) {
    return Error{ErrorCode::kUsage, fmt::format("emit {}: -o FILE is needed: it is no text", name)};
  }
  const auto loaded = load_checked_list(invocation);
  if (!loaded) return loaded.error();
  const auto plan = plan_for(invocation, *backend, *form, *loaded, **root);
  if (!plan) return plan.error();

  Output& output = invocation.output();
  for (const Refusal& refusal : plan->refused) {
    output.warning(fmt::format("{} is not covered: it {}", to_text(refusal.range), refusal.reason));
  }
  for (const std::string& effect : plan->side_effects) output.detail(effect);
  if (auto written = write_artifact(invocation, *plan); !written) return written.error();
  return plan->refused.empty() ? kExitDone : kExitFindings;
}

}  // namespace

const Verb kEmitVerb = {
    .name = "emit",
    .arguments = "BACKEND",
    .summary = "Print what a backend needs: for e820, the memmap= of the next kernel",
    .least_arguments = 1,
    .most_arguments = 1,
    .has_json = false,
    .add_options = add_options,
    .run = run,
};

}  // namespace poisonctl
