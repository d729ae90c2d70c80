// collect_memtest: lists of memtest86+ give ranges inside the limits, or an error.
#include "registry/sources/memtest.h"
#include "tests/fuzz/source_fuzz.h"

using namespace poisonctl;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz_source(collect_memtest, data, size, FuzzTexts::kAsRead);
  return 0;
}
