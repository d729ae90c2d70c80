#include "registry/audit/log_lines.h"

#include <fmt/format.h>

#include "registry/audit/json_text.h"
#include "registry/text.h"

namespace poisonctl {

namespace {

OrderedJson digest_json(const Digest& digest) { return to_hex_text(as_bytes(digest)); }

OrderedJson time_json(const std::optional<Time>& time) {
  return time ? OrderedJson(to_rfc3339(*time)) : OrderedJson(nullptr);
}

OrderedJson json_of(const ImportLine& line) {
  const Provenance& by = line.provenance;
  return {{"type", "import"},
          {"id", line.id},
          {"time", to_rfc3339(by.time)},
          {"monotonic_ns", by.monotonic_ns},
          {"source", exact_text(by.source)},
          {"source_version", exact_text(by.source_version)},
          {"origin", exact_text(by.origin)},
          {"tool", exact_text(by.tool)},
          {"uid", by.uid},
          {"boot_id", exact_text(by.boot_id)},
          {"kernel_release", exact_text(by.kernel_release)},
          {"host_id", exact_text(by.host_id)},
          {"product_uuid", exact_text(by.product_uuid)},
          {"product_serial", exact_text(by.product_serial)},
          {"page_size", by.page_shift.page_size()},
          {"topology", line.topology ? OrderedJson(*line.topology) : OrderedJson(nullptr)},
          {"digest", line.digest ? digest_json(*line.digest) : OrderedJson(nullptr)},
          {"redacted", line.redacted}};
}

OrderedJson json_of(const EventLine& line) {
  const Event& event = line.event;
  OrderedJson json = {{"type", "event"},
                      {"id", line.id},
                      {"import", line.import},
                      {"kind", to_word(event.kind)},
                      {"address", nullptr},
                      {"size", nullptr},
                      {"granularity", event.granularity},
                      {"count", event.count},
                      {"observed", time_json(event.observed)},
                      {"foreign_host", exact_text(event.foreign_host)},
                      {"label", exact_text(event.label)},
                      {"dram", to_text(event.dram)},
                      {"result", exact_text(event.result)},
                      {"state", state_word(event)},
                      {"evidence", exact_text(event.evidence)},
                      {"hash", digest_json(line.hash)},
                      {"redacted", line.redacted}};
  if (event.range) {
    json["address"] = event.range->begin().value();
    json["size"] = event.range->size();
  }
  return json;
}

OrderedJson json_of(const OmittedLine& line) {
  return {{"type", "omitted"},
          {"first", line.first},
          {"last", line.last},
          {"hash", digest_json(line.hash)}};
}

// Takes values out of a line without complaint: what is missing or of another kind is left as it
// would be without it, and the line that is made again from it then differs.
class Fields {
 public:
  explicit Fields(const OrderedJson& json) : json_(json) {}

  [[nodiscard]] const OrderedJson& at(const char* name) const {
    static const OrderedJson missing;
    const auto found = json_.find(name);
    return found == json_.end() ? missing : *found;
  }
  [[nodiscard]] std::uint64_t number(const char* name) const {
    const OrderedJson& value = at(name);
    return value.is_number_unsigned() ? value.get<std::uint64_t>() : 0;
  }
  [[nodiscard]] std::int64_t id(const char* name) const {
    return static_cast<std::int64_t>(number(name));
  }
  [[nodiscard]] std::string text(const char* name) const { return exact_text_in(at(name)); }
  [[nodiscard]] bool flag(const char* name) const { return at(name) == true; }
  [[nodiscard]] std::optional<Time> time(const char* name) const {
    return time_from_rfc3339(text(name));
  }
  [[nodiscard]] std::optional<Digest> digest(const char* name) const {
    const auto bytes = bytes_from_hex(text(name));
    return bytes ? digest_from(*bytes) : std::nullopt;
  }

 private:
  const OrderedJson& json_;
};

ImportLine import_in(const Fields& fields) {
  ImportLine line;
  line.id = fields.id("id");
  Provenance& by = line.provenance;
  by.time = fields.time("time").value_or(Time());
  by.monotonic_ns = fields.number("monotonic_ns");
  by.source = fields.text("source");
  by.source_version = fields.text("source_version");
  by.origin = fields.text("origin");
  by.tool = fields.text("tool");
  by.uid = static_cast<std::uint32_t>(fields.number("uid"));
  by.boot_id = fields.text("boot_id");
  by.kernel_release = fields.text("kernel_release");
  by.host_id = fields.text("host_id");
  by.product_uuid = fields.text("product_uuid");
  by.product_serial = fields.text("product_serial");
  by.page_shift =
      PageShift::from_page_size(fields.number("page_size")).value_or(PageShift::smallest());
  if (!fields.at("topology").is_null()) line.topology = fields.id("topology");
  line.digest = fields.digest("digest");
  line.redacted = fields.flag("redacted");
  return line;
}

EventLine event_in(const Fields& fields) {
  EventLine line;
  line.id = fields.id("id");
  line.import = fields.id("import");
  Event& event = line.event;
  event.kind = event_kind_from(fields.text("kind")).value_or(EventKind::kUncorrected);
  if (!fields.at("address").is_null()) {
    event.range = ByteRange::from_size(PhysAddr(fields.number("address")), fields.number("size"));
  }
  event.granularity = fields.number("granularity");
  event.count = fields.number("count");
  event.observed = fields.time("observed");
  event.foreign_host = fields.text("foreign_host");
  event.label = fields.text("label");
  event.dram = dram_coordinates_from(fields.text("dram")).value_or(DramCoordinates());
  event.result = fields.text("result");
  const std::string state = fields.text("state");
  event.retirement = retirement_from(state).value_or(Retirement::kUnknown);
  event.resolution = resolution_from(state).value_or(Resolution::kAcquitted);
  event.evidence = fields.text("evidence");
  line.hash = fields.digest("hash").value_or(Digest{});
  line.redacted = fields.flag("redacted");
  return line;
}

OmittedLine omitted_in(const Fields& fields) {
  return {.first = fields.id("first"),
          .last = fields.id("last"),
          .hash = fields.digest("hash").value_or(Digest{})};
}

}  // namespace

std::string to_text(const LogLine& line) {
  return to_line(std::visit([](const auto& one) { return json_of(one); }, line)) + "\n";
}

Result<LogLine> parse_log_line(std::string_view text, const std::string& place) {
  const OrderedJson json = parse_line(text);
  if (json.is_object()) {
    const Fields fields(json);
    const std::string type = fields.text("type");
    LogLine line = OmittedLine();
    if (type == "import") line = import_in(fields);
    if (type == "event") line = event_in(fields);
    if (type == "omitted") line = omitted_in(fields);
    const std::string again = to_text(line);
    if (std::string_view(again).substr(0, again.size() - 1) == text) return line;
  }
  return Error{ErrorCode::kBadData,
               fmt::format("{}: expected an import, an event or an omission as 'poisonctl audit "
                           "export' writes it, found '{}'",
                           place, printable(text))};
}

std::string record_line(const Record& record, const std::vector<std::int64_t>& topologies) {
  OrderedJson json = {{"id", record.id},
                      {"address", record.range.begin().value()},
                      {"size", record.range.size()},
                      {"granularity", record.granularity},
                      {"condition", to_word(record.condition)},
                      {"severity", to_word(record.severity)},
                      {"sources", OrderedJson::array()},
                      {"first_seen", to_rfc3339(record.first_seen)},
                      {"last_seen", to_rfc3339(record.last_seen)},
                      {"events", record.events},
                      {"label", exact_text(record.label)},
                      {"dram", to_text(record.dram)},
                      {"reopened", record.reopened},
                      {"topologies", topologies},
                      {"outcome", nullptr},
                      {"resolution", nullptr}};
  for (const std::string& source : record.sources) json["sources"].push_back(exact_text(source));
  if (!record.outcome_boot_id.empty()) {
    json["outcome"] = {{"state", to_word(record.last_outcome)},
                       {"boot_id", exact_text(record.outcome_boot_id)},
                       {"how", exact_text(record.outcome_how)}};
  }
  if (record.condition == Condition::kResolved) {
    json["resolution"] = {{"state", to_word(record.resolution)},
                          {"reason", exact_text(record.resolution_reason)},
                          {"time", to_rfc3339(record.resolved)}};
  }
  return to_line(json) + "\n";
}

bool has_text(Time time) { return time_from_rfc3339(to_rfc3339(time)) == time; }

}  // namespace poisonctl
