#include "registry/sources/fmpm.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "registry/sources/collecting.h"
#include "registry/text.h"

namespace poisonctl {

namespace {

constexpr std::array<std::string_view, 7> kColumns = {"fru_idx", "fru_id", "entry", "timestamp",
                                                      "hw_id",   "addr",   "spa"};
enum Column : std::size_t { kFruIndex, kFruId, kEntry, kTimestamp, kHardwareId, kAddress, kSpa };

constexpr std::string_view kExpected =
    "the table of ras/fmpm/entries in debugfs: fru_idx fru_id entry timestamp hw_id addr spa";

bool is_header(const std::vector<std::string_view>& words) {
  return std::equal(words.begin(), words.end(), kColumns.begin(), kColumns.end());
}

Error bad_row(std::string_view place, std::size_t column, std::string_view word,
              std::string_view expected) {
  return bad_data(
      place, fmt::format("{} '{}': expected {}", kColumns.at(column), printable(word), expected));
}

Result<void> collect_row(const std::vector<std::string_view>& words, std::string_view line,
                         std::string_view place, Collector& collector) {
  const auto index = parse_unsigned(words[kFruIndex], 10);
  if (!index || *index > std::numeric_limits<std::uint32_t>::max()) {
    return bad_row(place, kFruIndex, words[kFruIndex], "the number of a processor");
  }
  if (!parse_prefixed_hex(words[kFruId])) {
    return bad_row(place, kFruId, words[kFruId], "0x and 64 bits");
  }
  if (!parse_unsigned(words[kEntry], 10)) {
    return bad_row(place, kEntry, words[kEntry], "the number of an entry");
  }
  if (words[kAddress] == "*") return {};  // an entry that is not used yet
  if (!parse_prefixed_hex(words[kAddress])) {
    return bad_row(place, kAddress, words[kAddress], "0x and 64 bits");
  }
  // %ptT prints UTC without saying so.
  const auto observed = time_from_rfc3339(std::string(words[kTimestamp]) + "Z");
  if (!observed) return bad_row(place, kTimestamp, words[kTimestamp], "YYYY-MM-DDThh:mm:ss");

  Event event = event_of(EventKind::kUncorrected, std::nullopt, trim(line));
  event.observed = observed;
  event.label = fmt::format("PPIN {}", words[kFruId]);
  event.dram.socket = static_cast<std::uint32_t>(*index);
  if (words[kSpa] != "*") {
    const auto address = parse_prefixed_hex(words[kSpa]);
    event.range = address ? ByteRange::from_size(PhysAddr(*address), 1) : std::nullopt;
    if (!event.range) {
      return bad_row(place, kSpa, words[kSpa],
                     fmt::format("* or a physical address below {}", to_hex(kPhysAddrLimit)));
    }
  }
  return collector.hand_over(std::move(event));
}

}  // namespace

Result<SourceReport> collect_fmpm(ByteStream& stream, const SourceSettings& /*settings*/,
                                  const EventSink& sink) {
  Collector collector(sink);
  LineReader reader(stream);
  bool in_table = false;
  const auto take_line = [&](std::string_view line, const std::string& place) -> Result<void> {
    const auto words = split_words(line);
    if (words.empty()) return {};
    if (!in_table) {
      if (!is_header(words)) return bad_data(place, fmt::format("expected {}", kExpected));
      in_table = true;
      return {};
    }
    if (words.size() != kColumns.size()) {
      return bad_data(place, fmt::format("{} columns: expected {}; the table was cut or changed",
                                         words.size(), kExpected));
    }
    return collect_row(words, line, place, collector);
  };
  if (const auto read = for_each_text_line(reader, kExpected, take_line); !read) {
    return read.error();
  }
  if (!in_table) {
    return bad_data(reader.place(), fmt::format("nothing here: expected {}", kExpected));
  }
  return collector.take_report();
}

}  // namespace poisonctl
