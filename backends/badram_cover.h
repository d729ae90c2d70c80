// BadRAM patterns for a set of addresses: few of them, and exact. One pattern names every address
// that agrees with it in the bits of its mask, so one pair can name frames that lie far apart.
#pragma once

#include <vector>

#include "registry/range_set.h"
#include "registry/sources/badram.h"

namespace poisonctl {

// Patterns that match the bytes of `set` and no other, sorted by address. They may overlap. To find
// the fewest is as hard as to minimise a formula of logic; these are few: each block of the set is
// grown bit by bit, in many orders of the bits, as long as all of it stays inside the set; then the
// grown ones that name the most blocks not yet named are taken (tests/unit/badram_cover_test.cc
// compares with the optimum). Made for hundreds of ranges: quadratic in them.
std::vector<BadramPattern> cover_exactly(const RangeSet& set);

}  // namespace poisonctl
