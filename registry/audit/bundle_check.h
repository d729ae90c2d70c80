// Whether a bundle is what was signed, and its log one that nobody changed: read once, from start
// to end, in little memory, with nothing but the bundle and a public key or a CA.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "registry/audit/bundle.h"
#include "registry/audit/log_lines.h"
#include "registry/result.h"
#include "registry/sources/source.h"

namespace poisonctl {

// Whom to believe.
struct BundleTrust {
  std::vector<std::string> keys;  // public keys, 32 bytes each
  std::string ca_pem;             // certificates of CAs; empty: none
};

struct BundleReport {
  BundleInfo info;
  std::uint64_t imports = 0;
  std::uint64_t events = 0;    // with their content
  std::uint64_t withheld = 0;  // of these: hash only to be believed with the signature
  std::uint64_t omitted = 0;
  std::uint64_t records = 0;
  // All that is wrong, each with its place; no more than kMostFindings.
  std::vector<std::string> findings;
  // What is odd and proves nothing, such as a clock that was set.
  std::vector<std::string> notes;
  std::string cms_subject;  // of a certificate that leads to the CA
};
inline constexpr std::size_t kMostFindings = 20;

// Errors: kBadData when it does not begin as a bundle; kIo. What is wrong with a bundle is in the
// report.
Result<BundleReport> check_bundle(ByteStream& stream, const BundleTrust& trust);

// The log of a bundle once more, line by line; `topology` of an ImportLine is the text of its
// provenance here. For bundles that check_bundle found whole. Errors: those of `take` and of
// reading.
Result<void> read_bundle_log(ByteStream& stream,
                             const std::function<Result<void>(const LogLine&)>& take);

}  // namespace poisonctl
