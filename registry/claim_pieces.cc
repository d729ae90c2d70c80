#include "registry/claim_pieces.h"

#include <algorithm>
#include <queue>
#include <tuple>

namespace poisonctl {

namespace {

struct Open {
  ByteRange frames;
  const Claim* claim;
};

ByteRange between(PhysAddr begin, PhysAddr end) {
  return *ByteRange::from_last(begin, PhysAddr(end.value() - 1));
}

// Sorted input without overlaps, which is nearly every list, needs no queue.
bool are_disjoint(const std::vector<Open>& sorted) {
  for (std::size_t i = 1; i < sorted.size(); ++i) {
    if (sorted[i - 1].frames.overlaps(sorted[i].frames)) return false;
  }
  return true;
}

}  // namespace

ClaimRank rank_of(const Claim& claim) { return {severity_weight(claim.kind), claim.last_seen}; }

bool is_worse(const Claim& a, const Claim& b) {
  if (rank_of(a) != rank_of(b)) return rank_of(a) > rank_of(b);
  return std::tuple(a.granularity, a.range) < std::tuple(b.granularity, b.range);
}

std::vector<ClaimPiece> disjoint_pieces(std::span<const Claim* const> claims, PageShift shift,
                                        const ClaimOrder& order) {
  std::vector<Open> sorted;
  sorted.reserve(claims.size());
  for (const Claim* claim : claims) sorted.push_back({claim->range.widened_to(shift), claim});
  const auto by_address = [](const Open& a, const Open& b) { return a.frames < b.frames; };
  if (!std::is_sorted(sorted.begin(), sorted.end(), by_address)) {
    std::stable_sort(sorted.begin(), sorted.end(), by_address);
  }
  std::vector<ClaimPiece> pieces;
  pieces.reserve(sorted.size());
  if (are_disjoint(sorted)) {
    for (const Open& one : sorted) pieces.push_back({one.frames, one.claim});
    return pieces;
  }
  // The first by the order is on top.
  const auto later = [&](const Open& a, const Open& b) { return order(*b.claim, *a.claim); };
  std::priority_queue<Open, std::vector<Open>, decltype(later)> open(later);
  std::size_t next = 0;
  PhysAddr at;
  for (;;) {
    while (!open.empty() && open.top().frames.end() <= at) open.pop();
    if (open.empty()) {
      if (next == sorted.size()) return pieces;
      at = std::max(at, sorted[next].frames.begin());
    }
    while (next < sorted.size() && sorted[next].frames.begin() <= at) open.push(sorted[next++]);
    const Open top = open.top();
    if (top.frames.end() <= at) continue;
    PhysAddr end = top.frames.end();
    if (next < sorted.size()) end = std::min(end, sorted[next].frames.begin());
    if (!pieces.empty() && pieces.back().claim == top.claim && pieces.back().range.end() == at) {
      pieces.back().range = between(pieces.back().range.begin(), end);
    } else {
      pieces.push_back({between(at, end), top.claim});
    }
    at = end;
  }
}

std::vector<ClaimPiece> pieces_within(std::span<const ClaimPiece> pieces, const RangeSet& where) {
  std::vector<ClaimPiece> parts;
  auto range = where.ranges().begin();
  for (const ClaimPiece& piece : pieces) {
    while (range != where.ranges().end() && range->end() <= piece.range.begin()) ++range;
    for (auto inside = range; inside != where.ranges().end() && inside->begin() < piece.range.end();
         ++inside) {
      parts.push_back({between(std::max(inside->begin(), piece.range.begin()),
                               std::min(inside->end(), piece.range.end())),
                       piece.claim});
    }
  }
  return parts;
}

}  // namespace poisonctl
