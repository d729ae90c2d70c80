// The head of a kernel image: its version is inside the image, or there is none.
#include <cstddef>
#include <cstdint>

#include "registry/live_update.h"
#include "tests/fuzz/fuzz_check.h"

using namespace poisonctl;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view image = as_text(data, size);
  const std::string_view version = image_version(image);
  if (version.empty()) return 0;
  fuzz_check(version.data() >= image.data() &&
                 version.data() + version.size() < image.data() + image.size(),
             "it lies in the image, with the byte that ends it");
  return 0;
}
