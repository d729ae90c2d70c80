#include "registry/cxl/cedt.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <numeric>
#include <optional>

#include "registry/bytes.h"
#include "registry/cxl/interleave.h"

namespace poisonctl {

namespace {

using std::uint64_t;

constexpr std::size_t kTableHeader = 36;     // ACPI 6.5, 5.2.6: length at 4, checksum over all
constexpr std::size_t kStructureHeader = 4;  // type, reserved, length: 9.18.1
constexpr unsigned kWindow = 1;              // CFMWS
constexpr unsigned kXorMaps = 2;             // CXIMS

Error bad_table(const std::string& shown, std::size_t offset, std::string_view problem) {
  return Error{ErrorCode::kBadData, fmt::format("{}: offset {}: {}", shown, offset, problem)};
}

uint64_t field(std::string_view bytes, std::size_t at, std::size_t width) {
  return little_endian(bytes.substr(at, width));
}

// 8.2.4.20.7: 0 to 4 are powers of two, 8 to 10 are 3, 6 and 12.
std::optional<uint64_t> ways_of(uint64_t encoded) {
  if (encoded <= 4) return uint64_t{1} << encoded;
  if (encoded >= 8 && encoded <= 10) return uint64_t{3} << (encoded - 8);
  return std::nullopt;
}

std::optional<uint64_t> granularity_of(uint64_t encoded) {
  if (encoded > 6) return std::nullopt;
  return uint64_t{256} << encoded;
}

// 9.18.1.3. What follows at offset 36 is the list of host bridges, 4 bytes each.
Result<CxlWindow> window_in(std::string_view bytes, const std::string& shown, std::size_t offset) {
  constexpr std::size_t kFixed = 36;
  if (bytes.size() < kFixed) return bad_table(shown, offset, "a CFMWS shorter than 36 bytes");
  const auto range = ByteRange::from_size(PhysAddr(field(bytes, 8, 8)), field(bytes, 16, 8));
  const auto ways = ways_of(field(bytes, 24, 1));
  const uint64_t arithmetic = field(bytes, 25, 1);
  const auto granularity = granularity_of(field(bytes, 28, 4));
  if (!range) return bad_table(shown, offset, "a CFMWS without a range of memory");
  if (!ways || !granularity || arithmetic > 1) {
    return bad_table(shown, offset,
                     fmt::format("a CFMWS with ways {}, granularity {} and arithmetic {}: expected "
                                 "0 to 4 or 8 to 10, 0 to 6, and 0 or 1",
                                 field(bytes, 24, 1), field(bytes, 28, 4), arithmetic));
  }
  if (bytes.size() < kFixed + *ways * 4) {
    return bad_table(
        shown, offset,
        fmt::format("a CFMWS of {} bytes has no room for {} host bridges", bytes.size(), *ways));
  }
  return CxlWindow{.range = *range,
                   .ways = *ways,
                   .granularity = *granularity,
                   .arithmetic = arithmetic == 1 ? CxlArithmetic::kXor : CxlArithmetic::kModulo};
}

// 9.18.1.5.
Result<CxlXorMaps> xor_maps_in(std::string_view bytes, const std::string& shown,
                               std::size_t offset) {
  constexpr std::size_t kFixed = 8;
  if (bytes.size() < kFixed) return bad_table(shown, offset, "a CXIMS shorter than 8 bytes");
  const auto granularity = granularity_of(field(bytes, 6, 1));
  const uint64_t count = field(bytes, 7, 1);
  if (!granularity) {
    return bad_table(
        shown, offset,
        fmt::format("a CXIMS with granularity {}: expected 0 to 6", field(bytes, 6, 1)));
  }
  if (bytes.size() < kFixed + count * 8) {
    return bad_table(
        shown, offset,
        fmt::format("a CXIMS of {} bytes has no room for {} maps", bytes.size(), count));
  }
  CxlXorMaps maps{.granularity = *granularity, .maps = {}};
  for (uint64_t i = 0; i < count; ++i) maps.maps.push_back(field(bytes, kFixed + i * 8, 8));
  return maps;
}

Result<void> check_header(std::string_view table, const std::string& shown) {
  if (table.size() < kTableHeader || !table.starts_with("CEDT")) {
    return bad_table(shown, 0, "expected an ACPI table of the name CEDT");
  }
  if (field(table, 4, 4) != table.size()) {
    return bad_table(shown, 4,
                     fmt::format("the table says that it has {} bytes, and has {}",
                                 field(table, 4, 4), table.size()));
  }
  const unsigned sum = std::accumulate(table.begin(), table.end(), 0U, [](unsigned so_far, char c) {
    return so_far + static_cast<unsigned char>(c);
  });
  if (sum % 256 != 0) {
    return bad_table(shown, 9, "the checksum is wrong: the bytes of the table do not add up to 0");
  }
  return {};
}

}  // namespace

Result<Cedt> parse_cedt(std::string_view table, const std::string& shown) {
  if (auto sound = check_header(table, shown); !sound) return sound.error();
  Cedt cedt;
  for (std::size_t at = kTableHeader; at < table.size();) {
    const std::string_view rest = table.substr(at);
    const uint64_t length = rest.size() < kStructureHeader ? 0 : field(rest, 2, 2);
    if (length < kStructureHeader || length > rest.size()) {
      return bad_table(shown, at,
                       fmt::format("a structure of {} bytes where {} are left; expected at least "
                                   "4, and no more than are left",
                                   length, rest.size()));
    }
    const std::string_view bytes = rest.substr(0, length);
    const uint64_t type = field(bytes, 0, 1);
    if (type == kWindow) {
      auto window = window_in(bytes, shown, at);
      if (!window) return window.error();
      cedt.windows.push_back(*window);
    } else if (type == kXorMaps) {
      auto maps = xor_maps_in(bytes, shown, at);
      if (!maps) return maps.error();
      cedt.xor_maps.push_back(*std::move(maps));
    }
    at += length;
  }
  return cedt;
}

Result<std::vector<uint64_t>> xor_maps_of(const Cedt& cedt, const CxlWindow& window) {
  const uint64_t power = window.ways % 3 == 0 ? window.ways / 3 : window.ways;
  const auto bits = static_cast<std::size_t>(std::countr_zero(power));
  if (window.arithmetic == CxlArithmetic::kModulo || bits == 0) return std::vector<uint64_t>();
  for (const CxlXorMaps& maps : cedt.xor_maps) {
    if (maps.granularity != window.granularity || maps.maps.size() < bits) continue;
    return std::vector<uint64_t>(maps.maps.begin(),
                                 maps.maps.begin() + static_cast<std::ptrdiff_t>(bits));
  }
  return Error{
      ErrorCode::kBadData,
      fmt::format("CEDT: the window at {:#x} uses XOR arithmetic, and there is no CXIMS with {} "
                  "maps for a granularity of {} bytes",
                  window.range.begin().value(), bits, window.granularity)};
}

}  // namespace poisonctl
