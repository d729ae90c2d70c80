// collect_cper: sections of records and blocks, or an error.
#include "registry/sources/cper.h"
#include "tests/fuzz/source_fuzz.h"

using namespace poisonctl;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz_source(collect_cper, data, size, FuzzTexts::kPrintable);
  return 0;
}
