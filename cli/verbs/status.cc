// poisonctl status: one screen that says how things stand and what to do next.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "cli/json.h"
#include "cli/steps.h"
#include "cli/verb.h"
#include "registry/cxl/address_map.h"
#include "registry/cxl/health.h"
#include "registry/generation.h"
#include "registry/range_text.h"
#include "registry/text.h"

namespace poisonctl {
namespace {

struct Counts {
  std::size_t faulty = 0;
  std::size_t suspect = 0;
  std::size_t resolved = 0;
  std::size_t quarantined = 0;
  std::array<std::size_t, 4> retirement{};  // of faulty records, by Retirement
  [[nodiscard]] std::size_t of(Retirement state) const {
    return retirement.at(static_cast<std::size_t>(state));
  }
};

Counts count(const std::vector<Record>& records, const std::string& boot_id) {
  Counts counts;
  for (const Record& record : records) {
    if (record.condition == Condition::kSuspect) ++counts.suspect;
    if (record.condition == Condition::kResolved) ++counts.resolved;
    if (record.condition == Condition::kQuarantined) ++counts.quarantined;
    if (record.condition != Condition::kFaulty) continue;
    ++counts.faulty;
    ++counts.retirement.at(static_cast<std::size_t>(record.retirement_in(boot_id)));
  }
  return counts;
}

// Frames that somebody has and that could not be retired: the dangerous ones.
std::vector<ReportedRun> in_use(const std::optional<ReplayReport>& report) {
  std::vector<ReportedRun> runs;
  if (!report) return runs;
  for (const ReportedRun& run : report->runs) {
    if (run.state == ReplayState::kTaken || run.state == ReplayState::kFailed) runs.push_back(run);
  }
  return runs;
}

// "initramfs, 2026-...: 3 retired": at most so many of the frames in use are named, on lines of
// their own.
std::vector<std::string> replay_lines(const ReplayReport& report) {
  constexpr std::size_t kMostNamed = 5;
  std::vector<std::string> lines = {fmt::format(
      "{}, {}: {}", to_word(report.stage), to_rfc3339_seconds(report.time), summary_of(report))};
  for (const SeenHandover& seen : report.handovers) {
    std::string line = fmt::format("handover {}: {}", seen.from, seen.trust);
    for (const auto& finding : seen.findings) line += fmt::format(" [{}]", finding.rule);
    lines.push_back(std::move(line));
  }
  const auto bad = in_use(report);
  for (std::size_t i = 0; i < std::min(bad.size(), kMostNamed); ++i) {
    lines.push_back(fmt::format("IN USE {}: {}", to_text(bad[i].range), bad[i].how));
  }
  if (bad.size() > kMostNamed) {
    lines.push_back(fmt::format("and {} in use", counted(bad.size() - kMostNamed, "more range")));
  }
  return lines;
}

Json replay_json(const std::optional<ReplayReport>& report) {
  if (!report) return nullptr;
  Json frames = Json::object();
  const auto counts = count_states(*report);
  for (std::size_t state = 0; state < counts.size(); ++state) {
    frames[std::string(to_word(static_cast<ReplayState>(state)))] = counts[state];
  }
  Json bad = Json::array();
  for (const ReportedRun& run : in_use(report)) {
    Json entry = to_json(run.range);
    entry["use"] = to_word(run.use);
    entry["how"] = run.how;
    bad.push_back(std::move(entry));
  }
  return {{"stage", to_word(report->stage)},  {"time", to_rfc3339(report->time)},
          {"generation", report->generation}, {"not_replayed", report->not_replayed},
          {"frames", std::move(frames)},      {"in_use", std::move(bad)}};
}

std::string next_step(const Counts& counts, std::uint64_t hardware_corrupted,
                      const std::optional<ReplayReport>& replayed) {
  if (counts.faulty != 0 && !in_use(replayed).empty()) {
    return "boot the next kernel with 'poisonctl emit e820': it is the only way to keep out the "
           "frames in use";
  }
  if (counts.faulty == 0) {
    return hardware_corrupted != 0 ? "'poisonctl collect kernel': the kernel counts poisoned memory"
                                   : "nothing: no frame has to be kept out";
  }
  if (counts.of(Retirement::kUnknown) != 0) {
    return "'poisonctl verify' reads what this kernel does with the frames";
  }
  if (counts.of(Retirement::kPending) != 0 || counts.of(Retirement::kFailed) != 0) {
    return "'poisonctl replay' retires them now, 'poisonctl plan' keeps them out of the next "
           "kernel";
  }
  return "nothing now; give the next kernel 'poisonctl emit e820' on its command line";
}

// A CXL device of this machine; nothing when it gives no health information.
struct CxlState {
  CxlDevice device;
  std::optional<std::vector<std::string>> complaints;
};

std::vector<CxlState> cxl_states(const SysRoot& root) {
  std::vector<CxlState> states;
  const auto map = CxlAddressMap::load(root);
  if (!map) return states;  // 'collect cxl' says why
  for (const CxlDevice& device : map->devices()) {
    const auto health = read_cxl_health(root, device.memdev);
    states.push_back({device, health ? std::optional(complaints(*health)) : std::nullopt});
  }
  return states;
}

// "3 devices, 1 without health information", and a line for each that complains.
std::vector<std::string> cxl_lines(const std::vector<CxlState>& states) {
  std::vector<std::string> lines(1, counted(states.size(), "device"));
  std::size_t silent = 0;
  for (const CxlState& state : states) {
    if (!state.complaints) {
      ++silent;
      continue;
    }
    for (const std::string& complaint : *state.complaints) {
      lines.push_back(fmt::format("{} (cxl serial {:#x}): {}", state.device.memdev,
                                  state.device.serial, complaint));
    }
  }
  if (silent != 0) lines.front() += fmt::format(", {} without health information", silent);
  return lines;
}

Json cxl_json(const std::vector<CxlState>& states) {
  Json devices = Json::array();
  for (const CxlState& state : states) {
    devices.push_back({{"memdev", state.device.memdev},
                       {"serial", state.device.serial},
                       {"complaints", state.complaints ? Json(*state.complaints) : Json()}});
  }
  return devices;
}

std::string ram_text(const std::vector<MemoryBlock>& blocks, const MemoryMap& map) {
  std::string text = to_human_size(map.system_ram().bytes()) + " of RAM in use";
  if (map.installed_ram().bytes() != map.system_ram().bytes()) {
    text += fmt::format(", {} left out of its map",
                        to_human_size(map.installed_ram().bytes() - map.system_ram().bytes()));
  }
  if (!blocks.empty()) {
    const auto offline = std::count_if(blocks.begin(), blocks.end(),
                                       [](const MemoryBlock& block) { return !block.online; });
    text += fmt::format(", {} of {}{}", counted(blocks.size(), "memory block"),
                        to_human_size(blocks.front().range.size()),
                        offline == 0 ? "" : fmt::format(" ({} offline)", offline));
  }
  return text;
}

Result<ExitStatus> run(Invocation& invocation) {
  const auto root = invocation.sysroot();
  if (!root) return root.error();
  const auto machine = invocation.machine();
  if (!machine) return machine.error();
  const auto map = invocation.memory_map();
  if (!map) return map.error();
  const auto checked_machine = invocation.checked_machine();
  if (!checked_machine) return checked_machine.error();
  const auto blocks = load_memory_blocks(**root);
  if (!blocks) return blocks.error();
  const auto corrupted = read_hardware_corrupted(**root);
  if (!corrupted) return corrupted.error();

  std::vector<Record> records;
  std::uint64_t generation = 0;
  auto store = invocation.open_store(Store::Mode::kRead);
  if (store) {
    auto loaded = load_records(invocation, *store);
    if (!loaded) return loaded.error();
    records = *std::move(loaded);
    const auto newest = list_generation(*store, invocation.registry_path());
    if (!newest) return newest.error();
    generation = *newest;
  } else if (store.error().code != ErrorCode::kNoInput) {
    return store.error();
  }

  const auto policy = list_policy(invocation);
  if (!policy) return policy.error();
  const Counts counts = count(records, (*machine)->boot_id);
  const CheckedList checked =
      make_retire_list(std::span<const Record>(records), *checked_machine,
                       {.checks = {.disagreements = true}, .bounds = policy->bounds}, generation);
  const std::uint64_t poisoned_now = corrupted->value_or(0);
  const std::optional<ReplayReport> replayed = last_replay(invocation);
  const std::vector<CxlState> cxl = cxl_states(**root);
  Output& output = invocation.output();
  if (output.json()) {
    output.object(
        {{"schema", "poisonctl/status-v1"},
         {"registry", invocation.registry_path()},
         {"registry_exists", store.ok()},
         {"generation", generation},
         {"page_size", (*machine)->page_shift.page_size()},
         {"kernel_release", (*machine)->kernel_release},
         {"boot_id", (*machine)->boot_id},
         {"ram_bytes", (*map)->system_ram().bytes()},
         {"left_out_bytes", (*map)->installed_ram().bytes() - (*map)->system_ram().bytes()},
         {"hardware_corrupted_bytes", poisoned_now},
         {"faulty", counts.faulty},
         {"suspect", counts.suspect},
         {"resolved", counts.resolved},
         {"quarantined", counts.quarantined},
         {"effective", counts.of(Retirement::kEffective)},
         {"pending", counts.of(Retirement::kPending)},
         {"failed", counts.of(Retirement::kFailed)},
         {"unknown", counts.of(Retirement::kUnknown)},
         {"retire_list_bytes", checked.list.frames.bytes()},
         {"findings", checked.findings.size()},
         {"cxl_devices", cxl_json(cxl)},
         {"replay", replay_json(replayed)}});
    return kExitDone;
  }
  output.line(fmt::format("registry   {}{}", invocation.registry_path(),
                          store ? fmt::format(", generation {}", generation) : " (not made yet)"));
  output.line(
      fmt::format("machine    Linux {}, {} pages, {}", printable((*machine)->kernel_release),
                  to_human_size((*machine)->page_shift.page_size()), ram_text(*blocks, **map)));
  output.line("kernel     " + (*corrupted ? to_human_size(poisoned_now) + " counted as poisoned"
                                          : "built without CONFIG_MEMORY_FAILURE"));
  output.line(fmt::format("records    {} faulty, {} suspect, {} resolved, {} quarantined; {}{}",
                          counts.faulty, counts.suspect, counts.resolved, counts.quarantined,
                          counted(checked.findings.size(), "finding"),
                          checked.findings.empty() ? "" : " ('poisonctl check' lists them)"));
  output.line(fmt::format("this boot  {} effective, {} pending, {} failed, {} not looked at",
                          counts.of(Retirement::kEffective), counts.of(Retirement::kPending),
                          counts.of(Retirement::kFailed), counts.of(Retirement::kUnknown)));
  output.line(fmt::format("keep out   {} in {}", to_human_size(checked.list.frames.bytes()),
                          counted(checked.list.frames.ranges().size(), "range")));
  std::string_view name = "cxl        ";
  for (const std::string& line : cxl.empty() ? std::vector<std::string>() : cxl_lines(cxl)) {
    output.line(fmt::format("{}{}", name, line));
    name = "           ";
  }
  name = "replay     ";
  for (const std::string& line : replayed ? replay_lines(*replayed) : std::vector<std::string>()) {
    output.line(fmt::format("{}{}", name, line));
    name = "           ";
  }
  output.line("next       " + next_step(counts, poisoned_now, replayed));
  return kExitDone;
}

}  // namespace

const Verb kStatusVerb = {
    .name = "status",
    .arguments = "",
    .summary = "Say how things stand and what to do next",
    .least_arguments = 0,
    .most_arguments = 0,
    .has_json = true,
    .add_options = no_options,
    .run = run,
};

}  // namespace poisonctl
