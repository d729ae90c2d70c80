// parse_log_line: what it takes is written again as it was, to the byte.
#include <cstddef>
#include <cstdint>

#include "registry/audit/bundle.h"
#include "registry/audit/log_lines.h"
#include "tests/fuzz/fuzz_check.h"

using namespace poisonctl;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text = as_text(data, size);
  if (const auto line = parse_log_line(text, "input:1"); line) {
    fuzz_check(to_text(*line) == std::string(text) + "\n", "a line has one form");
  } else {
    fuzz_check(line.error().code == ErrorCode::kBadData, "every error is kBadData");
    fuzz_check_shown(line.error().message);
  }
  const auto info = parse_bundle_info(text, "input");
  fuzz_check(!info || to_text(*info) == text, "what a bundle says of itself has one form");
  return 0;
}
