// poison-replay: the program of the initramfs. Finds the handover of the kernel before, decides
// whether it is believed, and retires its frames before anything else runs. It needs no registry
// and links none (poison-replay(8)).
#include <fcntl.h>
#include <fmt/format.h>
#include <getopt.h>

#include <cstdio>
#include <exception>
#include <new>
#include <optional>
#include <string>

#include "cli/exit_status.h"
#include "cli/replay/carriers.h"
#include "cli/replay/choose.h"
#include "cli/replay/report.h"
#include "cli/replay/run.h"
#include "cli/version.h"
#include "registry/machine.h"
#include "registry/memory_map.h"
#include "registry/placement.h"
#include "registry/posix_file.h"
#include "registry/topology.h"

namespace poisonctl {
namespace {

constexpr const char* kHelp =
    "usage: poison-replay [--from FILE] [--dry-run] [--sysroot DIR]\n"
    "\n"
    "Retires the bad memory frames of a signed handover in the running kernel.\n"
    "\n"
    "  --from FILE    the handover (default: the initramfs and pstore are searched)\n"
    "  --dry-run      say what would be done, and do nothing\n"
    "  --sysroot DIR  another root folder than /\n"
    "  --version, --help\n"
    "\n"
    "The result is in /run/poisonctl/replay.json. See poison-replay(8).\n";

struct Options {
  std::optional<std::string> from;
  std::string sysroot = "/";
  bool dry_run = false;
};

// A status: the run is over.
struct Parsed {
  Options options;
  std::optional<ExitStatus> status;
};

Parsed parse_options(int argc, char** argv) {
  enum { kFrom = 1, kSysroot, kDryRun, kHelpOption, kVersionOption };
  static constexpr option kOptions[] = {{"from", required_argument, nullptr, kFrom},
                                        {"sysroot", required_argument, nullptr, kSysroot},
                                        {"dry-run", no_argument, nullptr, kDryRun},
                                        {"help", no_argument, nullptr, kHelpOption},
                                        {"version", no_argument, nullptr, kVersionOption},
                                        {nullptr, 0, nullptr, 0}};
  Parsed parsed;
  int index = 0;
  for (int found = 0; (found = getopt_long(argc, argv, "", kOptions, &index)) != -1;) {
    if (found == kFrom) {
      parsed.options.from = optarg;
    } else if (found == kSysroot) {
      parsed.options.sysroot = optarg;
    } else if (found == kDryRun) {
      parsed.options.dry_run = true;
    } else if (found == kHelpOption) {
      fmt::print("{}", kHelp);
      parsed.status = kExitDone;
    } else if (found == kVersionOption) {
      fmt::print("poison-replay {}\n", kVersion);
      parsed.status = kExitDone;
    } else {
      parsed.status = kExitUsage;  // getopt has said why
    }
  }
  if (!parsed.status && optind < argc) {
    fmt::print(stderr, "poison-replay: '{}' is no option; see --help\n", argv[optind]);
    parsed.status = kExitUsage;
  }
  return parsed;
}

Result<std::string> read_named(const std::string& path) {
  const auto fd = open_own_file(path, "handover");
  if (!fd) return fd.error();
  return read_up_to(*fd, kMostHandoverBytes, path);
}

// What the checks go by, and what it was read from.
struct Surroundings {
  Machine machine;
  MemoryMap map;
  Placement placement;
  std::vector<NodeRange> nodes;
};

Result<Surroundings> load_surroundings(const SysRoot& sysroot) {
  auto machine = load_machine(sysroot);
  if (!machine) return machine.error();
  auto map = load_memory_map(sysroot);
  if (!map) return map.error();
  auto placement = load_placement(sysroot);
  if (!placement) return placement.error();
  auto nodes = load_nodes(sysroot);
  if (!nodes) return nodes.error();
  return Surroundings{*std::move(machine), *std::move(map), *std::move(placement),
                      *std::move(nodes)};
}

Result<TrustContext> trust_context(const SysRoot& sysroot, const Surroundings& here) {
  TrustContext context;
  const auto text = sysroot.read(kTrustedKeysPath);
  if (text) {
    auto keys = parse_trusted_keys(*text, sysroot.shown(kTrustedKeysPath));
    if (!keys) return keys.error();
    context.keys = *std::move(keys);
  } else if (text.error().code != ErrorCode::kNoInput) {
    return text.error();
  }
  const auto topology = load_topology(sysroot, here.machine, here.map);
  if (!topology) return topology.error();
  context.host = host_digest(here.machine);
  context.topology = hardware_digest(topology->topology);
  return context;
}

ReplayReport empty_report(const Machine& machine) {
  ReplayReport report;
  report.stage = ReplayStage::kInitramfs;
  report.boot_id = machine.boot_id;
  report.kernel_release = machine.kernel_release;
  report.page_size = machine.page_shift.page_size();
  return report;
}

void tell(const ReplayReport& report) {
  for (const SeenHandover& seen : report.handovers) {
    for (const SeenHandover::Finding& finding : seen.findings) {
      fmt::print(stderr, "poison-replay: {}: {} [{}]\n", seen.from, finding.message, finding.rule);
    }
  }
  fmt::print("poison-replay: {}\n", summary_of(report));
}

bool is_clean(const ReplayReport& report) {
  const auto frames = count_states(report);
  const auto of = [&](ReplayState state) { return frames.at(static_cast<std::size_t>(state)); };
  for (const SeenHandover& seen : report.handovers) {
    if (!seen.findings.empty()) return false;
  }
  return report.not_replayed.empty() && report.refused.empty() && of(ReplayState::kTaken) == 0 &&
         of(ReplayState::kFailed) == 0 && of(ReplayState::kPending) == 0 &&
         of(ReplayState::kUnknown) == 0;
}

Result<ExitStatus> replay_found(const SysRoot& sysroot, const std::vector<FoundHandover>& found,
                                const Options& options) {
  const auto here = load_surroundings(sysroot);
  if (!here) return here.error();
  const auto context = trust_context(sysroot, *here);
  if (!context) return context.error();
  ReplayReport report = empty_report(here->machine);
  ChosenHandover chosen = choose_handover(found, *context);
  report.handovers = std::move(chosen.seen);

  const CheckedMachine machine{here->map, here->placement, here->nodes, here->machine.page_shift};
  const std::uint64_t generation = chosen.used ? chosen.used->content.generation : 0;
  const CheckedList checked =
      make_retire_list(std::span<const Claim>(chosen.claims), machine, ListPolicy{}, generation);
  ReplayPolicy policy;
  policy.dry_run = options.dry_run;
  // So early hardly anything is in use, and to do nothing is worse than not to see.
  policy.blind = true;
  if (auto done = run_replay(checked.list, sysroot, machine, policy, report); !done) {
    return done.error();
  }
  tell(report);
  if (!options.dry_run) {
    if (auto written = write_report(sysroot, report); !written) return written.error();
  }
  if (!chosen.used) return kExitRefused;
  return is_clean(report) ? kExitDone : kExitFindings;
}

Result<ExitStatus> run(const Options& options) {
  const auto sysroot = open_sysroot(options.sysroot);
  if (!sysroot) return sysroot.error();
  std::vector<FoundHandover> found;
  if (options.from) {
    auto blob = read_named(*options.from);
    if (!blob) return blob.error();
    found.push_back({*options.from, std::move(blob)});
  } else {
    found = find_handovers(**sysroot);
  }
  if (found.empty()) return kExitDone;  // without a list nothing is looked at
  return replay_found(**sysroot, found, options);
}

}  // namespace
}  // namespace poisonctl

int main(int argc, char** argv) {
  using namespace poisonctl;
  try {
    const Parsed parsed = parse_options(argc, argv);
    if (parsed.status) return *parsed.status;
    const auto status = run(parsed.options);
    if (status) return *status;
    fmt::print(stderr, "poison-replay: {}\n", status.error().message);
    return exit_status_for(status.error().code);
  } catch (const std::exception& error) {
    // Also out of memory. The boot goes on without us.
    static_cast<void>(std::fputs(error.what(), stderr));
    return kExitBug;
  }
}
