// poison-replay: the program of the initramfs. Finds the handover of the kernel before, decides
// whether it is believed, and retires its frames before anything else runs. It needs no registry
// and links none (poison-replay(8)).
#include <fmt/format.h>
#include <getopt.h>

#include <chrono>
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
#include "cli/replay/turn.h"
#include "cli/start.h"
#include "cli/version.h"
#include "registry/machine.h"
#include "registry/memory_map.h"
#include "registry/placement.h"
#include "registry/signing.h"
#include "registry/text.h"
#include "registry/topology.h"

namespace poisonctl {
namespace {

constexpr const char* kHelp =
    "usage: poison-replay [--from FILE] [--dry-run] [--sysroot DIR]\n"
    "\n"
    "Retires the bad memory frames of a signed handover in the running kernel.\n"
    "\n"
    "  --from FILE    the handover (default: memory that the kernel before\n"
    "                 preserved, the initramfs and pstore are searched)\n"
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

// What the checks and the decision whom to believe go by.
struct Surroundings {
  MemoryMap map;
  Placement placement;
  std::vector<NodeRange> nodes;
  TrustContext trust;
};

Result<TrustContext> trust_context(const SysRoot& sysroot, const Machine& machine,
                                   const MemoryMap& map) {
  TrustContext context;
  auto keys = load_trusted_keys(sysroot);
  if (!keys) return keys.error();
  context.keys = *std::move(keys);
  const auto topology = load_topology(sysroot, machine, map);
  if (!topology) return topology.error();
  context.host = host_digest(machine);
  context.topology = memory_digest(topology->topology);
  return context;
}

Result<Surroundings> load_surroundings(const SysRoot& sysroot, const Machine& machine) {
  auto map = load_memory_map(sysroot);
  if (!map) return map.error();
  auto placement = load_placement(sysroot);
  if (!placement) return placement.error();
  auto nodes = load_nodes(sysroot);
  if (!nodes) return nodes.error();
  auto trust = trust_context(sysroot, machine, *map);
  if (!trust) return trust.error();
  return Surroundings{*std::move(map), *std::move(placement), *std::move(nodes), *std::move(trust)};
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
  for (const SeenHandover& seen : report.handovers) {
    if (!seen.findings.empty()) return false;
  }
  return all_out_of_use(report);
}

void warn(const Error& error) { fmt::print(stderr, "poison-replay: {}\n", error.message); }

// Those of poisonctl.conf, which whoever made the initramfs has put into it ('poisonctl config
// bounds'). Whatever is wrong with them, a list is replayed.
Bounds load_bounds(const SysRoot& sysroot) {
  constexpr std::string_view kFile = "etc/poisonctl/bounds";
  const auto text = sysroot.read(kFile);
  if (!text) {
    if (text.error().code != ErrorCode::kNoInput) warn(text.error());
    return {};
  }
  const auto bounds = parse_bounds(trim(*text));
  if (bounds) return *bounds;
  warn({bounds.error().code, fmt::format("{}: {}; the bounds are those by default",
                                         sysroot.shown(kFile), bounds.error().message)});
  return {};
}

// Nothing but a replay would suffer from two at once, and to do nothing is worse.
std::optional<ReplayTurn> take_turn(const SysRoot& sysroot, const std::string& boot_id) {
  auto turn = ReplayTurn::take(sysroot, boot_id);
  if (turn) {
    if (auto begun = turn->begin(); !begun) warn(begun.error());
    return *std::move(turn);
  }
  warn(turn.error());
  return std::nullopt;
}

// The report of the replay before this one, if it can be had.
std::optional<ReplayReport> report_before(const SysRoot& sysroot, const std::string& boot_id) {
  auto before = read_report(sysroot, boot_id);
  if (before) return *std::move(before);
  warn(before.error());
  return std::nullopt;
}

// The boot goes on, and nobody may have seen what was printed: 'poisonctl status' tells it later.
void report_failure(const SysRoot& sysroot, const Machine& machine, const Error& error) {
  const auto turn = ReplayTurn::take(sysroot, machine.boot_id);
  if (!turn) warn(turn.error());
  ReplayReport report = report_of(machine, ReplayStage::kInitramfs);
  if (const auto before = report_before(sysroot, machine.boot_id)) report.doubts = before->doubts;
  report.time = std::chrono::time_point_cast<Time::duration>(std::chrono::system_clock::now());
  report.not_replayed = error.message;
  if (auto written = write_report(sysroot, report); !written) warn(written.error());
}

Result<ExitStatus> replay_found(const SysRoot& sysroot, const std::vector<FoundHandover>& found,
                                const Options& options) {
  // Without it there is no report: it has to say of which boot it is.
  const auto about = load_machine(sysroot);
  if (!about) return about.error();
  const auto here = load_surroundings(sysroot, *about);
  if (!here) {
    if (!options.dry_run) report_failure(sysroot, *about, here.error());
    return here.error();
  }
  ReplayReport report = report_of(*about, ReplayStage::kInitramfs);
  ChosenHandover chosen = choose_handover(found, here->trust);
  report.handovers = std::move(chosen.seen);

  const CheckedMachine machine{here->map, here->placement, here->nodes, about->page_shift};
  const std::uint64_t generation = chosen.used ? chosen.used->content.generation : 0;
  const CheckedList checked =
      make_retire_list(std::span<const Claim>(chosen.claims), machine,
                       ListPolicy{.checks = {}, .bounds = load_bounds(sysroot)}, generation);
  ReplayPolicy policy;
  policy.dry_run = options.dry_run;
  std::optional<ReplayTurn> turn;
  if (!options.dry_run) turn = take_turn(sysroot, about->boot_id);
  take_over(report_before(sysroot, about->boot_id), turn && turn->was_cut_off(), policy);
  // So early hardly anything is in use, and to do nothing is worse than not to see.
  policy.blind = true;
  const StopSignals signals;
  if (auto done = run_replay(checked.list, sysroot, machine, policy, signals, report); !done) {
    return done.error();
  }
  // First of all: whoever reads the console may keep us waiting.
  Result<void> kept;
  if (!options.dry_run) {
    kept = write_report(sysroot, report);
    if (kept && turn) kept = end_turn(*turn, report);
  }
  tell(report);
  if (!kept) return kept.error();
  if (!chosen.used) return kExitRefused;
  return is_clean(report) ? kExitDone : kExitFindings;
}

// Most kernels preserve nothing, which is no failure.
std::vector<FoundHandover> receive_preserved(const SysRoot& sysroot) {
  auto device = open_live_update(sysroot);
  if (device) return keep_preserved(**device, sysroot);
  if (device.error().code == ErrorCode::kNotAvailable) return {};
  return {{sysroot.shown(kLiveUpdateDevice), device.error()}};
}

Result<ExitStatus> run(const Options& options) {
  const auto sysroot = open_sysroot(options.sysroot);
  if (!sysroot) return sysroot.error();
  std::vector<FoundHandover> found;
  if (options.from) {
    auto blob = read_handover_file(*options.from);
    if (!blob) return blob.error();
    found.push_back({*options.from, std::move(blob)});
  } else {
    // A look takes nothing: what is retrieved is gone from the kernel.
    if (!options.dry_run) found = receive_preserved(**sysroot);
    for (FoundHandover& one : find_handovers(**sysroot)) found.push_back(std::move(one));
  }
  if (found.empty()) return kExitDone;  // without a list nothing is looked at
  return replay_found(**sysroot, found, options);
}

}  // namespace
}  // namespace poisonctl

int main(int argc, char** argv) {
  using namespace poisonctl;
  start_program("poison-replay");
  leave_openssl_configuration_alone();
  try {
    const Parsed parsed = parse_options(argc, argv);
    if (parsed.status) return *parsed.status;
    const auto status = run(parsed.options);
    if (status) return *status;
    fmt::print(stderr, "poison-replay: {}\n", status.error().message);
    return exit_status_for(status.error().code);
  } catch (const std::bad_alloc&) {
    // Without std::string: there is no memory for it. The boot goes on without us.
    static_cast<void>(std::fputs("poison-replay: out of memory; nothing more was done\n", stderr));
    return kExitIo;
  } catch (const std::exception& error) {
    static_cast<void>(std::fprintf(stderr, "poison-replay: internal error: %s\n", error.what()));
    return kExitBug;
  }
}
