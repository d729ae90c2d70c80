// collect_cxl_json: every event keeps the promises of registry/event.h, and every error can be
// shown.
#include "registry/sources/cxl_json.h"
#include "tests/fuzz/source_fuzz.h"

using namespace poisonctl;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz_source(collect_cxl_json, data, size, FuzzTexts::kPrintable);
  return 0;
}
