// parse_smbios: any bytes are a table or an error that says where.
#include <cstddef>
#include <cstdint>

#include "registry/smbios.h"
#include "tests/fuzz/fuzz_check.h"

using namespace poisonctl;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto memory = parse_smbios(as_text(data, size), "input");
  if (!memory) {
    fuzz_check(memory.error().code == ErrorCode::kBadData, "every error is kBadData");
    fuzz_check(memory.error().message.starts_with("input:"), "an error names the file");
    fuzz_check_shown(memory.error().message);
    return 0;
  }
  // A structure has at least a header and the end of its texts.
  fuzz_check(memory->devices.size() + memory->array_ranges.size() + memory->device_ranges.size() <=
                 size / 6,
             "no more structures than there is room for");
  for (const SmbiosDevice& device : memory->devices) {
    fuzz_check(device.serial.size() <= size && device.locator.size() <= size,
               "texts are a part of the table");
  }
  return 0;
}
