// parse_cedt, on a table as it is and on one whose length and checksum were made right; and the
// arithmetic with what it takes: an address that is decoded is encoded back.
#include <cstddef>
#include <cstdint>
#include <string>

#include "registry/cxl/cedt.h"
#include "registry/cxl/interleave.h"
#include "tests/fuzz/fuzz_check.h"
#include "tests/unit/cedt_samples.h"

using namespace poisonctl;

namespace {

void check_window(const Cedt& cedt, const CxlWindow& window) {
  fuzz_check(is_cxl_ways(window.ways) && is_cxl_granularity(window.granularity),
             "a window has ways and a granularity of the specification");
  const auto maps = xor_maps_of(cedt, window);
  if (!maps) return;
  const auto set = CxlInterleave::make({.range = window.range,
                                        .ways = window.ways,
                                        .granularity = window.granularity,
                                        .xor_maps = *maps});
  if (!set) return;
  const std::uint64_t step = window.range.size() / 61 + 1;
  for (std::uint64_t at = 0; at < window.range.size(); at += step) {
    const PhysAddr address(window.range.begin().value() + at);
    const auto place = set->place_at(address);
    fuzz_check(place && place->position < window.ways && place->offset < set->share(),
               "a place is inside the set");
    fuzz_check(set->address_of(*place) == address, "and is where it was");
  }
}

void check_table(std::string_view table) {
  const auto cedt = parse_cedt(table, "input");
  if (!cedt) {
    fuzz_check(cedt.error().code == ErrorCode::kBadData, "every error is kBadData");
    fuzz_check(cedt.error().message.starts_with("input:"), "an error names the file");
    fuzz_check_shown(cedt.error().message);
    return;
  }
  for (const CxlWindow& window : cedt->windows) check_window(*cedt, window);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string table(as_text(data, size));
  check_table(table);
  if (size < 36) return 0;
  for (unsigned i = 0; i < 4; ++i) table[4 + i] = static_cast<char>(size >> (8 * i));
  fix_checksum(table);
  check_table(table);
  return 0;
}
