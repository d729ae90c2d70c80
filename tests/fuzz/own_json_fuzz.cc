// collect_own_json: every event keeps the promises of registry/event.h, and every error can be
// shown.
#include "registry/sources/own_json.h"
#include "tests/fuzz/source_fuzz.h"

using namespace poisonctl;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz_source(collect_own_json, data, size, FuzzTexts::kPrintable);
  return 0;
}
