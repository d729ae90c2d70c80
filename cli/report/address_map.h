// The physical address space as rows of equal tiles, each with the worst of what is in it: a map
// for a page and for a terminal, of the same size for 64 MiB and for 64 TiB.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "registry/memory_map.h"
#include "registry/range_set.h"
#include "registry/record.h"

namespace poisonctl {

// How a record stands: its condition and, of a faulty one, what this kernel does with it. The worst
// first.
enum class Standing {
  kInUse,        // faulty, and the kernel has it or can hand it out
  kNotLooked,    // faulty, and nobody has looked in this boot
  kQuarantined,  // the address no longer means the same cell
  kSuspect,      // corrected errors only
  kOutOfUse,     // faulty, and nobody can get it in this boot
  kResolved,     // ended by somebody, with a reason
};
inline constexpr std::size_t kStandings = 6;
Standing standing_of(const Record& record, std::string_view boot_id);
// "in use": as a caption.
std::string_view to_word(Standing standing);

struct MapTile {
  enum class Ground { kHole, kMemory, kOffline };  // offline: wholly or in part
  Ground ground = Ground::kHole;
  std::array<std::uint64_t, kStandings> records{};

  // The worst that is in it; nothing when no record is.
  [[nodiscard]] std::optional<Standing> worst() const;
};

inline constexpr std::size_t kTilesInRow = 64;

struct MapRow {
  PhysAddr begin;
  std::optional<unsigned> node;
  std::array<MapTile, kTilesInRow> tiles{};
};

class AddressMap {
 public:
  // Of memory that is RAM or could be; `offline` are blocks that the kernel does not use. `nodes`
  // are sorted by address; a tile that two nodes share is drawn with the first.
  AddressMap(const RangeSet& memory, const RangeSet& offline, const std::vector<NodeRange>& nodes,
             PageShift shift);

  // Counts a record in every tile that it touches.
  void add(const ByteRange& range, Standing standing);

  [[nodiscard]] const std::vector<MapRow>& rows() const { return rows_; }
  [[nodiscard]] std::uint64_t tile_bytes() const { return tile_bytes_; }
  // Records that touch no tile: they lie where this machine has no memory.
  [[nodiscard]] std::uint64_t outside() const { return outside_; }
  [[nodiscard]] ByteRange range_of(const MapRow& row, std::size_t tile) const;

  // Tiles grow until there are no more rows than this, and one more for each node.
  static constexpr std::size_t kMostRows = 24;

 private:
  void lay_out(const RangeSet& memory, const std::vector<NodeRange>& nodes);

  std::uint64_t tile_bytes_;
  std::vector<MapRow> rows_;  // sorted by address
  std::uint64_t outside_ = 0;
};

}  // namespace poisonctl
