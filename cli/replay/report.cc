#include "cli/replay/report.h"

#include <fmt/format.h>

#include <array>
#include <iterator>

#include "registry/text.h"

namespace poisonctl {

namespace {

constexpr std::string_view kSchema = "poisonctl/replay-v1";
constexpr std::size_t kStates = 8;
constexpr std::size_t kMostReportBytes = 512U << 20U;  // a list of a million scattered frames

Json handover_json(const SeenHandover& seen) {
  Json findings = Json::array();
  for (const auto& finding : seen.findings) {
    findings.push_back({{"rule", finding.rule}, {"message", finding.message}});
  }
  return {{"from", seen.from},
          {"trust", seen.trust},
          {"generation", seen.generation},
          {"used", seen.used},
          {"findings", std::move(findings)}};
}

Json head_json(const ReplayReport& report) {
  Json counts = Json::object();
  const auto frames = count_states(report);
  for (std::size_t state = 0; state < kStates; ++state) {
    counts[std::string(to_word(static_cast<ReplayState>(state)))] = frames.at(state);
  }
  Json handovers = Json::array();
  for (const SeenHandover& seen : report.handovers) handovers.push_back(handover_json(seen));
  return {{"schema", kSchema},
          {"stage", to_word(report.stage)},
          {"time", to_rfc3339(report.time)},
          {"boot_id", report.boot_id},
          {"kernel_release", report.kernel_release},
          {"page_size", report.page_size},
          {"generation", report.generation},
          {"dry_run", report.dry_run},
          {"stopped", report.stopped},
          {"flags_read", report.flags_read},
          {"not_replayed", report.not_replayed},
          {"orders", report.orders},
          {"duration_us", report.duration.count()},
          {"frames", std::move(counts)},
          {"handovers", std::move(handovers)}};
}

std::string dumped(const Json& json) {
  // Texts come from files: what is no UTF-8 must not throw.
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

// There may be a run for each frame, and the boot waits: an object each would take many times
// longer.
void add_run(std::string& text, const ReportedRun& run) {
  fmt::format_to(std::back_inserter(text),
                 "{{\"address\":{},\"size\":{},\"state\":\"{}\",\"use\":\"{}\","
                 "\"retirement\":\"{}\",\"errno\":{},\"how\":",
                 run.range.begin().value(), run.range.size(), to_word(run.state), to_word(run.use),
                 to_word(run.retirement), run.error);
  text += dumped(Json(run.how));
  text += '}';
}

// Reads fields of one object; the first that is missing or of another kind is remembered.
class Fields {
 public:
  Fields(const Json& object, std::string& problem) : object_(object), problem_(problem) {}

  [[nodiscard]] std::uint64_t number(const char* name) const {
    const Json* const field = find(name, "a number", &Json::is_number_unsigned);
    return field == nullptr ? 0 : field->get<std::uint64_t>();
  }
  [[nodiscard]] bool flag(const char* name) const {
    const Json* const field = find(name, "true or false", &Json::is_boolean);
    return field != nullptr && field->get<bool>();
  }
  [[nodiscard]] std::string text(const char* name) const {
    const Json* const field = find(name, "a text", &Json::is_string);
    return field == nullptr ? std::string() : field->get<std::string>();
  }
  [[nodiscard]] const Json& list(const char* name) const {
    static const Json kNone = Json::array();
    const Json* const field = find(name, "a list", &Json::is_array);
    return field == nullptr ? kNone : *field;
  }
  // A text that `known` turns into a value.
  template <typename T>
  [[nodiscard]] T word(const char* name, std::optional<T> (*known)(std::string_view)) const {
    const auto value = known(text(name));
    if (!value) wrong(name, "a known word");
    return value.value_or(T{});
  }
  [[nodiscard]] ByteRange range() const {
    const auto range = ByteRange::from_size(PhysAddr(number("address")), number("size"));
    if (!range) wrong("address", "a range of physical memory");
    return range.value_or(*ByteRange::from_size(PhysAddr(0), 1));
  }
  void wrong(const char* name, const char* expected) const {
    if (problem_.empty()) problem_ = fmt::format("expected {} as '{}'", expected, name);
  }

 private:
  const Json* find(const char* name, const char* expected, bool (Json::*is_right)() const) const {
    const auto field = object_.is_object() ? object_.find(name) : object_.end();
    if (!object_.is_object() || field == object_.end() || !((*field).*is_right)()) {
      wrong(name, expected);
      return nullptr;
    }
    return &*field;
  }

  const Json& object_;
  std::string& problem_;
};

std::optional<ReplayStage> stage_from(std::string_view word) {
  if (word == to_word(ReplayStage::kInitramfs)) return ReplayStage::kInitramfs;
  if (word == to_word(ReplayStage::kService)) return ReplayStage::kService;
  return std::nullopt;
}

SeenHandover handover_in(const Json& json, std::string& problem) {
  const Fields fields(json, problem);
  SeenHandover seen{.from = fields.text("from"),
                    .trust = fields.text("trust"),
                    .generation = fields.number("generation"),
                    .used = fields.flag("used"),
                    .findings = {}};
  for (const Json& entry : fields.list("findings")) {
    const Fields finding(entry, problem);
    seen.findings.push_back({finding.text("rule"), finding.text("message")});
  }
  return seen;
}

ReportedRun run_in(const Json& json, std::string& problem) {
  const Fields fields(json, problem);
  constexpr std::uint64_t kLargestErrno = 4095;  // MAX_ERRNO of the kernel
  const std::uint64_t error = fields.number("errno");
  if (error > kLargestErrno) fields.wrong("errno", "an error number");
  return {.range = fields.range(),
          .state = fields.word("state", replay_state_from),
          .use = fields.word("use", frame_use_from),
          .retirement = fields.word("retirement", retirement_from),
          .error = static_cast<int>(std::min(error, kLargestErrno)),
          .how = fields.text("how")};
}

RangeSet ranges_in(const Json& list, std::string& problem) {
  std::vector<ByteRange> ranges;
  for (const Json& entry : list) ranges.push_back(Fields(entry, problem).range());
  return RangeSet::from_ranges(std::move(ranges));
}

ReplayReport report_in(const Json& json, std::string& problem) {
  const Fields fields(json, problem);
  ReplayReport report;
  report.stage = fields.word("stage", stage_from);
  report.time = fields.word("time", time_from_rfc3339);
  report.boot_id = fields.text("boot_id");
  report.kernel_release = fields.text("kernel_release");
  report.page_size = fields.number("page_size");
  if (!PageShift::from_page_size(report.page_size)) fields.wrong("page_size", "a page size");
  report.generation = fields.number("generation");
  report.dry_run = fields.flag("dry_run");
  report.stopped = fields.flag("stopped");
  report.flags_read = fields.flag("flags_read");
  report.not_replayed = fields.text("not_replayed");
  report.orders = fields.number("orders");
  report.duration = std::chrono::microseconds(
      static_cast<std::int64_t>(fields.number("duration_us") & INT64_MAX));
  for (const Json& entry : fields.list("handovers")) {
    report.handovers.push_back(handover_in(entry, problem));
  }
  for (const Json& entry : fields.list("ranges")) report.runs.push_back(run_in(entry, problem));
  report.doubts.kept = ranges_in(fields.list("kept"), problem);
  report.doubts.unsure = ranges_in(fields.list("unsure"), problem);
  for (const Json& entry : fields.list("refused")) {
    const Fields refusal(entry, problem);
    report.refused.push_back({refusal.range(), refusal.text("reason")});
  }
  return report;
}

}  // namespace

std::string_view to_word(ReplayStage stage) {
  return stage == ReplayStage::kInitramfs ? "initramfs" : "service";
}

ReplayReport report_of(const Machine& machine, ReplayStage stage) {
  ReplayReport report;
  report.stage = stage;
  report.boot_id = machine.boot_id;
  report.kernel_release = machine.kernel_release;
  report.page_size = machine.page_shift.page_size();
  return report;
}

bool all_out_of_use(const ReplayReport& report) {
  for (const ReportedRun& run : report.runs) {
    if (run.retirement != Retirement::kEffective) return false;
  }
  return report.not_replayed.empty() && report.refused.empty();
}

std::vector<std::uint64_t> count_states(const ReplayReport& report) {
  std::vector<std::uint64_t> frames(kStates);
  const auto shift = PageShift::from_page_size(report.page_size);
  if (!shift) return frames;
  for (const ReportedRun& run : report.runs) {
    frames.at(static_cast<std::size_t>(run.state)) += run.range.frame_count(*shift);
  }
  return frames;
}

void add_result(ReplayReport& report, const ReplayResult& result) {
  report.flags_read = result.flags_read;
  report.stopped = result.stopped;
  report.orders = result.orders;
  report.doubts = result.doubts;
  report.runs.reserve(result.runs.size());
  for (const ReplayRun& run : result.runs) {
    report.runs.push_back({run.range, run.state, run.use, run.retirement, run.error, run.how});
  }
}

std::string summary_of(const ReplayReport& report) {
  if (!report.not_replayed.empty()) return "nothing was replayed: " + report.not_replayed;
  constexpr std::array<std::string_view, kStates> kWords = {
      "retired",       "were already",  "left out of the memory map",
      "not there now", "in use",        "not retired",
      "not asked for", "cannot be told"};
  std::string text;
  const auto frames = count_states(report);
  for (std::size_t state = 0; state < kStates; ++state) {
    if (frames.at(state) == 0) continue;
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", frames.at(state), kWords.at(state));
  }
  if (text.empty()) text = "no frame to retire";
  if (!report.refused.empty()) {
    text += fmt::format("; {} refused", counted(report.refused.size(), "range"));
  }
  if (report.stopped) text += "; it was stopped";
  return text;
}

std::string to_text(const ReplayReport& report) {
  std::string text = dumped(head_json(report));
  text.pop_back();  // the closing brace: lists follow, one entry at a time
  text += ",\"ranges\":[";
  for (const ReportedRun& run : report.runs) {
    if (text.back() != '[') text += ',';
    add_run(text, run);
  }
  text += "],\"kept\":";
  text += dumped(to_json(report.doubts.kept));
  text += ",\"unsure\":";
  text += dumped(to_json(report.doubts.unsure));
  text += ",\"refused\":[";
  for (const Refusal& refusal : report.refused) {
    if (text.back() != '[') text += ',';
    Json entry = to_json(refusal.range);
    entry["reason"] = refusal.reason;
    text += dumped(entry);
  }
  text += "]}\n";
  return text;
}

Result<ReplayReport> parse_report(std::string_view text, const std::string& shown) {
  const Json json = Json::parse(text, nullptr, false);
  if (json.is_discarded()) {
    return Error{ErrorCode::kBadData, shown + ": expected one JSON object, " +
                                          std::string(kSchema) + "; remove the file"};
  }
  std::string problem;
  const std::string schema = Fields(json, problem).text("schema");
  if (schema != kSchema) {
    return Error{ErrorCode::kUnknownForm, fmt::format("{}: expected the schema {}, found '{}'",
                                                      shown, kSchema, printable(schema))};
  }
  ReplayReport report = report_in(json, problem);
  if (!problem.empty()) {
    return Error{ErrorCode::kBadData, fmt::format("{}: {}; remove the file", shown, problem)};
  }
  return report;
}

Result<std::optional<ReplayReport>> read_report(const SysRoot& sysroot,
                                                const std::string& boot_id) {
  const auto text = sysroot.read(kReportPath, kMostReportBytes);
  if (!text) {
    if (text.error().code == ErrorCode::kNoInput) return std::optional<ReplayReport>();
    return text.error();
  }
  auto report = parse_report(*text, sysroot.shown(kReportPath));
  if (!report) return report.error();
  if (report->boot_id != boot_id) return std::optional<ReplayReport>();
  return std::optional(*std::move(report));
}

Result<void> write_report(const SysRoot& sysroot, const ReplayReport& report) {
  constexpr mode_t kMode = 0640;
  return sysroot.replace_file(kReportPath, to_text(report), kMode);
}

RangeSet settled_by(const ReplayReport& report) {
  std::vector<ByteRange> settled;
  for (const ReportedRun& run : report.runs) {
    // Memory that is absent may come, and nobody has looked at it.
    const bool is_settled =
        run.retirement == Retirement::kEffective && run.state != ReplayState::kAbsent;
    if (is_settled) settled.push_back(run.range);
  }
  return RangeSet::from_ranges(std::move(settled));
}

}  // namespace poisonctl
