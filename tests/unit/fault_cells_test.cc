// Patterns of places in a memory device, and that keeping few of them does not change their names.
#include "cli/report/fault_cells.h"

#include <gtest/gtest.h>

#include <numeric>

namespace poisonctl {
namespace {

DramCoordinates at(std::uint32_t bank, std::uint32_t row, std::optional<std::uint32_t> column) {
  DramCoordinates where;
  where.rank = 0;
  where.bank = bank;
  where.row = row;
  where.column = column;
  return where;
}

FaultCells cells_of(const std::vector<DramCoordinates>& places) {
  FaultCells cells;
  for (const DramCoordinates& place : places) cells.add(place, 1);
  return cells;
}

std::vector<DramCoordinates> line(std::uint32_t count, bool along_row) {
  std::vector<DramCoordinates> places;
  for (std::uint32_t i = 0; i < count; ++i) {
    places.push_back(along_row ? at(3, 0x1234, i * 8) : at(3, i * 16, 0x40));
  }
  return places;
}

TEST(FaultCells, EachPatternHasItsName) {
  struct Case {
    std::string_view name;
    std::vector<DramCoordinates> places;
    FaultShape shape;
    std::string_view text;
  };
  auto row_and_stray = line(20, true);
  row_and_stray.push_back(at(5, 7, 7));
  auto too_many_strays = line(8, true);
  too_many_strays.push_back(at(5, 7, 7));
  const Case cases[] = {
      {"nothing", {}, FaultShape::kNone, "no coordinates are known"},
      {"one cell, many times",
       {at(3, 16, 32), at(3, 16, 32)},
       FaultShape::kCell,
       "single cell: rank 0 bank 3, row 0x10, column 0x20"},
      {"one row", line(2, true), FaultShape::kRow, "one row: rank 0 bank 3, row 0x1234, 2 places"},
      {"a row whose columns are not told", {at(1, 9, {})}, FaultShape::kRow, "row 0x9, 1 place in"},
      {"one column", line(5, false), FaultShape::kColumn, "one column: rank 0 bank 3, column 0x40"},
      {"one bank",
       {at(2, 1, 1), at(2, 5, 9), at(2, 9, 3)},
       FaultShape::kBank,
       "one bank: rank 0 bank 2, 3 places"},
      {"several banks",
       {at(0, 1, 1), at(1, 5, 9), at(2, 9, 3)},
       FaultShape::kScattered,
       "scattered: 3 places"},
      {"the same row number in two banks is two rows",
       {at(0, 1, 1), at(1, 1, 2)},
       FaultShape::kScattered,
       "scattered: 2 places"},
      {"one stray beside a row", row_and_stray, FaultShape::kRow,
       "20 places in it, and 1 elsewhere"},
      {"less than nine tenths", too_many_strays, FaultShape::kScattered, "scattered: 9 places"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    const FaultPattern pattern = cells_of(c.places).pattern();
    EXPECT_EQ(to_word(pattern.shape), to_word(c.shape));
    EXPECT_NE(to_text(pattern).find(c.text), std::string::npos) << to_text(pattern);
  }
}

TEST(FaultCells, ManyPlacesAreJoinedAndKeepTheirPatternAndTheirCounts) {
  constexpr std::uint32_t kMany = 50'000;
  struct Case {
    std::string_view name;
    std::vector<DramCoordinates> places;
    FaultShape shape;
  };
  std::vector<DramCoordinates> bank;
  for (std::uint32_t i = 0; i < kMany; ++i) bank.push_back(at(1, i * 2654435761U >> 15U, i % 1024));
  const Case cases[] = {{"row", line(kMany, true), FaultShape::kRow},
                        {"column", line(kMany, false), FaultShape::kColumn},
                        {"bank", bank, FaultShape::kBank}};
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    const FaultCells cells = cells_of(c.places);
    EXPECT_LE(cells.places().size(), FaultCells::kMostPlaces);
    EXPECT_GT(cells.places().size(), FaultCells::kMostPlaces / 4);
    EXPECT_EQ(to_word(cells.pattern().shape), to_word(c.shape));
    EXPECT_EQ(
        std::accumulate(cells.places().begin(), cells.places().end(), std::uint64_t{0},
                        [](std::uint64_t sum, const auto& place) { return sum + place.second; }),
        kMany);
  }
}

TEST(FaultCells, WhatHasNoPlaceIsCounted) {
  FaultCells cells;
  DramCoordinates no_row;
  no_row.bank = 1;
  cells.add(no_row, 7);
  for (std::uint32_t i = 0; i < FaultCells::kMostBanks + 5; ++i) cells.add(at(i, 1, 1), 1);
  EXPECT_EQ(cells.not_placed(), 7U + 5U);
  EXPECT_EQ(cells.banks().size(), FaultCells::kMostBanks);
}

}  // namespace
}  // namespace poisonctl
