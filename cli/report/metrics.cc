#include "cli/report/metrics.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <iterator>
#include <vector>

#include "cli/version.h"
#include "registry/text.h"

namespace poisonctl {

namespace {

std::string bytes_of(std::uint64_t bytes) { return fmt::format("{}", bytes); }

// Seconds since 1970, to the millisecond.
std::string seconds_of(Time time) {
  const auto millis =
      std::chrono::floor<std::chrono::milliseconds>(time.time_since_epoch()).count();
  return fmt::format("{}.{:03}", millis / 1000, millis % 1000);
}

class Writer {
 public:
  // Begins a metric family; its samples follow.
  void family(std::string_view name, std::string_view unit, std::string_view help) {
    name_ = fmt::format("poisonctl_{}", name);
    add("# TYPE {} gauge\n", name_);
    if (!unit.empty()) add("# UNIT {} {}\n", name_, unit);
    add("# HELP {} {}\n", name_, help);
  }
  void sample(std::string_view labels, std::string_view value) {
    add("{}{} {}\n", name_, labels.empty() ? "" : fmt::format("{{{}}}", labels), value);
  }
  void sample(std::string_view labels, std::uint64_t value) { sample(labels, bytes_of(value)); }
  std::string finish() {
    text_ += "# EOF\n";
    return std::move(text_);
  }

 private:
  template <typename... Args>
  void add(fmt::format_string<Args...> format, Args&&... args) {
    fmt::format_to(std::back_inserter(text_), format, std::forward<Args>(args)...);
  }
  std::string text_;
  std::string name_;
};

// The state of a record as a label: one word each.
std::string_view label_of(Standing standing) {
  switch (standing) {
    case Standing::kInUse:
      return "in-use";
    case Standing::kNotLooked:
      return "not-looked-at";
    case Standing::kQuarantined:
      return "quarantined";
    case Standing::kSuspect:
      return "suspect";
    case Standing::kOutOfUse:
      return "out-of-use";
    case Standing::kResolved:
      return "resolved";
  }
  return "";
}

void write_registry(Writer& out, const ReportModel& model) {
  out.family("build_info", "", "The version of poisonctl that wrote this.");
  out.sample(fmt::format("version=\"{}\"", label_value(kVersion)), 1);
  out.family("last_run_timestamp_seconds", "seconds", "When this was written.");
  out.sample("", seconds_of(model.made));
  out.family("registry_exists", "", "Whether there is a registry: 1 or 0.");
  out.sample("", model.has_registry ? 1 : 0);
  out.family("log_entries", "", "Entries in the log of the registry.");
  out.sample("", static_cast<std::uint64_t>(model.head.id));
  out.family("generation", "", "Generation of the list of what must be kept out.");
  out.sample("", model.generation);
  out.family("records", "",
             "Records by state: faulty ones in use, not looked at in this boot or out "
             "of use; quarantined, suspect, resolved.");
  for (std::size_t i = 0; i < kStandings; ++i) {
    out.sample(fmt::format("state=\"{}\"", label_of(static_cast<Standing>(i))),
               model.tallies.at(i).records);
  }
  out.family("frames_bytes", "bytes", "Distinct memory of those records, in whole frames.");
  for (std::size_t i = 0; i < kStandings; ++i) {
    out.sample(fmt::format("state=\"{}\"", label_of(static_cast<Standing>(i))),
               model.tallies.at(i).bytes);
  }
  out.family("retirement_bytes", "bytes",
             "Faulty memory by what the page flags of this boot say of it.");
  for (const Retirement retirement :
       {Retirement::kPending, Retirement::kEffective, Retirement::kFailed, Retirement::kUnknown}) {
    out.sample(fmt::format("retirement=\"{}\"", to_word(retirement)),
               model.retirement.at(static_cast<std::size_t>(retirement)).bytes);
  }
  if (model.records() != 0) {
    out.family("last_seen_timestamp_seconds", "seconds", "When the newest error was seen.");
    out.sample("", seconds_of(model.last_seen));
  }
}

void write_list(Writer& out, const ReportModel& model) {
  out.family("list_bytes", "bytes",
             "Memory that the records ask to keep out, and what of it passes "
             "the checks.");
  out.sample("part=\"wanted\"", model.list.wanted);
  out.sample("part=\"accepted\"", model.list.accepted);
  out.family("list_past_bound", "", "Whether the list asks for more than it may take: 1 or 0.");
  out.sample("", model.list.bound.empty() ? 0 : 1);
  out.family("findings", "", "Findings of the checks by rule.");
  for (const Rule& rule : rules()) {
    const auto found = std::find_if(model.findings.begin(), model.findings.end(),
                                    [&](const RuleFacts& facts) { return facts.rule == &rule; });
    out.sample(fmt::format("rule=\"{}\",severity=\"{}\"", rule.id, to_word(rule.severity)),
               found == model.findings.end() ? 0 : found->findings);
  }
}

void write_machine(Writer& out, const ReportModel& model) {
  out.family("ram_bytes", "bytes", "Memory that this kernel manages.");
  out.sample("", model.ram);
  out.family("ram_left_out_bytes", "bytes", "Memory that an option or the firmware keeps from it.");
  out.sample("", model.left_out);
  if (model.hardware_corrupted) {
    out.family("hardware_corrupted_bytes", "bytes", "Memory that the kernel counts as poisoned.");
    out.sample("", *model.hardware_corrupted);
  }
  if (!model.nodes.empty()) {
    out.family("node_memory_bytes", "bytes", "Memory of a NUMA node.");
    for (const NodeFacts& node : model.nodes) {
      out.sample(fmt::format("node=\"{}\"", node.node), node.memory);
    }
    out.family("node_faulty_bytes", "bytes", "Faulty memory of a NUMA node.");
    for (const NodeFacts& node : model.nodes) {
      out.sample(fmt::format("node=\"{}\"", node.node), node.faulty);
    }
  }
  if (!model.huge_pages.empty()) {
    out.family("huge_pages_touched", "", "Huge pages of a size that hold a faulty frame.");
    for (const HugePageFacts& huge : model.huge_pages) {
      out.sample(fmt::format("size=\"{}\"", huge.size), huge.touched);
    }
  }
}

// Faulty records where a module answers, alone or with others in turn.
void write_modules(Writer& out, const ReportModel& model) {
  if (model.modules.empty()) return;
  out.family("module_records", "",
             "Records at addresses that a memory module answers; shared: with others, in turn.");
  for (const std::string_view way : {"alone", "shared"}) {
    std::array<std::uint64_t, kStandings> others{};
    for (std::size_t m = 0; m < model.modules.size(); ++m) {
      const ModuleFacts& facts = model.modules[m];
      const Tallies& tallies = way == "alone" ? facts.alone : facts.shared;
      for (std::size_t i = 0; i < kStandings; ++i) {
        if (m >= kMostModuleLabels) {
          others.at(i) += tallies.at(i).records;
          continue;
        }
        // A module without any would be six lines of zeros: one is enough for it to be there.
        if (tallies.at(i).records == 0 && (i != 0 || way != "alone")) continue;
        out.sample(fmt::format("module=\"{}\",slot=\"{}\",serial=\"{}\",state=\"{}\",way=\"{}\"", m,
                               label_value(facts.module.slot), label_value(facts.module.serial),
                               label_of(static_cast<Standing>(i)), way),
                   tallies.at(i).records);
      }
    }
    for (std::size_t i = 0; i < kStandings; ++i) {
      if (others.at(i) == 0) continue;
      out.sample(fmt::format("module=\"other\",slot=\"other\",serial=\"\",state=\"{}\",way=\"{}\"",
                             label_of(static_cast<Standing>(i)), way),
                 others.at(i));
    }
  }
}

void write_replay(Writer& out, const ReportModel& model) {
  if (!model.replay) return;
  const auto counts = count_states(*model.replay);
  out.family("replay_frames", "",
             "Frames of the newest replay of this boot by what became of them; "
             "taken: the kernel or a process had them first.");
  for (std::size_t i = 0; i < counts.size(); ++i) {
    out.sample(fmt::format("state=\"{}\"", to_word(static_cast<ReplayState>(i))), counts[i]);
  }
  std::uint64_t refused = 0;
  for (const Refusal& refusal : model.replay->refused) refused += refusal.range.size();
  out.family("replay_refused_bytes", "bytes", "Memory of its list that was refused.");
  out.sample("", refused);
  out.family("replay_not_done", "", "Whether that replay tried nothing at all: 1 or 0.");
  out.sample("", model.replay->not_replayed.empty() ? 0 : 1);
  out.family("replay_timestamp_seconds", "seconds", "When that replay ended.");
  out.sample(fmt::format("stage=\"{}\"", to_word(model.replay->stage)),
             seconds_of(model.replay->time));
}

}  // namespace

std::string label_value(std::string_view text) {
  constexpr std::size_t kLimit = 128;
  std::string escaped;
  for (const char c : printable(text, kLimit)) {
    if (c == '\\' || c == '"') escaped += '\\';
    escaped += c;
  }
  return escaped;
}

std::string metrics_text(const ReportModel& model) {
  Writer out;
  write_registry(out, model);
  write_list(out, model);
  write_machine(out, model);
  write_modules(out, model);
  write_replay(out, model);
  return out.finish();
}

}  // namespace poisonctl
