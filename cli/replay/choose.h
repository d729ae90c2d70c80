// Which of the handovers that were found is the list, and what is to be said of the others.
#pragma once

#include <optional>
#include <vector>

#include "cli/replay/carriers.h"
#include "cli/replay/report.h"
#include "registry/handover.h"
#include "registry/trust.h"

namespace poisonctl {

struct ChosenHandover {
  std::vector<SeenHandover> seen;      // all, in the order in which they were found
  std::optional<SignedHandover> used;  // the newest that is believed
  std::vector<Claim> claims;           // of `used`
};

// Of those that are accepted the one of the highest generation; where none is, the newest one that
// is quarantined, whose frames are then refused one by one. `context` without what is newest.
ChosenHandover choose_handover(const std::vector<FoundHandover>& found,
                               const TrustContext& context);

}  // namespace poisonctl
