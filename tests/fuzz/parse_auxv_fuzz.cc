// parse_auxv_page_size: a page size that Linux can have, or an error.
#include <cstddef>
#include <cstdint>

#include "registry/machine.h"
#include "tests/fuzz/fuzz_check.h"

using namespace poisonctl;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto shift = parse_auxv_page_size(as_text(data, size), "auxv");
  if (!shift) {
    fuzz_check(shift.error().code == ErrorCode::kBadData, "every error is kBadData");
    fuzz_check_shown(shift.error().message);
    return 0;
  }
  fuzz_check(shift->bits() >= PageShift::kMin && shift->bits() <= PageShift::kMax, "a page size");
  // A page size takes at least one pair of 32-bit words, and the key 6 is in there.
  fuzz_check(size >= 8 && as_text(data, size).find('\x06') != std::string_view::npos,
             "no page size without AT_PAGESZ");
  return 0;
}
