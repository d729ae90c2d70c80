#include "registry/sources/cxl_json.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <limits>
#include <string_view>
#include <utility>
#include <vector>

#include "registry/sources/collecting.h"
#include "registry/sources/json_stream.h"
#include "registry/text.h"

namespace poisonctl {

namespace {

using nlohmann::json;
using std::uint64_t;

// A device keeps about 1,000 entries of some 100 bytes; a host has tens of devices.
constexpr std::size_t kLargest = std::size_t{16} << 20U;

// Poison is listed in lines of 64 bytes, and an interleave set changes devices after 256 at the
// least and 16 KiB at the most, over at most 16 devices (CXL 3.1, 8.2.4.20).
constexpr uint64_t kLine = 64;
constexpr uint64_t kLeastGranule = 256;
constexpr uint64_t kMostGranule = 16384;
constexpr uint64_t kMostWays = 16;
constexpr uint64_t kSector = 512;  // of the kernel's badblocks
constexpr uint64_t kAddressEnd = kPhysAddrLimit;

// A key of an object; null when there is none.
const json& at(const json& object, const char* key) {
  static const json kNone;
  const auto found = object.find(key);
  return found == object.end() ? kNone : *found;
}

std::string text_at(const json& object, const char* key) {
  const json& value = at(object, key);
  return value.is_string() ? printable(value.get_ref<const std::string&>()) : std::string();
}

// An entry in bytes from the start of what the listing counts from.
struct Extent {
  uint64_t offset = 0;
  uint64_t length = 0;  // at least 1, and offset + length fits an address
};

std::optional<Extent> extent_of(const json& entry, uint64_t unit) {
  const auto offset = json_unsigned(at(entry, "offset"));
  const auto length = json_unsigned(at(entry, "length"));
  if (!offset || !length || *length == 0) return std::nullopt;
  if (*offset > kAddressEnd / unit || *length > kAddressEnd / unit) return std::nullopt;
  return Extent{*offset * unit, *length * unit};
}

// Physical bytes, and the smallest piece of them that is known to be meant.
struct Place {
  ByteRange range;
  uint64_t granularity;
};

// None when it is no physical memory.
std::vector<Place> place_at(uint64_t base, const Extent& extent, uint64_t granularity) {
  if (base >= kAddressEnd) return {};
  const auto range = ByteRange::from_size(PhysAddr(base + extent.offset), extent.length);
  if (!range) return {};
  return {{*range, granularity}};
}

// An interleave set. Each of `ways` devices has one granule of every stripe of the region.
struct Interleave {
  uint64_t ways;
  uint64_t granule;
};

// The places of device bytes that begin at `extent.offset` of an interleaved region of `size`
// bytes. Which granule of a stripe is the device's depends on the arithmetic of the host bridges
// (modulo or XOR), so beyond the first granule only the stripes are known. Together they are one
// place where that is in the same frame, else the first is one of its own: known exactly.
std::vector<Place> interleaved_places(uint64_t base, uint64_t size, const Extent& extent,
                                      const Interleave& set, PageShift shift) {
  const uint64_t before = extent.offset % set.granule;
  if (before + extent.length <= set.granule) return place_at(base, extent, kLine);
  const uint64_t granules = (before + extent.length - 1) / set.granule + 1;
  const uint64_t stripe = set.granule * set.ways;
  const uint64_t next = (extent.offset / stripe + 1) * stripe;
  const uint64_t end = std::min(size, next + (granules - 1) * stripe);  // below 2^62
  auto all = place_at(base, {extent.offset, end - extent.offset}, stripe);
  if (all.empty() || next >= end || all[0].range.frame_count(shift) == 1) return all;
  auto places = place_at(base, {extent.offset, set.granule - before}, kLine);
  const auto rest = place_at(base, {next, end - next}, stripe);
  places.insert(places.end(), rest.begin(), rest.end());
  return places;
}

class Import {
 public:
  Import(std::string shown, PageShift shift, const EventSink& sink)
      : shown_(std::move(shown)), shift_(shift), collector_(sink) {}

  // All of a listing; `region` is the ndctl region around it, or null.
  Result<void> visit(const json& node, const json& region);
  Result<SourceReport> finish();

 private:
  Result<void> visit_object(const json& node, const json& region);
  Result<void> media_errors(const json& device, const json& list);
  Result<void> media_error(const json& device, const json& entry);
  Result<void> badblocks(const json& device, const json& list, const json& region);
  std::vector<Place> region_places(const json& region, const Extent& extent);
  // One event for each place, or the event as it is when there is none.
  Result<void> hand_over(const Event& event, const std::vector<Place>& places);
  void warn(std::string_view device, std::string_view text) {
    collector_.warn(fmt::format("{}: {}: {}", shown_, device, text));
  }
  // The list at a key: an array, or an error.
  [[nodiscard]] Error not_a_list(std::string_view key) const {
    return bad_data(shown_ + ": ",
                    fmt::format("'{}' is not an array of objects with offset and length", key));
  }

  std::string shown_;
  PageShift shift_;
  Collector collector_;
  bool devices_ = false;  // something of cxl or ndctl was there
  bool lists_ = false;    // and a list of errors
};

// What identifies the device, and the entry.
std::string evidence_of(const json& device, const char* key, const json& entry) {
  json shown = json::object();
  for (const char* const name : {"memdev", "serial", "host", "region", "dev", "mode", "resource",
                                 "size", "interleave_ways", "interleave_granularity"}) {
    if (const json& value = at(device, name); value.is_primitive() && !value.is_null()) {
      shown[name] = value;
    }
  }
  shown[key] = entry;
  return json_text(shown, Event::kEvidenceLimit);
}

std::string memdev_label(const json& device, const std::optional<Extent>& extent) {
  const auto serial = json_unsigned(at(device, "serial"));
  std::string label =
      serial ? fmt::format("cxl serial {:#x}", *serial)
             : fmt::format("cxl {} {}", text_at(device, "memdev"), text_at(device, "host"));
  if (extent) label += fmt::format(" dpa {:#x}+{:#x}", extent->offset, extent->length);
  return label;
}

Result<void> Import::hand_over(const Event& event, const std::vector<Place>& places) {
  if (places.empty()) return collector_.hand_over(event);
  for (const Place& place : places) {
    Event placed = event;
    placed.range = place.range;
    placed.granularity = place.granularity;
    if (auto given = collector_.hand_over(std::move(placed)); !given) return given;
  }
  return {};
}

// Nothing, and a warning, when the listing does not tell.
std::vector<Place> Import::region_places(const json& region, const Extent& extent) {
  const auto base = json_unsigned(at(region, "resource"));
  const auto size = json_unsigned(at(region, "size"));
  const std::string name = text_at(region, "region");
  if (!base) {
    warn(name, "the listing has no resource; kept as evidence without a place");
    return {};
  }
  if (size && (extent.offset >= *size || extent.length > *size)) {
    warn(name,
         fmt::format("offset {:#x} with length {:#x} lies outside the region; kept as evidence "
                     "without a place",
                     extent.offset, extent.length));
    return {};
  }
  const auto ways = json_unsigned(at(region, "interleave_ways"));
  const auto granule = json_unsigned(at(region, "interleave_granularity"));
  if (ways == 1) return place_at(*base, extent, kLine);
  if (ways && granule && *ways >= 2 && *ways <= kMostWays && std::has_single_bit(*granule) &&
      *granule >= kLeastGranule && *granule <= kMostGranule) {
    return interleaved_places(*base, size.value_or(kAddressEnd), extent, {*ways, *granule}, shift_);
  }
  const uint64_t first = kLeastGranule - extent.offset % kLeastGranule;
  if (extent.length <= first) return place_at(*base, extent, kLine);
  warn(name,
       "the listing does not say how the region is interleaved; of an entry of more than 256 "
       "bytes only the first are known for certain");
  return place_at(*base, {extent.offset, first}, kLine);
}

Result<void> Import::media_error(const json& device, const json& entry) {
  if (!entry.is_object()) return not_a_list("media_errors");
  const bool injected = text_at(entry, "source") == "Injected";
  Event event = event_of(injected ? EventKind::kInjected : EventKind::kMedia, std::nullopt,
                         evidence_of(device, "media_error", entry));
  const auto extent = extent_of(entry, 1);
  const bool is_region = device.contains("region");
  event.label = is_region ? "cxl " + text_at(device, "region") : memdev_label(device, extent);
  const std::string name = text_at(device, is_region ? "region" : "memdev");
  if (!extent) {
    warn(name, fmt::format("{} has no exact offset and length (with -u, lengths from 5 MB on are "
                           "rounded: list without it); kept as evidence without a place",
                           json_text(entry, 80)));
  }
  if (text_at(entry, "flags").find("Overflow") != std::string::npos) {
    warn(name, "the poison list of the device has overflowed: it knows of more bad places");
  }
  return hand_over(event,
                   extent && is_region ? region_places(device, *extent) : std::vector<Place>());
}

Result<void> Import::media_errors(const json& device, const json& list) {
  lists_ = true;
  if (!list.is_array()) return not_a_list("media_errors");
  if (device.contains("region") == device.contains("memdev")) {
    return bad_data(
        shown_ + ": ",
        "'media_errors' in what is neither a memdev nor a region; expected the output of "
        "'cxl list --media-errors'");
  }
  for (const json& entry : list) {
    if (auto done = media_error(device, entry); !done) return done;
  }
  return {};
}

Result<void> Import::badblocks(const json& device, const json& list, const json& region) {
  lists_ = true;
  if (!list.is_array()) return not_a_list("badblocks");
  const std::string name = text_at(device, "dev");
  const bool is_namespace = device.contains("mode");
  // What the offsets count from, if it is known where that is.
  const json* origin = &device;
  if (is_namespace) origin = text_at(device, "mode") == "raw" ? &region : nullptr;
  const auto base = origin != nullptr && origin->is_object()
                        ? json_unsigned(at(*origin, "resource"))
                        : std::nullopt;
  for (const json& entry : list) {
    if (!entry.is_object()) return not_a_list("badblocks");
    Event event = event_of(EventKind::kMedia, std::nullopt, evidence_of(device, "badblock", entry));
    event.label = "ndctl " + name;
    const auto extent = extent_of(entry, kSector);
    const auto places = extent && base ? place_at(*base, *extent, kSector) : std::vector<Place>();
    if (places.empty()) {
      warn(name,
           "badblocks count from where the listing does not say; kept as evidence without a "
           "place ('cxl list -r all --media-errors' or /proc/iomem tell the address)");
    }
    if (auto given = hand_over(event, places); !given) return given;
  }
  return {};
}

Result<void> Import::visit(const json& node, const json& region) {
  if (node.is_object()) return visit_object(node, region);
  if (!node.is_array()) return {};
  for (const json& element : node) {
    if (auto done = visit(element, region); !done) return done;
  }
  return {};
}

Result<void> Import::visit_object(const json& node, const json& region) {
  constexpr std::array<const char*, 7> kDevices = {"memdev", "region",   "dev",    "bus",
                                                   "port",   "provider", "decoder"};
  devices_ = devices_ || std::any_of(kDevices.begin(), kDevices.end(),
                                     [&](const char* key) { return node.contains(key); });
  const json& inner = node.contains("dev") && !node.contains("mode") ? node : region;
  for (const auto& [key, value] : node.items()) {
    auto done = key == "media_errors" ? media_errors(node, value)
                : key == "badblocks"  ? badblocks(node, value, region)
                                      : visit(value, inner);
    if (!done) return done;
  }
  return {};
}

Result<SourceReport> Import::finish() {
  if (!devices_) {
    return bad_data(shown_ + ": ",
                    "neither memdevs nor regions nor namespaces; expected the output of "
                    "'cxl list --media-errors' or 'ndctl list --media-errors'");
  }
  if (!lists_) {
    collector_.warn(shown_ +
                    ": no media_errors and no badblocks: there are none, or it was listed "
                    "without --media-errors");
  }
  return collector_.take_report();
}

}  // namespace

Result<SourceReport> collect_cxl_json(ByteStream& stream, const SourceSettings& settings,
                                      const EventSink& sink) {
  const auto listing = read_json(stream, kLargest);
  if (!listing) return listing.error();
  Import import(stream.shown(), settings.page_shift, sink);
  if (auto done = import.visit(*listing, json()); !done) return done.error();
  return import.finish();
}

}  // namespace poisonctl
