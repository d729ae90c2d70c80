// Claims overlap; here each byte belongs to one of them.
#pragma once

#include <functional>
#include <span>
#include <utility>
#include <vector>

#include "registry/check.h"

namespace poisonctl {

struct ClaimPiece {
  ByteRange range;
  const Claim* claim;  // one of those given
};

// Which of two claims on the same byte counts, a strict order.
using ClaimOrder = std::function<bool(const Claim& a, const Claim& b)>;

// The bytes of all `claims`, widened to frames, each with the first claim by `order` that has it.
// Sorted by address, disjoint. Linearithmic in the number of claims.
std::vector<ClaimPiece> disjoint_pieces(std::span<const Claim* const> claims, PageShift shift,
                                        const ClaimOrder& order);

// The parts of `pieces` that lie in `where`. Linear.
std::vector<ClaimPiece> pieces_within(std::span<const ClaimPiece> pieces, const RangeSet& where);

// How much a claim weighs before exactness and place are looked at: severity, then time. More is
// worse.
using ClaimRank = std::pair<int, Time>;
ClaimRank rank_of(const Claim& claim);

// Severer before milder, newer before older, exact before vague, lower before higher.
bool is_worse(const Claim& a, const Claim& b);

}  // namespace poisonctl
