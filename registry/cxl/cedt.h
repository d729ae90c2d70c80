// The CXL Early Discovery Table of ACPI, as far as it says how host memory is spread over host
// bridges (CXL 3.1, 9.18.1: CFMWS and CXIMS). sysfs does not say whether a window uses XOR
// arithmetic: this table does.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "registry/address.h"
#include "registry/result.h"

namespace poisonctl {

// How a window chooses the host bridge (9.18.1.3, "Interleave Arithmetic").
enum class CxlArithmetic { kModulo, kXor };

// CFMWS: a window of host memory that is spread over host bridges.
struct CxlWindow {
  ByteRange range;
  std::uint64_t ways = 1;         // host bridges
  std::uint64_t granularity = 0;  // bytes
  CxlArithmetic arithmetic = CxlArithmetic::kModulo;
  friend bool operator==(const CxlWindow&, const CxlWindow&) = default;
};

// CXIMS: the maps of all XOR windows of one granularity.
struct CxlXorMaps {
  std::uint64_t granularity = 0;
  std::vector<std::uint64_t> maps;
  friend bool operator==(const CxlXorMaps&, const CxlXorMaps&) = default;
};

struct Cedt {
  std::vector<CxlWindow> windows;
  std::vector<CxlXorMaps> xor_maps;
  friend bool operator==(const Cedt&, const Cedt&) = default;
};

// `table` is the whole of /sys/firmware/acpi/tables/CEDT, `shown` its name in messages. Structures
// of other types are skipped. Errors: kBadData for another table, a wrong length or checksum, a
// structure that reaches past the end or is too short for what it holds, and for a window or map
// with values that the specification does not have.
Result<Cedt> parse_cedt(std::string_view table, const std::string& shown);

// The maps by which `window` spreads its addresses: none for modulo arithmetic, and for 1 and 3
// host bridges, which have no bit to compute. Errors: kBadData when the table has no maps for the
// window, or too few.
Result<std::vector<std::uint64_t>> xor_maps_of(const Cedt& cedt, const CxlWindow& window);

}  // namespace poisonctl
