// poisonctl collect: asks a source what it knows.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>
#include <thread>

#include "cli/bmc.h"
#include "cli/bmc_redfish.h"
#include "cli/config.h"
#include "cli/cxl_trace.h"
#include "cli/replay/carriers.h"
#include "cli/steps.h"
#include "cli/trusting.h"
#include "cli/verb.h"
#include "registry/adoption.h"
#include "registry/cxl/address_map.h"
#include "registry/cxl/device_label.h"
#include "registry/ipmi.h"
#include "registry/redfish/evidence.h"
#include "registry/sources/cxl_devices.h"
#include "registry/sources/edac.h"
#include "registry/sources/file_stream.h"
#include "registry/sources/ipmi.h"
#include "registry/sources/kernel.h"
#include "registry/sources/rasdaemon.h"
#include "registry/sources/redfish.h"
#include "registry/sources/table.h"
#include "registry/text.h"

namespace poisonctl {
namespace {

namespace po = boost::program_options;

constexpr std::string_view kRasdaemonDatabase = "var/lib/rasdaemon/ras-mc_event.db";

void add_options(po::options_description& options) {
  options.add_options()(
      "full", "kernel: read the flags of all memory even when the kernel counts no poison")(
      "threads", po::value<unsigned>()->default_value(0)->value_name("N"),
      "kernel: read with N threads; 0 is one a core")("list", "list the sources");
}

Result<ExitStatus> list_sources(Output& output) {
  std::vector<std::vector<Cell>> rows = {
      {{.text = "kernel"}, {.text = "this kernel's page flags: the frames that it has poisoned"}},
      {{.text = "edac"}, {.text = "this kernel's error counters by DIMM"}},
      {{.text = "ipmi"}, {.text = "the event log of the board's management controller"}},
      {{.text = "rasdaemon"},
       {.text = fmt::format("rasdaemon's database, /{} unless named", kRasdaemonDatabase)}}};
  rows.push_back({{.text = "cxl"},
                  {.text = "without a file: the poison lists of this machine's CXL devices"}});
  rows.push_back({{.text = std::string(kHandoverSource)},
                  {.text = "the signed list of this machine's registry, or of one before it"}});
  for (const StreamSource& source : stream_sources()) {
    std::string what(source.summary);
    if (!source.default_path.empty())
      what += fmt::format(", /{} unless named", source.default_path);
    rows.push_back({{.text = std::string(source.name)}, {.text = std::move(what)}});
  }
  output.table({"SOURCE", "READS"}, rows);
  return kExitDone;
}

Result<ExitStatus> collect_kernel(Invocation& invocation) {
  const auto root = invocation.sysroot();
  if (!root) return root.error();
  const auto machine = invocation.machine();
  if (!machine) return machine.error();
  const unsigned asked = invocation.option<unsigned>("threads");
  constexpr unsigned kMostThreads = 256;
  if (asked > kMostThreads) {
    return Error{ErrorCode::kUsage,
                 fmt::format("--threads {}: expected 0 to {}", asked, kMostThreads)};
  }
  const unsigned cores = std::max(1U, std::thread::hardware_concurrency());
  const KernelSourceOptions options{.full = invocation.has("full"),
                                    .threads = asked == 0 ? std::min(cores, kMostThreads) : asked};
  const auto scan = scan_page_flags(invocation.registry_path(), **root, **machine, options);
  if (!scan) return scan.error();
  const KernelSourceResult& found = scan->found;

  Output& output = invocation.output();
  output.detail(fmt::format("read the page flags of {}", to_human_size(found.scanned)));
  const auto stored = store_scan(invocation, *scan);
  if (!stored) return stored.error();
  if (found.events.empty() && stored->unpoisoned == 0) {
    output.note(
        found.hardware_corrupted == 0
            ? fmt::format("the kernel counts no poisoned memory{}",
                          found.scanned == 0 ? "; --full reads all page flags anyway" : "")
            : fmt::format("the kernel counts {} of poisoned memory, but no frame of RAM is "
                          "flagged: the count includes attempts that failed and memory that "
                          "was removed",
                          to_human_size(found.hardware_corrupted)));
    return kExitDone;
  }
  // The flag is the cause, not yet the outcome: the kernel also flags frames that it goes on using.
  const auto verified = verify_records(invocation);
  if (!verified) return verified.error();
  if (verified->not_stored) output.warning(*verified->not_stored);

  output.note(to_text(*stored, invocation.registry_path()));
  return kExitDone;
}

// Runs a source into one import: all of it is stored, or nothing.
Result<ExitStatus> collect_into_import(
    Invocation& invocation, const std::string& name, const std::string& origin,
    const std::function<Result<SourceReport>(const SourceSettings&, const EventSink&)>& collect) {
  const auto map = invocation.memory_map();
  if (!map) return map.error();
  auto provenance = invocation.provenance(name);
  if (!provenance) return provenance.error();
  provenance->origin = origin;
  if (name == "edac" || name == "fmpm") provenance->source_version = provenance->kernel_release;
  const SourceSettings settings{.page_shift = provenance->page_shift,
                                .memory_end = (*map)->installed_ram().ranges().back().end()};
  // Both from the first event on: an input without one makes no registry, and the source's version
  // is known then.
  std::optional<Store> store;
  std::optional<Store::Import> import;
  const EventSink sink = [&](const Event& event, const SourceReport& so_far) -> Result<void> {
    if (!import) {
      if (!so_far.version.empty()) provenance->source_version = so_far.version;
      auto opened = invocation.open_store(Store::Mode::kCreate);
      if (!opened) return opened.error();
      store.emplace(*std::move(opened));
      auto begun = store->begin_import(*provenance, Store::Repeats::kSkip);
      if (!begun) return begun.error();
      import.emplace(*std::move(begun));
    }
    return import->add(event);
  };
  const auto report = collect(settings, sink);
  if (!report) {
    return Error{report.error().code, report.error().message + "; nothing was recorded",
                 report.error().os_error};
  }
  const auto summary = import ? import->commit() : ImportSummary();
  if (!summary) return summary.error();

  Output& output = invocation.output();
  for (const std::string& warning : report->warnings) output.warning(warning);
  report_import(output, *summary);
  std::string note = summary->added == 0 ? fmt::format("{}: nothing new", origin)
                                         : fmt::format("{}: {} recorded in {}", origin,
                                                       summary->added, invocation.registry_path());
  if (summary->without_place != 0) {
    note += fmt::format(", {} of them without a place", summary->without_place);
  }
  if (summary->known != 0) note += fmt::format("; {} known already", summary->known);
  output.note(note);
  return kExitDone;
}

Result<ExitStatus> collect_edac_counters(Invocation& invocation) {
  const auto root = invocation.sysroot();
  if (!root) return root.error();
  return collect_into_import(
      invocation, "edac", (*root)->shown("sys/devices/system/edac"),
      [&](const SourceSettings&, const EventSink& sink) { return collect_edac(**root, sink); });
}

Result<ExitStatus> collect_event_log(Invocation& invocation) {
  const auto root = invocation.sysroot();
  if (!root) return root.error();
  const auto ipmi = KernelIpmi::open(**root);
  if (!ipmi) return ipmi.error();
  return collect_into_import(invocation, "ipmi", (*root)->shown(kIpmiDevice),
                             [&](const SourceSettings&, const EventSink& sink) {
                               Sel sel(**ipmi, sleep_for);
                               return collect_ipmi(sel, sink);
                             });
}

// What the registry knows that bears on a poison list: which records were resolved, and the events
// that have no place yet.
struct KnownOfCxl {
  RangeSet resolved;
  // Labels of device bytes, and the entry that says so.
  std::map<std::string, std::int64_t, std::less<>> repaired;
  std::vector<StoredEvent> without_place;
};
// One more event without a place: what was repaired for good is forgotten until it is seen again.
void take_placeless(KnownOfCxl& known, const StoredEvent& stored) {
  const std::string& label = stored.event.label;
  if (stored.provenance.source == kCxlRepairSource && stored.event.result == kCxlRepaired) {
    known.repaired[label] = stored.id;
    std::erase_if(known.without_place,
                  [&](const StoredEvent& other) { return other.event.label == label; });
    return;
  }
  known.repaired.erase(label);
  known.without_place.push_back(stored);
}
// Whether what was repaired has a place, and was seen to be bad there after entry `id`. What is
// about the whole frame, as page flags are and what 'apply cxl' says of a clearing, is not about
// this line.
Result<bool> is_bad_since(Store& store, const CxlAddressMap& map, const CxlDevicePlace& place,
                          std::int64_t id) {
  const auto located = map.locate(place.serial, place.bytes);
  if (!located) return false;
  bool bad = false;
  for (const ByteRange& range : located->host.ranges()) {
    auto read = store.for_each_event_about(range, [&](const StoredEvent& stored) {
      const Event& event = stored.event;
      const bool of_lines = event.range->size() < PageShift::smallest().page_size() &&
                            stored.provenance.source != kCxlRepairSource;
      bad = bad || (stored.id > id && is_observation(event.kind) && of_lines);
      return !bad;
    });
    if (!read) return read.error();
  }
  return bad;
}
Result<KnownOfCxl> known_of_cxl(Invocation& invocation, const CxlAddressMap& map) {
  KnownOfCxl known;
  auto store = invocation.open_store(Store::Mode::kRead);
  if (!store && store.error().code == ErrorCode::kNoInput) return known;
  if (!store) return store.error();
  std::vector<ByteRange> resolved;
  auto read = store->for_each_record([&](const Record& record) {
    if (record.condition == Condition::kResolved) resolved.push_back(record.range);
    return true;
  });
  if (!read) return read.error();
  known.resolved = RangeSet::from_ranges(std::move(resolved));
  read = store->for_each_event_without_place([&](const StoredEvent& stored) {
    if (cxl_place_from(stored.event.label)) take_placeless(known, stored);
    return true;
  });
  if (!read) return read.error();
  for (auto repaired = known.repaired.begin(); repaired != known.repaired.end();) {
    const auto bad = is_bad_since(*store, map, *cxl_place_from(repaired->first), repaired->second);
    if (!bad) return bad.error();
    repaired = *bad ? known.repaired.erase(repaired) : std::next(repaired);
  }
  return known;
}

std::vector<CxlDevicePlace> places_of(const KnownOfCxl& known) {
  std::vector<CxlDevicePlace> places;
  for (const auto& [label, id] : known.repaired) places.push_back(*cxl_place_from(label));
  return places;
}

Result<ExitStatus> collect_from_cxl_devices(Invocation& invocation) {
  const auto root = invocation.sysroot();
  if (!root) return root.error();
  const auto machine = invocation.machine();
  if (!machine) return machine.error();
  const auto map = CxlAddressMap::load(**root);
  if (!map) return map.error();
  auto trace = CxlTrace::open(**root);
  if (!trace) return trace.error();
  auto known = known_of_cxl(invocation, *map);
  if (!known) return known.error();
  const CxlKnowledge knowledge{
      .map = *map,
      .page_shift = (*machine)->page_shift,
      .health = [&](const CxlDevice& device) { return read_cxl_health(**root, device.memdev); },
      .resolved = std::move(known->resolved),
      .repaired = places_of(*known),
      .now = std::chrono::time_point_cast<Time::duration>(std::chrono::system_clock::now())};
  return collect_into_import(
      invocation, "cxl", (*root)->shown("sys/bus/cxl/devices"),
      [&](const SourceSettings&, const EventSink& sink) -> Result<SourceReport> {
        std::set<std::pair<std::string, std::optional<ByteRange>>> listed;
        const EventSink noting = [&](const Event& event, const SourceReport& so_far) {
          listed.emplace(event.label, event.range);
          return sink(event, so_far);
        };
        auto report = collect_cxl_devices(**root, knowledge, trace->feed(), noting);
        if (!report) return report;
        for (const StoredEvent& stored : known->without_place) {
          for (const Event& event : placed_now(stored.event, stored.id, knowledge)) {
            if (listed.contains({event.label, event.range})) continue;
            if (auto given = sink(event, *report); !given) return given.error();
          }
        }
        return report;
      });
}

// Where private copies are made: there is room for them, and root owns the folder.
std::string folder_of_registry(const Invocation& invocation) {
  const auto folder = std::filesystem::path(invocation.registry_path()).parent_path();
  return folder.empty() ? "." : folder.string();
}

Result<ExitStatus> collect_rasdaemon_database(Invocation& invocation, const std::string& file) {
  const std::string scratch = folder_of_registry(invocation);
  return collect_into_import(invocation, "rasdaemon", file,
                             [&](const SourceSettings& settings, const EventSink& sink) {
                               return collect_rasdaemon(file, scratch, settings, sink);
                             });
}

// Unlike other sources it is signed: what is not believed here is not recorded.
Result<ExitStatus> collect_handover(Invocation& invocation, const std::string& file) {
  const auto blob = read_handover_file(file);
  if (!blob) return blob.error();
  const auto handover = read_handover(*blob, file);
  if (!handover) return handover.error();
  const auto decision = judge_here(invocation, *handover);
  if (!decision) return decision.error();
  Output& output = invocation.output();
  for (const TrustFinding& finding : decision->findings) {
    const std::string line = fmt::format("{}: {}: {}", file, finding.rule, finding.message);
    decision->trust == Trust::kAccept ? output.detail(line) : output.warning(line);
  }
  if (decision->trust != Trust::kAccept) {
    return Error{ErrorCode::kRefused,
                 fmt::format("{}: is not believed here ({}); nothing was recorded", file,
                             to_word(decision->trust))};
  }
  const auto adopted = adopt_here(invocation, handover->content, file);
  if (!adopted) return adopted.error();
  output.note(adopted->added == 0 ? fmt::format("{}: nothing new", file)
                                  : fmt::format("{}: {} recorded in {}", file, adopted->added,
                                                invocation.registry_path()));
  if (adopted->quarantined != 0) {
    output.warning(fmt::format("{}: not taken: {} in quarantine, about memory that had changed",
                               file, counted(adopted->quarantined, "range")));
  }
  return kExitDone;
}

// The service of poisonctl.conf. All of it is read before anything is recorded.
Result<ExitStatus> collect_redfish_service(Invocation& invocation) {
  const auto root = invocation.sysroot();
  if (!root) return root.error();
  const auto config = load_config(**root);
  if (!config) return config.error();
  if (!config->redfish.configured()) {
    return Error{
        ErrorCode::kUsage,
        "collect redfish: name the file to read, or - for standard input; or a service, as "
        "url in " +
            (*root)->shown(kConfigFile) + ", [redfish]"};
  }
  std::vector<std::string> warnings;
  std::string document;
  std::string origin;
  {
    const auto connection = connect_redfish(invocation, config->redfish);
    if (!connection) return connection.error();
    auto evidence = read_evidence(*connection->service, connection->system, warnings);
    if (!evidence) return evidence.error();
    document = *std::move(evidence);
    origin = connection->service->address().origin();
  }
  return collect_into_import(
      invocation, "redfish", origin,
      [&](const SourceSettings& settings, const EventSink& sink) -> Result<SourceReport> {
        TextStream stream(document, origin);
        auto report = collect_redfish(stream, settings, sink);
        if (report) {
          report->warnings.insert(report->warnings.begin(), warnings.begin(), warnings.end());
        }
        return report;
      });
}

Result<ExitStatus> collect_stream(Invocation& invocation, const StreamSource& source,
                                  const std::optional<std::string>& file) {
  const std::string name(source.name);
  if (file) {
    const auto stream = open_whole_file_stream(*file, folder_of_registry(invocation));
    if (!stream) return stream.error();
    return collect_into_import(invocation, name, (*stream)->shown(),
                               [&](const SourceSettings& settings, const EventSink& sink) {
                                 return source.collect(**stream, settings, sink);
                               });
  }
  if (source.default_path.empty()) {
    return Error{ErrorCode::kUsage,
                 fmt::format("collect {}: name the file to read, or - for standard input", name)};
  }
  const auto root = invocation.sysroot();
  if (!root) return root.error();
  const auto text = (*root)->read(source.default_path);
  if (!text && text.error().code == ErrorCode::kNoInput && !source.when_missing.empty()) {
    return Error{ErrorCode::kNotAvailable,
                 fmt::format("{}: {}", text.error().message, source.when_missing)};
  }
  if (!text) return text.error();
  TextStream stream(*text, (*root)->shown(source.default_path));
  return collect_into_import(invocation, name, stream.shown(),
                             [&](const SourceSettings& settings, const EventSink& sink) {
                               return source.collect(stream, settings, sink);
                             });
}

Result<ExitStatus> run(Invocation& invocation) {
  const auto words = invocation.arguments();
  if (invocation.has("list")) {
    if (words.empty()) return list_sources(invocation.output());
    return Error{ErrorCode::kUsage, "collect --list: takes no source"};
  }
  if (words.empty()) {
    return Error{ErrorCode::kUsage,
                 "collect: name a source; 'poisonctl collect --list' lists them"};
  }
  const std::string& name = words.front();
  const auto file = words.size() == 2 ? std::optional(words.at(1)) : std::nullopt;
  if ((name == "kernel" || name == "edac" || name == "ipmi") && file) {
    return Error{ErrorCode::kUsage,
                 fmt::format("collect {}: takes no file; --sysroot names another machine", name)};
  }
  if (name == "kernel") return collect_kernel(invocation);
  if (invocation.has("full") || invocation.option<unsigned>("threads") != 0) {
    return Error{
        ErrorCode::kUsage,
        fmt::format("collect {}: --full and --threads are for the source kernel", printable(name))};
  }
  if (name == "edac") return collect_edac_counters(invocation);
  if (name == "ipmi") return collect_event_log(invocation);
  if (name == "redfish" && !file) return collect_redfish_service(invocation);
  if (name == "cxl" && !file) return collect_from_cxl_devices(invocation);
  if (name == "rasdaemon") {
    if (file == "-") {
      return Error{
          ErrorCode::kUsage,
          "collect rasdaemon: a database cannot be read from standard input; name its file"};
    }
    const auto root = invocation.sysroot();
    if (!root) return root.error();
    return collect_rasdaemon_database(invocation,
                                      file.value_or((*root)->shown(kRasdaemonDatabase)));
  }
  if (name == kHandoverSource) {
    if (!file || *file == "-") {
      return Error{ErrorCode::kUsage, "collect handover: name the file to read"};
    }
    return collect_handover(invocation, *file);
  }
  if (const StreamSource* source = find_stream_source(name)) {
    return collect_stream(invocation, *source, file);
  }
  return Error{ErrorCode::kUsage,
               fmt::format("there is no source '{}'; 'poisonctl collect --list' lists them",
                           printable(name))};
}

}  // namespace

const Verb kCollectVerb = {
    .name = "collect",
    .arguments = "SOURCE [FILE|-]",
    .summary = "Record what a source knows: the kernel's page flags, or another tool's findings",
    .least_arguments = 0,
    .most_arguments = 2,
    .has_json = false,
    .add_options = add_options,
    .run = run,
};

}  // namespace poisonctl
