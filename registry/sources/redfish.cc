#include "registry/sources/redfish.h"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <algorithm>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "registry/sources/collecting.h"
#include "registry/sources/cper.h"
#include "registry/sources/json_stream.h"
#include "registry/text.h"

namespace poisonctl {

namespace {

using nlohmann::json;

constexpr std::size_t kLargest = std::size_t{64} << 20U;

// A text of an object; empty when there is none.
std::string_view text_at(const json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_string()) return {};
  return found->get_ref<const std::string&>();
}

// RFC 4648, with its padding. Nothing when it is something else.
std::optional<std::string> decoded_base64(std::string_view text) {
  constexpr std::size_t kMost = std::numeric_limits<int>::max() / 2;
  if (text.empty() || text.size() % 4 != 0 || text.size() > kMost) return std::nullopt;
  const auto padding = static_cast<std::size_t>(text.ends_with("==") ? 2 : text.ends_with('='));
  // The library takes blanks, and '=' anywhere.
  constexpr std::string_view kAlphabet =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  const std::string_view digits = text.substr(0, text.size() - padding);
  if (digits.find_first_not_of(kAlphabet) != std::string_view::npos) return std::nullopt;
  std::vector<unsigned char> bytes(text.size() / 4 * 3);
  const std::vector<unsigned char> input(text.begin(), text.end());
  const int length = ::EVP_DecodeBlock(bytes.data(), input.data(), static_cast<int>(input.size()));
  if (length < 0) return std::nullopt;
  return std::string(bytes.begin(), bytes.begin() + length - static_cast<std::ptrdiff_t>(padding));
}

// "a5bc1114-6f64-4ede-b863-3e83ed7c83b1" as it lies in a record: the first three numbers are
// little-endian. Nothing when it is no GUID.
std::optional<std::string> guid_bytes(std::string_view text) {
  constexpr std::size_t kLength = 36;
  if (text.size() != kLength) return std::nullopt;
  constexpr std::size_t kOrder[] = {6, 4, 2, 0, 11, 9, 16, 14, 19, 21, 24, 26, 28, 30, 32, 34};
  for (const std::size_t dash : {8U, 13U, 18U, 23U}) {
    if (text[dash] != '-') return std::nullopt;
  }
  std::string bytes;
  for (const std::size_t at : kOrder) {
    const auto byte = parse_unsigned(text.substr(at, 2), 16);
    if (!byte) return std::nullopt;
    bytes += static_cast<char>(*byte);
  }
  return bytes;
}

void put(std::string& out, std::size_t value, std::size_t bytes) {
  for (std::size_t i = 0; i < bytes; ++i) out += static_cast<char>(value >> (8 * i) & 0xFFU);
}

// A section alone as a record (UEFI 2.10, tables N.1 and N.4), of which only what cper reads is
// set.
std::string record_around(const std::string& type, std::string_view severity,
                          const std::string& section) {
  constexpr std::size_t kHead = 128 + 72;
  const std::size_t number = severity == "Critical" ? 0U : severity == "Warning" ? 2U : 3U;
  std::string record = "CPER";
  put(record, 0x0100, 2);
  put(record, 0xFFFFFFFFU, 4);
  put(record, 1, 2);
  put(record, number, 4);
  put(record, 0, 4);
  put(record, kHead + section.size(), 4);
  record.resize(128, '\0');
  put(record, kHead, 4);
  put(record, section.size(), 4);
  put(record, 0x0300, 2);
  record.append(2 + 4, '\0');
  record += type;
  record.append(16, '\0');
  put(record, number, 4);
  record.resize(kHead, '\0');
  return record + section;
}

class RedfishReader {
 public:
  RedfishReader(std::string shown, const SourceSettings& settings, const EventSink& sink)
      : shown_(std::move(shown)), settings_(settings), collector_(sink) {}
  Result<void> visit(const json& node);
  Result<SourceReport> finish();

 private:
  Result<void> take_entry(const json& entry);
  Result<void> take_record(const json& entry, const std::string& record);
  Result<void> take_unplaced(const json& entry, std::string_view label);
  Result<void> take_module(const json& memory);
  [[nodiscard]] std::string place_of(const json& entry) const {
    return fmt::format("{}: entry {}: ", shown_, printable(text_at(entry, "Id")));
  }

  std::string shown_;
  const SourceSettings& settings_;
  Collector collector_;
  std::uint64_t entries_ = 0;
  std::uint64_t others_ = 0;
  std::uint64_t links_ = 0;
  std::uint64_t modules_ = 0;
};

// A Memory resource with its MemoryMetrics in it (DSP0268): "#Memory.v1_17_0.Memory".
bool is_module(const json& node) {
  return text_at(node, "@odata.type").starts_with("#Memory.") && node.contains("Metrics");
}

// How the module is called: on the board, else by firmware, else in the service.
std::string_view name_of(const json& memory) {
  for (const char* const key : {"DeviceLocator", "Name", "Id"}) {
    if (const std::string_view name = text_at(memory, key); !name.empty()) return name;
  }
  return {};
}

const json* member_of(const json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_object() ? &*found : nullptr;
}

std::optional<Time> time_of(const json& entry) {
  const auto at_event = time_from_rfc3339(text_at(entry, "EventTimestamp"));
  return at_event ? at_event : time_from_rfc3339(text_at(entry, "Created"));
}

// What the severity of an entry means (DSP0268, Resource.Health); nothing for what is well.
std::optional<EventKind> kind_of(const json& entry) {
  const std::string_view severity = text_at(entry, "Severity");
  if (severity == "Critical") return EventKind::kUncorrected;
  if (severity == "Warning") return EventKind::kCorrected;
  return std::nullopt;
}

Result<void> RedfishReader::take_unplaced(const json& entry, std::string_view label) {
  const auto kind = kind_of(entry);
  if (!kind) {
    ++others_;
    return {};
  }
  Event event = event_of(*kind, std::nullopt, json_text(entry, Event::kEvidenceLimit));
  event.observed = time_of(entry);
  event.label = label;
  return collector_.hand_over(std::move(event));
}

// All of a record, or nothing of it.
Result<void> RedfishReader::take_record(const json& entry, const std::string& record) {
  std::vector<Event> events;
  TextStream stream(record, place_of(entry) + "DiagnosticData");
  const auto report =
      collect_cper(stream, settings_, [&](const Event& event, const SourceReport&) -> Result<void> {
        events.push_back(event);
        return {};
      });
  if (!report) {
    collector_.warn(report.error().message + ": kept as evidence without a place");
    return take_unplaced(entry, "Redfish CPER");
  }
  for (const std::string& warning : report->warnings) collector_.warn(warning);
  for (Event& event : events) {
    if (!event.observed) event.observed = time_of(entry);
    if (auto given = collector_.hand_over(std::move(event)); !given) return given;
  }
  return {};
}

Result<void> RedfishReader::take_entry(const json& entry) {
  ++entries_;
  const std::string_view type = text_at(entry, "DiagnosticDataType");
  if (type == "CPER" || type == "CPERSection") {
    const auto data = decoded_base64(text_at(entry, "DiagnosticData"));
    const auto cper = entry.find("CPER");
    const auto section = cper != entry.end() && cper->is_object()
                             ? guid_bytes(text_at(*cper, "SectionType"))
                             : std::nullopt;
    if (data && type == "CPER") return take_record(entry, *data);
    if (data && section) {
      return take_record(entry, record_around(*section, text_at(entry, "Severity"), *data));
    }
    collector_.warn(place_of(entry) +
                    (data ? "a section without CPER.SectionType" : "DiagnosticData is no base64") +
                    ": kept as evidence without a place");
    return take_unplaced(entry, "Redfish CPER");
  }
  // DSP0268, LogEntry.CXLEntryType: the other two, DynamicCapacity and Informational, are no
  // errors.
  const std::string_view cxl = text_at(entry, "CXLEntryType");
  if (text_at(entry, "EntryType") == "CXL" &&
      (cxl == "Warning" || cxl == "Failure" || cxl == "Fatal")) {
    return take_unplaced(entry, "Redfish CXL");
  }
  if (text_at(entry, "EntryType") == "SEL" && text_at(entry, "SensorType") == "Memory") {
    return take_unplaced(entry, "Redfish memory sensor");
  }
  ++others_;
  return {};
}

// Counters since the module was made where there are such, else those of this period. Like the
// counters of EDAC they have no date.
Result<void> RedfishReader::take_module(const json& memory) {
  ++modules_;
  const json* const metrics = member_of(memory, "Metrics");
  if (metrics == nullptr) return {};
  const json* const whole = member_of(*metrics, "LifeTime");
  const json* const period = whole == nullptr ? member_of(*metrics, "CurrentPeriod") : whole;
  constexpr std::uint64_t kNoCount = std::numeric_limits<std::uint64_t>::max();
  constexpr std::pair<const char*, EventKind> kCounters[] = {
      {"CorrectableECCErrorCount", EventKind::kCorrected},
      {"UncorrectableECCErrorCount", EventKind::kUncorrected}};
  for (const auto& [key, kind] : kCounters) {
    const auto found = period == nullptr ? json::const_iterator() : period->find(key);
    if (period == nullptr || found == period->end() || found->is_null()) continue;
    const auto count = found->is_number_unsigned() ? found->get<std::uint64_t>() : kNoCount;
    if (count > std::numeric_limits<std::int64_t>::max()) {
      collector_.warn(fmt::format("{}: {}: {} is no count of errors: left out", shown_,
                                  printable(text_at(memory, "@odata.id")), key));
      continue;
    }
    if (count == 0) continue;
    Event event =
        event_of(kind, std::nullopt,
                 fmt::format("{} {}={}", printable(text_at(memory, "@odata.id")), key, count));
    event.count = count;
    event.label = name_of(memory);
    if (auto given = collector_.hand_over(std::move(event)); !given) return given;
  }
  return {};
}

Result<void> RedfishReader::visit(const json& node) {
  if (node.is_array()) {
    for (const json& element : node) {
      if (auto done = visit(element); !done) return done;
    }
    return {};
  }
  if (!node.is_object()) return {};
  const auto members = node.find("Members");
  if (members != node.end()) return visit(*members);
  if (node.contains("EntryType")) return take_entry(node);
  if (is_module(node)) return take_module(node);
  if (node.contains("@odata.id")) ++links_;
  return {};
}

Result<SourceReport> RedfishReader::finish() {
  if (entries_ == 0 && links_ == 0 && modules_ == 0) {
    return bad_data(shown_ + ": ",
                    "no log entry here: expected what a Redfish service answers for "
                    ".../LogServices/NAME/Entries");
  }
  if (links_ != 0) {
    collector_.warn(
        fmt::format("{}: {} of the collection only as links: ask for "
                    "Entries?$expand=.($levels=1), or for each of them",
                    shown_, counted(links_, "member")));
  }
  if (others_ != 0) {
    collector_.warn(fmt::format("{}: {} about other things than errors of memory: left out", shown_,
                                counted(others_, "entry")));
  }
  return collector_.take_report();
}

}  // namespace

Result<SourceReport> collect_redfish(ByteStream& stream, const SourceSettings& settings,
                                     const EventSink& sink) {
  const auto document = read_json(stream, kLargest);
  if (!document) return document.error();
  RedfishReader reader(stream.shown(), settings, sink);
  if (auto done = reader.visit(*document); !done) return done.error();
  return reader.finish();
}

}  // namespace poisonctl
