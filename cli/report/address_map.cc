#include "cli/report/address_map.h"

#include <algorithm>
#include <set>

namespace poisonctl {

namespace {

// The parts of `memory` in each node, and what is in none.
struct Part {
  ByteRange range;
  std::optional<unsigned> node;
};

std::vector<Part> parts_by_node(const RangeSet& memory, const std::vector<NodeRange>& nodes) {
  std::vector<Part> parts;
  std::vector<ByteRange> in_nodes;
  for (const NodeRange& node : nodes) {
    in_nodes.push_back(node.range);
    const RangeSet inside = memory.within(node.range);
    for (const ByteRange& range : inside.ranges()) parts.push_back({range, node.node});
  }
  const RangeSet rest = memory.minus(RangeSet::from_ranges(std::move(in_nodes)));
  for (const ByteRange& range : rest.ranges()) parts.push_back({range, std::nullopt});
  std::sort(parts.begin(), parts.end(),
            [](const Part& a, const Part& b) { return a.range < b.range; });
  return parts;
}

// Up to the last row that may be: address and node are what tells rows apart.
using RowKey = std::pair<std::uint64_t, std::optional<unsigned>>;

std::set<RowKey> rows_for(const std::vector<Part>& parts, std::uint64_t row_bytes,
                          std::size_t most) {
  std::set<RowKey> rows;
  for (const Part& part : parts) {
    const std::uint64_t last = part.range.last().value() / row_bytes;
    for (std::uint64_t row = part.range.begin().value() / row_bytes; row <= last; ++row) {
      rows.emplace(row * row_bytes, part.node);
      if (rows.size() > most) return rows;
    }
  }
  return rows;
}

std::size_t count_nodes(const std::vector<NodeRange>& nodes) {
  std::set<unsigned> numbers;
  for (const NodeRange& node : nodes) numbers.insert(node.node);
  return numbers.size();
}

}  // namespace

Standing standing_of(const Record& record, std::string_view boot_id) {
  switch (record.condition) {
    case Condition::kSuspect:
      return Standing::kSuspect;
    case Condition::kResolved:
      return Standing::kResolved;
    case Condition::kQuarantined:
      return Standing::kQuarantined;
    case Condition::kFaulty:
      break;
  }
  switch (record.retirement_in(boot_id)) {
    case Retirement::kEffective:
      return Standing::kOutOfUse;
    case Retirement::kUnknown:
      return Standing::kNotLooked;
    case Retirement::kPending:
    case Retirement::kFailed:
      break;
  }
  return Standing::kInUse;
}

std::string_view to_word(Standing standing) {
  switch (standing) {
    case Standing::kInUse:
      return "faulty, in use";
    case Standing::kNotLooked:
      return "faulty, not looked at";
    case Standing::kQuarantined:
      return "quarantined";
    case Standing::kSuspect:
      return "suspect";
    case Standing::kOutOfUse:
      return "faulty, out of use";
    case Standing::kResolved:
      return "resolved";
  }
  return "";
}

std::optional<Standing> MapTile::worst() const {
  for (std::size_t standing = 0; standing < kStandings; ++standing) {
    if (records.at(standing) != 0) return static_cast<Standing>(standing);
  }
  return std::nullopt;
}

AddressMap::AddressMap(const RangeSet& memory, const RangeSet& offline,
                       const std::vector<NodeRange>& nodes, PageShift shift)
    : tile_bytes_(shift.page_size()) {
  lay_out(memory, nodes);
  for (MapRow& row : rows_) {
    for (std::size_t i = 0; i < kTilesInRow; ++i) {
      const ByteRange range = range_of(row, i);
      const RangeSet here = memory.within(range);
      const bool of_node = std::any_of(
          here.ranges().begin(), here.ranges().end(),
          [&](const ByteRange& part) { return node_of(nodes, part.begin()) == row.node; });
      if (!of_node) continue;
      row.tiles.at(i).ground =
          offline.overlaps(range) ? MapTile::Ground::kOffline : MapTile::Ground::kMemory;
    }
  }
}

void AddressMap::lay_out(const RangeSet& memory, const std::vector<NodeRange>& nodes) {
  const auto parts = parts_by_node(memory, nodes);
  const std::size_t most = kMostRows + count_nodes(nodes);
  constexpr std::uint64_t kLargest = kPhysAddrLimit / kTilesInRow;
  auto rows = rows_for(parts, tile_bytes_ * kTilesInRow, most);
  while (rows.size() > most && tile_bytes_ < kLargest) {
    tile_bytes_ *= 2;
    rows = rows_for(parts, tile_bytes_ * kTilesInRow, most);
  }
  for (const auto& [begin, node] : rows) {
    rows_.push_back({.begin = PhysAddr(begin), .node = node});
  }
}

ByteRange AddressMap::range_of(const MapRow& row, std::size_t tile) const {
  return *ByteRange::from_size(PhysAddr(row.begin.value() + tile * tile_bytes_), tile_bytes_);
}

void AddressMap::add(const ByteRange& range, Standing standing) {
  const std::uint64_t row_bytes = tile_bytes_ * kTilesInRow;
  auto row = std::partition_point(rows_.begin(), rows_.end(), [&](const MapRow& candidate) {
    return candidate.begin.value() + row_bytes <= range.begin().value();
  });
  bool placed = false;
  for (; row != rows_.end() && row->begin < range.end(); ++row) {
    const std::uint64_t first =
        std::max(range.begin().value(), row->begin.value()) - row->begin.value();
    const std::uint64_t last = std::min(range.last().value() - row->begin.value(), row_bytes - 1);
    for (std::uint64_t tile = first / tile_bytes_; tile <= last / tile_bytes_; ++tile) {
      MapTile& here = row->tiles.at(tile);
      if (here.ground == MapTile::Ground::kHole) continue;
      ++here.records.at(static_cast<std::size_t>(standing));
      placed = true;
    }
  }
  if (!placed) ++outside_;
}

}  // namespace poisonctl
