// Handovers that come in: whether one is believed here, and what of it the registry did not know.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "cli/invocation.h"
#include "registry/handover.h"
#include "registry/result.h"
#include "registry/trust.h"

namespace poisonctl {

// The keys that this host believes: that of the registry, if it is there, and those that the
// administrator trusts (trust.h).
Result<std::vector<std::string>> trusted_keys(Invocation& invocation);

// What this machine and its registry know when they are given a handover of this generation.
Result<TrustContext> trust_context_here(Invocation& invocation, std::uint64_t generation);

// By the keys, the machine and the registry of the invocation. Errors: those of reading them.
Result<TrustDecision> judge_here(Invocation& invocation, const SignedHandover& handover);

// Records what the registry does not have of a handover that is believed, in one import, and that
// its generation was seen. `from` is where it came from. Errors: kBadData for a generation that no
// list has; those of the registry.
struct Adopted {
  std::size_t added = 0;        // events
  std::size_t quarantined = 0;  // ranges that were not taken: they were about other memory
};
Result<Adopted> adopt_here(Invocation& invocation, const Handover& handover,
                           const std::string& from);

}  // namespace poisonctl
