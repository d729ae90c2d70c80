// decode_cxl_health: what is taken has only values of the table, and is the same with more behind.
#include <cstddef>
#include <cstdint>
#include <vector>

#include "registry/cxl/health.h"
#include "tests/fuzz/fuzz_check.h"

using namespace poisonctl;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto health = decode_cxl_health({data, size}, "input");
  if (!health) {
    fuzz_check(health.error().code == ErrorCode::kBadData, "every error is kBadData");
    fuzz_check(health.error().message.starts_with("input:"), "an error names the device");
    fuzz_check_shown(health.error().message);
    return 0;
  }
  fuzz_check(size >= kCxlHealthBytes, "no value is made of what is not there");
  fuzz_check(health->media_status < 10 && health->life_used.value_or(0) <= 100,
             "values are those of the table");
  for (const std::string& complaint : complaints(*health)) fuzz_check_shown(complaint);
  const auto first = decode_cxl_health({data, kCxlHealthBytes}, "input");
  fuzz_check(first && *first == *health, "what follows changes nothing");
  return 0;
}
