// parse_range: what it takes is whole frames, and shows as text that reads back equal.
#include <cstddef>
#include <cstdint>

#include "registry/range_text.h"
#include "tests/fuzz/fuzz_check.h"

using namespace poisonctl;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  for (const std::uint64_t page : {4096U, 16384U, 65536U}) {
    const PageShift shift = *PageShift::from_page_size(page);
    const auto range = parse_range(as_text(data, size), shift);
    if (!range) {
      fuzz_check(range.error().code == ErrorCode::kUsage, "every error is kUsage");
      fuzz_check_shown(range.error().message);
      continue;
    }
    fuzz_check(range->is_aligned(shift), "a range is whole frames");
    fuzz_check(range->size() != 0 && range->end().value() <= kPhysAddrLimit, "inside the limit");
    const auto again = parse_range(to_text(*range), shift);
    fuzz_check(again && *again == *range, "to_text reads back equal");
  }
  return 0;
}
