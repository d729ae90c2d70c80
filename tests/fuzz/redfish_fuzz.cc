// collect_redfish: log entries and the records in them, or an error.
#include "registry/sources/redfish.h"
#include "tests/fuzz/source_fuzz.h"

using namespace poisonctl;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz_source(collect_redfish, data, size, FuzzTexts::kPrintable);
  return 0;
}
