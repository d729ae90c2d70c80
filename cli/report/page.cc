#include "cli/report/page.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <iterator>

#include "cli/report/drawings.h"
#include "cli/report/markup.h"
#include "cli/report/page_style.h"
#include "cli/version.h"
#include "registry/range_text.h"
#include "registry/text.h"

namespace poisonctl {

namespace {

template <typename... Args>
void append(std::string& text, fmt::format_string<Args...> format, Args&&... args) {
  fmt::format_to(std::back_inserter(text), format, std::forward<Args>(args)...);
}

std::string when(Time time) { return to_rfc3339_seconds(time); }

// 2026-03-01 12:00:00: the zone is said once, at the top.
std::string short_time(Time time) {
  std::string text = when(time);
  std::replace(text.begin(), text.end(), 'T', ' ');
  text.pop_back();
  return text;
}

// Frames of this kernel: bytes mean little to whoever counts frames.
std::uint64_t frames_of(const ReportModel& model, const Tally& tally) {
  return tally.bytes / model.machine.page_shift.page_size();
}

std::uint64_t frames_of(const ReportModel& model, Standing standing) {
  return frames_of(model, model.of(standing));
}

// "9 frames in 3 records (36 KiB)".
std::string amount(const ReportModel& model, const Tally& tally) {
  return fmt::format("{} in {} ({})", grouped_count(frames_of(model, tally), "frame"),
                     grouped_count(tally.records, "record"), to_human_size(tally.bytes));
}

std::string status(Standing standing) {
  return fmt::format("<span class=\"status\">{}{}</span>", mark_of(standing), to_word(standing));
}

std::string range_code(const ByteRange& range) {
  return fmt::format("<span class=\"mono\">{}</span>", to_text(range));
}

Tally faulty(const ReportModel& model) {
  Tally all;
  for (const Standing standing : {Standing::kInUse, Standing::kNotLooked, Standing::kOutOfUse}) {
    all.records += model.of(standing).records;
    all.bytes += model.of(standing).bytes;
  }
  return all;
}

// ---- the top

struct Verdict {
  std::string_view tone;  // a class of page.css
  std::string says;
  std::string more;
};

Verdict verdict_of(const ReportModel& model) {
  const std::string out =
      model.of(Standing::kOutOfUse).records == 0
          ? std::string()
          : fmt::format("{} out of use.", amount(model, model.of(Standing::kOutOfUse)));
  if (model.of(Standing::kInUse).records != 0) {
    return {"bad",
            fmt::format("Faulty memory is in use: {}.", amount(model, model.of(Standing::kInUse))),
            "This kernel has it, or can hand it out at any time. " + out};
  }
  if (model.of(Standing::kNotLooked).records != 0) {
    return {"warn",
            fmt::format("Nobody has looked in this boot whether faulty memory is out of use: {}.",
                        amount(model, model.of(Standing::kNotLooked))),
            out};
  }
  if (model.of(Standing::kOutOfUse).records != 0) {
    return {"good", "All memory that is known to be faulty is out of use.", out};
  }
  if (model.of(Standing::kQuarantined).records != 0) {
    return {"warn", "What was recorded is about other memory than is here now.",
            "Nothing of it is acted on until the old memory is back, or somebody resolves it."};
  }
  return {"good", "No memory has to be kept out of use.", ""};
}

std::string_view sign_path(std::string_view tone) {
  if (tone == "good") return "M8.5 14.5l4 4 7.5-8.5";
  return tone == "warn" ? "M14 7.5v8M14 20v.6" : "M9.5 9.5l9 9M18.5 9.5l-9 9";
}

void write_top(std::string& page, const ReportModel& model) {
  const std::string host =
      model.machine.host_id.empty() ? "a host without a machine id" : model.machine.host_id;
  append(
      page,
      "<header>\n<p class=\"over-title\">poisonctl: memory that failed</p>\n"
      "<h1>Host <span class=\"mono\">{}</span></h1>\n"
      "<p class=\"soft\">{} &middot; Linux {} &middot; {} pages &middot; {} of RAM{}{}. All times "
      "are UTC.</p>\n",
      html_text(host), when(model.made), html_text(model.machine.kernel_release),
      to_human_size(model.machine.page_shift.page_size()), to_human_size(model.ram),
      model.left_out == 0 ? ""
                          : fmt::format(", {} left out of its map", to_human_size(model.left_out)),
      model.machine.product_serial.empty()
          ? ""
          : " &middot; system serial " + html_text(model.machine.product_serial));
  const Verdict verdict = verdict_of(model);
  append(
      page,
      "<div class=\"verdict {}\"><svg class=\"sign\" viewBox=\"0 0 28 28\" aria-hidden=\"true\">"
      "<circle cx=\"14\" cy=\"14\" r=\"14\"/><path d=\"{}\"/></svg>\n<div><p class=\"says\">{}</p>"
      "<p>{}</p></div></div>\n</header>\n",
      verdict.tone, sign_path(verdict.tone), verdict.says, verdict.more);
}

void write_figures(std::string& page, const ReportModel& model) {
  page += "<div class=\"figures\">\n";
  for (std::size_t i = 0; i < kStandings; ++i) {
    const auto standing = static_cast<Standing>(i);
    append(page,
           "<div class=\"figure\"><div class=\"name\">{}{}</div><div class=\"value\">{}</div><div "
           "class=\"unit\">{} in {}</div></div>\n",
           mark_of(standing), to_word(standing), grouped(frames_of(model, standing)),
           frames_of(model, standing) == 1 ? "frame" : "frames",
           grouped_count(model.of(standing).records, "record"));
  }
  page += "</div>\n";
}

// What somebody should do, most urgent first.
std::vector<std::string> advice(const ReportModel& model) {
  std::vector<std::string> steps;
  if (model.of(Standing::kInUse).records != 0) {
    steps.emplace_back(
        "<code>poisonctl replay</code> retires what this kernel can let go; <code>poisonctl "
        "plan</code> shows what keeps the rest out of the next kernel.");
  }
  if (model.of(Standing::kNotLooked).records != 0) {
    steps.emplace_back(
        "<code>poisonctl verify</code> reads from the page flags what this kernel does with the "
        "frames.");
  }
  if (model.of(Standing::kQuarantined).records != 0) {
    steps.emplace_back(
        "<code>poisonctl topology diff</code> tells which memory has changed; <code>--resolve-"
        "replaced</code> ends the records of exchanged modules.");
  }
  if (std::any_of(model.findings.begin(), model.findings.end(), [](const RuleFacts& facts) {
        return facts.rule->severity == FindingSeverity::kError;
      })) {
    steps.emplace_back(
        "<code>poisonctl check</code>: records do not fit this machine (see the "
        "findings below).");
  }
  if (faulty(model).records != 0) {
    steps.emplace_back(
        "Give the next kernel the list: <code>poisonctl apply e820</code> or <code>poisonctl "
        "kexec</code>. Replace the module when it goes on failing.");
  }
  if (model.records() == 0 && model.hardware_corrupted.value_or(0) != 0) {
    steps.emplace_back(
        "<code>poisonctl collect kernel</code>: the kernel counts poisoned memory "
        "that the registry does not know.");
  }
  return steps;
}

// "; that is 0.0125 % of the memory": nothing without any.
std::string share_of_memory(const ReportModel& model, const Tally& all) {
  const std::uint64_t memory = model.ram + model.left_out;
  if (all.bytes == 0 || memory == 0) return {};
  constexpr double kLeast = 0.0001;
  const double percent = 100.0 * static_cast<double>(all.bytes) / static_cast<double>(memory);
  if (percent < kLeast) return fmt::format("; that is less than {} % of the memory", kLeast);
  return fmt::format("; that is {:.4f} % of the memory", percent);
}

void write_summary(std::string& page, const ReportModel& model) {
  page += "<h2 id=\"summary\">Summary</h2>\n";
  write_figures(page, model);
  const Tally all = faulty(model);
  append(page, "<p>The registry has {} and {} in its log.",
         grouped_count(model.records(), "record"),
         model.head.id == 1 ? "1 entry"
                            : grouped(static_cast<std::uint64_t>(model.head.id)) + " entries");
  if (model.records() != 0) {
    append(page, " The first of them was seen {}, the newest {}.", when(model.first_seen),
           when(model.last_seen));
  }
  append(page, " {} faulty and must not be used{}.</p>\n",
         all.records == 0 ? "Nothing is" : amount(model, all) + (all.records == 1 ? " is" : " are"),
         share_of_memory(model, all));
  if (!model.list.bound.empty()) {
    append(page,
           "<p>The list asks for more than it may take: {} pass the checks, and the bound is {}. "
           "<code>poisonctl plan</code> says what goes first and what is refused.</p>\n",
           to_human_size(model.list.accepted), html_text(model.list.bound));
  } else if (model.list.wanted != model.list.accepted) {
    append(page,
           "<p>Of {} that the records ask for, {} pass the checks and are on the list for the next "
           "kernel; the rest is refused, with the reason below.</p>\n",
           to_human_size(model.list.wanted), to_human_size(model.list.accepted));
  }
  const auto steps = advice(model);
  if (steps.empty()) return;
  page += "<h3>What to do</h3>\n<ul>\n";
  for (const std::string& step : steps) append(page, "<li>{}</li>\n", step);
  page += "</ul>\n";
}

// ---- memory modules

// "2 + 3 shared" with its mark; nothing for zero.
std::string module_cells(const ModuleFacts& facts) {
  std::string cells;
  for (const auto& [tallies, how] :
       {std::pair(&facts.alone, ""), std::pair(&facts.shared, " shared")}) {
    for (std::size_t i = 0; i < kStandings; ++i) {
      const Tally& tally = tallies->at(i);
      if (tally.records == 0) continue;
      append(cells, "{}<span class=\"status\">{}{} {}{}</span>", cells.empty() ? "" : "<br>",
             mark_of(static_cast<Standing>(i)), grouped(tally.records),
             to_word(static_cast<Standing>(i)), how);
    }
  }
  return cells.empty() ? "<span class=\"soft\">none</span>" : cells;
}

std::string ranges_of(const MemoryModule& module) {
  constexpr std::size_t kMost = 3;
  if (module.mappings.empty()) return "<span class=\"soft\">not told</span>";
  std::string text;
  for (std::size_t i = 0; i < std::min(module.mappings.size(), kMost); ++i) {
    append(text, "{}{}", i == 0 ? "" : "<br>", range_code(module.mappings[i].range));
  }
  if (module.mappings.size() > kMost) {
    append(text, "<br>and {} more", module.mappings.size() - kMost);
  }
  return text;
}

std::string or_soft(std::string_view text) {
  return text.empty() ? "<span class=\"soft\">not told</span>" : html_text(text);
}

void write_modules(std::string& page, const ReportModel& model) {
  constexpr std::size_t kMostModules = 256;
  page += "<h2 id=\"modules\">Memory modules</h2>\n";
  if (model.modules.empty()) {
    page +=
        "<p>The firmware of this machine names no memory modules (SMBIOS types 17 and 20), so no "
        "record can be tied to one by its address.</p>\n";
    return;
  }
  page +=
      "<div class=\"scroll\"><table>\n<tr><th>Location</th><th>Serial</th><th>Records "
      "there</th><th>Answers at</th><th class=\"number\">Size</th><th>Part</th></tr>\n";
  for (std::size_t i = 0; i < std::min(model.modules.size(), kMostModules); ++i) {
    const ModuleFacts& facts = model.modules[i];
    append(page,
           "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td class=\"number nowrap\">{}</td><td "
           "class=\"words\">{} {}</td></tr>\n",
           or_soft(facts.module.slot), or_soft(facts.module.serial), module_cells(facts),
           ranges_of(facts.module), to_human_size(facts.module.bytes),
           html_text(facts.module.manufacturer), html_text(facts.module.part));
  }
  page += "</table></div>\n";
  if (model.modules.size() > kMostModules) {
    append(page,
           "<p class=\"aside\">{} are not in this table; <code>poisonctl topology show</code> "
           "lists them.</p>\n",
           grouped_count(model.modules.size() - kMostModules, "module"));
  }
  page +=
      "<p class=\"aside\">&ldquo;Shared&rdquo;: several modules answer at the address in turn, and "
      "the record is counted at each. Quarantined records are about other memory and are counted "
      "at "
      "none.</p>\n";
}

// ---- the map

void write_legend(std::string& page) {
  page += "<ul class=\"legend\">\n";
  for (std::size_t i = 0; i < kStandings; ++i) {
    const auto standing = static_cast<Standing>(i);
    append(page, "<li>{}{}</li>\n", mark_of(standing), to_word(standing));
  }
  for (const auto& [name, what] :
       {std::pair("memory", "memory, nothing recorded"), std::pair("offline", "offline block")}) {
    append(
        page,
        "<li><svg class=\"swatch\" viewBox=\"0 0 12 12\" aria-hidden=\"true\"><rect class=\"{}\" "
        "width=\"12\" height=\"12\"/></svg>{}</li>\n",
        name, what);
  }
  page += "</ul>\n";
}

void write_huge_pages(std::string& page, const ReportModel& model) {
  for (const HugePageFacts& huge : model.huge_pages) {
    append(
        page, "<li>Huge pages of {}: {} a faulty frame, so {} cannot be had in such pages.</li>\n",
        to_human_size(huge.size), huge.touched == 1 ? "1 holds" : grouped(huge.touched) + " hold",
        to_human_size(huge.touched * huge.size));
  }
}

void write_map(std::string& page, const ReportModel& model) {
  page += "<h2 id=\"map\">Map of physical memory</h2>\n";
  append(
      page,
      "<p>Each tile is {}, each row {}; a tile shows the worst of what is in it. Addresses where "
      "there is no memory are left out.</p>\n<div class=\"scroll\">{}</div>\n",
      to_human_size(model.map.tile_bytes()), to_human_size(model.map.tile_bytes() * kTilesInRow),
      draw_map(model));
  write_legend(page);
  page += "<ul>\n";
  write_huge_pages(page, model);
  if (model.blocks != 0) {
    append(page, "<li>Memory blocks: {} of {}; {} a faulty frame, {} offline.</li>\n",
           grouped(model.blocks), to_human_size(model.block_bytes),
           model.blocks_touched == 1 ? "1 holds" : grouped(model.blocks_touched) + " hold",
           model.blocks_offline == 1 ? "1 is" : grouped(model.blocks_offline) + " are");
  }
  for (const NodeFacts& node : model.nodes) {
    append(page, "<li>Node {}: {} of memory, {} of it faulty.</li>\n", node.node,
           to_human_size(node.memory), to_human_size(node.faulty));
  }
  if (model.map.outside() != 0) {
    append(
        page, "<li>{} where this machine has no memory and {} not on the map.</li>\n",
        model.map.outside() == 1 ? "1 record lies" : grouped(model.map.outside()) + " records lie",
        model.map.outside() == 1 ? "is" : "are");
  }
  page += "</ul>\n";
}

// ---- where in the devices

std::string name_of(const DeviceFacts& device) {
  if (device.label.empty()) return to_text(device.place);
  const std::string place = to_text(device.place);
  return place.empty() ? device.label : fmt::format("{} ({})", device.label, place);
}

void write_device(std::string& page, const DeviceFacts& device) {
  const FaultPattern pattern = device.cells.pattern();
  append(page,
         "<article class=\"card\"><div class=\"head\"><h3>{}</h3><span "
         "class=\"chip\">{}</span></div>\n"
         "<p class=\"soft\">{}; {}.",
         html_text(name_of(device)), to_word(pattern.shape), grouped_count(device.errors, "error"),
         to_text(pattern));
  const FaultCells& cells = device.cells;
  if (cells.rows_a_place() != 1 || cells.columns_a_place() != 1) {
    append(page, " Too many to draw each: a dot is {} by {}.",
           grouped_count(cells.rows_a_place(), "row"),
           grouped_count(cells.columns_a_place(), "column"));
  }
  if (cells.banks().size() > kMostDrawnBanks) {
    append(page, " {} with fewer places are not drawn.",
           grouped_count(cells.banks().size() - kMostDrawnBanks, "bank"));
  }
  if (cells.not_placed() != 0 && !cells.places().empty()) {
    append(page, " {} name no bank or no row.", grouped_count(cells.not_placed(), "error"));
  }
  append(page, "</p>\n{}</article>\n", draw_cells(cells));
}

void write_devices(std::string& page, const ReportModel& model) {
  page += "<h2 id=\"cells\">Where in the modules</h2>\n";
  if (model.devices.empty()) {
    page += "<p>No source has named a module or a place in one.</p>\n";
    return;
  }
  page +=
      "<p>As the sources of the errors name them: rows downwards, columns across each bank (r: "
      "rank, "
      "g: bank group, b: bank). A pattern is what nine tenths of the places share.</p>\n"
      "<div class=\"devices\">\n";
  const std::size_t drawn = std::min(model.devices.size(), kMostDrawnDevices);
  for (std::size_t i = 0; i < drawn; ++i) write_device(page, model.devices[i]);
  page += "</div>\n";
  std::uint64_t errors = model.devices_left_out;
  for (std::size_t i = drawn; i < model.devices.size(); ++i) errors += model.devices[i].errors;
  if (errors != 0) {
    append(page,
           "<p class=\"aside\">{} at other devices, with fewer each, are not shown here; "
           "<code>poisonctl "
           "list --json</code> names the device of each record.</p>\n",
           grouped_count(errors, "error"));
  }
}

// ---- when, and by whom

std::string step_text(std::chrono::minutes step) {
  constexpr int kDay = 24 * 60;
  const auto minutes = step.count();
  if (minutes >= kDay) return grouped_count(static_cast<std::uint64_t>(minutes / kDay), "day");
  if (minutes >= 60) return grouped_count(static_cast<std::uint64_t>(minutes / 60), "hour");
  return grouped_count(static_cast<std::uint64_t>(minutes), "minute");
}

void write_time_line(std::string& page, const ReportModel& model) {
  page += "<h2 id=\"time\">Time line</h2>\n";
  if (model.time_line.steps().empty()) {
    page += "<p>The log is empty.</p>\n";
    return;
  }
  append(page,
         "<p>By the clock of the source where it has one, else when it was recorded. A bar is {}; "
         "each "
         "lane has a scale of its own.</p>\n<div class=\"scroll\">{}</div>\n",
         step_text(model.time_line.step()), draw_time_line(model.time_line));
  page +=
      "<div class=\"scroll\"><table>\n<tr><th>Source</th><th class=\"number\">Entries</th><th "
      "class=\"number\">Errors</th><th>First</th><th>Newest</th><th>Recorded by</th></tr>\n";
  for (const auto& [name, facts] : model.sources) {
    append(page,
           "<tr><td>{}</td><td class=\"number\">{}</td><td class=\"number\">{}</td><td "
           "class=\"nowrap\">"
           "{}</td><td class=\"nowrap\">{}</td><td class=\"words\">{}{}</td></tr>\n",
           html_text(name), grouped(facts.entries), grouped(facts.errors), short_time(facts.first),
           short_time(facts.last), html_text(facts.tool),
           facts.origin.empty() ? "" : ", from " + html_text(facts.origin));
  }
  page += "</table></div>\n";
  if (model.sources_left_out != 0) {
    append(page, "<p class=\"aside\">{} of further sources are not in this table.</p>\n",
           grouped_count(model.sources_left_out, "event"));
  }
  if (model.without_place != 0 || model.of_other_hosts != 0) {
    append(
        page,
        "<p class=\"aside\">{} no address and {} about other hosts: <code>poisonctl list "
        "--all</code>.</p>\n",
        model.without_place == 1 ? "1 entry names" : grouped(model.without_place) + " entries name",
        model.of_other_hosts == 1 ? "1 is" : grouped(model.of_other_hosts) + " are");
  }
}

// ---- what is retired

std::string_view explained(Retirement retirement) {
  switch (retirement) {
    case Retirement::kPending:
      return "in use or free: the kernel may hand it out";
    case Retirement::kEffective:
      return "nobody can get it in this boot";
    case Retirement::kFailed:
      return "the kernel flagged it and uses it all the same";
    case Retirement::kUnknown:
      return "the flags cannot tell, or nobody has looked in this boot";
  }
  return "";
}

void write_replay(std::string& page, const ReportModel& model) {
  constexpr std::size_t kMostNamed = 20;
  if (!model.replay) {
    page += "<p>No replay has reported in this boot.</p>\n";
    return;
  }
  const ReplayReport& replay = *model.replay;
  append(page, "<p>The newest replay of this boot ({}, {}): {}.</p>\n",
         replay.stage == ReplayStage::kInitramfs ? "in the initramfs" : "by the service",
         when(replay.time), html_text(summary_of(replay)));
  std::size_t named = 0;
  std::size_t all = 0;
  for (const ReportedRun& run : replay.runs) {
    if (run.state != ReplayState::kTaken && run.state != ReplayState::kFailed) continue;
    if (named == 0) page += "<ul>\n";
    if (++all > kMostNamed) continue;
    ++named;
    append(page, "<li>{} is in use: {} ({})</li>\n", range_code(run.range), html_text(run.how),
           to_word(run.use));
  }
  if (named != 0) page += "</ul>\n";
  if (all > named) {
    append(page,
           "<p class=\"aside\">{} more are in use: <code>poisonctl status --json</code>.</p>\n",
           grouped_count(all - named, "range"));
  }
}

void write_retired(std::string& page, const ReportModel& model) {
  page += "<h2 id=\"retired\">What is retired, and by what</h2>\n";
  page +=
      "<p>Read from the page flags of this kernel, never assumed from what it answered.</p>\n"
      "<div class=\"scroll\"><table>\n<tr><th>State</th><th class=\"number\">Records</th><th "
      "class=\"number\">Frames</th><th>Meaning</th></tr>\n";
  for (const Retirement retirement :
       {Retirement::kEffective, Retirement::kPending, Retirement::kFailed, Retirement::kUnknown}) {
    const Tally& tally = model.retirement.at(static_cast<std::size_t>(retirement));
    append(page,
           "<tr><td>{}</td><td class=\"number\">{}</td><td class=\"number\">{}</td><td "
           "class=\"words\">"
           "{}</td></tr>\n",
           to_word(retirement), grouped(tally.records), grouped(frames_of(model, tally)),
           explained(retirement));
  }
  page += "</table></div>\n";
  if (!model.how.empty()) {
    page +=
        "<div class=\"scroll\"><table class=\"narrow\">\n<tr><th>What the flags said</th><th "
        "class=\"number\">Records</th></tr>\n";
    for (const auto& [how, records] : model.how) {
      append(page, "<tr><td class=\"words\">{}</td><td class=\"number\">{}</td></tr>\n",
             html_text(how), grouped(records));
    }
    page += "</table></div>\n";
  }
  if (model.hardware_corrupted) {
    append(page, "<p>The kernel itself counts {} as poisoned (HardwareCorrupted).</p>\n",
           to_human_size(*model.hardware_corrupted));
  }
  write_replay(page, model);
}

// ---- findings

std::string_view tone_of(FindingSeverity severity) {
  switch (severity) {
    case FindingSeverity::kError:
      return "bad";
    case FindingSeverity::kWarning:
      return "warn";
    case FindingSeverity::kNote:
      return "";
  }
  return "";
}

void write_findings(std::string& page, const ReportModel& model) {
  page += "<h2 id=\"findings\">Findings</h2>\n";
  if (model.findings.empty()) {
    page += "<p>The records fit this machine: the checks found nothing.</p>\n";
  }
  for (const RuleFacts& facts : model.findings) {
    std::vector<std::string> examples;
    for (const ByteRange& range : facts.examples) examples.push_back(range_code(range));
    const std::uint64_t more = facts.findings - facts.examples.size();
    append(
        page,
        "<article class=\"card\"><div class=\"head\"><h3>{}</h3><span class=\"chip {}\">{}</span>"
        "<span class=\"soft\">{}</span></div>\n<p>Such a range {}{}; {}.</p>\n"
        "<p class=\"soft\">{}{}</p></article>\n",
        facts.rule->id, tone_of(facts.rule->severity), to_word(facts.rule->severity),
        grouped_count(facts.findings, "finding"), html_text(facts.rule->reason, 400),
        facts.detail.empty() ? "" : " (" + html_text(facts.detail, 400) + ")",
        html_text(facts.rule->advice, 400), fmt::join(examples, ", "),
        more == 0 ? "" : fmt::format(" and {} more: <code>poisonctl check</code>", grouped(more)));
  }
  if (model.checked_in_parts) {
    page +=
        "<p class=\"aside\">There are so many records that they were checked piece by piece, and "
        "sources were only compared within a piece. <code>poisonctl check</code> compares "
        "all.</p>\n";
  }
  for (const std::string& sentence : model.not_known) {
    append(page, "<p class=\"aside\">Not looked at: {}</p>\n", html_text(sentence, 400));
  }
}

// ---- records and what is behind them

// When it was seen: one line, or the first and the newest.
std::string seen(const Record& record) {
  if (record.first_seen == record.last_seen) return short_time(record.first_seen);
  return fmt::format("{}<br>{}", short_time(record.first_seen), short_time(record.last_seen));
}

void write_record_table(std::string& page, const ReportModel& model) {
  page +=
      "<div class=\"scroll\"><table>\n<tr><th>Range</th><th>State</th><th>Worst</th><th "
      "class=\"number\">Errors</th><th>Seen first, last</th><th>Sources</th><th>Module</th></tr>\n";
  for (const ShownRecord& shown : model.shown) {
    const Record& record = shown.record;
    append(page,
           "<tr><td class=\"nowrap\">{}<br><span class=\"aside\">{}{}</span></td><td>{}</td><td>{}"
           "</td><td class=\"number\">{}</td><td class=\"nowrap\">{}</td><td>{}</td><td "
           "class=\"words\">{}</td></tr>\n",
           range_code(record.range), record.is_exact(model.machine.page_shift) ? "" : "among ",
           grouped_count(record.range.frame_count(model.machine.page_shift), "frame"),
           status(shown.standing), to_word(record.severity), grouped(record.events), seen(record),
           html_text(fmt::format("{}", fmt::join(record.sources, ", "))),
           shown.modules.empty()
               ? html_text(record.label)
               : html_text(fmt::format("{}", fmt::join(shown.modules, " or ")), 300));
  }
  page += "</table></div>\n";
}

void write_event(std::string& page, const StoredEvent& stored) {
  constexpr std::size_t kEvidence = 400;
  const Event& event = stored.event;
  const Provenance& by = stored.provenance;
  append(page, "<li><span class=\"when\">{}</span><span><strong>{}</strong>{}{} by {}",
         short_time(time_seen(event, by)), to_word(event.kind),
         event.count == 1 ? "" : fmt::format(" &times;{}", grouped(event.count)),
         state_word(event).empty() ? "" : fmt::format(" {}", state_word(event)),
         html_text(by.source));
  if (!by.origin.empty()) append(page, ", from {}", html_text(by.origin));
  if (!event.label.empty()) append(page, "; {}", html_text(event.label));
  if (event.dram != DramCoordinates{}) append(page, "; {}", to_text(event.dram));
  if (!event.result.empty()) append(page, "; kernel: {}", html_text(event.result));
  append(page, "<br><span class=\"aside\">entry {}, recorded {} by {}, user {}, boot {}{}</span>",
         stored.id, short_time(by.time), html_text(by.tool), by.uid, html_text(by.boot_id),
         by.kernel_release.empty() ? "" : ", Linux " + html_text(by.kernel_release));
  if (!event.evidence.empty()) {
    append(page, "<br><code>{}</code>", html_text(event.evidence, kEvidence));
  }
  page += "</span></li>\n";
}

void write_told(std::string& page, const ReportModel& model, const ShownRecord& shown) {
  const Record& record = shown.record;
  append(page,
         "<article class=\"card\"><div class=\"head\">{}{}<span class=\"soft\">{}</span></div>\n",
         range_code(record.range), status(shown.standing),
         grouped_count(record.range.frame_count(model.machine.page_shift), "frame"));
  std::vector<std::string> facts;
  if (!shown.modules.empty()) {
    facts.push_back("Module " +
                    html_text(fmt::format("{}", fmt::join(shown.modules, " or ")), 300));
  }
  if (!record.label.empty()) facts.push_back("Named " + html_text(record.label));
  if (record.dram != DramCoordinates{}) facts.push_back(to_text(record.dram));
  if (record.outcome_boot_id == model.machine.boot_id && !record.outcome_how.empty()) {
    facts.push_back("This kernel: " + html_text(record.outcome_how));
  }
  if (record.condition == Condition::kQuarantined) {
    facts.push_back("Quarantined: " + html_text(record.quarantine_reason, 400));
  }
  if (record.condition == Condition::kResolved) {
    facts.push_back(fmt::format("{} {}: {}", to_word(record.resolution), when(record.resolved),
                                html_text(record.resolution_reason, 400)));
  }
  if (record.reopened != 0) {
    facts.push_back(
        fmt::format("Opened again {} by a later error",
                    record.reopened == 1 ? "once" : grouped(record.reopened) + " times"));
  }
  if (!facts.empty()) append(page, "<p>{}.</p>\n", fmt::join(facts, ". "));
  page += "<ul class=\"trail\">\n";
  for (std::size_t i = 0; i < shown.events.size(); ++i) {
    if (i == kFirstEvents && shown.events_between != 0) {
      append(
          page,
          "<li><span class=\"when\"></span><span class=\"soft\">{} between: <code>poisonctl show "
          "{:#x}+{}</code></span></li>\n",
          shown.events_between == 1 ? "1 entry" : grouped(shown.events_between) + " entries",
          record.range.begin().value(), record.range.size());
    }
    write_event(page, shown.events[i]);
  }
  page += "</ul></article>\n";
}

void write_records(std::string& page, const ReportModel& model) {
  page += "<h2 id=\"records\">Frames and their provenance</h2>\n";
  if (model.shown.empty()) {
    page += "<p>There are no records.</p>\n";
    return;
  }
  if (model.records_left_out == 0) {
    append(page, "<p>{}, those to look at first on top.</p>\n",
           model.records() == 1 ? "The one record"
                                : "All " + grouped_count(model.records(), "record"));
  } else {
    append(
        page,
        "<p>The {} records to look at first. The other {} are in the counts, the map, the drawings "
        "and the findings above and not in this list; <code>poisonctl list --json</code> has "
        "all.</p>\n",
        model.shown.size(), grouped(model.records_left_out));
  }
  write_record_table(page, model);
  page += "<h3>What is behind each</h3>\n";
  for (std::size_t i = 0; i < std::min(model.shown.size(), kMostTold); ++i) {
    write_told(page, model, model.shown[i]);
  }
  if (model.shown.size() > kMostTold) {
    append(page,
           "<p class=\"aside\">Of the first {} records; <code>poisonctl show RANGE</code> tells "
           "of any other.</p>\n",
           kMostTold);
  }
}

}  // namespace

std::string render_page(const ReportModel& model) {
  std::string page;
  append(
      page,
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta "
      "name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<meta "
      "name=\"color-scheme\" content=\"light dark\">\n<meta name=\"generator\" content=\"poisonctl "
      "{}\">\n<title>Memory that failed, {}</title>\n<style>\n{}</style>\n</head>\n<body>\n",
      kVersion, when(model.made), kPageStyle);
  page += mark_definitions();
  page += "<main>\n";
  write_top(page, model);
  write_summary(page, model);
  write_modules(page, model);
  write_map(page, model);
  write_devices(page, model);
  write_time_line(page, model);
  write_retired(page, model);
  write_findings(page, model);
  write_records(page, model);
  if (model.entries_since != 0) {
    append(
        page,
        "<p class=\"aside\">While this page was made, {} were written to the log; some of them may "
        "be in it.</p>\n",
        model.entries_since == 1
            ? "1 entry"
            : grouped(static_cast<std::uint64_t>(model.entries_since)) + " entries");
  }
  return page;
}

}  // namespace poisonctl
