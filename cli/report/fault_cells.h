// Where in a memory device errors lie, and what they look like together: the fault modes of DRAM
// that field studies tell apart (Sridharan and Liberty, "A Study of DRAM Failures in the Field", SC
// 2012, section 3): one cell, one row, one column, one bank, or more than that.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "registry/event.h"

namespace poisonctl {

// A bank, as far as a source names it.
struct BankName {
  std::optional<std::uint32_t> rank;
  std::optional<std::uint32_t> bank_group;
  std::optional<std::uint32_t> bank;
  friend auto operator<=>(const BankName&, const BankName&) = default;
};
// "rank 1 bank group 0 bank 3": what is known of it.
std::string to_text(const BankName& bank);

enum class FaultShape { kNone, kCell, kRow, kColumn, kBank, kScattered };
std::string_view to_word(FaultShape shape);

// The smallest part of a device that holds at least nine tenths of the cells: one stray error
// beside a bad row must not hide the row.
struct FaultPattern {
  FaultShape shape = FaultShape::kNone;
  BankName bank;                // of kCell, kRow, kColumn and kBank
  std::uint32_t row = 0;        // of kCell and kRow
  std::uint32_t column = 0;     // of kCell and kColumn
  std::uint64_t places = 0;     // distinct ones in that part, as exactly as they are kept
  std::uint64_t elsewhere = 0;  // distinct ones outside of it
};
// "one row: bank 3, row 0x1234, 12 places": for people.
std::string to_text(const FaultPattern& pattern);

// The errors of one device, in little memory however many there are.
class FaultCells {
 public:
  // A place with its count; the lowest row and column of what it stands for.
  struct Place {
    std::size_t bank = 0;  // in banks()
    std::uint32_t row = 0;
    std::optional<std::uint32_t> column;  // nothing: no source says
    friend auto operator<=>(const Place&, const Place&) = default;
  };

  void add(const DramCoordinates& where, std::uint64_t count);

  [[nodiscard]] const std::map<Place, std::uint64_t>& places() const { return places_; }
  [[nodiscard]] const std::vector<BankName>& banks() const { return banks_; }
  // How many neighbouring rows and columns one place stands for: 1, or a power of two when there
  // were more places than are kept.
  [[nodiscard]] std::uint32_t rows_a_place() const { return 1U << row_shift_; }
  [[nodiscard]] std::uint32_t columns_a_place() const { return 1U << column_shift_; }
  // Errors that are not among the places: no bank or no row is known, or one bank too many.
  [[nodiscard]] std::uint64_t not_placed() const { return not_placed_; }

  [[nodiscard]] FaultPattern pattern() const;

  static constexpr std::size_t kMostPlaces = 1024;
  // DDR5 has 32 banks a rank, and no device more than a few ranks.
  static constexpr std::size_t kMostBanks = 256;

 private:
  [[nodiscard]] std::optional<std::size_t> bank_index(const BankName& bank);
  [[nodiscard]] Place at_grain(std::size_t bank, std::uint32_t row,
                               std::optional<std::uint32_t> column) const;
  void coarsen();

  std::vector<BankName> banks_;
  std::map<Place, std::uint64_t> places_;
  unsigned row_shift_ = 0;
  unsigned column_shift_ = 0;
  std::uint64_t not_placed_ = 0;
};

}  // namespace poisonctl
