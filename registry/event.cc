#include "registry/event.h"

#include <fmt/chrono.h>

#include <algorithm>
#include <array>
#include <limits>
#include <utility>

#include "registry/text.h"

namespace poisonctl {

namespace {

constexpr std::array<std::pair<EventKind, std::string_view>, 9> kKindWords = {{
    {EventKind::kUncorrected, "ue"},
    {EventKind::kCorrected, "ce"},
    {EventKind::kDeferred, "deferred"},
    {EventKind::kMedia, "media"},
    {EventKind::kInjected, "injected"},
    {EventKind::kPoisoned, "poisoned"},
    {EventKind::kUnpoisoned, "unpoisoned"},
    {EventKind::kOutcome, "outcome"},
    {EventKind::kResolution, "resolution"},
}};

constexpr std::array<std::pair<Retirement, std::string_view>, 4> kRetirementWords = {{
    {Retirement::kPending, "pending"},
    {Retirement::kEffective, "effective"},
    {Retirement::kFailed, "failed"},
    {Retirement::kUnknown, "unknown"},
}};

constexpr std::array<std::pair<Resolution, std::string_view>, 4> kResolutionWords = {{
    {Resolution::kRepaired, "repaired"},
    {Resolution::kReplaced, "replaced"},
    {Resolution::kCleared, "cleared"},
    {Resolution::kAcquitted, "acquitted"},
}};

// The fields of DramCoordinates in the order of their text.
struct CoordinateField {
  std::string_view name;
  std::optional<std::uint32_t> DramCoordinates::*member;
};
constexpr std::array<CoordinateField, 11> kCoordinateFields = {{
    {"socket", &DramCoordinates::socket},
    {"controller", &DramCoordinates::controller},
    {"channel", &DramCoordinates::channel},
    {"sub_channel", &DramCoordinates::sub_channel},
    {"slot", &DramCoordinates::slot},
    {"rank", &DramCoordinates::rank},
    {"device", &DramCoordinates::device},
    {"bank_group", &DramCoordinates::bank_group},
    {"bank", &DramCoordinates::bank},
    {"row", &DramCoordinates::row},
    {"column", &DramCoordinates::column},
}};

template <typename Table, typename Key>
std::string_view word_of(const Table& table, Key key) {
  const auto entry =
      std::find_if(table.begin(), table.end(), [&](const auto& pair) { return pair.first == key; });
  return entry == table.end() ? std::string_view() : entry->second;
}

template <typename Key, typename Table>
std::optional<Key> key_of(const Table& table, std::string_view word) {
  const auto entry = std::find_if(table.begin(), table.end(),
                                  [&](const auto& pair) { return pair.second == word; });
  return entry == table.end() ? std::nullopt : std::optional<Key>(entry->first);
}

// `width` digits at `text` + `at` as a number; nothing when they are not all digits.
std::optional<unsigned> digits_at(std::string_view text, std::size_t at, std::size_t width) {
  if (at + width > text.size()) return std::nullopt;
  const auto value = parse_unsigned(text.substr(at, width), 10);
  return value ? std::optional(static_cast<unsigned>(*value)) : std::nullopt;
}

// "Z", "+01:00" or "-05:30" as minutes east of UTC.
std::optional<int> zone_minutes(std::string_view zone) {
  if (zone == "Z") return 0;
  if (zone.size() != 6 || (zone[0] != '+' && zone[0] != '-') || zone[3] != ':') return std::nullopt;
  const auto hours = digits_at(zone, 1, 2);
  const auto minutes = digits_at(zone, 4, 2);
  if (!hours || !minutes || *hours > 23 || *minutes > 59) return std::nullopt;
  const int total = static_cast<int>(*hours * 60 + *minutes);
  return zone[0] == '-' ? -total : total;
}

void cut(std::string& text, std::size_t limit) {
  constexpr std::string_view kMark = "[cut]";
  if (text.size() <= limit) return;
  // Not inside a character of UTF-8: half of one is none.
  std::size_t end = limit - kMark.size();
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0U) == 0x80U) --end;
  text.resize(end);
  text += kMark;
}

}  // namespace

std::string to_rfc3339(Time time) {
  const auto seconds = std::chrono::floor<std::chrono::seconds>(time);
  std::string text =
      fmt::format("{:%Y-%m-%dT%H:%M:%S}", fmt::gmtime(seconds.time_since_epoch().count()));
  if (const auto rest = (time - seconds).count(); rest != 0) {
    text += fmt::format(".{:09}", rest);
    text.erase(text.find_last_not_of('0') + 1);
  }
  return text + "Z";
}

std::string to_rfc3339_seconds(Time time) {
  return to_rfc3339(std::chrono::floor<std::chrono::seconds>(time));
}

std::optional<Time> time_from_rfc3339(std::string_view text) {
  constexpr std::string_view kForm = "0000-00-00T00:00:00";
  if (text.size() < kForm.size() + 1) return std::nullopt;
  for (std::size_t i = 0; i < kForm.size(); ++i) {
    if (kForm[i] != '0' && text[i] != kForm[i]) return std::nullopt;
  }
  const auto year = digits_at(text, 0, 4);
  const auto month = digits_at(text, 5, 2);
  const auto day = digits_at(text, 8, 2);
  const auto hour = digits_at(text, 11, 2);
  const auto minute = digits_at(text, 14, 2);
  const auto second = digits_at(text, 17, 2);
  if (!year || !month || !day || !hour || !minute || !second) return std::nullopt;
  text.remove_prefix(kForm.size());

  std::uint64_t nanoseconds = 0;
  if (text[0] == '.') {
    const std::size_t end = text.find_first_not_of("0123456789", 1);
    if (end == std::string_view::npos || end < 2 || end > 10) return std::nullopt;
    nanoseconds = *digits_at(text, 1, end - 1);
    for (std::size_t i = end; i < 10; ++i) nanoseconds *= 10;
    text.remove_prefix(end);
  }
  const auto zone = zone_minutes(text);
  const std::chrono::year_month_day date(std::chrono::year(static_cast<int>(*year)),
                                         std::chrono::month(*month), std::chrono::day(*day));
  // 2262 begins where 64 bits of nanoseconds end; the zone may not lead before 1970 either.
  if (!zone || !date.ok() || *year < 1970 || *year > 2261 || *hour > 23 || *minute > 59 ||
      *second > 59) {
    return std::nullopt;
  }
  const Time time = std::chrono::sys_days(date) + std::chrono::hours(*hour) +
                    std::chrono::minutes(static_cast<int>(*minute) - *zone) +
                    std::chrono::seconds(*second) + std::chrono::nanoseconds(nanoseconds);
  if (time.time_since_epoch().count() < 0) return std::nullopt;
  return time;
}

std::string_view to_word(EventKind kind) { return word_of(kKindWords, kind); }
std::optional<EventKind> event_kind_from(std::string_view word) {
  return key_of<EventKind>(kKindWords, word);
}

bool is_observation(EventKind kind) {
  return kind != EventKind::kUnpoisoned && kind != EventKind::kOutcome &&
         kind != EventKind::kResolution;
}

std::string_view to_word(Retirement retirement) { return word_of(kRetirementWords, retirement); }
std::optional<Retirement> retirement_from(std::string_view word) {
  return key_of<Retirement>(kRetirementWords, word);
}

std::string_view to_word(Resolution resolution) { return word_of(kResolutionWords, resolution); }
std::optional<Resolution> resolution_from(std::string_view word) {
  return key_of<Resolution>(kResolutionWords, word);
}

std::string to_text(const DramCoordinates& coordinates) {
  std::string text;
  for (const CoordinateField& field : kCoordinateFields) {
    const auto& value = coordinates.*field.member;
    if (!value) continue;
    if (!text.empty()) text += ' ';
    text += fmt::format("{}={}", field.name, *value);
  }
  return text;
}

std::optional<DramCoordinates> dram_coordinates_from(std::string_view text) {
  DramCoordinates coordinates;
  std::size_t next = 0;  // fields come in the order of the table, each at most once
  for (const std::string_view word : split_words(text)) {
    const auto equals = word.find('=');
    if (equals == std::string_view::npos) return std::nullopt;
    while (next < kCoordinateFields.size() &&
           kCoordinateFields.at(next).name != word.substr(0, equals)) {
      ++next;
    }
    if (next == kCoordinateFields.size()) return std::nullopt;
    const auto value = parse_unsigned(word.substr(equals + 1), 10);
    if (!value || *value > std::numeric_limits<std::uint32_t>::max()) return std::nullopt;
    coordinates.*kCoordinateFields.at(next).member = static_cast<std::uint32_t>(*value);
    ++next;
  }
  return coordinates;
}

void fill_missing(DramCoordinates& mine, const DramCoordinates& theirs) {
  for (const CoordinateField& field : kCoordinateFields) {
    if (!(mine.*(field.member))) mine.*(field.member) = theirs.*(field.member);
  }
}

std::optional<std::uint32_t>* coordinate(DramCoordinates& coordinates, std::string_view name) {
  const auto* const field =
      std::find_if(kCoordinateFields.begin(), kCoordinateFields.end(),
                   [&](const CoordinateField& candidate) { return candidate.name == name; });
  return field == kCoordinateFields.end() ? nullptr : &(coordinates.*(field->member));
}

std::string_view state_word(const Event& event) {
  if (event.kind == EventKind::kOutcome) return to_word(event.retirement);
  if (event.kind == EventKind::kResolution) return to_word(event.resolution);
  return {};
}

void limit_texts(Event& event) {
  cut(event.evidence, Event::kEvidenceLimit);
  cut(event.label, Event::kLabelLimit);
  cut(event.result, Event::kResultLimit);
}

bool is_source_name(std::string_view name) {
  constexpr std::size_t kLongest = 32;
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
  };
  return !name.empty() && name.size() <= kLongest && std::all_of(name.begin(), name.end(), allowed);
}

}  // namespace poisonctl
