// A believed handover as events for a registry that does not have all of it: one in the memory of a
// machine without a disk, or one whose disk was lost.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "registry/event.h"
#include "registry/handover.h"
#include "registry/record.h"

namespace poisonctl {

inline constexpr std::string_view kHandoverSource = "handover";

struct Adoption {
  std::vector<Event> events;  // empty: the registry says all of it already
  // Ranges that the handover had in quarantine: about memory that was not the same any more, and so
  // not taken.
  std::size_t quarantined = 0;
};

// What is new in `handover` beside `records` (in the order of their addresses): frames that are to
// be retired and that no faulty record has, resolutions of records that are not resolved, suspects
// that nothing is known of. Each resolution follows its observation, so that a frame that was
// cleared does not come back.
Adoption adopt(const Handover& handover, std::span<const Record> records);

// What an import of a handover says for the version of its source, and back; 0 for anything else.
// The registry counts its generation on from there (Store::generation()).
std::string adopted_version(std::uint64_t generation);
std::uint64_t adopted_generation(std::string_view version);
// Larger ones are no generation that a registry ever had.
inline constexpr std::uint64_t kMostGeneration = std::uint64_t{1} << 60U;

}  // namespace poisonctl
