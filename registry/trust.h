// Whether a handover is believed: whose signature it has, whether it is older than one that was
// seen, and whether it is about this machine as it is now. What is believed still goes through the
// checks and the bounds. packaging/doc/decisions/0010 says why each answer is what it is.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "registry/handover.h"
#include "registry/result.h"

namespace poisonctl {

// What a machine knows when it is given a handover.
struct TrustContext {
  std::vector<std::string> keys;        // public keys that this host trusts, 32 bytes each
  MachineDigest host{};                 // host_digest()
  MachineDigest topology{};             // memory_digest()
  std::uint64_t newest_generation = 0;  // of any list that was acted on or made here
  bool newer_exists = false;            // a list with a newer generation can be had
};

enum class Trust {
  kAccept,      // to be checked, bounded and acted on
  kQuarantine,  // from us, but about other memory: kept and shown, never acted on
  kRefuse,      // not to be used for anything
};
std::string_view to_word(Trust trust);

struct TrustFinding {
  std::string_view rule;  // as in poisonctl(8)
  std::string message;    // what is so, and what to do
};

struct TrustDecision {
  Trust trust = Trust::kAccept;
  std::vector<TrustFinding> findings;
};

// Pure. All that is wrong is found; the worst decides.
TrustDecision judge_handover(const SignedHandover& handover, const TrustContext& context);

// What is to be acted on of a handover: its claims, those that were faulty quarantined where the
// decision says so, and none of one that is refused.
std::vector<Claim> believed_claims(const SignedHandover& handover, const TrustDecision& decision);

// The public keys that a host trusts, one a line: "ed25519 " and 64 hexadecimal digits; "#" begins
// a comment. Errors: kBadData with the line; more than kMostKeys.
Result<std::vector<std::string>> parse_trusted_keys(std::string_view text,
                                                    const std::string& shown);
std::string trusted_key_line(std::string_view public_key);
inline constexpr std::size_t kMostKeys = 64;
inline constexpr std::string_view kTrustedKeysPath = "etc/poisonctl/trusted-keys";
// Those of that file; none where it is not there. Errors: as parse_trusted_keys, SysRoot::read.
Result<std::vector<std::string>> load_trusted_keys(const SysRoot& sysroot);

}  // namespace poisonctl
