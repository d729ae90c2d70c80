// parse_bounds: what it takes is inside the limits of each bound.
#include <cstddef>
#include <cstdint>

#include "registry/bounds.h"
#include "tests/fuzz/fuzz_check.h"

using namespace poisonctl;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bounds = parse_bounds(as_text(data, size));
  if (!bounds) {
    fuzz_check(bounds.error().code == ErrorCode::kUsage, "every error is kUsage");
    fuzz_check_shown(bounds.error().message);
    return 0;
  }
  fuzz_check(
      bounds->per_mille <= 1000 && bounds->node_per_mille <= 1000 && bounds->hard_per_mille <= 1000,
      "a share is at most the whole");
  fuzz_check(bounds->floor <= kPhysAddrLimit, "a floor inside the address space");
  return 0;
}
