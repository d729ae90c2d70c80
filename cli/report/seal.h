// The end of a report: a signed statement of what its bytes are and which log they are about, and
// how to check it. All that follows the signed part is made from the statement alone, so nothing
// can hide there.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "registry/chain.h"
#include "registry/result.h"
#include "registry/signing.h"
#include "registry/store.h"

namespace poisonctl {

// What is signed, line by line, as a checkpoint is (registry/README.md):
//   poisonctl-report-v1
//   bytes N             the length of the page up to the statement's own section
//   sha256 DIGEST       of those bytes
//   events N, hash HASH the newest entry of the log that the page is about
//   time TIME           when it was made
//   public-key KEY      whose signature it carries
//   signature SIGNATURE of the lines above, each with its line end
struct Seal {
  std::uint64_t bytes = 0;
  Digest digest{};
  ChainHead head;
  Time time{};
  std::string public_key;  // 32 bytes
  std::string signature;   // 64 bytes
};

// The page with its signature, complete. Errors: those of SigningKey::sign.
Result<std::string> sealed_page(std::string page, const ChainHead& head, Time time,
                                const SigningKey& key);
// The page complete, and why it has no signature.
std::string unsealed_page(std::string page, std::string_view why);

// What a sealed page says of itself, when every byte of it is as it was signed; whose key that is
// remains to be judged. Errors: kBadData with what does not fit.
Result<Seal> check_seal(std::string_view page, const std::string& shown);

}  // namespace poisonctl
