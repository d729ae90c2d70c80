// collect_fmpm: rows of the table, or an error.
#include "registry/sources/fmpm.h"
#include "tests/fuzz/source_fuzz.h"

using namespace poisonctl;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz_source(collect_fmpm, data, size, FuzzTexts::kAsRead);
  return 0;
}
