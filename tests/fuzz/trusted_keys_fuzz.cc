// parse_trusted_keys: what it takes is written the same way again.
#include <cstddef>
#include <cstdint>

#include "registry/trust.h"
#include "tests/fuzz/fuzz_check.h"

using namespace poisonctl;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto keys = parse_trusted_keys(as_text(data, size), "input");
  if (!keys) {
    fuzz_check(keys.error().code == ErrorCode::kBadData, "every error is kBadData");
    fuzz_check(keys.error().message.starts_with("input:"), "an error names the file");
    fuzz_check_shown(keys.error().message);
    return 0;
  }
  fuzz_check(keys->size() <= kMostKeys, "not too many keys");
  std::string text;
  for (const std::string& key : *keys) {
    fuzz_check(key.size() == 32, "a key has 32 bytes");
    text += trusted_key_line(key) + "\n";
  }
  const auto again = parse_trusted_keys(text, "again");
  fuzz_check(again.ok() && *again == *keys, "the keys read back equal");
  return 0;
}
