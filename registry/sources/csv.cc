#include "registry/sources/csv.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "registry/sources/collecting.h"
#include "registry/text.h"

namespace poisonctl {

namespace {

using std::uint64_t;

constexpr std::array<std::string_view, 8> kColumns = {"address", "size",   "kind", "time",
                                                      "label",   "result", "note", "count"};
constexpr std::string_view kKnown = "address, size, kind, time, label, result, note and count";
constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";
constexpr uint64_t kMostCount = uint64_t{1} << 48U;  // sums of counts fit 64 bits
// Of a row with line ends in quotes.
constexpr std::size_t kLongestRow = LineReader::kLongest;

struct Row {
  std::string text;   // as it was read
  std::string place;  // "FILE:LINE: " of its first line
  std::vector<std::string> fields;
};

// Takes one field off the front of `rest`, with the comma behind it. Nothing when a quote is not
// where RFC 4180 has it.
std::optional<std::string> take_field(std::string_view& rest, bool& last) {
  std::string field;
  if (rest.starts_with('"')) {
    for (std::size_t i = 1; i < rest.size(); ++i) {
      if (rest[i] != '"') {
        field += rest[i];
      } else if (i + 1 < rest.size() && rest[i + 1] == '"') {
        field += rest[i++];
      } else {
        rest.remove_prefix(i + 1);
        last = rest.empty();
        if (!last && rest[0] != ',') return std::nullopt;
        if (!last) rest.remove_prefix(1);
        return field;
      }
    }
    return std::nullopt;
  }
  const auto end = rest.find(',');
  field = rest.substr(0, end);
  if (field.find('"') != std::string::npos) return std::nullopt;
  last = end == std::string_view::npos;
  rest.remove_prefix(last ? rest.size() : end + 1);
  return field;
}

Result<std::vector<std::string>> split_row(std::string_view text, std::string_view place) {
  std::vector<std::string> fields;
  for (bool last = false; !last;) {
    auto field = take_field(text, last);
    if (!field) {
      return bad_data(place,
                      fmt::format("field {}: a quote in the middle of a field; expected the "
                                  "whole field in quotes, and quotes in it doubled (RFC 4180)",
                                  fields.size() + 1));
    }
    if (fields.size() == kColumns.size()) {
      return bad_data(
          place, fmt::format("more than {} fields; the columns are {}", kColumns.size(), kKnown));
    }
    fields.push_back(*std::move(field));
  }
  return fields;
}

// The next row that is not empty; nothing at the end.
Result<std::optional<Row>> next_row(LineReader& lines) {
  Row row;
  std::ptrdiff_t quotes = 0;  // an odd number of them: a field goes on in the next line
  for (;;) {
    auto line = lines.next();
    if (!line) return line.error();
    if (!*line && row.text.empty()) return std::optional<Row>();
    if (!*line) return bad_data(row.place, "the quote that begins a field here never ends");
    const bool first = row.text.empty();
    if (first) row.place = lines.place();
    if (auto fit = check_is_text((*line)->text, lines.place(), "CSV in UTF-8"); !fit) {
      return fit.error();
    }
    std::string_view text = (*line)->text;
    if ((*line)->number == 1 && text.starts_with(kByteOrderMark)) {
      text.remove_prefix(kByteOrderMark.size());
    }
    quotes += std::count(text.begin(), text.end(), '"');
    row.text += first ? "" : "\n";
    row.text += text;
    if (row.text.size() > kLongestRow) {
      return bad_data(row.place, fmt::format("a row of more than {} bytes; does a quote not end?",
                                             kLongestRow));
    }
    if (quotes % 2 != 0) continue;
    if (!trim(row.text).empty()) break;
    row.text.clear();
  }
  auto fields = split_row(row.text, row.place);
  if (!fields) return fields.error();
  row.fields = *std::move(fields);
  return std::optional(std::move(row));
}

// Which field of a row is which column.
class Header {
 public:
  static Result<Header> from(const Row& row) {
    Header header;
    for (const std::string& field : row.fields) {
      const std::string_view name = trim(field);
      if (std::find(kColumns.begin(), kColumns.end(), name) == kColumns.end()) {
        return bad_data(row.place, fmt::format("the column '{}' is not known; the columns are {}",
                                               printable(name), kKnown));
      }
      if (header.index(name)) {
        return bad_data(row.place, fmt::format("the column '{}' comes twice", name));
      }
      header.names_.emplace_back(name);
    }
    if (header.index("address")) return header;
    return bad_data(row.place, fmt::format("no column 'address'; the first line must name the "
                                           "columns, of {}",
                                           kKnown));
  }
  [[nodiscard]] std::size_t size() const { return names_.size(); }
  // Empty without such a column.
  [[nodiscard]] std::string_view value(const Row& row, std::string_view name) const {
    const auto at = index(name);
    return at ? trim(row.fields[*at]) : std::string_view();
  }

 private:
  [[nodiscard]] std::optional<std::size_t> index(std::string_view name) const {
    const auto found = std::find(names_.begin(), names_.end(), name);
    if (found == names_.end()) return std::nullopt;
    return static_cast<std::size_t>(found - names_.begin());
  }
  std::vector<std::string> names_;
};

Error wrong(const Row& row, std::string_view column, std::string_view value,
            std::string_view expected) {
  return bad_data(row.place,
                  fmt::format("{} '{}': expected {}", column, printable(value), expected));
}

// Fills in the range. An address alone is one byte.
Result<void> set_place(Event& event, const Header& header, const Row& row) {
  const std::string_view address = header.value(row, "address");
  const std::string_view size = header.value(row, "size");
  if (address.empty()) {
    const bool says_something =
        !header.value(row, "label").empty() || !header.value(row, "note").empty();
    if (size.empty() && says_something) return {};
    return wrong(row, "address", address,
                 "0x and hexadecimal digits, or a label or a note instead");
  }
  const auto begin = parse_prefixed_hex(address);
  if (!begin) return wrong(row, "address", address, "0x and hexadecimal digits");
  const auto bytes = size.empty() ? std::optional<uint64_t>(1) : parse_size(size);
  if (!bytes || *bytes == 0) {
    return wrong(row, "size", size, "a number of bytes, at least 1; K, M, G or T may follow");
  }
  event.range = ByteRange::from_size(PhysAddr(*begin), *bytes);
  if (event.range) return {};
  return wrong(
      row, "address", address,
      fmt::format("a range below the end of any physical address space ({} bits)", kPhysAddrBits));
}

Result<void> set_kind(Event& event, const Header& header, const Row& row) {
  const std::string_view word = header.value(row, "kind");
  if (word.empty()) return {};
  const auto kind = event_kind_from(word);
  if (!kind || !is_observation(*kind)) {
    return wrong(row, "kind", word, "ue, ce, deferred, media, injected or poisoned");
  }
  event.kind = *kind;
  return {};
}

Result<Event> event_from(const Header& header, const Row& row) {
  if (row.fields.size() != header.size()) {
    return bad_data(row.place, fmt::format("{} fields; the first line names {} columns",
                                           row.fields.size(), header.size()));
  }
  constexpr std::size_t kDots = 3;
  Event event = event_of(EventKind::kUncorrected, std::nullopt,
                         printable(row.text, Event::kEvidenceLimit - kDots));
  event.label = printable(header.value(row, "label"), Event::kLabelLimit - kDots);
  event.result = printable(header.value(row, "result"), Event::kResultLimit - kDots);
  if (auto set = set_kind(event, header, row); !set) return set.error();
  if (auto set = set_place(event, header, row); !set) return set.error();
  if (const std::string_view time = header.value(row, "time"); !time.empty()) {
    event.observed = time_from_rfc3339(time);
    if (!event.observed) return wrong(row, "time", time, "RFC 3339, as in 2026-03-01T12:00:00Z");
  }
  if (const std::string_view count = header.value(row, "count"); !count.empty()) {
    event.count = parse_unsigned(count, 10).value_or(0);
    if (event.count == 0 || event.count > kMostCount) {
      return wrong(row, "count", count, "a decimal number from 1 to 2^48");
    }
  }
  return event;
}

}  // namespace

Result<SourceReport> collect_csv(ByteStream& stream, const SourceSettings& /*settings*/,
                                 const EventSink& sink) {
  LineReader lines(stream);
  Collector collector(sink);
  const auto first = next_row(lines);
  if (!first) return first.error();
  if (!*first) {
    return bad_data(stream.shown() + ": ",
                    fmt::format("empty; expected a line that names the columns, of {}", kKnown));
  }
  const auto header = Header::from(**first);
  if (!header) return header.error();
  for (;;) {
    const auto row = next_row(lines);
    if (!row) return row.error();
    if (!*row) return collector.take_report();
    auto event = event_from(*header, **row);
    if (!event) return event.error();
    if (auto given = collector.hand_over(*std::move(event)); !given) return given.error();
  }
}

}  // namespace poisonctl
