#include "cli/cxl_apply.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <span>
#include <utility>

#include "backends/cxl_repair.h"
#include "cli/cxl_trace.h"
#include "cli/steps.h"
#include "cli/verb.h"
#include "registry/cxl/address_map.h"
#include "registry/cxl/device_label.h"
#include "registry/range_text.h"
#include "registry/sources/cxl_devices.h"
#include "registry/text.h"

namespace poisonctl {

namespace {

namespace po = boost::program_options;

constexpr std::uint64_t kLine = 64;
constexpr std::string_view kNoRepair = "none";  // as a KIND

// Device bytes that are to be repaired, and what depends on them.
struct Job {
  CxlDevicePlace place;
  RepairTarget target;
  EventKind kind;                  // of what was seen there; kInjected when nothing else was
  std::vector<ByteRange> records;  // of the registry; empty for what has no place in host memory
  std::int64_t newest = 0;         // entry of the log about it
  const RepairFunction* function = nullptr;
  std::string refusal = {};  // why there is none
  bool repaired = false;
  // Why its poison must not be overwritten, if so.
  std::string not_to_clear = {};
  std::uint64_t lines_cleared = 0;
  bool listed = false;  // after the repair, in either reading
  bool unread = false;  // a list of its device could not be read, or not to its end
};

std::uint64_t first_line(const Job& job) { return job.place.bytes.begin().value() / kLine * kLine; }

std::uint64_t line_count(const Job& job) {
  return (job.place.bytes.end().value() - first_line(job) + kLine - 1) / kLine;
}

bool is_cleared(const Job& job) { return job.lines_cleared == line_count(job); }

// After what was ordered, both readings of the device's list were whole and without it.
bool has_left_list(const Job& job) { return !job.listed && !job.unread; }

std::string_view words_of_list(const Job& job) {
  if (job.listed) return "still has it";
  return job.unread ? "could not be read to its end" : "does not have it";
}

// What the plan is made of. Functions are found once for each device.
struct RepairPlan {
  std::vector<Job> jobs;
  std::map<std::uint64_t, RepairFunctions> functions;  // by serial number
  // Records of CXL memory of which no line is known: nothing can be repaired, and nothing resolved.
  std::vector<ByteRange> without_line;
  // Records that are not resolved, and all of whose lines were repaired for good.
  std::vector<ByteRange> repaired;
  std::size_t elsewhere = 0;  // entries about devices that are not in this machine
  bool clear_only = false;    // --repair none: no function is looked for
};

// The nibbles of the bus that a DRAM event of the device names, which the kernel compares before it
// repairs memory in use; from the evidence, as no other kind of memory has them.
std::optional<std::uint64_t> nibble_mask_in(std::string_view evidence) {
  constexpr std::string_view kName = " nibble_mask=";
  const auto at = evidence.find(kName);
  if (at == std::string_view::npos) return std::nullopt;
  const std::string_view rest = evidence.substr(at + kName.size());
  return parse_prefixed_hex(rest.substr(0, rest.find(' ')));
}

// Adds a job, or what it depends on to the one that is there.
void add_job(RepairPlan& plan, const CxlDevicePlace& place, const StoredEvent& stored,
             const std::optional<ByteRange>& record) {
  const Event& event = stored.event;
  auto found = std::find_if(plan.jobs.begin(), plan.jobs.end(),
                            [&](const Job& job) { return job.place == place; });
  if (found == plan.jobs.end()) {
    plan.jobs.push_back({.place = place,
                         .target = {.bytes = place.bytes, .dram = {}},
                         .kind = event.kind,
                         .records = {}});
    found = plan.jobs.end() - 1;
  }
  found->newest = std::max(found->newest, stored.id);
  if (found->kind == EventKind::kInjected) found->kind = event.kind;
  fill_missing(found->target.dram, event.dram);
  if (const auto mask = nibble_mask_in(event.evidence)) found->target.nibble_mask = mask;
  if (record &&
      std::find(found->records.begin(), found->records.end(), *record) == found->records.end()) {
    found->records.push_back(*record);
  }
}

// The device bytes of an event about host memory, if it is about a line of CXL memory: what names
// whole pages, as operators and page flags do, names no line.
std::optional<CxlDevicePlace> place_of(const Event& event, const CxlAddressMap& map) {
  const std::uint64_t page = PageShift::smallest().page_size();
  if (!event.range || event.granularity > kLine || event.range->size() >= page) {
    return std::nullopt;
  }
  const auto first = map.device_byte_at(event.range->begin());
  if (!first) return std::nullopt;
  const std::uint64_t line = first->address.value() / kLine * kLine;
  const std::uint64_t size = std::max(kLine, first->address.value() - line + event.range->size());
  const auto bytes = DeviceRange::from_size(DeviceAddr(line), size);
  if (!bytes) return std::nullopt;
  return CxlDevicePlace{first->serial, *bytes};
}

bool is_seen_here(const Event& event) {
  return is_observation(event.kind) && event.foreign_host.empty();
}

// What a test put there is no fault of the device: a repair would waste a spare.
bool is_meant(EventKind kind, bool with_injected) {
  return kind != EventKind::kInjected || with_injected;
}

Result<void> add_record(RepairPlan& plan, Store& store, const Record& record,
                        const CxlAddressMap& map, bool with_injected) {
  if (record.condition != Condition::kFaulty || !is_meant(record.severity, with_injected) ||
      !map.device_byte_at(record.range.begin())) {
    return {};
  }
  // Those since the last resolution: what was bad before it has been repaired or replaced, and
  // another order for it would cost another spare.
  std::vector<std::pair<CxlDevicePlace, StoredEvent>> lines;
  auto read = store.for_each_event_about(record.range, [&](const StoredEvent& stored) {
    const Event& event = stored.event;
    if (event.kind == EventKind::kResolution && event.range == record.range) lines.clear();
    const bool inside = event.range && record.range.contains(*event.range);
    const auto place = inside && is_seen_here(event) ? place_of(event, map) : std::nullopt;
    if (place) lines.emplace_back(*place, stored);
    return true;
  });
  if (!read) return read;
  for (const auto& [place, stored] : lines) add_job(plan, place, stored, record.range);
  if (lines.empty()) plan.without_line.push_back(record.range);
  return {};
}

// What the registry knows to be bad in the devices of this machine.
Result<RepairPlan> jobs_of_registry(Invocation& invocation, const CxlAddressMap& map) {
  RepairPlan plan;
  const bool with_injected = invocation.has("include-injected");
  auto store = invocation.open_store(Store::Mode::kRead);
  if (!store) return store.error();
  const auto records = load_records(invocation, *store);
  if (!records) return records.error();
  for (const Record& record : *records) {
    if (auto added = add_record(plan, *store, record, map, with_injected); !added)
      return added.error();
  }
  auto read = store->for_each_event_without_place([&](const StoredEvent& stored) {
    const auto place = cxl_place_from(stored.event.label);
    if (place && stored.provenance.source == kCxlRepairSource &&
        stored.event.result == kCxlRepaired) {
      std::erase_if(plan.jobs, [&](const Job& job) {
        const bool done = job.place == *place && job.newest < stored.id;
        if (done) plan.repaired.insert(plan.repaired.end(), job.records.begin(), job.records.end());
        return done;
      });
      return true;
    }
    if (!place || !is_seen_here(stored.event) || !is_meant(stored.event.kind, with_injected)) {
      return true;
    }
    if (const auto device = map.device(place->serial);
        !device && device.error().code == ErrorCode::kNotAvailable) {
      ++plan.elsewhere;
      return true;
    }
    const auto located = map.locate(place->serial, place->bytes);
    // What has a place by now has a record since 'collect cxl' ran, or will have. What lies beyond
    // the device is refused with the others.
    if (!located || located->host.empty()) add_job(plan, *place, stored, std::nullopt);
    return true;
  });
  if (!read) return read.error();
  for (const Job& job : plan.jobs) {
    for (const ByteRange& record : job.records) std::erase(plan.repaired, record);
  }
  std::sort(plan.repaired.begin(), plan.repaired.end());
  plan.repaired.erase(std::unique(plan.repaired.begin(), plan.repaired.end()), plan.repaired.end());
  return plan;
}

// Whether a region has memory of a device: the kernel, or a program that has it by devdax, may be
// at it, and by this the kernel tells (cxl_is_memdev_memory_online in drivers/cxl/core/edac.c).
bool is_in_use(std::uint64_t serial, const CxlAddressMap& map) {
  return std::any_of(map.shares().begin(), map.shares().end(),
                     [&](const CxlShare& share) { return share.serial == serial; });
}

Result<RepairPolicy> policy_of(const Invocation& invocation) {
  RepairPolicy policy{.permanent = invocation.has("permanent"),
                      .unsafe_in_use = invocation.has("unsafe-in-use")};
  if (!invocation.has("repair")) return policy;
  const auto& word = invocation.option<std::string>("repair");
  if (word == kNoRepair) {
    if (invocation.has("clear-poison")) return policy;
    return Error{ErrorCode::kUsage, "--repair none: is for --clear-poison without a repair"};
  }
  policy.only = repair_kind_from(word);
  if (policy.only) return policy;
  return Error{ErrorCode::kUsage,
               fmt::format("--repair '{}': expected cacheline-sparing, ppr, row-sparing, "
                           "bank-sparing, rank-sparing or none",
                           printable(word))};
}

Result<void> choose(Invocation& invocation, const CxlAddressMap& map, const RepairPolicy& policy,
                    RepairPlan& plan) {
  const auto root = invocation.sysroot();
  if (!root) return root.error();
  plan.clear_only =
      invocation.has("repair") && invocation.option<std::string>("repair") == kNoRepair;
  for (Job& job : plan.jobs) {
    job.target.in_use = is_in_use(job.place.serial, map);
    const auto device = map.device(job.place.serial);
    if (!device) {
      job.refusal = device.error().message;
      continue;
    }
    if (!plan.functions.contains(job.place.serial)) {
      auto found = find_repair_functions(**root, (*device)->memdev);
      if (!found) return found.error();
      for (const std::string& problem : found->problems) invocation.output().warning(problem);
      plan.functions.emplace(job.place.serial, *std::move(found));
    }
    if (plan.clear_only) continue;
    const auto chosen =
        choose_repair(plan.functions.at(job.place.serial).functions, job.target, policy);
    if (chosen) {
      job.function = *chosen;
    } else {
      job.refusal = chosen.error().message;
    }
  }
  return {};
}

std::string name_of(const Job& job) {
  std::string name = cxl_place_label(job.place);
  for (const ByteRange& record : job.records) name += ", in " + to_text(record);
  return name;
}

bool is_permanent(const RepairFunction& function, const RepairPolicy& policy) {
  return function.can_set_mode ? policy.permanent : function.permanent;
}

std::string name_of(const RepairFunction& function, const RepairPolicy& policy) {
  return fmt::format("{} {}", is_permanent(function, policy) ? "permanent" : "temporary",
                     to_word(function.kind));
}

// Whether anything is to be done for a job.
bool is_planned(const RepairPlan& plan, const Job& job) {
  return plan.clear_only ? job.refusal.empty() : job.function != nullptr;
}

void print_plan(Output& output, const RepairPlan& plan, const RepairPolicy& policy) {
  std::size_t repairs = 0;
  for (const Job& job : plan.jobs) {
    if (!is_planned(plan, job)) {
      output.line(fmt::format("refused {}: {}", name_of(job), job.refusal));
      continue;
    }
    if (plan.clear_only) {
      output.line(fmt::format("clear {}: overwritten with zeros, no repair", name_of(job)));
      continue;
    }
    ++repairs;
    output.line(fmt::format("repair {}: {}", name_of(job), name_of(*job.function, policy)));
  }
  for (const ByteRange& record : plan.without_line) {
    output.line(
        fmt::format("refused {}: no event says which 64 bytes of it are bad; 'collect cxl' "
                    "asks the devices",
                    to_text(record)));
  }
  for (const ByteRange& record : plan.repaired) {
    output.line(
        fmt::format("repaired before {}: each line of it that is known; 'poisonctl resolve {} --as "
                    "repaired' ends its record",
                    to_text(record), to_text(record)));
  }
  if (plan.jobs.empty() && plan.without_line.empty() && plan.repaired.empty()) {
    output.line("nothing to repair");
  }
  if (plan.elsewhere != 0) {
    output.note(
        fmt::format("{} about CXL devices that are not here", counted(plan.elsewhere, "entry")));
  }
  if (repairs != 0) {
    output.note(
        fmt::format("{} of the devices {} taken; how many are left no device tells the "
                    "kernel",
                    counted(repairs, "spare"), repairs == 1 ? "is" : "are"));
  }
}

// What of a job's bytes the kernel has as memory of its own, now.
Result<RangeSet> online_part(const Job& job, const CxlAddressMap& map, const MemoryMap& memory) {
  auto located = map.locate(job.place.serial, job.place.bytes);
  if (!located) return located.error();
  return located->host.intersected_with(memory.system_ram());
}

// The first frame that somebody may have or get, and why; nothing if all of `frames` are out of
// use.
Result<std::optional<RetirementRun>> first_not_retired(Invocation& invocation,
                                                       const RangeSet& frames,
                                                       const MemoryMap& memory) {
  const auto machine = invocation.machine();
  if (!machine) return machine.error();
  const auto runs = read_retirement(**invocation.sysroot(), frames, memory, (*machine)->page_shift);
  if (!runs) return runs.error();
  const auto found = std::find_if(runs->begin(), runs->end(), [](const RetirementRun& run) {
    return run.retirement != Retirement::kEffective;
  });
  if (found == runs->end()) return std::optional<RetirementRun>{};
  return std::optional<RetirementRun>(*found);
}

// Frames of online memory are taken out of use before the device touches them. What could not be is
// not overwritten: whoever has the frame would read zeros in place of its data, and no machine
// check would tell.
Result<void> retire_first(Invocation& invocation, const CxlAddressMap& map, RepairPlan& plan) {
  const auto memory = invocation.memory_map();
  if (!memory) return memory.error();
  std::map<const Job*, RangeSet> online;
  for (const Job& job : plan.jobs) {
    if (!is_planned(plan, job)) continue;
    auto part = online_part(job, map, **memory);
    if (!part) return part.error();
    if (!part->empty()) online.emplace(&job, *std::move(part));
  }
  if (online.empty()) return {};
  // What it could not retire is read from the page flags below, and said by the verb itself.
  if (auto replayed = kReplayVerb.run(invocation); !replayed) return replayed.error();
  for (Job& job : plan.jobs) {
    const auto frames = online.find(&job);
    if (frames == online.end()) continue;
    const auto in_use = first_not_retired(invocation, frames->second, **memory);
    if (!in_use) return in_use.error();
    if (!*in_use) continue;
    job.not_to_clear = fmt::format(
        "not overwritten: {} is not retired ({}), and who has it would read zeros in place of the "
        "data",
        to_text((*in_use)->range), (*in_use)->how);
  }
  return {};
}

// Which jobs' bytes are on the lists of their devices. What cannot be read is said, and what was
// ordered is recorded all the same.
Result<void> look_again(Invocation& invocation, const CxlAddressMap& map, CxlTrace& trace,
                        RepairPlan& plan) {
  const SysRoot& root = **invocation.sysroot();
  for (auto& [serial, functions] : plan.functions) {
    const auto device = map.device(serial);
    if (!device) return device.error();
    const auto list = read_poison_list(root, **device, trace.feed());
    if (!list) invocation.output().warning(list.error().message);
    for (Job& job : plan.jobs) {
      if (job.place.serial != serial) continue;
      job.unread = job.unread || !list || list->problem || list->overflowed || list->cut;
      if (!list) continue;
      job.listed =
          job.listed ||
          std::any_of(list->entries.begin(), list->entries.end(), [&](const CxlPoison& entry) {
            return entry.bytes.shared_with(job.place.bytes).has_value();
          });
    }
  }
  return {};
}

// Overwrites what is asked for with zeros.
Result<void> clear(Invocation& invocation, const CxlAddressMap& map, Job& job) {
  if (!job.not_to_clear.empty()) {
    invocation.output().warning(fmt::format("{}: {}", name_of(job), job.not_to_clear));
    return {};
  }
  const auto device = map.device(job.place.serial);
  if (!device) return device.error();
  while (!is_cleared(job)) {
    const DeviceAddr line(first_line(job) + job.lines_cleared * kLine);
    const auto cleared = clear_poison(**invocation.sysroot(), (*device)->memdev, line);
    if (!cleared) {
      invocation.output().warning(fmt::format("{}: {}", name_of(job), cleared.error().message));
      return {};
    }
    ++job.lines_cleared;
  }
  return {};
}

Result<void> repair(Invocation& invocation, const CxlAddressMap& map, const RepairPolicy& policy,
                    RepairPlan& plan) {
  const SysRoot& root = **invocation.sysroot();
  for (Job& job : plan.jobs) {
    if (!is_planned(plan, job)) continue;
    if (!plan.clear_only) {
      if (auto done = order_repair(root, *job.function, job.target, policy); !done) {
        invocation.output().warning(fmt::format("{}: {}", name_of(job), done.error().message));
        continue;
      }
      job.repaired = true;
    }
    if (!invocation.has("clear-poison")) continue;
    if (auto done = clear(invocation, map, job); !done) return done;
  }
  return {};
}

// Whether all of a job is well, for good: after a reset that undoes a repair the next kernel would
// be given the bad frame again, and nobody would know of it.
bool is_mended(const Job& job, const RepairPolicy& policy) {
  return job.repaired && has_left_list(job) && is_permanent(*job.function, policy);
}

// What was overwritten of a job that is mended, after the words for its repair.
std::string clearing_of(const Job& job) {
  if (job.lines_cleared == 0) return "";
  if (is_cleared(job)) return ", whose poison was then overwritten with zeros";
  return fmt::format(", of which {} of {} lines were then overwritten with zeros",
                     job.lines_cleared, line_count(job));
}

// A record is repaired when all that is known to be bad in it is.
std::vector<Event> resolutions(const RepairPlan& plan, const RepairPolicy& policy) {
  std::map<ByteRange, std::string> reasons;
  for (const Job& job : plan.jobs) {
    if (!is_mended(job, policy)) continue;
    for (const ByteRange& record : job.records) {
      std::string& reason = reasons[record];
      reason +=
          fmt::format("{}{} of {}{}", reason.empty() ? "" : "; ", name_of(*job.function, policy),
                      cxl_place_label(job.place), clearing_of(job));
    }
  }
  for (const Job& job : plan.jobs) {
    if (is_mended(job, policy)) continue;
    for (const ByteRange& record : job.records) reasons.erase(record);
  }
  std::vector<Event> events;
  for (const auto& [record, reason] : reasons) {
    Event event;
    event.kind = EventKind::kResolution;
    event.range = record;
    event.resolution = Resolution::kRepaired;
    event.evidence = reason + "; the poison list, read twice after it, does not have it";
    events.push_back(std::move(event));
  }
  return events;
}

// What was repaired for good is not to be repaired again: where no record says so by its
// resolution, because it is in none, or because other lines of it are still bad.
std::vector<Event> repairs_without_resolution(const RepairPlan& plan, const RepairPolicy& policy,
                                              std::span<const Event> resolved, Time now) {
  const auto is_resolved = [&](const ByteRange& record) {
    return std::any_of(resolved.begin(), resolved.end(),
                       [&](const Event& event) { return event.range == record; });
  };
  std::vector<Event> events;
  for (const Job& job : plan.jobs) {
    const bool told =
        !job.records.empty() && std::all_of(job.records.begin(), job.records.end(), is_resolved);
    if (!is_mended(job, policy) || told) continue;
    Event event;
    event.kind = job.kind;
    event.observed = now;
    event.label = cxl_place_label(job.place);
    event.result = kCxlRepaired;
    event.evidence = fmt::format("{}{}; the poison list, read twice after it, does not have it",
                                 name_of(*job.function, policy), clearing_of(job));
    events.push_back(std::move(event));
  }
  return events;
}

// What was cleared and is not repaired for good is no longer on the device's list: the registry
// alone knows of it now, and says why.
std::vector<Event> clearings(const RepairPlan& plan, const RepairPolicy& policy, Time now) {
  std::vector<Event> events;
  for (const Job& job : plan.jobs) {
    if (job.lines_cleared == 0 || is_mended(job, policy)) continue;
    Event event;
    event.result = is_cleared(job) ? "cleared" : "partly cleared";
    event.kind = job.kind;
    event.observed = now;
    event.label = cxl_place_label(job.place);
    event.evidence = fmt::format(
        "poison overwritten with zeros (clear_poison){}{}; the poison list, read twice after it, "
        "{}; "
        "the cells are what they were",
        is_cleared(job) ? ""
                        : fmt::format(" in the first {} of {} lines of {} bytes, then refused",
                                      job.lines_cleared, line_count(job), kLine),
        job.repaired ? fmt::format(" after a {}", name_of(*job.function, policy)) : "",
        words_of_list(job));
    if (job.records.empty()) events.push_back(event);
    for (const ByteRange& record : job.records) {
      event.range = record;
      event.granularity = record.size();
      event.label = cxl_device_label(job.place.serial);
      events.push_back(event);
    }
  }
  return events;
}

void print_cleared(Output& output, const Job& job) {
  if (job.lines_cleared == 0) return;
  const std::string part =
      is_cleared(job) ? "" : fmt::format(" in {} of {} lines", job.lines_cleared, line_count(job));
  output.line(fmt::format("{}: overwritten with zeros{}; the poison list {}{}", name_of(job), part,
                          words_of_list(job),
                          has_left_list(job) ? ": that is no repair, and its record stays" : ""));
}

void print_repaired(const Invocation& invocation, Output& output, const Job& job,
                    const RepairPolicy& policy) {
  if (!job.repaired) return;
  const bool permanent = is_permanent(*job.function, policy);
  if (has_left_list(job)) {
    output.line(fmt::format("{}: repaired{}, and no longer on the poison list{}", name_of(job),
                            permanent ? "" : " until the device is reset",
                            permanent ? "" : "; its record stays (--permanent)"));
  } else if (job.listed) {
    output.line(fmt::format(
        "{}: repaired, says the device, and still on its poison list{}: not resolved", name_of(job),
        invocation.has("clear-poison") ? "" : " (--clear-poison overwrites it with zeros)"));
  } else {
    output.line(
        fmt::format("{}: repaired, says the device, whose poison list could not be read to its "
                    "end: not resolved",
                    name_of(job)));
  }
}

// What became of each, and what of it goes into the registry.
Result<ExitStatus> conclude(Invocation& invocation, const RepairPlan& plan,
                            const RepairPolicy& policy) {
  Output& output = invocation.output();
  bool all = plan.without_line.empty() && plan.repaired.empty();
  for (const Job& job : plan.jobs) {
    all = all && (plan.clear_only ? is_cleared(job) : job.repaired) && has_left_list(job) &&
          job.not_to_clear.empty();
    if (plan.clear_only) {
      print_cleared(output, job);
    } else {
      print_repaired(invocation, output, job, policy);
    }
  }
  const auto now = std::chrono::time_point_cast<Time::duration>(std::chrono::system_clock::now());
  std::vector<Event> events = resolutions(plan, policy);
  const std::size_t resolved = events.size();
  auto repaired = repairs_without_resolution(plan, policy, events, now);
  for (Event& event : clearings(plan, policy, now)) events.push_back(std::move(event));
  events.insert(events.end(), repaired.begin(), repaired.end());
  if (!events.empty()) {
    const auto provenance = invocation.provenance(std::string(kCxlRepairSource));
    if (!provenance) return provenance.error();
    const auto stored = store_events(invocation, Store::Mode::kWrite, *provenance, events);
    if (!stored) return stored.error();
  }
  if (resolved != 0)
    output.note(fmt::format("{} resolved as repaired", counted(resolved, "record")));
  return all ? kExitDone : kExitFindings;
}

}  // namespace

void add_cxl_options(po::options_description& options) {
  options.add_options()("permanent", "cxl: repairs that a reset does not undo")(
      "repair", po::value<std::string>()->value_name("KIND"),
      "cxl: only cacheline-sparing, ppr, row-sparing, bank-sparing or rank-sparing; or none")(
      "unsafe-in-use", "cxl: also repairs that may lose data of memory that a region has")(
      "clear-poison",
      "cxl: overwrite what was repaired with zeros, so that it leaves the list; with --repair none "
      "without a repair");
}

bool has_cxl_options(const Invocation& invocation) {
  return invocation.has("permanent") || invocation.has("repair") ||
         invocation.has("unsafe-in-use") || invocation.has("clear-poison");
}

Result<ExitStatus> apply_cxl(Invocation& invocation) {
  if (invocation.has("undo") || invocation.has("only") || invocation.has("widen")) {
    return Error{ErrorCode::kUsage,
                 "apply cxl: a repair cannot be undone, and --only and --widen are about command "
                 "lines"};
  }
  const auto policy = policy_of(invocation);
  if (!policy) return policy.error();
  const auto root = invocation.sysroot();
  if (!root) return root.error();
  const auto map = CxlAddressMap::load(**root);
  if (!map) return map.error();
  for (const std::string& problem : map->problems()) invocation.output().warning(problem);
  auto plan = jobs_of_registry(invocation, *map);
  if (!plan) return plan.error();
  if (auto chosen = choose(invocation, *map, *policy, *plan); !chosen) return chosen.error();
  print_plan(invocation.output(), *plan, *policy);
  const bool anything = std::any_of(plan->jobs.begin(), plan->jobs.end(),
                                    [&](const Job& job) { return is_planned(*plan, job); });
  const bool refused = !plan->without_line.empty() || !plan->repaired.empty() ||
                       std::any_of(plan->jobs.begin(), plan->jobs.end(),
                                   [&](const Job& job) { return !is_planned(*plan, job); });
  if (invocation.has("dry-run") || !anything) return refused ? kExitFindings : kExitDone;
  auto trace = CxlTrace::open(**root);
  if (!trace) return trace.error();
  if (auto retired = retire_first(invocation, *map, *plan); !retired) return retired.error();
  if (auto done = repair(invocation, *map, *policy, *plan); !done) return done.error();
  for (int reading = 0; reading < 2; ++reading) {
    if (auto looked = look_again(invocation, *map, *trace, *plan); !looked) return looked.error();
  }
  return conclude(invocation, *plan, *policy);
}

}  // namespace poisonctl
