// What goes first when not all of a list fits into a table or a text, and how neighbours become one
// range so that more fits. The same list and the same room always give the same choice.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "registry/range_set.h"
#include "registry/retire_list.h"

namespace poisonctl {

// What goes first is less: ranges where data was lost (RetireList::uncorrected), then those that
// replay cannot retire (RetireList::beyond_replay), then those with more bad bytes, then lower
// ones.
struct Importance {
  bool milder = false;
  bool replayable = false;
  std::uint64_t good = 0;  // the more bad bytes, the less
  ByteRange range;
  friend auto operator<=>(const Importance&, const Importance&) = default;
};
Importance importance_of(const ByteRange& range, std::uint64_t bad_bytes, const RetireList& list);

// The room that an artifact has.
struct Room {
  static constexpr std::size_t kUnlimited = std::numeric_limits<std::size_t>::max();
  std::size_t ranges = kUnlimited;  // how many
  std::string no_range_left = {};   // the reason of a refusal: "the table is full: ..."
  std::size_t text = kUnlimited;    // bytes for all of them
  std::string no_text_left = {};
  // The bytes that a range takes in the text.
  std::size_t (*text_of)(const ByteRange& range) = nullptr;
};

// Ranges that may be joined across healthy memory.
struct Widening {
  std::uint64_t gap = 0;  // less than so many bytes apart; 0: never
  RangeSet within;        // and only where all of the gap lies in this
};

struct Choice {
  RangeSet taken;    // what the artifact keeps out: `covered`, and healthy memory between
  RangeSet covered;  // the frames of the list in it
  std::vector<Refusal> refused;
  [[nodiscard]] std::uint64_t healthy_bytes() const { return taken.bytes() - covered.bytes(); }
};

// The part of `frames`, which are of the list, that fits. Ranges are joined only when they do not
// all fit as they are: the narrowest gaps first, and no more of them than it takes. Then they go by
// importance.
// `covered` and `refused` are disjoint and together `frames`. Linearithmic.
Choice choose_ranges(const RetireList& list, const RangeSet& frames, const Widening& widening,
                     const Room& room);

}  // namespace poisonctl
