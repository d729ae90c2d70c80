// How events name a place in a CXL device that has no place in host memory: by serial number and
// device address. What was recorded so becomes frames when a region takes the device up.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "registry/cxl/interleave.h"

namespace poisonctl {

struct CxlDevicePlace {
  std::uint64_t serial = 0;
  DeviceRange bytes;
  friend bool operator==(const CxlDevicePlace&, const CxlDevicePlace&) = default;
};

// "cxl serial 0xabcd0001".
std::string cxl_device_label(std::uint64_t serial);
// "cxl serial 0xabcd0001 dpa 0x1000+0x40", and back. Nothing for any other text, a serial number of
// 0, and a place that no device can have.
std::string cxl_place_label(const CxlDevicePlace& place);
std::optional<CxlDevicePlace> cxl_place_from(std::string_view label);

}  // namespace poisonctl
