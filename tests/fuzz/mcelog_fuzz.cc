// collect_mcelog: machine checks and counts, or an error.
#include "registry/sources/mcelog.h"
#include "tests/fuzz/source_fuzz.h"

using namespace poisonctl;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz_source(collect_mcelog, data, size, FuzzTexts::kAsRead);
  return 0;
}
