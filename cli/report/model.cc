#include "cli/report/model.h"

#include <algorithm>
#include <utility>

#include "cli/report/list_check.h"

namespace poisonctl {

namespace {

// The distinct bytes of ranges that come in the order of their beginnings.
class DistinctBytes {
 public:
  // How many bytes of `range` no range before it had.
  std::uint64_t add(const ByteRange& range) {
    const PhysAddr begin = std::max(range.begin(), end_);
    if (begin >= range.end()) return 0;
    end_ = range.end();
    return range.end().value() - begin.value();
  }

 private:
  PhysAddr end_;
};

// How many aligned pieces of one size such ranges touch.
class TouchedPieces {
 public:
  explicit TouchedPieces(std::uint64_t size) : size_(size) {}
  std::uint64_t add(const ByteRange& range) {
    const std::uint64_t first = std::max(range.begin().value() / size_, next_);
    const std::uint64_t last = range.last().value() / size_;
    if (last < first) return 0;
    next_ = last + 1;
    return last + 1 - first;
  }

 private:
  std::uint64_t size_;
  std::uint64_t next_ = 0;  // the first that is not counted yet
};

// What a table of pages of 8-byte entries maps as one, and what a table of those does: 2 MiB and
// 1 GiB with 4 KiB pages, 512 MiB with 64 KiB pages (Documentation/arch/arm64/memory.rst).
std::vector<HugePageFacts> huge_page_sizes(PageShift shift, std::uint64_t memory) {
  constexpr std::uint64_t kEntry = 8;
  std::vector<HugePageFacts> sizes;
  std::uint64_t size = shift.page_size();
  for (int level = 0; level < 2; ++level) {
    size *= shift.page_size() / kEntry;
    if (size <= memory) sizes.push_back({.size = size, .touched = 0});
  }
  return sizes;
}

std::vector<NodeFacts> node_facts(const CheckedMachine& machine) {
  std::vector<NodeFacts> facts;
  std::map<unsigned, std::uint64_t> memory;
  for (const NodeRange& node : machine.nodes) {
    memory[node.node] += machine.map.installed_ram().within(node.range).bytes();
  }
  for (const auto& [node, bytes] : memory) facts.push_back({.node = node, .memory = bytes});
  return facts;
}

// Which records are shown one by one: those that somebody should look at first.
bool is_more_urgent(const ShownRecord& a, const ShownRecord& b) {
  if (a.standing != b.standing) return a.standing < b.standing;
  const int weight_a = severity_weight(a.record.severity);
  const int weight_b = severity_weight(b.record.severity);
  if (weight_a != weight_b) return weight_a > weight_b;
  if (a.record.last_seen != b.record.last_seen) return a.record.last_seen > b.record.last_seen;
  return a.record.range < b.record.range;
}

// The pass over the records.
class RecordPass {
 public:
  RecordPass(ReportModel& model, const CheckedMachine& machine, const Quarantine& quarantine)
      : model_(model), machine_(machine), quarantine_(quarantine), checks_(machine) {
    for (const HugePageFacts& huge : model.huge_pages) huge_pieces_.emplace_back(huge.size);
    if (model.block_bytes != 0) block_pieces_.emplace(model.block_bytes);
  }

  void take(const Record& stored) {
    Record record = stored;
    static_cast<void>(quarantine_.apply(record));
    const Standing standing = standing_of(record, model_.machine.boot_id);
    const auto index = static_cast<std::size_t>(standing);
    const ByteRange frames = record.range.widened_to(machine_.shift);
    count(model_.tallies.at(index), distinct_.at(index).add(frames));
    model_.map.add(frames, standing);
    if (first_ || record.first_seen < model_.first_seen) model_.first_seen = record.first_seen;
    if (first_ || record.last_seen > model_.last_seen) model_.last_seen = record.last_seen;
    first_ = false;
    if (record.condition == Condition::kFaulty) take_faulty(record, frames);
    const auto modules = modules_at(record, frames, index);
    show(record, standing, modules);
    checks_.add(std::move(record));
  }

  void finish() {
    checks_.finish(model_);
    std::sort(heap_.begin(), heap_.end(), is_more_urgent);
    model_.shown = std::move(heap_);
  }

 private:
  static void count(Tally& tally, std::uint64_t bytes) {
    ++tally.records;
    tally.bytes += bytes;
  }

  void take_faulty(const Record& record, const ByteRange& frames) {
    const Retirement retirement = record.retirement_in(model_.machine.boot_id);
    const auto index = static_cast<std::size_t>(retirement);
    count(model_.retirement.at(index), retired_.at(index).add(frames));
    if (record.outcome_boot_id == model_.machine.boot_id && !record.outcome_how.empty()) {
      const bool room = model_.how.size() < kMostHow || model_.how.contains(record.outcome_how);
      ++model_.how[room ? record.outcome_how : "other"];
    }
    // What lies outside of memory takes nothing away.
    const RangeSet in_ram = machine_.map.installed_ram().within(frames);
    for (const ByteRange& part : in_ram.ranges()) take_from_memory(part);
  }

  void take_from_memory(const ByteRange& part) {
    const std::uint64_t bytes = faulty_.add(part);
    if (const auto node = node_of(machine_.nodes, part.begin())) {
      const auto facts = std::find_if(model_.nodes.begin(), model_.nodes.end(),
                                      [&](const NodeFacts& one) { return one.node == *node; });
      facts->faulty += bytes;
    }
    for (std::size_t i = 0; i < huge_pieces_.size(); ++i) {
      model_.huge_pages[i].touched += huge_pieces_[i].add(part);
    }
    if (block_pieces_) model_.blocks_touched += block_pieces_->add(part);
  }

  // The modules that answer at the record, which is counted at each.
  std::vector<std::size_t> modules_at(const Record& record, const ByteRange& frames,
                                      std::size_t standing) {
    std::vector<std::size_t> found;
    if (record.condition == Condition::kQuarantined) return found;
    for (std::size_t i = 0; i < model_.modules.size(); ++i) {
      const auto& mappings = model_.modules[i].module.mappings;
      if (std::any_of(mappings.begin(), mappings.end(),
                      [&](const auto& mapping) { return mapping.range.overlaps(frames); })) {
        found.push_back(i);
      }
    }
    for (const std::size_t i : found) {
      ModuleFacts& facts = model_.modules[i];
      count((found.size() == 1 ? facts.alone : facts.shared).at(standing), frames.size());
    }
    return found;
  }

  void show(const Record& record, Standing standing, const std::vector<std::size_t>& modules) {
    ShownRecord shown{.record = record, .standing = standing};
    if (heap_.size() == kMostShownRecords) {
      ++model_.records_left_out;
      if (!is_more_urgent(shown, heap_.front())) return;
      std::pop_heap(heap_.begin(), heap_.end(), is_more_urgent);
      heap_.pop_back();
    }
    for (const std::size_t i : modules) {
      const MemoryModule& module = model_.modules[i].module;
      shown.modules.push_back(module.serial.empty() ? module.slot
                                                    : module.slot + ", serial " + module.serial);
    }
    heap_.push_back(std::move(shown));
    std::push_heap(heap_.begin(), heap_.end(), is_more_urgent);
  }

  ReportModel& model_;
  const CheckedMachine& machine_;
  const Quarantine& quarantine_;
  ListCheck checks_;
  bool first_ = true;
  std::array<DistinctBytes, kStandings> distinct_;
  std::array<DistinctBytes, 4> retired_;
  DistinctBytes faulty_;
  std::vector<TouchedPieces> huge_pieces_;
  std::optional<TouchedPieces> block_pieces_;
  std::vector<ShownRecord> heap_;  // the least urgent first
};

// The pass over the events.
class EventPass {
 public:
  explicit EventPass(ReportModel& model) : model_(model) {
    for (ShownRecord& shown : model.shown) by_range_.emplace(shown.record.range, &shown);
  }

  void take(const StoredEvent& stored) {
    const Event& event = stored.event;
    if (!event.foreign_host.empty()) {
      ++model_.of_other_hosts;
      return;
    }
    const bool is_error = is_observation(event.kind);
    const Time seen = time_seen(event, stored.provenance);
    model_.time_line.add(seen, lane_of(event.kind), is_error ? event.count : 1);
    count_source(stored, seen, is_error);
    if (is_error) count_device(event);
    if (!event.range) {
      ++model_.without_place;
      return;
    }
    const auto shown = by_range_.find(record_range(*event.range));
    if (shown != by_range_.end()) keep(*shown->second, stored);
  }

  void finish() {
    std::stable_sort(model_.devices.begin(), model_.devices.end(),
                     [](const auto& a, const auto& b) { return a.errors > b.errors; });
  }

 private:
  void count_source(const StoredEvent& stored, Time seen, bool is_error) {
    const Provenance& by = stored.provenance;
    auto found = model_.sources.find(by.source);
    if (found == model_.sources.end()) {
      if (model_.sources.size() == kMostSources) {
        ++model_.sources_left_out;
        return;
      }
      found = model_.sources.emplace(by.source, SourceFacts{.first = seen, .last = seen}).first;
    }
    SourceFacts& facts = found->second;
    ++facts.entries;
    if (is_error) facts.errors += stored.event.count;
    facts.first = std::min(facts.first, seen);
    facts.last = std::max(facts.last, seen);
    facts.tool = by.tool;
    facts.origin = by.origin;
  }

  void count_device(const Event& event) {
    DramCoordinates place = event.dram;
    place.rank = place.device = place.bank_group = place.bank = place.row = place.column = {};
    if (event.label.empty() && place == DramCoordinates{} && event.dram == place) return;
    auto key = std::pair(event.label, to_text(place));
    auto found = devices_.find(key);
    if (found == devices_.end()) {
      if (model_.devices.size() == kMostDevices) {
        model_.devices_left_out += event.count;
        return;
      }
      found = devices_.emplace(std::move(key), model_.devices.size()).first;
      model_.devices.push_back({.label = event.label, .place = place});
    }
    DeviceFacts& device = model_.devices[found->second];
    device.errors += event.count;
    if (event.dram != place) device.cells.add(event.dram, event.count);
  }

  static void keep(ShownRecord& shown, const StoredEvent& stored) {
    shown.events.push_back(stored);
    // What is not shown, and may be large.
    shown.events.back().provenance.topology.clear();
    if (shown.events.size() <= kFirstEvents + kNewestEvents) return;
    shown.events.erase(shown.events.begin() + kFirstEvents);
    ++shown.events_between;
  }

  ReportModel& model_;
  std::map<ByteRange, ShownRecord*> by_range_;
  std::map<std::pair<std::string, std::string>, std::size_t> devices_;
};

}  // namespace

std::uint64_t ReportModel::records() const {
  std::uint64_t all = 0;
  for (const Tally& tally : tallies) all += tally.records;
  return all;
}

ReportModel empty_report(const ReportedMachine& input) {
  const CheckedMachine& machine = input.machine;
  const RangeSet memory = machine.map.installed_ram().united_with(machine.map.device_memory());
  ReportModel model(input.host, AddressMap(memory, machine.placement.offline_blocks, machine.nodes,
                                           machine.shift));
  model.made = input.now;
  model.ram = machine.map.system_ram().bytes();
  model.left_out = machine.map.installed_ram().bytes() - model.ram;
  model.nodes = node_facts(machine);
  model.huge_pages = huge_page_sizes(machine.shift, machine.map.installed_ram().bytes());
  model.blocks = input.blocks.size();
  if (!input.blocks.empty()) model.block_bytes = input.blocks.front().range.size();
  model.blocks_offline = static_cast<std::uint64_t>(
      std::count_if(input.blocks.begin(), input.blocks.end(),
                    [](const MemoryBlock& block) { return !block.online; }));
  for (const MemoryModule& module : input.topology.modules) {
    model.modules.push_back({.module = module});
  }
  return model;
}

Result<void> add_registry(ReportModel& model, const CheckedMachine& machine,
                          const Quarantine& quarantine, Store& store, std::uint64_t generation,
                          ReportDepth depth) {
  model.has_registry = true;
  const auto head = store.head();
  if (!head) return head.error();
  model.head = *head;
  model.generation = generation;

  RecordPass records(model, machine, quarantine);
  auto read = store.for_each_record([&](const Record& record) {
    records.take(record);
    return true;
  });
  if (!read) return read;
  records.finish();

  if (depth == ReportDepth::kAll) {
    EventPass events(model);
    read = store.for_each_event([&](const StoredEvent& stored) {
      if (stored.id > model.head.id) return false;
      events.take(stored);
      return true;
    });
    if (!read) return read;
    events.finish();
  }
  const auto now = store.head();
  if (!now) return now.error();
  model.entries_since = now->id - model.head.id;
  return {};
}

}  // namespace poisonctl
