#include "registry/bounds.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <string>

#include "registry/claim_pieces.h"
#include "registry/text.h"

namespace poisonctl {

namespace {

constexpr std::uint64_t kWhole = 1000;  // per mille

// bytes * per_mille / 1000; at most kPhysAddrLimit * 1000, which fits 64 bits (56 and 10 bits).
std::uint64_t share(std::uint64_t bytes, std::uint64_t per_mille) {
  return std::max(bytes * per_mille / kWhole, kLeastShare);
}

// How many bytes may still be taken, and what says so.
struct Room {
  std::uint64_t bytes = 0;
  std::string bound;
};

Room overall_room(std::uint64_t ram, PageShift shift, const Bounds& bounds) {
  const std::uint64_t frames = std::min(bounds.frames, kPhysAddrLimit >> shift.bits());
  const std::array<Room, 3> rooms = {
      {{frames << shift.bits(), "at most " + counted(bounds.frames, "frame")},
       {share(ram, bounds.per_mille),
        fmt::format("at most {} per mille of RAM, {}", bounds.per_mille,
                    to_human_size(share(ram, bounds.per_mille)))},
       {ram > bounds.floor ? ram - bounds.floor : 0,
        fmt::format("{} of RAM must be left", to_human_size(bounds.floor))}}};
  return *std::min_element(rooms.begin(), rooms.end(),
                           [](const Room& a, const Room& b) { return a.bytes < b.bytes; });
}

// Why a list that takes `wanted` is refused whole; nothing when it is not.
std::optional<std::string> past_hard_limit(std::uint64_t wanted, std::uint64_t ram,
                                           const Bounds& bounds) {
  if (wanted <= share(ram, bounds.hard_per_mille)) return std::nullopt;
  return fmt::format("{} of {}, the limit is {} per mille", to_human_size(wanted),
                     to_human_size(ram), bounds.hard_per_mille);
}

Room node_room(unsigned number, std::uint64_t ram_of_node, const Bounds& bounds) {
  const std::uint64_t most = share(ram_of_node, bounds.node_per_mille);
  return {most, fmt::format("at most {} per mille of the RAM of node {}, {}", bounds.node_per_mille,
                            number, to_human_size(most))};
}

// The rooms of the nodes, by their numbers' places in `numbers`.
struct NodeRooms {
  std::vector<unsigned> numbers;  // sorted
  std::vector<Room> rooms;

  [[nodiscard]] Room* of(std::optional<unsigned> node) {
    if (!node) return nullptr;
    const auto found = std::lower_bound(numbers.begin(), numbers.end(), *node);
    return &rooms[static_cast<std::size_t>(found - numbers.begin())];
  }
};

RangeSet ranges_of_node(const std::vector<NodeRange>& nodes, unsigned number) {
  std::vector<ByteRange> ranges;
  for (const NodeRange& node : nodes) {
    if (node.node == number) ranges.push_back(node.range);
  }
  return RangeSet::from_ranges(std::move(ranges));
}

// A part of the list that lies in one node, or in none.
struct Piece {
  ByteRange range;
  const Claim* claim;
  std::optional<unsigned> node;
  ClaimRank rank = rank_of(*claim);
};

// The order in which pieces are taken: that of is_worse. The rank decides nearly always, and is
// here: claims are far apart in memory.
bool goes_before(const Piece& a, const Piece& b) {
  if (a.rank != b.rank) return a.rank > b.rank;
  if (a.claim != b.claim && is_worse(*a.claim, *b.claim) != is_worse(*b.claim, *a.claim)) {
    return is_worse(*a.claim, *b.claim);
  }
  return a.range < b.range;
}

class Taker {
 public:
  Taker(PageShift shift, Room overall, NodeRooms nodes)
      : shift_(shift), overall_(std::move(overall)), nodes_(std::move(nodes)) {}

  void take(const Piece& piece) {
    Room* const node = nodes_.of(piece.node);
    const bool node_binds = node != nullptr && node->bytes < overall_.bytes;
    const Room& tighter = node_binds ? *node : overall_;
    const std::uint64_t mask = shift_.page_size() - 1;
    std::uint64_t bytes = std::min(tighter.bytes & ~mask, piece.range.size());
    const bool exact = piece.claim->granularity <= shift_.page_size();
    if (bytes < piece.range.size() && !exact) bytes = 0;
    if (bytes != 0) {
      kept_.push_back(*ByteRange::from_size(piece.range.begin(), bytes));
      overall_.bytes -= bytes;
      if (node != nullptr) node->bytes -= bytes;
    }
    if (bytes < piece.range.size()) {
      const PhysAddr begin(piece.range.begin().value() + bytes);
      refused_.push_back({*ByteRange::from_last(begin, piece.range.last()), &tighter.bound});
    }
  }

  BoundedList finish() {
    BoundedList list;
    list.kept = RangeSet::from_ranges(std::move(kept_));
    std::sort(refused_.begin(), refused_.end(),
              [](const Refused& a, const Refused& b) { return a.range < b.range; });
    const Rule* const rule = rule_of("past-bound");
    const std::string* bound = nullptr;  // of the last finding
    for (const Refused& next : refused_) {
      if (bound == next.bound && list.refused.back().range.end() == next.range.begin()) {
        list.refused.back().range =
            *ByteRange::from_last(list.refused.back().range.begin(), next.range.last());
      } else {
        list.refused.push_back({rule, next.range, std::nullopt, *next.bound});
      }
      bound = next.bound;
    }
    return list;
  }

 private:
  struct Refused {
    ByteRange range;
    const std::string* bound;  // of one of the rooms below
  };

  PageShift shift_;
  Room overall_;
  NodeRooms nodes_;
  std::vector<ByteRange> kept_;
  std::vector<Refused> refused_;
};

}  // namespace

Result<Bounds> parse_bounds(std::string_view text) {
  struct Field {
    std::string_view name;
    std::uint64_t Bounds::*member;
    std::uint64_t least;
    std::uint64_t most;
  };
  constexpr std::array<Field, 5> kFields = {{
      {"frames", &Bounds::frames, 0, kPhysAddrLimit >> PageShift::kMin},
      {"per-mille", &Bounds::per_mille, 0, kWhole},
      {"node-per-mille", &Bounds::node_per_mille, 0, kWhole},
      {"floor", &Bounds::floor, 0, kPhysAddrLimit},
      {"hard-per-mille", &Bounds::hard_per_mille, 0, kWhole},
  }};
  Bounds bounds;
  std::array<bool, kFields.size()> seen{};
  for (;;) {
    const auto comma = text.find(',');
    const std::string_view item = text.substr(0, comma);
    const auto equals = item.find('=');
    const auto field = std::find_if(kFields.begin(), kFields.end(), [&](const Field& candidate) {
      return equals != std::string_view::npos && candidate.name == item.substr(0, equals);
    });
    if (field == kFields.end()) {
      return Error{ErrorCode::kUsage,
                   fmt::format("bounds: '{}': expected frames=N, per-mille=N, node-per-mille=N, "
                               "floor=SIZE or hard-per-mille=N",
                               printable(item))};
    }
    const auto index = static_cast<std::size_t>(field - kFields.begin());
    const std::string_view digits = item.substr(equals + 1);
    const auto value = field->name == "floor" ? parse_size(digits) : parse_unsigned(digits, 10);
    if (!value || *value < field->least || *value > field->most || seen.at(index)) {
      return Error{ErrorCode::kUsage,
                   fmt::format("bounds: '{}': expected {} once, with a number of {} to {}",
                               printable(item), field->name, field->least, field->most)};
    }
    seen.at(index) = true;
    bounds.*field->member = *value;
    if (comma == std::string_view::npos) return bounds;
    text.remove_prefix(comma + 1);
  }
}

std::string passed_bound(std::uint64_t bytes, std::span<const std::uint64_t> of_ranges,
                         const CheckedMachine& machine, const Bounds& bounds) {
  const RangeSet& ram = machine.map.installed_ram();
  if (auto limit = past_hard_limit(bytes, ram.bytes(), bounds)) return *std::move(limit);
  const Room overall = overall_room(ram.bytes(), machine.shift, bounds);
  if (bytes > overall.bytes) return overall.bound;
  struct Node {
    std::uint64_t ram = 0;
    std::uint64_t taken = 0;
  };
  std::map<unsigned, Node> nodes;
  for (std::size_t i = 0; i < machine.nodes.size(); ++i) {
    Node& node = nodes[machine.nodes[i].node];
    node.ram += ram.within(machine.nodes[i].range).bytes();
    node.taken += of_ranges[i];
  }
  for (const auto& [number, node] : nodes) {
    const Room room = node_room(number, node.ram, bounds);
    if (node.taken > room.bytes) return room.bound;
  }
  return {};
}

BoundedList bound_list(std::span<const Claim> claims, RangeSet accepted,
                       const CheckedMachine& machine, const Bounds& bounds) {
  if (accepted.empty()) return {};
  const RangeSet& ram_ranges = machine.map.installed_ram();
  const std::uint64_t ram = ram_ranges.bytes();
  const std::uint64_t wanted = accepted.bytes();
  if (const auto detail = past_hard_limit(wanted, ram, bounds)) {
    BoundedList none;
    for (const ByteRange& range : accepted.ranges()) {
      none.refused.push_back({rule_of("hard-limit"), range, std::nullopt, *detail});
    }
    return none;
  }

  Room overall = overall_room(ram, machine.shift, bounds);
  NodeRooms nodes;
  for (const NodeRange& node : machine.nodes) nodes.numbers.push_back(node.node);
  std::sort(nodes.numbers.begin(), nodes.numbers.end());
  nodes.numbers.erase(std::unique(nodes.numbers.begin(), nodes.numbers.end()), nodes.numbers.end());
  bool fits = wanted <= overall.bytes;
  std::vector<RangeSet> node_ranges;
  RangeSet
      of_others;  // a memory block may have parts of several nodes, and is in the folder of each
  for (const unsigned number : nodes.numbers) {
    RangeSet of_node = ranges_of_node(machine.nodes, number).minus(of_others);
    of_others = of_others.united_with(of_node);
    nodes.rooms.push_back(node_room(number, ram_ranges.bytes_shared_with(of_node), bounds));
    if (accepted.bytes_shared_with(of_node) > nodes.rooms.back().bytes) fits = false;
    node_ranges.push_back(std::move(of_node));
  }
  if (fits) return {.kept = std::move(accepted), .refused = {}};

  std::vector<const Claim*> faulty;
  for (const Claim& claim : claims) {
    if (claim.condition == Condition::kFaulty) faulty.push_back(&claim);
  }
  const auto pieces = disjoint_pieces(faulty, machine.shift, is_worse);
  std::vector<Piece> parts;
  const auto add = [&](const RangeSet& where, std::optional<unsigned> node) {
    for (const ClaimPiece& piece : pieces_within(pieces, where)) {
      parts.push_back({piece.range, piece.claim, node});
    }
  };
  RangeSet in_no_node = accepted;
  for (std::size_t i = 0; i < node_ranges.size(); ++i) {
    add(accepted.intersected_with(node_ranges[i]), nodes.numbers[i]);
    in_no_node = in_no_node.minus(node_ranges[i]);
  }
  add(in_no_node, std::nullopt);
  std::sort(parts.begin(), parts.end(), goes_before);
  Taker taker(machine.shift, std::move(overall), std::move(nodes));
  for (const Piece& part : parts) taker.take(part);
  return taker.finish();
}

}  // namespace poisonctl
