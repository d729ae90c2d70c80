// parse_iomem and the map made of it: its sets must agree with each other whatever the kernel says.
#include <cstddef>
#include <cstdint>

#include "registry/memory_map.h"
#include "tests/fuzz/fuzz_check.h"

using namespace poisonctl;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  auto resources = parse_iomem(as_text(data, size), "iomem");
  if (!resources) {
    fuzz_check(resources.error().code == ErrorCode::kBadData ||
                   resources.error().code == ErrorCode::kNoPrivilege,
               "every error is kBadData or kNoPrivilege");
    fuzz_check_shown(resources.error().message);
    return 0;
  }
  const MemoryMap map(*std::move(resources), {});
  const RangeSet& ram = map.system_ram();
  fuzz_check(ram.minus(map.installed_ram()).empty(), "what is managed is installed");
  fuzz_check(ram.intersected_with(map.device_memory()).empty(), "device memory is no RAM");
  fuzz_check(map.installed_ram().intersected_with(map.firmware_reserved()).empty(),
             "what the firmware keeps is not installed");
  fuzz_check(map.end().value() <= kPhysAddrLimit, "nothing lies beyond the limit");
  for (const Resource& resource : map.resources()) {
    fuzz_check(resource.range.end() <= map.end(), "end() is the end");
  }
  return 0;
}
