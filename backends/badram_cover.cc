#include "backends/badram_cover.h"

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <tuple>

namespace poisonctl {

namespace {

// All addresses that are `base` in the bits that are not in `free`. base & free is 0.
struct Cube {
  std::uint64_t base = 0;
  std::uint64_t free = 0;
  friend bool operator==(const Cube&, const Cube&) = default;
  friend bool operator<(const Cube& a, const Cube& b) {
    return std::tie(a.base, a.free) < std::tie(b.base, b.free);
  }
  [[nodiscard]] bool has(const Cube& other) const {
    return (other.free & ~free) == 0 && (other.base & ~free) == base;
  }
};

// The set as aligned blocks whose sizes are powers of two.
std::vector<Cube> aligned_blocks(const RangeSet& set) {
  std::vector<Cube> blocks;
  for (const ByteRange& range : set.ranges()) {
    std::uint64_t at = range.begin().value();
    const std::uint64_t end = range.end().value();
    while (at != end) {
      const std::uint64_t aligned = at == 0 ? kPhysAddrLimit : at & (~at + 1);
      const std::uint64_t size = std::min(aligned, std::bit_floor(end - at));
      blocks.push_back({at, size - 1});
      at += size;
    }
  }
  return blocks;
}

// The blocks in pieces of the size of the smallest, so that a pattern may have a part of a block;
// as they are where that would be more pieces than are worth the time.
std::vector<Cube> in_pieces(const std::vector<Cube>& blocks) {
  constexpr std::size_t kMostPieces = 512;
  std::uint64_t smallest = kPhysAddrLimit - 1;
  for (const Cube& block : blocks) smallest = std::min(smallest, block.free);
  std::vector<Cube> pieces;
  for (const Cube& block : blocks) {
    for (std::uint64_t at = 0; at <= block.free; at += smallest + 1) {
      if (pieces.size() == kMostPieces) return blocks;
      pieces.push_back({block.base + at, smallest});
    }
  }
  return pieces;
}

// Whether all of `cube` is in the set. No for one of more pieces than are worth the time: then it
// merely does not grow.
bool lies_in(const Cube& cube, const RangeSet& set) {
  constexpr int kMostPieceBits = 12;
  const std::uint64_t piece = std::uint64_t{1} << std::countr_one(cube.free);
  const std::uint64_t choices = cube.free & ~(piece - 1);
  if (std::popcount(choices) > kMostPieceBits) return false;
  std::uint64_t choice = 0;
  do {
    const auto range = ByteRange::from_size(PhysAddr(cube.base | choice), piece);
    if (!range || !set.contains(*range)) return false;
    choice = (choice - choices) & choices;  // the next larger number made of these bits
  } while (choice != 0);
  return true;
}

// The bits in which a block may have a partner at all, lowest first.
std::vector<std::uint64_t> useful_bits(const std::vector<Cube>& blocks) {
  std::uint64_t ones = 0;
  std::uint64_t zeros = 0;
  for (const Cube& block : blocks) {
    ones |= block.base | block.free;
    zeros |= ~block.base | block.free;
  }
  std::vector<std::uint64_t> bits;
  for (std::uint64_t bit = 1; bit < kPhysAddrLimit; bit <<= 1U) {
    if ((ones & zeros & bit) != 0) bits.push_back(bit);
  }
  return bits;
}

Cube grown(Cube cube, const std::vector<std::uint64_t>& bits, const RangeSet& set) {
  for (const std::uint64_t bit : bits) {
    if ((cube.free & bit) != 0) continue;
    const Cube twin{cube.base ^ bit, cube.free};
    if (lies_in(twin, set)) cube = {cube.base & ~bit, cube.free | bit};
  }
  return cube;
}

// Every block grown with the bits in order from some bit on, upwards and downwards: from each bit
// where they are few, from kTurns of them else.
std::vector<Cube> grown_blocks(const std::vector<Cube>& blocks, const RangeSet& set) {
  constexpr std::size_t kTurns = 8;
  std::vector<std::uint64_t> bits = useful_bits(blocks);
  const std::size_t step = (bits.size() + kTurns - 1) / kTurns;
  std::vector<Cube> all = blocks;
  for (int direction = 0; direction < 2; ++direction) {
    for (std::size_t turn = 0; turn < bits.size(); turn += step) {
      for (const Cube& block : blocks) all.push_back(grown(block, bits, set));
      std::rotate(bits.begin(), bits.begin() + static_cast<std::ptrdiff_t>(step), bits.end());
    }
    std::reverse(bits.begin(), bits.end());
  }
  std::sort(all.begin(), all.end());
  all.erase(std::unique(all.begin(), all.end()), all.end());
  return all;
}

// Those of `cubes` that together have all blocks: the one with the most blocks that are still
// missing, again and again; of equals the lowest.
std::vector<Cube> greedy_cover(const std::vector<Cube>& blocks, const std::vector<Cube>& cubes) {
  std::vector<Cube> chosen;
  std::vector<Cube> missing = blocks;
  while (!missing.empty()) {
    const Cube* best = nullptr;
    std::ptrdiff_t most = 0;
    for (const Cube& cube : cubes) {
      const auto gained = std::count_if(missing.begin(), missing.end(),
                                        [&](const Cube& block) { return cube.has(block); });
      if (gained <= most) continue;
      most = gained;
      best = &cube;
    }
    chosen.push_back(*best);  // every block is a cube, so that there always is one
    std::erase_if(missing, [&](const Cube& block) { return chosen.back().has(block); });
  }
  return chosen;
}

// Without those whose blocks the others have too.
void drop_redundant(const std::vector<Cube>& blocks, std::vector<Cube>& cubes) {
  for (std::size_t i = cubes.size(); i-- > 0;) {
    const bool needed = std::any_of(blocks.begin(), blocks.end(), [&](const Cube& block) {
      return std::none_of(cubes.begin(), cubes.end(),
                          [&](const Cube& cube) { return &cube != &cubes[i] && cube.has(block); });
    });
    if (!needed) cubes.erase(cubes.begin() + static_cast<std::ptrdiff_t>(i));
  }
}

}  // namespace

std::vector<BadramPattern> cover_exactly(const RangeSet& set) {
  const std::vector<Cube> blocks = in_pieces(aligned_blocks(set));
  std::vector<Cube> cubes = greedy_cover(blocks, grown_blocks(blocks, set));
  drop_redundant(blocks, cubes);
  std::sort(cubes.begin(), cubes.end());
  std::vector<BadramPattern> patterns;
  for (const Cube& cube : cubes) patterns.push_back({cube.base, ~cube.free});
  return patterns;
}

}  // namespace poisonctl
