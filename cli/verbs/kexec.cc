// poisonctl kexec: loads the next kernel so that it never gets a frame of the list, with the list
// in its initramfs, and starts it.
#include "registry/kexec.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "backends/cpio.h"
#include "backends/e820.h"
#include "backends/initrd.h"
#include "backends/table.h"
#include "cli/steps.h"
#include "cli/verb.h"
#include "registry/live_update.h"
#include "registry/posix_file.h"
#include "registry/preserved_list.h"
#include "registry/range_text.h"
#include "registry/text.h"

namespace poisonctl {
namespace {

namespace po = boost::program_options;

// What kernels read of a file for kexec: older ones INT_MAX bytes (kernel/kexec_file.c).
constexpr std::uint64_t kMostInitrdBytes = (std::uint64_t{1} << 31U) - 1;

void add_options(po::options_description& options) {
  options.add_options()("kernel", po::value<std::string>()->value_name("FILE"),
                        "the kernel to load")("initrd",
                                              po::value<std::string>()->value_name("FILE"),
                                              "its initramfs; the signed list is put before it")(
      "append", po::value<std::string>()->value_name("TEXT"), "its command line")(
      "reuse-cmdline", "the command line of this boot; with --append, before TEXT")(
      "load-only", "do not start it")("force", "load it although bad frames stay in use")(
      "same-luo", "the next kernel reads what this one preserves, although that cannot be told");
  add_list_options(options);
}

// The command line without what is for this boot alone.
std::string reused(const std::string& command_line) {
  std::string rest;
  for (const std::string_view word : split_words(command_line)) {
    if (word.starts_with("BOOT_IMAGE=") || word.starts_with("initrd=")) continue;
    if (!rest.empty()) rest += ' ';
    rest += word;
  }
  return rest;
}

Result<std::string> asked_command_line(Invocation& invocation) {
  if (!invocation.has("append") && !invocation.has("reuse-cmdline")) {
    return Error{ErrorCode::kUsage, "kexec: --append TEXT or --reuse-cmdline is needed"};
  }
  std::string line;
  if (invocation.has("reuse-cmdline")) {
    const auto machine = invocation.machine();
    if (!machine) return machine.error();
    line = reused((*machine)->command_line);
  }
  if (invocation.has("append")) {
    const auto& text = invocation.option<std::string>("append");
    if (!line.empty() && !text.empty()) line += ' ';
    line += text;
  }
  return line;
}

// What is kept out of the next kernel, and its command line, which does that on x86.
struct Exclusion {
  RangeSet covered;
  std::string command_line;
};

// x86: e820. Elsewhere the next kernel gets the device tree of this one (drivers/of/kexec.c), so
// what that leaves out stays out, and nothing can be added: kexec_file_load takes no tree.
Result<Exclusion> exclusion_for(Invocation& invocation, const RetireList& list,
                                const std::string& line, const SysRoot& sysroot,
                                const MemoryMap& map) {
  const E820Backend e820;
  if (!e820.probe(sysroot).available) {
    return Exclusion{list.frames.minus(map.system_ram().widened_to(list.page_shift)), line};
  }
  auto plan = e820.plan({.list = list, .command_line = {.merge = line}}, sysroot);
  if (!plan) return plan.error();
  for (const std::string& effect : plan->side_effects) invocation.output().note(effect);
  return Exclusion{std::move(plan->covered), std::string(trim(plan->artifact))};
}

// Bad frames that the next kernel would hand out: what is not kept out, and what was past a bound.
RangeSet exposed_frames(const CheckedList& checked, const RangeSet& covered) {
  constexpr std::array<std::string_view, 2> kRules = {"past-bound", "hard-limit"};
  std::vector<ByteRange> ranges = checked.list.frames.minus(covered).ranges();
  for (const Finding& finding : checked.findings) {
    if (std::find(kRules.begin(), kRules.end(), finding.rule->id) != kRules.end()) {
      ranges.push_back(finding.range.widened_to(checked.list.page_shift));
    }
  }
  return RangeSet::from_ranges(std::move(ranges));
}

std::string shown_ranges(const RangeSet& ranges) {
  constexpr std::size_t kShown = 4;
  std::string text;
  for (const ByteRange& range : ranges.ranges()) {
    if (!text.empty()) text += ", ";
    if (&range - ranges.ranges().data() == static_cast<std::ptrdiff_t>(kShown)) return text + "...";
    text += to_text(range);
  }
  return text;
}

Result<void> check_exposed(Invocation& invocation, const RangeSet& exposed, bool has_e820) {
  if (exposed.empty()) return {};
  const std::string what = fmt::format(
      "{} in {} would stay in use in the next kernel ({})", to_human_size(exposed.bytes()),
      counted(exposed.ranges().size(), "range"), shown_ranges(exposed));
  if (invocation.has("force")) {
    invocation.output().warning(what);
    return {};
  }
  return Error{
      ErrorCode::kRefused,
      fmt::format("{}; {}, or --force", what,
                  has_e820 ? "'poisonctl plan e820' says why"
                           : "kexec_file_load takes no device tree: load with 'kexec -c --dtb' and "
                             "'poisonctl emit devicetree'")};
}

// The carrier, then the initramfs: a block of cpio, so that what follows begins where every kernel
// looks for it, and a bootconfig at the end stays at the end.
Result<UniqueFd> initrd_with(Invocation& invocation, const std::string& carrier) {
  if (!invocation.has("initrd")) return sealed_file("poisonctl-initrd", carrier, nullptr, 0, "");
  const auto& path = invocation.option<std::string>("initrd");
  const auto initrd = open_named_file(path);
  if (!initrd) return initrd.error();
  return sealed_file("poisonctl-initrd", carrier, &*initrd, kMostInitrdBytes, path);
}

// kexec looks at no list when it places the kernel and the initramfs, and kexec_file_load does not
// tell where it has put them.
void say_where_not_to_be(Invocation& invocation, const CheckedList& checked, const MemoryMap& map,
                         const SysRoot& sysroot) {
  Output& output = invocation.output();
  for (const Finding& finding : checked.findings) {
    if (finding.rule->id == "crash-kernel") {
      output.warning(fmt::format("{} {}", to_text(finding.range), reason_of(finding)));
    }
  }
  if (checked.list.frames.empty()) return;
  const auto window = largest_clean_window(map.system_ram(), checked.list.frames);
  if (!window) return;
  output.note(fmt::format(
      "the kernel and its initramfs may be put on bad frames until they have moved: this "
      "interface takes no place. With kexec-tools: kexec -c -l --mem-min={:#x} "
      "--mem-max={:#x}{}",
      window->begin().value(), window->last().value(),
      sysroot.list(kLiveUpdateClass) ? ", which loses what is held in memory (kho)" : ""));
}

// As an administrator expects: services are stopped and file systems unmounted where somebody is
// there to do it. systemctl sees the loaded kernel (/sys/kernel/kexec_loaded) and loads no other.
Error start(const SysRoot& sysroot) {
  const auto systemd = sysroot.list("run/systemd/system");
  if (!systemd) {
    return systemd.error().code == ErrorCode::kNoInput ? start_loaded_kernel() : systemd.error();
  }
  constexpr const char* kSystemctl = "/usr/bin/systemctl";
  std::string program = kSystemctl;
  std::string verb = "kexec";
  std::array<char*, 3> arguments = {program.data(), verb.data(), nullptr};
  std::array<char*, 1> environment = {nullptr};
  static_cast<void>(::execve(kSystemctl, arguments.data(), environment.data()));
  return os_error(kSystemctl, errno, ErrorCode::kIo);
}

// What is to be loaded, put together before anything is loaded.
struct Image {
  UniqueFd kernel;
  UniqueFd initrd;
  std::string command_line;
  std::string handover;
};

Result<Image> put_together(Invocation& invocation, const LoadedList& loaded,
                           const std::string& line) {
  auto kernel = open_named_file(invocation.option<std::string>("kernel"));
  if (!kernel) return kernel.error();
  const auto handover = make_handover(invocation, loaded, HandoverUse::kHandOut);
  if (!handover) return handover.error();
  auto initrd = initrd_with(invocation, cpio_with_file(kInitrdFolder, kInitrdFile, handover->blob));
  if (!initrd) return initrd.error();
  return Image{*std::move(kernel), *std::move(initrd), line, handover->blob};
}

// A kernel with live update hands the next one its head whether or not anything is preserved, and
// the next one panics when it knows another form. Nothing about the list can mend that later.
Result<NextKernel> check_next_kernel(Invocation& invocation, const SysRoot& sysroot,
                                     const Image& image) {
  const auto head = read_up_to(image.kernel, kImageHead, "the next kernel");
  if (!head) return head.error();
  NextKernel next = next_kernel_reads(sysroot, *head, image.command_line);
  if (next != NextKernel::kNotKnown) return next;
  if (invocation.has("same-luo")) return NextKernel::kReads;
  return Error{ErrorCode::kRefused,
               "live update is on here, and whether the next kernel reads its form cannot be told: "
               "it is not the build that runs now, and one with another form panics as it boots; "
               "add kho=off to its command line (the list travels in its initramfs all the same), "
               "or say --same-luo"};
}

// The list in memory that this process keeps until the next kernel has it. Nothing where that
// cannot be, which is said: the initramfs has the list in any case.
Result<std::optional<PreservedList>> preserve(Invocation& invocation, const SysRoot& sysroot,
                                              const Image& image) {
  const Output& output = invocation.output();
  if (!sysroot.list(kLiveUpdateClass)) {
    output.detail("not held in memory too: " + why_no_live_update(sysroot));
    return std::optional<PreservedList>();
  }
  const auto next = check_next_kernel(invocation, sysroot, image);
  if (!next) return next.error();
  if (*next == NextKernel::kIgnores) {
    output.note(
        "the next kernel has no live update: what is held in memory for it is lost, and "
        "the list is in its initramfs alone");
    return std::optional<PreservedList>();
  }
  // Whoever ends this process on the way ends what it holds.
  if (invocation.has("load-only") || sysroot.list("run/systemd/system")) {
    output.detail(
        "not held in memory by this process, which ends before the kernel does; "
        "'poisonctl kho hold' holds it");
    return std::optional<PreservedList>();
  }
  auto device = open_live_update(sysroot);
  auto list = device ? PreservedList::create(**device, image.handover)
                     : Result<PreservedList>(device.error());
  if (!list) {
    output.warning(list.error().message + "; the list is in the initramfs alone");
    return std::optional<PreservedList>();
  }
  output.detail(fmt::format("held in memory, session {}", list->session()));
  return std::optional(*std::move(list));
}

Result<ExitStatus> run(Invocation& invocation) {
  if (!invocation.has("kernel")) {
    return Error{ErrorCode::kUsage, "kexec: --kernel FILE is needed"};
  }
  const auto line = asked_command_line(invocation);
  if (!line) return line.error();
  const auto root = invocation.sysroot();
  if (!root) return root.error();
  const auto map = invocation.memory_map();
  if (!map) return map.error();
  const auto loaded = load_checked_list(invocation);
  if (!loaded) return loaded.error();
  const CheckedList& checked = loaded->checked;
  const auto exclusion = exclusion_for(invocation, checked.list, *line, **root, **map);
  if (!exclusion) return exclusion.error();
  const RangeSet exposed = exposed_frames(checked, exclusion->covered);
  auto allowed = check_exposed(invocation, exposed, E820Backend().probe(**root).available);
  if (!allowed) return allowed.error();
  const auto next = put_together(invocation, *loaded, exclusion->command_line);
  if (!next) return next.error();
  if ((*root)->root() != "/") {
    return Error{ErrorCode::kUsage, "kexec: loads into this machine; --sysroot cannot be given"};
  }
  // Held from here to the reboot.
  const auto preserved = preserve(invocation, **root, *next);
  if (!preserved) return preserved.error();
  const auto& kernel = invocation.option<std::string>("kernel");
  auto done = load_kernel(next->kernel, next->initrd, next->command_line, kernel);
  if (!done) return done.error();
  Output& output = invocation.output();
  output.note(fmt::format("{}: loaded; {} kept out, generation {} in its initramfs", kernel,
                          to_human_size(exclusion->covered.bytes()), checked.list.generation));
  output.detail("command line: " + next->command_line);
  say_where_not_to_be(invocation, checked, **map, **root);
  if (!invocation.has("load-only")) return start(**root);
  return exposed.empty() ? kExitDone : kExitFindings;
}

}  // namespace

const Verb kKexecVerb = {
    .name = "kexec",
    .arguments = "--kernel FILE",
    .summary = "Load and start the next kernel, without the bad frames and with the signed list",
    .least_arguments = 0,
    .most_arguments = 0,
    .has_json = false,
    .add_options = add_options,
    .run = run,
};

}  // namespace poisonctl
