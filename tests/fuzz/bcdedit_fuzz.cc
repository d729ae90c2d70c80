// collect_bcdedit: frames of Windows in any encoding, or an error.
#include "registry/sources/bcdedit.h"
#include "tests/fuzz/source_fuzz.h"

using namespace poisonctl;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz_source(collect_bcdedit, data, size, FuzzTexts::kAsRead);
  return 0;
}
