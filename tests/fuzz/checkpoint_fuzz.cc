// parse_checkpoint: what it takes is signed, and is exactly what a checkpoint looks like.
#include <cstddef>
#include <cstdint>
#include <string>

#include "registry/checkpoint.h"
#include "registry/signing.h"
#include "registry/text.h"
#include "tests/fuzz/fuzz_check.h"

using namespace poisonctl;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text = as_text(data, size);
  const auto checkpoint = parse_checkpoint(text, "input");
  if (!checkpoint) {
    fuzz_check(checkpoint.error().code == ErrorCode::kBadData, "every error is kBadData");
    fuzz_check(checkpoint.error().message.starts_with("input:"), "an error names the file");
    fuzz_check_shown(checkpoint.error().message);
    return 0;
  }
  fuzz_check(checkpoint->head.id >= 0, "a number of events");
  fuzz_check(checkpoint->public_key.size() == 32, "a key of Ed25519");
  const std::string covered =
      "poisonctl-checkpoint-v1\nevents " + std::to_string(checkpoint->head.id) + "\nhash " +
      to_hex_text(as_bytes(checkpoint->head.hash)) + "\ntime " + to_rfc3339(checkpoint->time) +
      "\npublic-key " + to_hex_text(checkpoint->public_key) + "\n";
  fuzz_check(text.starts_with(covered), "the text is what was read from it");
  constexpr std::string_view kName = "signature ";
  constexpr std::size_t kDigits = 128;
  fuzz_check(text.size() == covered.size() + kName.size() + kDigits + 1,
             "one line with a signature follows");
  const std::string_view digits = text.substr(covered.size() + kName.size(), kDigits);
  std::string signature;
  for (std::size_t i = 0; i < digits.size(); i += 2) {
    const auto byte = parse_unsigned(digits.substr(i, 2), 16);
    fuzz_check(byte.has_value(), "a signature is hexadecimal");
    signature += static_cast<char>(*byte);
  }
  fuzz_check(text.substr(covered.size()) == std::string(kName) + to_hex_text(signature) + "\n",
             "which is written in one way");
  fuzz_check(is_signed_by(checkpoint->public_key, covered, signature), "it is signed");
  return 0;
}
