#include "registry/cxl/device_label.h"

#include <fmt/format.h>

#include <vector>

#include "registry/text.h"

namespace poisonctl {

std::string cxl_device_label(std::uint64_t serial) {
  return fmt::format("cxl serial {:#x}", serial);
}

std::string cxl_place_label(const CxlDevicePlace& place) {
  return fmt::format("{} dpa {}", cxl_device_label(place.serial), to_text(place.bytes));
}

std::optional<CxlDevicePlace> cxl_place_from(std::string_view label) {
  const auto words = split_words(label);
  if (words.size() != 5 || words[0] != "cxl" || words[1] != "serial" || words[3] != "dpa") {
    return std::nullopt;
  }
  const auto plus = words[4].find('+');
  if (plus == std::string_view::npos) return std::nullopt;
  const auto serial = parse_prefixed_hex(words[2]);
  const auto begin = parse_prefixed_hex(words[4].substr(0, plus));
  const auto size = parse_prefixed_hex(words[4].substr(plus + 1));
  if (!serial || *serial == 0 || !begin || !size) return std::nullopt;
  const auto bytes = DeviceRange::from_size(DeviceAddr(*begin), *size);
  if (!bytes) return std::nullopt;
  return CxlDevicePlace{*serial, *bytes};
}

}  // namespace poisonctl
