// collect_kernel_log: messages of the kernel, or an error.
#include "registry/sources/kernel_log.h"
#include "tests/fuzz/source_fuzz.h"

using namespace poisonctl;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz_source(collect_kernel_log, data, size, FuzzTexts::kAsRead);
  return 0;
}
