#include "cli/steps.h"

#include <fmt/format.h>
#include <linux/kernel-page-flags.h>

#include <algorithm>
#include <array>
#include <map>

#include "backends/command_line.h"
#include "cli/config.h"
#include "cli/replay/turn.h"
#include "registry/checkpoint.h"
#include "registry/generation.h"
#include "registry/handover.h"
#include "registry/range_text.h"
#include "registry/signing.h"
#include "registry/sources/file_stream.h"
#include "registry/text.h"
#include "registry/topology.h"
#include "registry/trust.h"

namespace poisonctl {

namespace {

namespace po = boost::program_options;

// Which state of a part says most about the whole.
int gravity(Retirement retirement) {
  switch (retirement) {
    case Retirement::kFailed:
      return 3;
    case Retirement::kPending:
      return 2;
    case Retirement::kUnknown:
      return 1;
    case Retirement::kEffective:
      return 0;
  }
  return 0;
}

RangeSet faulty_frames(const std::vector<Record>& records, PageShift shift) {
  std::vector<ByteRange> ranges;
  for (const Record& record : records) {
    if (record.condition == Condition::kFaulty) ranges.push_back(record.range.widened_to(shift));
  }
  return RangeSet::from_ranges(std::move(ranges));
}

// The parts of `runs` (sorted, disjoint) that lie in `range`.
std::vector<RetirementRun> runs_within(std::span<const RetirementRun> runs,
                                       const ByteRange& range) {
  std::vector<RetirementRun> inside;
  auto run = std::upper_bound(
      runs.begin(), runs.end(), range.begin(),
      [](PhysAddr begin, const RetirementRun& candidate) { return begin < candidate.range.end(); });
  for (; run != runs.end() && run->range.overlaps(range); ++run) {
    const PhysAddr begin = std::max(run->range.begin(), range.begin());
    const PhysAddr last = std::min(run->range.last(), range.last());
    inside.push_back({*ByteRange::from_last(begin, last), run->retirement, run->how});
  }
  return inside;
}

// When the newest event of the list was recorded: not the time of this run, so that the same
// registry gives the same handover.
Result<Time> time_of_list(Store& store) {
  const auto id = store.newest_change();
  if (!id) return id.error();
  const auto newest = store.event(static_cast<std::int64_t>(*id));
  if (!newest) return newest.error();
  return *newest ? (*newest)->provenance.time : Time{};
}

Result<Handover> make_content(Invocation& invocation, const LoadedList& loaded) {
  const auto machine = invocation.machine();
  if (!machine) return machine.error();
  const auto topology = invocation.topology();
  if (!topology) return topology.error();
  auto store = invocation.open_store(Store::Mode::kRead);
  if (!store) return store.error();
  const RetireList& list = loaded.checked.list;
  const auto created = time_of_list(*store);
  if (!created) return created.error();
  std::vector<Claim> claims;
  claims.reserve(loaded.records.size());
  for (const Record& record : loaded.records) claims.push_back(claim_of(record));
  HandoverRanges ranges = handover_ranges(claims, list);
  if (ranges.left_out != 0) {
    invocation.output().warning(fmt::format(
        "{} that nobody retires (suspect, resolved, in quarantine) found no room in the list, "
        "which has at most {}; all that is to be retired is in it",
        counted(ranges.left_out, "range"), kMostHandoverRanges));
  }
  return Handover{.generation = list.generation,
                  .created = *created,
                  .host = host_digest(**machine),
                  .topology = memory_digest((*topology)->topology),
                  .page_shift = list.page_shift,
                  .ranges = std::move(ranges.ranges),
                  .unknown = {}};
}

// Takes `doubted` out of what the flags call isolated, alone or with a hugetlb page: of those
// frames they do not tell it.
std::vector<RetirementRun> with_doubt(std::vector<RetirementRun> runs, const RangeSet& doubted,
                                      Retirement retirement, std::string_view how) {
  const FrameView isolated{.flags = PageFlagWord{1} << unsigned{KPF_HWPOISON}};
  const std::string_view how_isolated = classify_frame(isolated).how;
  std::vector<RetirementRun> told;
  for (RetirementRun& run : runs) {
    const bool is_isolated = run.how == how_isolated || run.how == kHowHugetlb;
    if (!is_isolated || !doubted.overlaps(run.range)) {
      told.push_back(std::move(run));
      continue;
    }
    const RangeSet inside = doubted.within(run.range);
    const RangeSet outside = RangeSet::from_ranges({run.range}).minus(inside);
    for (const ByteRange& part : outside.ranges()) {
      told.push_back({part, run.retirement, run.how});
    }
    for (const ByteRange& part : inside.ranges()) {
      told.push_back({part, retirement, std::string(how)});
    }
  }
  std::sort(told.begin(), told.end(),
            [](const auto& a, const auto& b) { return a.range < b.range; });
  return told;
}

bool lies_in(std::span<const RetirementRun> runs, const ByteRange& range) {
  std::uint64_t bytes = 0;
  for (const RetirementRun& run : runs) bytes += run.range.size();
  return bytes == range.size();
}

}  // namespace

void JoinedOutcome::add(const Result<ExitStatus>& done) {
  if (done) {
    if (*done != kExitDone) status_ = *done;
  } else if (first_) {
    output_.warning(done.error().message);
  } else {
    first_ = done.error();
  }
}

Result<ExitStatus> JoinedOutcome::outcome() const {
  if (first_) return *first_;
  return status_;
}

Result<std::vector<Record>> load_records(Invocation& invocation, Store& store) {
  const auto quarantine = invocation.quarantine(store);
  if (!quarantine) return quarantine.error();
  std::vector<Record> records;
  auto read = store.for_each_record([&](const Record& record) {
    records.push_back(record);
    static_cast<void>(quarantine->apply(records.back()));
    return true;
  });
  if (!read) return read.error();
  return records;
}

void add_list_options(po::options_description& options) {
  options.add_options()("bounds", po::value<std::string>()->value_name("NAME=N,..."),
                        "how much the list may take: frames, per-mille, node-per-mille, floor, "
                        "hard-per-mille")("include-injected", "also what a test put there");
}

Result<ListPolicy> list_policy(Invocation& invocation) {
  const auto root = invocation.sysroot();
  if (!root) return root.error();
  const auto config = load_config(**root);
  if (!config) return config.error();
  ListPolicy policy;
  policy.checks.include_injected = invocation.has("include-injected");
  policy.bounds = config->bounds;
  if (invocation.has("bounds")) {
    const auto bounds = parse_bounds(invocation.option<std::string>("bounds"));
    if (!bounds) return bounds.error();
    policy.bounds = *bounds;
  }
  return policy;
}

void add_command_line_options(po::options_description& options) {
  options.add_options()("merge", po::value<std::string>()->value_name("TEXT"),
                        "put the option into this command line, in place of an older one of ours")(
      "merge-file", po::value<std::string>()->value_name("FILE"),
      "the same for the command line in FILE (- is standard input)")(
      "loader", po::value<std::string>()->value_name("kexec|boot"),
      "who starts the next kernel: kexec (the default, and right for both), or only a boot loader")(
      "widen", po::value<std::string>()->value_name("SIZE"),
      "when not all fits, join ranges less than SIZE apart: healthy memory is lost between them")(
      "reserve", po::value<std::string>()->value_name("QUOTES"),
      "write SIZE$ADDR, for where it is to stand: plain, shell, grub, grub-default");
}

namespace {

// What a command line file holds, without the end of its last line.
Result<std::string> read_command_line(const std::string& file) {
  auto stream = open_file_stream(file);
  if (!stream) return stream.error();
  auto text = read_all(**stream, kCommandLineLimit);
  if (text && text->ends_with('\n')) text->pop_back();
  return text;
}

// The value of option `name` out of a table of words; nothing when it is not given.
template <typename Value, std::size_t kSize>
Result<std::optional<Value>> chosen_word(
    const Invocation& invocation, const char* name,
    const std::array<std::pair<std::string_view, Value>, kSize>& words) {
  if (!invocation.has(name)) return std::optional<Value>();
  const auto& given = invocation.option<std::string>(name);
  std::string expected;
  for (const auto& [word, value] : words) {
    if (word == given) return std::optional<Value>(value);
    expected += fmt::format("{}{}", expected.empty() ? "" : ", ", word);
  }
  return Error{ErrorCode::kUsage,
               fmt::format("--{} '{}': expected one of {}", name, printable(given), expected)};
}

}  // namespace

Result<std::uint64_t> widening_of(const Invocation& invocation) {
  if (!invocation.has("widen")) return std::uint64_t{0};
  // A huge page: past that, healthy memory is all that would be given up.
  constexpr std::uint64_t kMost = 2U << 20U;
  const auto& given = invocation.option<std::string>("widen");
  const auto size = parse_size(given);
  if (!size || *size > kMost) {
    return Error{ErrorCode::kUsage, fmt::format("--widen '{}': expected a size of at most {}, such "
                                                "as 64K",
                                                printable(given), to_human_size(kMost))};
  }
  return *size;
}

Result<CommandLineRequest> command_line_request(const Invocation& invocation) {
  constexpr std::array<std::pair<std::string_view, Loader>, 2> kLoaders = {
      {{"kexec", Loader::kKexec}, {"boot", Loader::kBoot}}};
  constexpr std::array<std::pair<std::string_view, Quoting>, 4> kQuotes = {
      {{"plain", Quoting::kPlain},
       {"shell", Quoting::kShell},
       {"grub", Quoting::kGrub},
       {"grub-default", Quoting::kGrubDefault}}};
  CommandLineRequest request;
  const auto loader = chosen_word(invocation, "loader", kLoaders);
  if (!loader) return loader.error();
  const auto reserve = chosen_word(invocation, "reserve", kQuotes);
  if (!reserve) return reserve.error();
  const auto widen = widening_of(invocation);
  if (!widen) return widen.error();
  request.loader = loader->value_or(Loader::kKexec);
  request.reserve = *reserve;
  request.widen = *widen;
  if (invocation.has("merge") && invocation.has("merge-file")) {
    return Error{ErrorCode::kUsage, "--merge and --merge-file: expected one of them"};
  }
  if (invocation.has("merge")) request.merge = invocation.option<std::string>("merge");
  if (invocation.has("merge-file")) {
    auto text = read_command_line(invocation.option<std::string>("merge-file"));
    if (!text) return text.error();
    request.merge = *std::move(text);
  }
  return request;
}

Result<LoadedList> load_checked_list(Invocation& invocation, bool with_disagreements) {
  auto policy = list_policy(invocation);
  if (!policy) return policy.error();
  policy->checks.disagreements = with_disagreements;
  const auto machine = invocation.checked_machine();
  if (!machine) return machine.error();
  auto store = invocation.open_store(Store::Mode::kRead);
  if (!store) return store.error();
  const auto generation = list_generation(*store, invocation.registry_path());
  if (!generation) return generation.error();
  auto records = load_records(invocation, *store);
  if (!records) return records.error();
  CheckedList checked =
      make_retire_list(std::span<const Record>(*records), *machine, *policy, *generation);
  return LoadedList{.records = *std::move(records), .checked = std::move(checked)};
}

Result<RetireList> load_retire_list(Invocation& invocation) {
  auto loaded = load_checked_list(invocation);
  if (!loaded) return loaded.error();
  return std::move(loaded->checked.list);
}

Result<MadeHandover> make_handover(Invocation& invocation, const LoadedList& loaded,
                                   HandoverUse use) {
  const auto content = make_content(invocation, loaded);
  if (!content) return content.error();
  const std::string path = key_path(invocation.registry_path());
  const auto key =
      use == HandoverUse::kLook ? SigningKey::load(path) : SigningKey::load_or_make(path);
  if (!key) return key.error();
  auto blob = write_handover(*content, *key);
  if (!blob) return blob.error();
  if (use == HandoverUse::kHandOut) {
    auto store = invocation.open_store(Store::Mode::kRead);
    if (!store) return store.error();
    auto noted = note_handed_out(*store, invocation.registry_path(), content->generation);
    if (!noted) return noted.error();
  }
  return MadeHandover{.generation = content->generation,
                      .ranges = content->ranges.size(),
                      .blob = *std::move(blob)};
}

namespace {

Result<ImportSummary> store_all(Invocation& invocation, Store::Import& import,
                                std::span<const Event> events) {
  for (const Event& event : events) {
    if (auto added = import.add(event); !added) return added.error();
  }
  auto summary = import.commit();
  if (summary) report_import(invocation.output(), *summary);
  return summary;
}

// The newest observation after entry `id` that is about one of these ranges, if there is any.
Result<std::optional<StoredEvent>> observed_since(Store& store, std::int64_t id,
                                                  std::span<const Event> about) {
  std::vector<ByteRange> ranges;
  for (const Event& event : about) ranges.push_back(*event.range);
  const RangeSet all = RangeSet::from_ranges(std::move(ranges));
  std::optional<StoredEvent> found;
  auto read = store.for_each_event_after(id, [&](const StoredEvent& stored) {
    const Event& event = stored.event;
    const bool counts = is_observation(event.kind) && event.foreign_host.empty();
    if (counts && event.range && all.overlaps(*event.range)) found = stored;
    return true;
  });
  if (!read) return read.error();
  return found;
}

}  // namespace

Result<ImportSummary> store_events(Invocation& invocation, Store::Mode mode,
                                   const Provenance& provenance, std::span<const Event> events) {
  auto store = invocation.open_store(mode);
  if (!store) return store.error();
  auto import = store->begin_import(provenance, Store::Repeats::kCount);
  if (!import) return import.error();
  return store_all(invocation, *import, events);
}

namespace {

Result<std::vector<ByteRange>> poisoned_before(const std::string& registry,
                                               const std::string& boot_id) {
  auto store = Store::open(registry, Store::Mode::kWrite);
  if (store) return store->poisoned_in(kKernelSource, boot_id);
  if (store.error().code == ErrorCode::kNoInput) return std::vector<ByteRange>();
  return store.error();
}

// What was poisoned in this boot, and was not found so.
std::vector<Event> gone_since(const PageFlagScan& scan, PageShift shift) {
  std::vector<Event> events;
  if (!scan.poisoned_before || scan.found.scanned == 0) return events;
  std::vector<ByteRange> flagged;
  for (const Event& event : scan.found.events) flagged.push_back(*event.range);
  const RangeSet poisoned = RangeSet::from_ranges(std::move(flagged));
  for (const ByteRange& range : *scan.poisoned_before) {
    if (poisoned.overlaps(range)) continue;
    Event event;
    event.kind = EventKind::kUnpoisoned;
    event.range = range;
    event.granularity = shift.page_size();
    event.evidence =
        fmt::format("kpageflags: no HWPOISON there, {} bytes of RAM read, page_size={}",
                    scan.found.scanned, shift.page_size());
    events.push_back(std::move(event));
  }
  return events;
}

}  // namespace

Result<PageFlagScan> scan_page_flags(const std::string& registry, const SysRoot& sysroot,
                                     const Machine& machine, KernelSourceOptions options) {
  auto before = poisoned_before(registry, machine.boot_id);
  // The kernel counts nothing any more, too, when all of them are gone.
  options.full = options.full || (before && !before->empty());
  auto found = collect_from_kernel(sysroot, machine, options);
  if (!found) return found.error();
  return PageFlagScan{.poisoned_before = std::move(before), .found = *std::move(found)};
}

Result<StoredScan> store_scan(Invocation& invocation, const PageFlagScan& scan) {
  auto provenance = invocation.provenance(kKernelSource);
  if (!provenance) return provenance.error();
  provenance->source_version = provenance->kernel_release;
  StoredScan stored;
  if (!scan.found.events.empty()) {
    const auto summary =
        store_events(invocation, Store::Mode::kCreate, *provenance, scan.found.events);
    if (!summary) return summary.error();
    stored.poisoned = *summary;
  }
  const std::vector<Event> gone = gone_since(scan, provenance->page_shift);
  if (!gone.empty()) {
    // By itself: of these, too, another process may have stored some meanwhile.
    const auto summary = store_events(invocation, Store::Mode::kWrite, *provenance, gone);
    if (!summary) return summary.error();
    stored.unpoisoned = summary->added;
  }
  if (!scan.poisoned_before) return scan.poisoned_before.error();
  return stored;
}

std::string to_text(const StoredScan& stored, const std::string& registry) {
  const std::uint64_t flagged = stored.poisoned.added + stored.poisoned.known;
  std::string text;
  if (flagged != 0) {
    text = fmt::format("{} poisoned in page flags: {} recorded in {}, {} known from this boot",
                       flagged, stored.poisoned.added, registry, stored.poisoned.known);
  }
  if (stored.unpoisoned != 0) {
    text += fmt::format(
        "{}{} poisoned no more: somebody took the flag back, or the memory was "
        "removed. What is known of the hardware stays as it is",
        text.empty() ? "" : "; ", counted(stored.unpoisoned, "range"));
  }
  return text;
}

Result<ImportSummary> store_resolutions(Invocation& invocation, const Provenance& provenance,
                                        std::span<const Event> resolutions,
                                        std::int64_t read_up_to) {
  auto store = invocation.open_store(Store::Mode::kWrite);
  if (!store) return store.error();
  // From here on nobody else writes.
  auto import = store->begin_import(provenance, Store::Repeats::kCount);
  if (!import) return import.error();
  const auto failed = observed_since(*store, read_up_to, resolutions);
  if (!failed) return failed.error();
  if (*failed) {
    return Error{ErrorCode::kLocked,
                 fmt::format("{}: was seen to fail (entry {}) while this looked at what is to be "
                             "resolved. Nothing was resolved; see 'poisonctl show', and try again",
                             to_text(*(*failed)->event.range), (*failed)->id)};
  }
  return store_all(invocation, *import, resolutions);
}

void report_import(const Output& output, const ImportSummary& summary) {
  for (const ByteRange& range : summary.reopened) {
    output.warning(fmt::format("{} was resolved, and has failed again since", to_text(range)));
  }
  if (summary.checkpoint_problem) {
    output.warning("stored, but the signed checkpoint could not follow: " +
                   *summary.checkpoint_problem);
  }
}

RecordOutcome combine(std::span<const RetirementRun> runs, PageShift shift) {
  RecordOutcome outcome{.retirement = Retirement::kEffective, .how = {}};
  std::map<std::string, std::uint64_t> frames_by_how;
  for (const RetirementRun& run : runs) {
    frames_by_how[run.how] += run.range.frame_count(shift);
    if (gravity(run.retirement) > gravity(outcome.retirement)) outcome.retirement = run.retirement;
  }
  if (frames_by_how.size() == 1) {
    outcome.how = frames_by_how.begin()->first;
    return outcome;
  }
  for (const auto& [how, frames] : frames_by_how) {
    if (!outcome.how.empty()) outcome.how += "; ";
    outcome.how += fmt::format("{}: {}", counted(frames, "frame"), how);
  }
  return outcome;
}

Result<Verification> verify_records(Invocation& invocation) {
  const auto root = invocation.sysroot();
  if (!root) return root.error();
  const auto map = invocation.memory_map();
  if (!map) return map.error();
  const auto provenance = invocation.provenance("kernel");
  if (!provenance) return provenance.error();
  const PageShift shift = provenance->page_shift;

  auto store = invocation.open_store(Store::Mode::kRead);
  if (!store) return store.error();
  const auto records = load_records(invocation, *store);
  if (!records) return records.error();
  auto read = read_retirement(**root, faulty_frames(*records, shift), **map, shift);
  if (!read) return read.error();

  std::vector<RetirementRun> runs = *std::move(read);
  const auto before = last_replay(invocation);
  const auto unreported = is_replay_unreported(**root, (*invocation.machine())->boot_id);
  if (!unreported) return unreported.error();
  if (before)
    runs = with_doubt(std::move(runs), before->doubts.kept, Retirement::kFailed, kHowKept);
  RangeSet unsure = before ? before->doubts.unsure : RangeSet();
  if (*unreported) {
    const RangeSet settled = before ? settled_by(*before) : RangeSet();
    unsure = unsure.united_with(faulty_frames(*records, shift).minus(settled));
  }
  runs = with_doubt(std::move(runs), unsure, Retirement::kUnknown, kHowUnsure);
  const std::vector<Event> outcomes = outcome_events(*records, runs, *provenance);
  Verification verification{.runs = std::move(runs), .not_stored = std::nullopt};
  if (outcomes.empty()) return verification;
  const auto stored = store_events(invocation, Store::Mode::kWrite, *provenance, outcomes);
  if (!stored) verification.not_stored = stored.error().message;
  return verification;
}

std::optional<ReplayReport> last_replay(Invocation& invocation) {
  const auto root = invocation.sysroot();
  const auto machine = invocation.machine();
  if (!root || !machine) return std::nullopt;
  auto report = read_report(**root, (*machine)->boot_id);
  if (report) return *std::move(report);
  invocation.output().warning("what was replayed at boot is not known: " + report.error().message);
  return std::nullopt;
}

std::vector<Event> outcome_events(std::span<const Record> records,
                                  std::span<const RetirementRun> runs,
                                  const Provenance& provenance) {
  const PageShift shift = provenance.page_shift;
  std::vector<Event> outcomes;
  for (const Record& record : records) {
    if (record.condition != Condition::kFaulty) continue;
    const ByteRange frames = record.range.widened_to(shift);
    const auto inside = runs_within(runs, frames);
    if (!lies_in(inside, frames)) continue;
    RecordOutcome outcome = combine(inside, shift);
    const bool known = record.retirement_in(provenance.boot_id) == outcome.retirement &&
                       record.outcome_boot_id == provenance.boot_id &&
                       record.outcome_how == outcome.how;
    if (known) continue;
    Event event;
    event.kind = EventKind::kOutcome;
    event.range = record.range;
    event.retirement = outcome.retirement;
    event.evidence = std::move(outcome.how);
    outcomes.push_back(std::move(event));
  }
  return outcomes;
}

Tint tint_of(Retirement retirement) {
  switch (retirement) {
    case Retirement::kEffective:
      return Tint::kGood;
    case Retirement::kPending:
      return Tint::kWarn;
    case Retirement::kFailed:
      return Tint::kBad;
    case Retirement::kUnknown:
      return Tint::kNone;
  }
  return Tint::kNone;
}

}  // namespace poisonctl
