#include "cli/report/fault_cells.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <tuple>
#include <utility>

#include "cli/report/markup.h"

namespace poisonctl {

namespace {

// The key with the most places, and how many those are.
template <typename Key>
std::pair<Key, std::uint64_t> fullest(const std::map<Key, std::uint64_t>& counts) {
  std::pair<Key, std::uint64_t> best{};
  for (const auto& [key, count] : counts) {
    if (count > best.second) best = {key, count};
  }
  return best;
}

}  // namespace

std::string to_text(const BankName& bank) {
  std::string text;
  const auto say = [&](std::string_view name, std::optional<std::uint32_t> number) {
    if (number) text += fmt::format("{}{} {}", text.empty() ? "" : " ", name, *number);
  };
  say("rank", bank.rank);
  say("bank group", bank.bank_group);
  say("bank", bank.bank);
  return text;
}

std::string_view to_word(FaultShape shape) {
  switch (shape) {
    case FaultShape::kNone:
      return "not known";
    case FaultShape::kCell:
      return "single cell";
    case FaultShape::kRow:
      return "row";
    case FaultShape::kColumn:
      return "column";
    case FaultShape::kBank:
      return "bank";
    case FaultShape::kScattered:
      return "scattered";
  }
  return "";
}

std::string to_text(const FaultPattern& pattern) {
  std::string text;
  switch (pattern.shape) {
    case FaultShape::kNone:
      return "no coordinates are known";
    case FaultShape::kCell:
      text = fmt::format("single cell: {}, row {:#x}, column {:#x}", to_text(pattern.bank),
                         pattern.row, pattern.column);
      break;
    case FaultShape::kRow:
      text = fmt::format("one row: {}, row {:#x}, {} in it", to_text(pattern.bank), pattern.row,
                         grouped_count(pattern.places, "place"));
      break;
    case FaultShape::kColumn:
      text = fmt::format("one column: {}, column {:#x}, {} in it", to_text(pattern.bank),
                         pattern.column, grouped_count(pattern.places, "place"));
      break;
    case FaultShape::kBank:
      text = fmt::format("one bank: {}, {} in it", to_text(pattern.bank),
                         grouped_count(pattern.places, "place"));
      break;
    case FaultShape::kScattered:
      text = fmt::format("scattered: {} in several banks", grouped_count(pattern.places, "place"));
      break;
  }
  if (pattern.elsewhere != 0) text += fmt::format(", and {} elsewhere", pattern.elsewhere);
  return text;
}

std::optional<std::size_t> FaultCells::bank_index(const BankName& bank) {
  const auto found = std::find(banks_.begin(), banks_.end(), bank);
  if (found == banks_.end() && banks_.size() == kMostBanks) return std::nullopt;
  const auto index = static_cast<std::size_t>(found - banks_.begin());
  if (found == banks_.end()) banks_.push_back(bank);
  return index;
}

FaultCells::Place FaultCells::at_grain(std::size_t bank, std::uint32_t row,
                                       std::optional<std::uint32_t> column) const {
  if (column) column = *column >> column_shift_ << column_shift_;
  return {.bank = bank, .row = row >> row_shift_ << row_shift_, .column = column};
}

void FaultCells::add(const DramCoordinates& where, std::uint64_t count) {
  const auto bank = where.row && where.bank ? bank_index({where.rank, where.bank_group, where.bank})
                                            : std::nullopt;
  if (!bank) {
    not_placed_ += count;
    return;
  }
  places_[at_grain(*bank, *where.row, where.column)] += count;
  while (places_.size() > kMostPlaces) coarsen();
}

// Joins neighbours along the axis that has more different values, so that what is alike on the
// other one stays exact: a row of a thousand columns stays one row.
void FaultCells::coarsen() {
  std::set<std::uint32_t> rows;
  std::set<std::uint32_t> columns;
  for (const auto& [place, count] : places_) {
    rows.insert(place.row);
    if (place.column) columns.insert(*place.column);
  }
  unsigned& shift = rows.size() >= columns.size() ? row_shift_ : column_shift_;
  ++shift;
  std::map<Place, std::uint64_t> joined;
  for (const auto& [place, count] : places_) {
    joined[at_grain(place.bank, place.row, place.column)] += count;
  }
  places_ = std::move(joined);
}

FaultPattern FaultCells::pattern() const {
  if (places_.empty()) return {};
  std::map<std::size_t, std::uint64_t> by_bank;
  std::map<std::pair<std::size_t, std::uint32_t>, std::uint64_t> by_row;
  std::map<std::pair<std::size_t, std::uint32_t>, std::uint64_t> by_column;
  for (const auto& [place, count] : places_) {
    ++by_bank[place.bank];
    ++by_row[{place.bank, place.row}];
    if (place.column) ++by_column[{place.bank, *place.column}];
  }
  const std::uint64_t all = places_.size();
  const std::uint64_t most = all - all / 10;
  const auto made = [&](FaultShape shape, std::size_t bank, std::uint64_t places) {
    return FaultPattern{.shape = shape,
                        .bank = banks_.at(bank),
                        .row = 0,
                        .column = 0,
                        .places = places,
                        .elsewhere = all - places};
  };
  const Place& first = places_.begin()->first;
  if (all == 1 && first.column) {
    FaultPattern pattern = made(FaultShape::kCell, first.bank, 1);
    std::tie(pattern.row, pattern.column) = std::pair(first.row, *first.column);
    return pattern;
  }
  if (const auto [key, places] = fullest(by_row); places >= most) {
    FaultPattern pattern = made(FaultShape::kRow, key.first, places);
    pattern.row = key.second;
    return pattern;
  }
  if (const auto [key, places] = fullest(by_column); places >= most) {
    FaultPattern pattern = made(FaultShape::kColumn, key.first, places);
    pattern.column = key.second;
    return pattern;
  }
  if (const auto [bank, places] = fullest(by_bank); places >= most) {
    return made(FaultShape::kBank, bank, places);
  }
  FaultPattern pattern = made(FaultShape::kScattered, first.bank, all);
  pattern.bank = {};
  return pattern;
}

}  // namespace poisonctl
