// collect_cxl_json: every event keeps the promises of registry/event.h, and every error can be
// shown.
#include "registry/sources/cxl_json.h"
#include "tests/fuzz/source_check.h"

using namespace poisonctl;  // NOLINT(google-build-using-namespace)

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return fuzz_stream_source(data, size, collect_cxl_json);
}
