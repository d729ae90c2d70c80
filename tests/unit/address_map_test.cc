// The map: of bounded size for any machine, and every record is on it or counted as outside.
#include "cli/report/address_map.h"

#include <gtest/gtest.h>

#include "tests/unit/sample_events.h"

namespace poisonctl {
namespace {

constexpr std::uint64_t kMib = 1U << 20U;
constexpr std::uint64_t kGib = 1U << 30U;

AddressMap map_of(const RangeSet& memory, const std::vector<NodeRange>& nodes = {},
                  const RangeSet& offline = {}) {
  return {memory, offline, nodes, shift_of(4096)};
}

std::uint64_t tiles_with(const AddressMap& map, Standing standing) {
  std::uint64_t tiles = 0;
  for (const MapRow& row : map.rows()) {
    for (const MapTile& tile : row.tiles) tiles += tile.worst() == standing ? 1U : 0U;
  }
  return tiles;
}

TEST(AddressMap, IsOfBoundedSizeForAnyMachine) {
  struct Case {
    std::string_view name;
    RangeSet memory;
    std::uint64_t tile;
  };
  std::vector<ByteRange> shards;
  for (std::uint64_t i = 0; i < 10'000; ++i) {
    shards.push_back(*ByteRange::from_size(PhysAddr(i * kGib), kMib));
  }
  const Case cases[] = {
      {"none", {}, 4096},
      {"64 MiB", set_of({range(0, 64 * kMib - 1)}), 64U << 10U},
      {"64 GiB with a hole", set_of({range(0, 3 * kGib - 1), range(4 * kGib, 65 * kGib - 1)}),
       64 * kMib},
      {"two far apart",
       set_of({range(0, kMib - 1), range(kPhysAddrLimit - kMib, kPhysAddrLimit - 1)}), 4096},
      {"all there can be", set_of({range(0, kPhysAddrLimit - 1)}), kPhysAddrLimit / 64 / 16},
      {"ten thousand shards", set_of(shards), 8 * kGib},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    AddressMap map = map_of(c.memory);
    EXPECT_LE(map.rows().size(), AddressMap::kMostRows);
    EXPECT_EQ(map.tile_bytes(), c.tile);
    for (const ByteRange& part : c.memory.ranges()) {
      map.add(*ByteRange::from_size(part.begin(), 4096), Standing::kInUse);
      map.add(*ByteRange::from_last(part.last(), part.last()), Standing::kInUse);
    }
    EXPECT_EQ(map.outside(), 0U);
  }
}

TEST(AddressMap, ATileShowsTheWorstAndCountsAll) {
  AddressMap map = map_of(set_of({range(0, 64 * kMib - 1)}));
  map.add(frame_at(0), Standing::kResolved);
  map.add(frame_at(1), Standing::kOutOfUse);
  map.add(frame_at(2), Standing::kSuspect);
  const MapTile& tile = map.rows().front().tiles.front();
  EXPECT_EQ(tile.worst(), Standing::kSuspect);
  EXPECT_EQ(tile.records.at(static_cast<std::size_t>(Standing::kResolved)), 1U);
  map.add(range(0, 64 * kMib - 1), Standing::kInUse);
  EXPECT_EQ(tiles_with(map, Standing::kInUse), 1024U);
  map.add(range(kGib, kGib + 4095), Standing::kInUse);
  EXPECT_EQ(map.outside(), 1U);
}

TEST(AddressMap, NodesHaveRowsOfTheirOwn) {
  const RangeSet memory = set_of({range(0, 8 * kGib - 1)});
  const AddressMap map =
      map_of(memory, {{range(0, 4 * kGib - 1), 0}, {range(4 * kGib, 8 * kGib - 1), 1}},
             set_of({range(kGib, kGib + 128 * kMib - 1)}));
  std::array<std::uint64_t, 2> tiles{};
  std::uint64_t offline = 0;
  for (const MapRow& row : map.rows()) {
    ASSERT_TRUE(row.node);
    for (const MapTile& tile : row.tiles) {
      tiles.at(*row.node) += tile.ground == MapTile::Ground::kHole ? 0U : 1U;
      offline += tile.ground == MapTile::Ground::kOffline ? 1U : 0U;
    }
  }
  EXPECT_EQ(tiles[0], 4 * kGib / map.tile_bytes());
  EXPECT_EQ(tiles[1], tiles[0]);
  EXPECT_EQ(offline, 128 * kMib / map.tile_bytes());
}

}  // namespace
}  // namespace poisonctl
