// What a CXL memory device says of itself: the answer to Get Health Info (CXL 3.1, section
// 8.2.9.9.3.1, table 8-148), which the kernel passes on from /dev/cxl/memN
// (include/uapi/linux/cxl_mem.h, CXL_MEM_SEND_COMMAND).
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "registry/result.h"
#include "registry/sysroot.h"

namespace poisonctl {

// How far a value has gone, by the thresholds of the device.
enum class CxlAlert { kNormal, kWarning, kCritical };

struct CxlHealth {
  // What the device asks for or has lost.
  bool needs_maintenance = false;
  bool performance_degraded = false;
  bool needs_replacement = false;
  bool capacity_degraded = false;
  std::uint8_t media_status = 0;  // 0: normal; 1 to 9: see to_text() in health.cc
  CxlAlert life = CxlAlert::kNormal;
  CxlAlert temperature = CxlAlert::kNormal;
  bool many_corrected_volatile = false;        // more corrected errors than the device's threshold
  bool many_corrected_persistent = false;      // likewise, of persistent memory
  std::optional<std::uint8_t> life_used = {};  // per cent, 0 to 100
  std::optional<std::int16_t> celsius = {};
  std::uint32_t dirty_shutdowns = 0;
  std::uint32_t corrected_volatile = 0;
  std::uint32_t corrected_persistent = 0;
  friend bool operator==(const CxlHealth&, const CxlHealth&) = default;
};

inline constexpr std::size_t kCxlHealthBytes = 18;

// Errors: kBadData (fewer bytes than the table has, or a value that it calls reserved). More bytes
// than these are of a later specification, and left alone. `name` is of the device, for messages.
Result<CxlHealth> decode_cxl_health(std::span<const std::uint8_t> bytes, std::string_view name);

// Asks the device that is called `memdev` in this boot. It only reads. Errors: kNotAvailable (a
// captured machine; the device or the kernel does not offer it), kNoInput (no /dev/cxl/memN),
// kNoPrivilege, kIo, kBadData.
Result<CxlHealth> read_cxl_health(const SysRoot& sysroot, std::string_view memdev);

// One sentence part for each thing that is not as it should be: "needs maintenance"; none for a
// device that is well.
std::vector<std::string> complaints(const CxlHealth& health);

}  // namespace poisonctl
