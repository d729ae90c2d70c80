#include "registry/trust.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>

#include "registry/posix_file.h"
#include "registry/text.h"

namespace poisonctl {

namespace {

constexpr std::string_view kKeyKind = "ed25519";
constexpr std::size_t kKeyBytes = 32;

}  // namespace

std::string_view to_word(Trust trust) {
  switch (trust) {
    case Trust::kAccept:
      return "accept";
    case Trust::kQuarantine:
      return "quarantine";
    case Trust::kRefuse:
      return "refuse";
  }
  return "";
}

TrustDecision judge_handover(const SignedHandover& handover, const TrustContext& context) {
  TrustDecision decision;
  const auto find = [&](Trust trust, std::string_view rule, std::string message) {
    decision.trust = std::max(decision.trust, trust);
    decision.findings.push_back({rule, std::move(message)});
  };
  const Handover& content = handover.content;
  if (!handover.signature_fits) {
    find(Trust::kRefuse, "bad-signature",
         "the signature does not cover these bytes: they were changed since, or never signed; "
         "use another carrier, or make the handover again");
  }
  if (std::find(context.keys.begin(), context.keys.end(), handover.public_key) ==
      context.keys.end()) {
    find(Trust::kRefuse, "unknown-key",
         fmt::format("it names the key {}, which is none that this host trusts; if it is an older "
                     "key of this host, add it to /{}",
                     to_hex_text(handover.public_key), kTrustedKeysPath));
  }
  switch (compare(content.host, context.host)) {
    case Likeness::kSame:
    case Likeness::kSameInPart:
      break;
    case Likeness::kNotKnown:
      find(Trust::kAccept, "host-not-known",
           "which machine it is for cannot be told: here or where it was made firmware showed no "
           "UUID, and there is no machine id; only the key says that it is ours");
      break;
    case Likeness::kOther:
      find(Trust::kRefuse, "other-host",
           "it is for another machine, where the same addresses are other memory; take the one of "
           "this machine");
      break;
  }
  switch (compare(content.topology, context.topology)) {
    case Likeness::kSame:
      break;
    case Likeness::kSameInPart:
      find(
          Trust::kAccept, "topology-not-known",
          "whether the memory modules are still the same cannot be told: here or where it was made "
          "the kernel saw no SMBIOS; the memory map and its nodes are the same");
      break;
    case Likeness::kNotKnown:
      find(Trust::kAccept, "topology-not-known",
           "whether the memory is still the same cannot be told; run it as root");
      break;
    case Likeness::kOther:
      find(
          Trust::kQuarantine, "other-topology",
          "memory modules or the memory map have changed since it was made, so its addresses may "
          "be other cells now; 'poisonctl topology diff' says what changed, and a new handover has "
          "what still holds");
      break;
  }
  if (content.generation < context.newest_generation) {
    find(context.newer_exists ? Trust::kRefuse : Trust::kAccept, "older-generation",
         fmt::format("it is of generation {}, and {} was seen here; {}", content.generation,
                     context.newest_generation,
                     context.newer_exists ? "use that one"
                                          : "nothing newer is left, so it has to do: frames that "
                                            "were added since are not on it"));
  }
  return decision;
}

std::vector<Claim> believed_claims(const SignedHandover& handover, const TrustDecision& decision) {
  if (decision.trust == Trust::kRefuse) return {};
  std::vector<Claim> claims = claims_in(handover.content);
  if (decision.trust == Trust::kQuarantine) {
    for (Claim& claim : claims) {
      if (claim.condition == Condition::kFaulty) claim.condition = Condition::kQuarantined;
    }
  }
  return claims;
}

Result<std::vector<std::string>> parse_trusted_keys(std::string_view text,
                                                    const std::string& shown) {
  std::vector<std::string> keys;
  std::size_t number = 0;
  for (std::string_view line : split_lines(text)) {
    ++number;
    line = line.substr(0, line.find('#'));
    const auto words = split_words(line);
    if (words.empty()) continue;
    const auto key = words.size() == 2 && words[0] == kKeyKind && words[1].size() == 2 * kKeyBytes
                         ? bytes_from_hex(words[1])
                         : std::nullopt;
    if (!key) {
      return Error{ErrorCode::kBadData,
                   fmt::format("{}:{}: expected '{} ' and 64 hexadecimal digits, found '{}'", shown,
                               number, kKeyKind, printable(line))};
    }
    if (keys.size() == kMostKeys) {
      return Error{ErrorCode::kBadData,
                   fmt::format("{}:{}: more than {} keys", shown, number, kMostKeys)};
    }
    keys.push_back(*key);
  }
  return keys;
}

Result<std::vector<std::string>> load_trusted_keys(const SysRoot& sysroot) {
  const auto text = sysroot.read(kTrustedKeysPath);
  if (text) return parse_trusted_keys(*text, sysroot.shown(kTrustedKeysPath));
  if (text.error().code == ErrorCode::kNoInput) return std::vector<std::string>();
  return text.error();
}

std::string trusted_key_line(std::string_view public_key) {
  return fmt::format("{} {}", kKeyKind, to_hex_text(public_key));
}

}  // namespace poisonctl
