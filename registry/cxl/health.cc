#include "registry/cxl/health.h"

#include <fmt/format.h>
#include <linux/cxl_mem.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "registry/posix_file.h"

namespace poisonctl {

namespace {

// Places in the payload (CXL 3.1, table 8-148). All numbers are little-endian.
constexpr std::size_t kHealthStatus = 0;
constexpr std::size_t kMediaStatus = 1;
constexpr std::size_t kAdditionalStatus = 2;
constexpr std::size_t kLifeUsed = 3;
constexpr std::size_t kTemperature = 4;
constexpr std::size_t kDirtyShutdowns = 6;
constexpr std::size_t kCorrectedVolatile = 10;
constexpr std::size_t kCorrectedPersistent = 14;

// Values that mean: not implemented.
constexpr std::uint8_t kNoLifeUsed = 0xff;
constexpr std::uint16_t kNoTemperature = 0x7fff;

// By media status.
constexpr std::array<std::string_view, 10> kMediaStates = {
    "",
    "its media are not ready",
    "its media no longer keep what is written",
    "its media have lost all data",
    "its media will not keep writes when the power fails",
    "its media will not keep writes when it is shut down",
    "its media are about to lose writes",
    "its media will lose all data when the power fails",
    "its media will lose all data when it is shut down",
    "its media are about to lose all data",
};

std::uint32_t number_at(std::span<const std::uint8_t> bytes, std::size_t at, std::size_t size) {
  std::uint32_t value = 0;
  for (std::size_t i = size; i > 0; --i) value = value << 8U | bytes[at + i - 1];
  return value;
}

// Two bits; 3 is reserved.
std::optional<CxlAlert> alert_of(unsigned bits) {
  switch (bits & 3U) {
    case 0:
      return CxlAlert::kNormal;
    case 1:
      return CxlAlert::kWarning;
    case 2:
      return CxlAlert::kCritical;
    default:
      return std::nullopt;
  }
}

std::string_view to_text(CxlAlert alert) {
  return alert == CxlAlert::kCritical ? "critical" : "a warning";
}

}  // namespace

Result<CxlHealth> decode_cxl_health(std::span<const std::uint8_t> bytes, std::string_view name) {
  if (bytes.size() < kCxlHealthBytes) {
    return Error{ErrorCode::kBadData,
                 fmt::format("{}: expected {} bytes of health information, got {}", name,
                             kCxlHealthBytes, bytes.size())};
  }
  const auto reserved = [&](std::string_view what, unsigned value) {
    return Error{ErrorCode::kBadData,
                 fmt::format("{}: its health information has {} {}, which no specification up to "
                             "CXL 3.1 knows",
                             name, what, value)};
  };
  CxlHealth health;
  const unsigned status = bytes[kHealthStatus];
  health.needs_maintenance = (status & 1U) != 0;
  health.performance_degraded = (status & 2U) != 0;
  health.needs_replacement = (status & 4U) != 0;
  health.capacity_degraded = (status & 8U) != 0;
  health.media_status = bytes[kMediaStatus];
  if (health.media_status >= kMediaStates.size()) {
    return reserved("the media status", health.media_status);
  }
  const unsigned additional = bytes[kAdditionalStatus];
  const auto life = alert_of(additional);
  const auto temperature = alert_of(additional >> 2U);
  if (!life || !temperature) return reserved("the additional status", additional);
  health.life = *life;
  health.temperature = *temperature;
  health.many_corrected_volatile = (additional & 0x10U) != 0;
  health.many_corrected_persistent = (additional & 0x20U) != 0;
  const std::uint8_t used = bytes[kLifeUsed];
  if (used != kNoLifeUsed) {
    if (used > 100) return reserved("the life used", used);
    health.life_used = used;
  }
  const auto degrees = static_cast<std::uint16_t>(number_at(bytes, kTemperature, 2));
  if (degrees != kNoTemperature) health.celsius = static_cast<std::int16_t>(degrees);
  health.dirty_shutdowns = number_at(bytes, kDirtyShutdowns, 4);
  health.corrected_volatile = number_at(bytes, kCorrectedVolatile, 4);
  health.corrected_persistent = number_at(bytes, kCorrectedPersistent, 4);
  return health;
}

Result<CxlHealth> read_cxl_health(const SysRoot& sysroot, std::string_view memdev) {
  const std::string path = fmt::format("dev/cxl/{}", memdev);
  const auto fd = sysroot.open_device(path);
  if (!fd) return fd.error();
  std::array<std::uint8_t, kCxlHealthBytes> answer{};
  cxl_send_command command{};
  command.id = CXL_MEM_COMMAND_ID_GET_HEALTH_INFO;
  command.out.size = answer.size();
  command.out.payload = reinterpret_cast<std::uintptr_t>(answer.data());
  int done = -1;
  do {
    done = ::ioctl(fd->get(), CXL_MEM_SEND_COMMAND, &command);
  } while (done != 0 && errno == EINTR);
  const std::string shown = sysroot.shown(path);
  if (done != 0) {
    // cxl_validate_cmd_from_user (drivers/cxl/core/mbox.c) answers ENOTTY to what the device, or
    // this kernel, has not.
    if (errno == ENOTTY) {
      return Error{ErrorCode::kNotAvailable, shown + ": gives no health information"};
    }
    return os_error(shown, errno, ErrorCode::kIo);
  }
  if (command.retval != 0) {
    return Error{ErrorCode::kIo, fmt::format("{}: answered {} when it was asked for its health",
                                             shown, command.retval)};
  }
  const std::size_t size = std::min<std::size_t>(command.out.size, answer.size());
  return decode_cxl_health(std::span(answer).first(size), shown);
}

std::vector<std::string> complaints(const CxlHealth& health) {
  std::vector<std::string> found;
  if (health.needs_replacement) found.emplace_back("needs to be replaced");
  if (health.needs_maintenance) found.emplace_back("needs maintenance");
  if (health.capacity_degraded) found.emplace_back("has lost capacity");
  if (health.performance_degraded) found.emplace_back("has lost performance");
  if (health.media_status != 0) found.emplace_back(kMediaStates.at(health.media_status));
  if (health.life != CxlAlert::kNormal) {
    found.push_back(fmt::format("its life used is {}{}", to_text(health.life),
                                health.life_used ? fmt::format(" ({} %)", *health.life_used) : ""));
  }
  if (health.temperature != CxlAlert::kNormal) {
    found.push_back(
        fmt::format("its temperature is {}{}", to_text(health.temperature),
                    health.celsius ? fmt::format(" ({} degrees Celsius)", *health.celsius) : ""));
  }
  if (health.many_corrected_volatile) {
    found.push_back(fmt::format("has corrected more errors of volatile memory than it should ({})",
                                health.corrected_volatile));
  }
  if (health.many_corrected_persistent) {
    found.push_back(
        fmt::format("has corrected more errors of persistent memory than it should ({})",
                    health.corrected_persistent));
  }
  return found;
}

}  // namespace poisonctl
