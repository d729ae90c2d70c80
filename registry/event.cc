#include "registry/event.h"

#include <fmt/chrono.h>

#include <algorithm>
#include <array>
#include <utility>

namespace poisonctl {

namespace {

constexpr std::array<std::pair<EventKind, std::string_view>, 4> kKindWords = {{
    {EventKind::kUncorrected, "ue"},
    {EventKind::kCorrected, "ce"},
    {EventKind::kPoisoned, "poisoned"},
    {EventKind::kOutcome, "outcome"},
}};

constexpr std::array<std::pair<Retirement, std::string_view>, 4> kRetirementWords = {{
    {Retirement::kPending, "pending"},
    {Retirement::kEffective, "effective"},
    {Retirement::kFailed, "failed"},
    {Retirement::kUnknown, "unknown"},
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

}  // namespace

std::string to_rfc3339(Time time) {
  const auto seconds = std::chrono::floor<std::chrono::seconds>(time);
  return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(seconds.time_since_epoch().count()));
}

std::string_view to_word(EventKind kind) { return word_of(kKindWords, kind); }
std::optional<EventKind> event_kind_from(std::string_view word) {
  return key_of<EventKind>(kKindWords, word);
}

std::string_view to_word(Retirement retirement) { return word_of(kRetirementWords, retirement); }
std::optional<Retirement> retirement_from(std::string_view word) {
  return key_of<Retirement>(kRetirementWords, word);
}

bool is_source_name(std::string_view name) {
  constexpr std::size_t kLongest = 32;
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
  };
  return !name.empty() && name.size() <= kLongest && std::all_of(name.begin(), name.end(), allowed);
}

}  // namespace poisonctl
