// BadRAM patterns: the address and mask pairs that memtest86+ prints and that GRUB and the BadRAM
// patch of Linux read.
//   badram=0xADDR,0xMASK,...                as memtest86+ prints it
//   GRUB_BADRAM="ADDR,MASK,..."             /etc/default/grub and its drop-ins
//   badram ADDR,MASK,...                    GRUB command (GRUB manual, "badram")
//   cutmem FROM TO, cutmem FROM-TO          GRUB command (GRUB manual, "cutmem"): TO is one past
// A byte is bad when (address & MASK) == (ADDR & MASK). A pair names the places that tests found to
// lose data, so its events are kUncorrected.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "registry/address.h"
#include "registry/result.h"
#include "registry/sources/collecting.h"
#include "registry/sources/source.h"

namespace poisonctl {

struct BadramPattern {
  std::uint64_t address = 0;
  std::uint64_t mask = 0;
};

// How many bytes below `end` a pattern matches. Costs the same for every pattern.
std::uint64_t matching_bytes(const BadramPattern& pattern, PhysAddr end);

// Hands the bytes below `end` that a pattern matches to `take`, as ranges that neither touch nor
// overlap, in ascending order. Their number is not bounded here: see matching_bytes. Returns the
// first error of `take`.
Result<void> for_each_matching_range(const BadramPattern& pattern, PhysAddr end,
                                     const std::function<Result<void>(const ByteRange&)>& take);

// What the pairs of one input have in common.
struct BadramImport {
  // What one input may expand to: far more than any machine that still works has.
  static constexpr std::uint64_t kRangeLimit = 1'000'000;
  const SourceSettings& settings;
  Collector& collector;
  std::uint64_t ranges_left = kRangeLimit;
  std::string ignored_kinds = {};  // of memmap= items, a letter each: one warning a kind
};

// Whether numbers are hexadecimal without a 0x too: for GRUB they are, for Linux they are decimal,
// and a decimal address is a mistake more often than not.
enum class HexPrefix { kNeeded, kOptional };

// "ADDR,MASK,ADDR,MASK": one event for every range below settings.memory_end that a pair matches. A
// pair that matches nothing there is evidence without a place, with a warning. A mask that lacks
// the upper bits of this machine's addresses is taken as it is written, because what it matches
// then includes the true place; with a warning. `place` ("FILE:LINE: ") begins every message.
// Errors: kBadData, before any event of the pair, for what is not such a list, for a pair whose
// frames are more than 1/16 of memory, and for more than kRangeLimit ranges.
Result<void> collect_badram_list(std::string_view list, HexPrefix prefix, std::string_view place,
                                 BadramImport& import);

// All lines of `stream` that are of a form above; others are ignored.
Result<SourceReport> collect_badram(ByteStream& stream, const SourceSettings& settings,
                                    const EventSink& sink);

}  // namespace poisonctl
