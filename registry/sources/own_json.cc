#include "registry/sources/own_json.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include "registry/sources/collecting.h"
#include "registry/sources/json_stream.h"
#include "registry/text.h"

namespace poisonctl {

namespace {

using nlohmann::json;
using std::uint64_t;

constexpr std::string_view kRecords = "poisonctl/records-v1";
constexpr std::string_view kEvents = "poisonctl/events-v1";
// Of the texts of one item: evidence is the largest, and JSON may write six bytes for one.
constexpr std::size_t kLargestItem = 8 * Event::kEvidenceLimit;

constexpr uint64_t kMostCount = uint64_t{1} << 48U;  // sums of counts fit 64 bits

// The depth of what is open: the document, a list in it, an item of the list, a list of the item.
constexpr std::size_t kDocument = 1;
constexpr std::size_t kList = 2;
constexpr std::size_t kItem = 3;
constexpr std::size_t kItemList = 4;

// One item. Every get_ names the key in error() when the value is not what the schema has there.
class Item {
 public:
  explicit Item(const json& values) : values_(values) {}

  [[nodiscard]] const std::string& error() const { return error_; }
  // Notes the first thing that is wrong.
  void refuse(std::string_view key, std::string_view expected) {
    if (!error_.empty()) return;
    error_ = has(key) ? fmt::format("'{}' is {}; expected {}", key, json_text(values_.at(key), 60),
                                    expected)
                      : fmt::format("'{}' is missing; expected {}", key, expected);
  }
  // Null counts as absent.
  [[nodiscard]] bool has(std::string_view key) const {
    const auto found = values_.find(key);
    return found != values_.end() && !found->is_null();
  }
  std::string_view get_text(std::string_view key) {
    if (!has(key)) return {};
    const json& value = values_.at(key);
    if (value.is_string()) return value.get_ref<const std::string&>();
    refuse(key, "text");
    return {};
  }
  uint64_t get_number(std::string_view key, uint64_t otherwise) {
    if (!has(key)) return otherwise;
    const json& value = values_.at(key);
    if (value.is_number_unsigned()) return value.get<uint64_t>();
    refuse(key, "a whole number");
    return otherwise;
  }
  std::optional<Time> get_time(std::string_view key) {
    const std::string_view text = get_text(key);
    if (text.empty()) return std::nullopt;
    const auto time = time_from_rfc3339(text);
    if (!time) refuse(key, "a time as in 2026-03-01T12:00:00Z");
    return time;
  }
  // Nothing when neither `address` nor `size` is there.
  std::optional<ByteRange> get_range() {
    if (!has("address") && !has("size")) return std::nullopt;
    const auto range = ByteRange::from_size(PhysAddr(get_number("address", kPhysAddrLimit)),
                                            get_number("size", 0));
    if (!range) refuse(has("address") ? "size" : "address", "a range of physical bytes");
    return range;
  }
  std::optional<EventKind> get_kind(std::string_view key) {
    const auto kind = event_kind_from(get_text(key));
    if (!kind) refuse(key, "ue, ce, deferred, media, injected or poisoned");
    return kind;
  }

 private:
  const json& values_;
  std::string error_;
};

// What records, events and evidence have in common.
Event event_of_item(Item& item, const json& values, EventKind kind, std::string_view count,
                    std::string_view host) {
  Event event = event_of(kind, std::nullopt, json_text(values, Event::kEvidenceLimit));
  event.count = item.get_number(count, 1);
  if (event.count == 0 || event.count > kMostCount) item.refuse(count, "1 to 2^48");
  event.label = printable(item.get_text("label"), Event::kLabelLimit / 2);
  event.foreign_host = printable(item.get_text(host));
  if (const auto dram = dram_coordinates_from(item.get_text("dram"))) {
    event.dram = *dram;
  } else {
    item.refuse("dram", "coordinates as in 'channel=0 row=17'");
  }
  return event;
}

// `exact` is false when only some frames of the range are meant.
void set_place(Event& event, Item& item, const json& values) {
  event.range = item.get_range();
  const bool some = item.has("exact") && values.at("exact") == false;
  const uint64_t otherwise = some && event.range ? event.range->size() : 0;
  event.granularity = item.get_number("granularity", otherwise);
  if (event.granularity > kPhysAddrLimit) item.refuse("granularity", "a number of bytes");
}

class Reader final : public JsonReader {
 public:
  explicit Reader(const EventSink& sink) : collector_(sink) {}
  Result<SourceReport> finish(const std::string& shown);

 private:
  Result<void> on_open(bool object) override;
  Result<void> on_close() override;
  Result<void> on_key(const std::string& key) override;
  Result<void> on_value(json value) override;

  Result<void> end_item();
  Result<void> end_record(Item& item);
  Result<void> end_event(Item& item);
  Result<void> end_evidence(Item& item);
  Result<void> hand_over(Event event, const Item& item);
  [[nodiscard]] bool in_list() const {
    return list_ == "records" || list_ == "events" || list_ == "evidence";
  }
  [[nodiscard]] Error unexpected(std::string_view what) const {
    return bad_data(place(), fmt::format("{}; expected the output of 'poisonctl list --json' or "
                                         "'poisonctl show --json'",
                                         what));
  }

  Collector collector_;
  std::string schema_;
  std::string list_;      // the last key of the document
  std::string item_key_;  // the last key of the item
  json item_;
  std::size_t item_size_ = 0;  // bytes of texts in it
  uint64_t items_ = 0;
  bool records_ = false;  // the lists that were there
  bool events_ = false;
  uint64_t resolved_ = 0;  // what was left out
  uint64_t outcomes_ = 0;
};

Result<void> Reader::on_open(bool object) {
  if (depth() == kDocument && !object) return unexpected("a list");
  if (depth() == kList && in_list()) {
    if (object) return unexpected(fmt::format("'{}' is no list", list_));
    records_ = records_ || list_ == "records";
    events_ = events_ || list_ == "events";
  }
  if (!in_list()) return {};  // part of what the schema may gain
  if (depth() == kItem) {
    if (!object) return unexpected("a list in a list");
    item_ = json::object();
    item_size_ = 0;
    ++items_;
  }
  if (depth() == kItemList) {
    if (object) return unexpected(fmt::format("'{}' is an object", printable(item_key_)));
    item_[item_key_] = json::array();
  }
  return depth() > kItemList ? unexpected("a list in a list") : Result<void>();
}

Result<void> Reader::on_close() {
  // The item itself has been closed: what is open is the list.
  return in_list() && depth() == kList ? end_item() : Result<void>();
}

Result<void> Reader::on_key(const std::string& key) {
  if (depth() == kDocument) list_ = key;
  if (depth() == kItem) item_key_ = key;
  item_size_ += key.size();
  return {};
}

Result<void> Reader::on_value(json value) {
  if (depth() == 0) return unexpected("a single value");
  if (depth() == kDocument) {
    if (in_list()) return unexpected(fmt::format("'{}' is no list", list_));
    if (list_ != "schema") return {};
    schema_ = value.is_string() ? value.get<std::string>() : "";
    if (schema_ == kRecords || schema_ == kEvents) {
      collector_.set_version(schema_);
      return {};
    }
    return unexpected(fmt::format("the schema is {}", json_text(value, 60)));
  }
  if (!in_list()) return {};
  if (depth() == kList) return unexpected(fmt::format("'{}' has a value that is no object", list_));
  constexpr std::size_t kOfNumber = 8;
  item_size_ += value.is_string() ? value.get_ref<const std::string&>().size() : kOfNumber;
  if (item_size_ > kLargestItem) {
    return bad_data(place(), fmt::format("item {} has more than {} bytes", items_, kLargestItem));
  }
  if (depth() == kItem) {
    item_[item_key_] = std::move(value);
  } else {
    item_[item_key_].push_back(std::move(value));
  }
  return {};
}

Result<void> Reader::end_item() {
  Item item(item_);
  if (list_ == "records") return end_record(item);
  return list_ == "events" ? end_event(item) : end_evidence(item);
}

Result<void> Reader::hand_over(Event event, const Item& item) {
  if (item.error().empty()) return collector_.hand_over(std::move(event));
  return bad_data(place(), fmt::format("item {} of '{}': {}", items_, list_, item.error()));
}

Result<void> Reader::end_record(Item& item) {
  constexpr std::array<std::string_view, 2> kActive = {"suspect", "faulty"};
  constexpr std::array<std::string_view, 2> kEnded = {"resolved", "quarantined"};
  const std::string_view condition = item.get_text("condition");
  if (std::find(kEnded.begin(), kEnded.end(), condition) != kEnded.end()) {
    ++resolved_;
    return {};
  }
  if (std::find(kActive.begin(), kActive.end(), condition) == kActive.end()) {
    item.refuse("condition", "suspect, faulty, resolved or quarantined");
  }
  const EventKind kind = item.get_kind("severity").value_or(EventKind::kUncorrected);
  if (!is_observation(kind)) item.refuse("severity", "the kind of an error");
  Event event = event_of_item(item, item_, kind, "events", "host");
  set_place(event, item, item_);
  if (!event.range) item.refuse("address", "a physical address");
  event.observed = item.get_time("last_seen");
  return hand_over(std::move(event), item);
}

Result<void> Reader::end_event(Item& item) {
  const auto kind = item.get_kind("kind");
  if (kind && !is_observation(*kind)) {
    ++outcomes_;
    return {};
  }
  Event event =
      event_of_item(item, item_, kind.value_or(EventKind::kUncorrected), "count", "host_id");
  set_place(event, item, item_);
  event.observed = item.get_time(item.has("observed") ? "observed" : "time");
  event.result = printable(item.get_text("result"), Event::kResultLimit / 2);
  return hand_over(std::move(event), item);
}

Result<void> Reader::end_evidence(Item& item) {
  const auto kind = item.get_kind("kind");
  if (kind && !is_observation(*kind)) {
    ++outcomes_;
    return {};
  }
  Event event = event_of_item(item, item_, kind.value_or(EventKind::kCorrected), "count", "host");
  return hand_over(std::move(event), item);
}

Result<SourceReport> Reader::finish(const std::string& shown) {
  if (schema_.empty() || (schema_ == kRecords ? events_ || !records_ : records_ || !events_)) {
    return bad_data(
        shown + ": ",
        fmt::format("the schema is '{}', and its list is missing or another; expected the "
                    "output of 'poisonctl list --json' or 'poisonctl show --json'",
                    schema_));
  }
  if (resolved_ != 0) {
    collector_.warn(
        fmt::format("{}: resolved or quarantined records were not imported: {}", shown, resolved_));
  }
  if (outcomes_ != 0) {
    collector_.warn(
        fmt::format("{}: outcomes and resolutions are about another boot and were not "
                    "imported: {}",
                    shown, outcomes_));
  }
  return collector_.take_report();
}

}  // namespace

Result<SourceReport> collect_own_json(ByteStream& stream, const SourceSettings& /*settings*/,
                                      const EventSink& sink) {
  Reader reader(sink);
  if (auto done = reader.read(stream); !done) return done.error();
  return reader.finish(stream.shown());
}

}  // namespace poisonctl
