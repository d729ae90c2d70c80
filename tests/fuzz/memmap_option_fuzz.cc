// collect_memmap_option: a command line gives ranges inside the limits, or an error.
#include "registry/sources/memmap_option.h"
#include "tests/fuzz/source_fuzz.h"

using namespace poisonctl;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz_source(collect_memmap_option, data, size, FuzzTexts::kAsRead);
  return 0;
}
