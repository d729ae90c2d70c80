// poisonctl apply: puts the option for the next kernels into the files that make their command
// lines, or takes it out again; or writes the list where the next kernel finds it; or tells the
// BMC.
#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <iterator>

#include "backends/boot_files.h"
#include "backends/command_line.h"
#include "backends/reserve_mem.h"
#include "backends/table.h"
#include "cli/bmc.h"
#include "cli/config.h"
#include "cli/cxl_apply.h"
#include "cli/steps.h"
#include "cli/verb.h"
#include "registry/file_lock.h"
#include "registry/range_text.h"
#include "registry/text.h"

namespace poisonctl {
namespace {

namespace po = boost::program_options;

// What a boot loader puts before the words of a file: BOOT_IMAGE=, initrd=.
constexpr std::size_t kLoaderWords = 128;

void add_options(po::options_description& options) {
  options.add_options()("dry-run", "only say what would be changed")(
      "undo", "take the option out, and leave the files as they were before it")(
      "only", po::value<std::vector<std::string>>()->value_name("TARGET"),
      "grub, kernel-install, loader-entries or kexec; may be given more than once")(
      "force", "also write or remove a file of ours that somebody has edited")(
      "now", "bmc: do not wait after attempts that failed")(
      "resend", "bmc: send the actions again that got no answer")(
      "widen", po::value<std::string>()->value_name("SIZE"),
      "when not all fits, join ranges less than SIZE apart: healthy memory is lost between them");
  add_list_options(options);
  add_cxl_options(options);
}

Result<std::vector<BootTarget>> chosen_targets(const Invocation& invocation) {
  std::vector<BootTarget> targets;
  if (!invocation.has("only")) return targets;
  for (const std::string& word : invocation.option<std::vector<std::string>>("only")) {
    const auto target = boot_target_from(word);
    if (!target) {
      return Error{
          ErrorCode::kUsage,
          fmt::format("--only '{}': expected grub, kernel-install, loader-entries or kexec",
                      printable(word))};
    }
    targets.push_back(*target);
  }
  return targets;
}

bool has_target(const BootFiles& files, BootTarget target) {
  return std::any_of(files.files.begin(), files.files.end(),
                     [&](const BootFile& file) { return file.target == target; });
}

// The files of this run. Errors: kNotAvailable when there is none.
Result<BootFiles> files_of_run(const Invocation& invocation, const ChangeableRoot& root) {
  const auto targets = chosen_targets(invocation);
  if (!targets) return targets.error();
  auto found = find_boot_files(root);
  if (!found) return found.error();
  std::erase_if(found->files, [&](const BootFile& file) {
    return !targets->empty() &&
           std::find(targets->begin(), targets->end(), file.target) == targets->end();
  });
  if (!has_target(*found, BootTarget::kGrub)) found->grub_lines.clear();
  if (!found->files.empty()) return found;
  return Error{ErrorCode::kNotAvailable,
               fmt::format("{}: no boot configuration that poisonctl knows{}: expected "
                           "/etc/default/grub with /etc/default/grub.d, /etc/kernel/cmdline, "
                           "loader/entries in /boot or /efi, or /etc/default/kexec.d. Give the "
                           "output of 'poisonctl emit e820' to the boot loader by hand",
                           root.root(), targets->empty() ? "" : " among those of --only")};
}

// How the option is to be so that it fits into each of the command lines that it goes into. They
// are a boot loader's: the file for kexec asks for an option of its own when the kernel is loaded.
Result<CommandLineRequest> request_for(const Invocation& invocation, const BootFiles& files,
                                       const SysRoot& root) {
  CommandLineRequest request{.loader = Loader::kBoot, .kept_free = kLoaderWords};
  request.also = files.grub_lines;
  for (const BootFile& file : files.files) {
    auto lines = command_lines_in(file, root.shown(file.path));
    if (!lines) return lines.error();
    std::move(lines->begin(), lines->end(), std::back_inserter(request.also));
  }
  // Without a menu, that of this boot has to stand for those that GRUB will make.
  if (request.also.empty() || (has_target(files, BootTarget::kGrub) && files.grub_lines.empty())) {
    const auto running = root.read("proc/cmdline");
    if (!running) return running.error();
    if (request.also.empty()) request.kept_free = 0;  // it has the loader's words
    request.also.emplace_back(trim(*running));
  }
  request.merge = std::move(request.also.back());
  request.also.pop_back();
  const auto widen = widening_of(invocation);
  if (!widen) return widen.error();
  request.widen = *widen;
  return request;
}

// The option in a command line that it was merged into; empty when there is none.
std::string option_in(std::string_view line) {
  const auto parsed = parse_command_line(line, "the merged command line");
  if (!parsed) return {};
  std::string option;
  for (const Argument& argument : parsed->arguments) {
    if (argument.name == "memmap" && is_own_memmap(argument.value)) {
      option = line.substr(argument.begin, argument.end - argument.begin);
    }
  }
  return option;
}

struct Option {
  std::string text;
  bool all_covered = true;
  bool found_no_room = false;  // for any frame of a list that has some
};

Result<Option> option_of_list(Invocation& invocation, const Backend& backend,
                              const BootFiles& files, const SysRoot& root) {
  const Availability availability = backend.probe(root);
  if (!availability.available) {
    return Error{ErrorCode::kNotAvailable,
                 fmt::format("{}: {}", backend.name(), availability.reason)};
  }
  const auto request = request_for(invocation, files, root);
  if (!request) return request.error();
  const auto loaded = load_checked_list(invocation);
  if (!loaded) return loaded.error();
  const CheckedList& checked = loaded->checked;
  const auto plan = backend.plan({.list = checked.list, .command_line = *request}, root);
  if (!plan) return plan.error();
  const Output& output = invocation.output();
  for (const Refusal& refusal : plan->refused) {
    output.warning(fmt::format("{} is not covered: it {}", to_text(refusal.range), refusal.reason));
  }
  for (const std::string& effect : plan->side_effects) output.note(effect);
  const bool too_much =
      std::any_of(checked.findings.begin(), checked.findings.end(),
                  [](const Finding& finding) { return finding.rule->id == "hard-limit"; });
  return Option{plan->covered.empty() ? std::string() : option_in(plan->artifact),
                plan->refused.empty(),
                plan->covered.empty() && (too_much || !checked.list.frames.empty())};
}

struct Change {
  const BootFile* file;
  std::optional<std::string> wanted;
};

// All of them, before any is made.
Result<std::vector<Change>> changes_for(const Invocation& invocation, const BootFiles& files,
                                        const std::string& option, const SysRoot& root) {
  std::vector<Change> changes;
  for (const BootFile& file : files.files) {
    auto wanted = content_with(file, option, invocation.has("force"), root.shown(file.path));
    if (!wanted) return wanted.error();
    if (*wanted != file.content) changes.push_back({&file, *std::move(wanted)});
  }
  return changes;
}

Result<void> make_change(const Change& change, const ChangeableRoot& root) {
  return change.wanted ? root.replace_file(change.file->path, *change.wanted, change.file->mode)
                       : root.remove_file(change.file->path);
}

Result<void> make_changes(const std::vector<Change>& changes, bool dry_run,
                          const ChangeableRoot& root, Output& output) {
  std::size_t done = 0;
  for (const Change& change : changes) {
    if (!dry_run) {
      if (auto made = make_change(change, root); !made) {
        if (done != 0) {
          output.warning(fmt::format(
              "changed before this: {} of {}; the same command goes on, --undo goes back", done,
              counted(changes.size(), "file")));
        }
        return made;
      }
      ++done;
    }
    output.line(fmt::format("{}{} {}: {}", dry_run ? "would " : "",
                            change.wanted ? "write" : "remove", to_word(change.file->target),
                            root.shown(change.file->path)));
  }
  if (changes.empty()) output.line("nothing to change");
  return {};
}

// Without a person to read that it has to run. With nothing of our environment.
Result<void> update_grub() {
  constexpr const char* kProgram = "/usr/sbin/update-grub";
  std::string program = kProgram;
  std::string path = "PATH=/usr/sbin:/usr/bin:/sbin:/bin";
  std::array<char*, 2> arguments = {program.data(), nullptr};
  std::array<char*, 2> environment = {path.data(), nullptr};
  pid_t child = 0;
  const int error =
      ::posix_spawn(&child, kProgram, nullptr, nullptr, arguments.data(), environment.data());
  if (error != 0) return os_error(kProgram, error, ErrorCode::kIo);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) return os_error(kProgram, errno, ErrorCode::kIo);
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
  return Error{ErrorCode::kIo,
               fmt::format("{} failed: the drop-in is in place, and not in GRUB's menu", kProgram)};
}

// Of two runs at once the one with the older list would write last. Held to the end of this one.
// Nothing without a folder: there is no registry then, and what is to be done is to undo.
Result<UniqueFd> turn_to_apply(Invocation& invocation) {
  const std::string path = invocation.registry_path() + ".apply.lock";
  auto lock = take_file_lock(path);
  if (lock) return lock;
  if (lock.error().os_error == ENOENT) return UniqueFd();
  if (lock.error().code != ErrorCode::kLocked) return lock.error();
  invocation.output().note(path + ": waiting for another 'poisonctl apply' to end");
  return wait_for_file_lock(path);
}

// What is in the files is in no menu of GRUB's before update-grub has run.
Result<void> renew_grub_menu(Invocation& invocation, const ChangeableRoot& root,
                             const Option& option, bool unattended) {
  if (!unattended || root.root() != "/") {
    invocation.output().note("grub: run update-grub, which makes the menu from it");
    return {};
  }
  if (auto updated = update_grub(); !updated) return updated;
  const auto files = files_of_run(invocation, root);
  if (!files) return files.error();
  if (!grub_menu_is_behind(*files, option.text)) return {};
  return Error{ErrorCode::kIo,
               fmt::format("{}: update-grub has ended well, and the menu has another option than "
                           "the drop-in all the same; see what makes it from /etc/default/grub",
                           files->grub_menu)};
}

// `unattended`: nobody reads what is to be run by hand.
Result<ExitStatus> apply_e820(Invocation& invocation, bool unattended) {
  const bool dry_run = invocation.has("dry-run");
  auto turn = dry_run ? Result<UniqueFd>(UniqueFd()) : turn_to_apply(invocation);
  if (!turn) return turn.error();
  const auto root = open_changeable_root(invocation.option<std::string>("sysroot"));
  if (!root) return root.error();
  const auto files = files_of_run(invocation, **root);
  if (!files) return files.error();
  Option option;
  if (!invocation.has("undo")) {
    auto made = option_of_list(invocation, *find_backend("e820"), *files, **root);
    if (!made) return made.error();
    option = *std::move(made);
  }
  const auto changes = changes_for(invocation, *files, option.text, **root);
  if (!changes) return changes.error();
  if (option.found_no_room && !changes->empty()) {
    return Error{ErrorCode::kRefused,
                 "nothing of the list is covered, so that what the boot files keep out now stays "
                 "there; 'poisonctl check' says more, --undo takes it out all the same"};
  }
  const auto done = make_changes(*changes, dry_run, **root, invocation.output());
  if (!done) return done.error();
  if (!changes->empty()) {
    for (const std::string& note : files->notes) invocation.output().note(note);
  }
  // A run before this one may have ended between the file and the menu.
  const bool in_grub = std::any_of(changes->begin(), changes->end(), [](const Change& change) {
    return change.file->target == BootTarget::kGrub;
  });
  if (in_grub || grub_menu_is_behind(*files, option.text)) {
    auto renewed = renew_grub_menu(invocation, **root, option, unattended && !dry_run);
    if (!renewed) return renewed.error();
  }
  return option.all_covered ? kExitDone : kExitFindings;
}

// The list into the region that reserve_mem= has set aside for pstore.
Result<ExitStatus> apply_reserve_mem(Invocation& invocation) {
  if (invocation.has("undo") || invocation.has("only") || invocation.has("widen")) {
    return Error{ErrorCode::kUsage,
                 "apply reserve-mem: writes the list to /dev/pmsg0; there is nothing to undo, and "
                 "--only and --widen are about command lines"};
  }
  const auto root = invocation.sysroot();
  if (!root) return root.error();
  const Availability availability = find_backend("reserve-mem")->probe(**root);
  if (!availability.available) {
    return Error{ErrorCode::kNotAvailable, "reserve-mem: " + availability.reason};
  }
  const auto room = pmsg_bytes(**root);
  if (!room) return room.error();
  const bool dry_run = invocation.has("dry-run");
  auto turn = dry_run ? Result<UniqueFd>(UniqueFd()) : turn_to_apply(invocation);
  if (!turn) return turn.error();
  const auto loaded = load_checked_list(invocation);
  if (!loaded) return loaded.error();
  const auto made =
      make_handover(invocation, *loaded, dry_run ? HandoverUse::kLook : HandoverUse::kHandOut);
  if (!made) return made.error();
  if (made->blob.size() > *room) {
    return Error{ErrorCode::kRefused,
                 fmt::format("the list has {} bytes, the region of /dev/pmsg0 {}: start the kernel "
                             "with what 'poisonctl emit reserve-mem' prints now",
                             made->blob.size(), *room)};
  }
  if (!dry_run) {
    if (auto written = write_pmsg(**root, made->blob); !written) return written.error();
  }
  invocation.output().line(fmt::format("{}write reserve-mem: {}, generation {}, {} bytes",
                                       dry_run ? "would " : "", (*root)->shown(kPmsgDevice),
                                       made->generation, made->blob.size()));
  return kExitDone;
}

// Those of the configuration. What one cannot do keeps the others from nothing.
Result<ExitStatus> apply_configured(Invocation& invocation) {
  const auto root = invocation.sysroot();
  if (!root) return root.error();
  const auto config = load_config(**root);
  if (!config) return config.error();
  if (invocation.has("undo") || config->refresh.empty()) {
    return Error{
        ErrorCode::kUsage,
        fmt::format("apply: what is to be applied is missing: e820, reserve-mem or bmc{}",
                    invocation.has("undo")
                        ? ""
                        : "; or name it in " + (*root)->shown(kConfigFile) + ", [watch] refresh")};
  }
  JoinedOutcome all(invocation.output());
  for (const std::string& name : config->refresh) {
    all.add(name == "e820"  ? apply_e820(invocation, true)
            : name == "bmc" ? apply_bmc(invocation)
                            : apply_reserve_mem(invocation));
  }
  return all.outcome();
}

Result<ExitStatus> run(Invocation& invocation) {
  const auto names = invocation.arguments();
  if (!names.empty() && names.front() == "cxl") return apply_cxl(invocation);
  if (has_cxl_options(invocation)) {
    return Error{ErrorCode::kUsage,
                 "apply: --permanent, --repair, --unsafe-in-use and --clear-poison are for 'apply "
                 "cxl'"};
  }
  if (names.empty()) return apply_configured(invocation);
  if (names.front() == "e820") return apply_e820(invocation, false);
  if (names.front() == "reserve-mem") return apply_reserve_mem(invocation);
  if (names.front() == "bmc") return apply_bmc(invocation);
  return Error{ErrorCode::kUsage,
               fmt::format("apply '{}': expected e820, whose option stands in boot files, "
                           "reserve-mem, whose list is written to /dev/pmsg0, cxl, whose devices "
                           "repair themselves, or bmc, whose event log is told of retired frames",
                           printable(names.front()))};
}

}  // namespace

const Verb kApplyVerb = {
    .name = "apply",
    .arguments = "[e820|reserve-mem|cxl|bmc]",
    .summary =
        "Put the memmap= into the boot configuration, or take it out (--undo); or the list "
        "into a region that outlives the kernel; or have CXL devices repair themselves; or tell "
        "the BMC",
    .least_arguments = 0,
    .most_arguments = 1,
    .has_json = false,
    .add_options = add_options,
    .run = run,
};

}  // namespace poisonctl
