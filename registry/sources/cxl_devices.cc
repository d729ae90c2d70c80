#include "registry/sources/cxl_devices.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <limits>
#include <utility>

#include "registry/cxl/device_label.h"
#include "registry/posix_file.h"
#include "registry/range_text.h"
#include "registry/sources/collecting.h"
#include "registry/text.h"

namespace poisonctl {

namespace {

using std::uint64_t;

constexpr uint64_t kLine = 64;           // of a poison list
constexpr uint64_t kLeastGranule = 256;  // of an interleave
// What the kernel traces for "no region" (drivers/cxl/core/trace.h).
constexpr uint64_t kNoAddress = std::numeric_limits<uint64_t>::max();
// Flags of Get Poison List (CXL 3.1, table 8-139).
constexpr uint64_t kMore = 1;
constexpr uint64_t kOverflow = 2;

// Takes one trace event into the list, if it is an entry of it.
void take_entry(const TraceEvent& trace, CxlPoisonList& list) {
  if (trace.name != "cxl_poison" || trace.text("trace_type") != "List" ||
      trace.number("serial") != list.device.serial || trace.text("memdev") != list.device.memdev) {
    return;
  }
  const uint64_t flags = trace.number("flags").value_or(0);
  list.overflowed = list.overflowed || (flags & kOverflow) != 0;
  list.cut = (flags & kMore) != 0;  // of the newest: what was read last ends the list, or does not
  const auto begin = trace.number("dpa");
  const auto size = trace.number("dpa_length");
  const auto bytes =
      begin && size ? DeviceRange::from_size(DeviceAddr(*begin), *size) : std::nullopt;
  if (!bytes) {
    if (list.unusable.empty()) list.unusable = trace.evidence();
    return;
  }
  const auto address = trace.number("hpa");
  CxlPoison entry{.bytes = *bytes,
                  .kernel_address = {},
                  .kernel_tells = address.has_value(),
                  .source = printable(trace.text("source"))};
  if (address && *address != 0 && *address != kNoAddress) entry.kernel_address = PhysAddr(*address);
  list.entries.push_back(std::move(entry));
}

// The bytes that lie in each run of frames: of a run that holds several pieces, all its frames are
// meant, and one event says so.
std::vector<ByteRange> by_frames(const RangeSet& bytes, PageShift shift) {
  std::vector<ByteRange> runs;
  for (const ByteRange& frames : bytes.widened_to(shift).ranges()) {
    const RangeSet inside = bytes.within(frames);
    runs.push_back(
        *ByteRange::from_last(inside.ranges().front().begin(), inside.ranges().back().last()));
  }
  return runs;
}

uint64_t granularity_of(const CxlAddressMap& map, uint64_t serial, bool exact) {
  if (exact) return kLine;
  uint64_t stripe = kLine;
  for (const CxlShare& share : map.shares()) {
    if (share.serial == serial) stripe = std::max(stripe, map.stripe_of(share));
  }
  return stripe;
}

class Reading {
 public:
  Reading(const CxlKnowledge& knowledge, const EventSink& sink)
      : knowledge_(knowledge), collector_(sink) {}

  Result<void> take(const CxlPoisonList& list);
  [[nodiscard]] Result<SourceReport> finish(std::size_t asked) {
    if (answered_ != 0 || asked == 0) return collector_.take_report();
    return Error{ErrorCode::kNotAvailable,
                 fmt::format("no CXL device gave a poison list: {}", first_problem_)};
  }
  void warn(std::string text) { collector_.warn(std::move(text)); }
  void look_at_health(const CxlDevice& device);

 private:
  // Where an entry is: our answer, as far as it is to be believed.
  struct Answer {
    RangeSet host;
    std::vector<DeviceRange> unplaced;
    bool exact = true;
    std::string note = {};  // what the kernel says otherwise
  };
  Answer answer_for(const CxlDevice& device, const CxlPoison& entry);
  [[nodiscard]] bool is_repaired(const CxlDevice& device, const DeviceRange& bytes) const;
  [[nodiscard]] Answer by_kernel(const CxlPoison& entry, std::string note) const;
  Result<void> entry_events(const CxlDevice& device, const CxlPoison& entry);
  void warn_of(const CxlDevice& device, std::string_view text) {
    collector_.warn(fmt::format("{} (cxl serial {:#x}): {}", device.memdev, device.serial, text));
  }

  const CxlKnowledge& knowledge_;
  Collector collector_;
  std::size_t answered_ = 0;
  std::string first_problem_;
};

// All that the kernel says is where the first byte is: the first granule at the least is there too.
Reading::Answer Reading::by_kernel(const CxlPoison& entry, std::string note) const {
  const uint64_t begin = entry.bytes.begin().value();
  const uint64_t certain = std::min(entry.bytes.size(), kLeastGranule - begin % kLeastGranule);
  Answer answer{.host = {}, .unplaced = {}, .exact = true, .note = std::move(note)};
  const auto range = ByteRange::from_size(*entry.kernel_address, certain);
  if (range) answer.host = RangeSet::from_ranges({*range});
  const uint64_t placed = range ? certain : 0;
  if (placed < entry.bytes.size()) {
    answer.unplaced.push_back(
        *DeviceRange::from_size(DeviceAddr(begin + placed), entry.bytes.size() - placed));
  }
  return answer;
}

Reading::Answer Reading::answer_for(const CxlDevice& device, const CxlPoison& entry) {
  const CxlAddressMap& map = knowledge_.map;
  const auto located = map.locate(device.serial, entry.bytes);
  if (!located) {
    warn_of(device, located.error().message + "; kept as evidence without a place");
    return {.host = {}, .unplaced = {entry.bytes}};
  }
  const auto first = map.locate(device.serial, *DeviceRange::from_size(entry.bytes.begin(), 1));
  const RangeSet& ours = first->host;
  const auto theirs =
      entry.kernel_address ? ByteRange::from_size(*entry.kernel_address, 1) : std::nullopt;
  const bool same =
      entry.kernel_address ? theirs && ours.overlaps(*theirs) : ours.empty() || !entry.kernel_tells;
  if (same) {
    return {.host = located->host, .unplaced = located->unplaced, .exact = located->exact};
  }
  const std::string computed =
      ours.empty() ? "no address" : to_hex(ours.ranges().back().begin().value());
  const std::string told =
      entry.kernel_address ? to_hex(entry.kernel_address->value()) : "no address";
  warn_of(device, fmt::format("device address {} is at {} by the decoders, and at {} for the "
                              "kernel{}",
                              to_text(entry.bytes), computed, told,
                              entry.kernel_address ? "; the kernel's is recorded" : ""));
  std::string note = fmt::format(" computed={} kernel={}", computed, told);
  if (entry.kernel_address) return by_kernel(entry, std::move(note));
  return {.host = located->host,
          .unplaced = located->unplaced,
          .exact = located->exact,
          .note = std::move(note)};
}

bool Reading::is_repaired(const CxlDevice& device, const DeviceRange& bytes) const {
  return std::any_of(knowledge_.repaired.begin(), knowledge_.repaired.end(),
                     [&](const CxlDevicePlace& place) {
                       return place.serial == device.serial && place.bytes.shared_with(bytes);
                     });
}

Result<void> Reading::entry_events(const CxlDevice& device, const CxlPoison& entry) {
  const Answer answer = answer_for(device, entry);
  const bool injected = entry.source == "Injected";
  const std::string evidence =
      fmt::format("poison list: serial={:#x} dpa={} source={}{}", device.serial,
                  to_text(entry.bytes), entry.source, answer.note);
  Event event =
      event_of(injected ? EventKind::kInjected : EventKind::kMedia, std::nullopt, evidence);
  for (const ByteRange& range : by_frames(answer.host, knowledge_.page_shift)) {
    Event placed = event;
    placed.range = range;
    placed.granularity = granularity_of(knowledge_.map, device.serial, answer.exact);
    placed.label = cxl_device_label(device.serial);
    const ByteRange frames = range.widened_to(knowledge_.page_shift);
    if (knowledge_.resolved.overlaps(frames) || is_repaired(device, entry.bytes)) {
      placed.observed = knowledge_.now;
    }
    if (auto given = collector_.hand_over(std::move(placed)); !given) return given;
  }
  for (const DeviceRange& bytes : answer.unplaced) {
    event.label = cxl_place_label({device.serial, bytes});
    event.observed = is_repaired(device, bytes) ? knowledge_.now : std::optional<Time>();
    if (auto given = collector_.hand_over(event); !given) return given;
  }
  return {};
}

void Reading::look_at_health(const CxlDevice& device) {
  if (!knowledge_.health) return;
  const auto health = knowledge_.health(device);
  if (health) {
    for (const std::string& complaint : complaints(*health)) warn_of(device, complaint);
  } else if (health.error().code != ErrorCode::kNotAvailable &&
             health.error().code != ErrorCode::kNoInput) {
    warn_of(device, health.error().message);
  }
}

Result<void> Reading::take(const CxlPoisonList& list) {
  if (list.problem) {
    if (first_problem_.empty()) first_problem_ = list.problem->message;
    warn_of(list.device, list.problem->message);
    return {};
  }
  ++answered_;
  if (list.overflowed) {
    warn_of(list.device,
            "its poison list has overflowed: it knows of more bad places than it can name");
  }
  if (list.cut) {
    warn_of(list.device, "its poison list has more entries than this kernel reads");
  }
  if (!list.unusable.empty()) {
    warn_of(list.device, "an entry that no device can have is left out: " + list.unusable);
  }
  for (const CxlPoison& entry : list.entries) {
    if (auto given = entry_events(list.device, entry); !given) return given;
  }
  return {};
}

}  // namespace

Result<CxlPoisonList> read_poison_list(const SysRoot& sysroot, const CxlDevice& device,
                                       const TracedEvents& traced) {
  CxlPoisonList list{.device = device, .entries = {}};
  const std::string path = fmt::format("sys/bus/cxl/devices/{}/trigger_poison_list", device.memdev);
  // What is in the buffer by now is about something else.
  if (auto cleared = traced([](const TraceEvent&) {}); !cleared) return cleared.error();
  const auto attribute = sysroot.open_attribute(path);
  if (!attribute) {
    list.problem = attribute.error();
    if (list.problem->code == ErrorCode::kNoInput) {
      list.problem = Error{ErrorCode::kNotAvailable,
                           sysroot.shown(path) +
                               " does not exist: the device keeps no poison list, or this "
                               "kernel is older than 6.4"};
    }
    return list;
  }
  // One order reads all of the list: it is traced when the write returns (cxl_trigger_poison_list).
  const int error = (*attribute)->write("1");
  if (error != 0) list.problem = os_error(sysroot.shown(path), error, ErrorCode::kIo);
  auto read = traced([&](const TraceEvent& trace) { take_entry(trace, list); });
  if (!read) return read.error();
  return list;
}

Result<SourceReport> collect_cxl_devices(const SysRoot& sysroot, const CxlKnowledge& knowledge,
                                         const TracedEvents& traced, const EventSink& sink) {
  const auto& devices = knowledge.map.devices();
  if (devices.empty()) {
    return Error{ErrorCode::kNotAvailable,
                 sysroot.shown("sys/bus/cxl/devices") +
                     ": has no memory device (memN); the driver cxl_pci has found none"};
  }
  Reading reading(knowledge, sink);
  for (const std::string& problem : knowledge.map.problems()) reading.warn(problem);
  for (const CxlDevice& device : devices) {
    reading.look_at_health(device);
    const auto list = read_poison_list(sysroot, device, traced);
    if (!list) return list.error();
    if (auto taken = reading.take(*list); !taken) return taken.error();
  }
  return reading.finish(devices.size());
}

std::vector<Event> placed_now(const Event& event, std::int64_t id, const CxlKnowledge& knowledge) {
  const auto place = cxl_place_from(event.label);
  if (event.range || !event.foreign_host.empty() || !place) return {};
  const auto located = knowledge.map.locate(place->serial, place->bytes);
  if (!located) return {};
  std::vector<Event> events;
  for (const ByteRange& range : by_frames(located->host, knowledge.page_shift)) {
    // What was resolved since is only bad again when a device says so.
    if (knowledge.resolved.overlaps(range.widened_to(knowledge.page_shift))) continue;
    Event placed = event;
    placed.range = range;
    placed.granularity = granularity_of(knowledge.map, place->serial, located->exact);
    placed.label = cxl_device_label(place->serial);
    placed.evidence = fmt::format("entry {}, which had no place, is here now: {}", id, event.label);
    events.push_back(std::move(placed));
  }
  return events;
}

}  // namespace poisonctl
