// SMBIOS structures for tests (DSP0134 7.18, 7.20, 7.21).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace poisonctl {

inline std::string little(std::uint64_t value, std::size_t width) {
  std::string bytes;
  for (std::size_t i = 0; i < width; ++i) bytes += static_cast<char>(value >> (8 * i) & 0xFFU);
  return bytes;
}

// Header, the formatted area after it, and the texts with their end.
inline std::string structure(unsigned type, std::uint16_t handle, const std::string& body,
                             const std::vector<std::string>& texts) {
  std::string bytes = little(type, 1) + little(4 + body.size(), 1) + little(handle, 2) + body;
  for (const std::string& text : texts) bytes += text + '\0';
  if (texts.empty()) bytes += '\0';
  return bytes + '\0';
}

inline std::string end_of_table() { return structure(127, 0xfffe, "", {}); }

struct SampleDevice {
  std::uint16_t handle = 0;
  std::uint16_t array = 0;
  std::uint16_t size = 1024;
  std::uint32_t extended_mib = 0;
  std::string locator = "DIMM";
  std::string bank = "BANK 0";
  std::string manufacturer = "Maker";
  std::string serial = "1234ABCD";
  std::string part = "P-1";
};

inline std::string memory_device(const SampleDevice& device) {
  // Offsets from 4 on: array, error handle, widths, size, form, set, locator, bank, type, detail,
  // speed, manufacturer, serial, asset, part, attributes, extended size, configured speed.
  const std::string body =
      little(device.array, 2) + little(0xfffe, 2) + little(64, 2) + little(64, 2) +
      little(device.size, 2) + little(9, 1) + little(0, 1) + little(1, 1) + little(2, 1) +
      little(0x1a, 1) + little(0, 2) + little(3200, 2) + little(3, 1) + little(4, 1) +
      little(0, 1) + little(5, 1) + little(0, 1) + little(device.extended_mib, 4) + little(3200, 2);
  return structure(17, device.handle, body,
                   {device.locator, device.bank, device.manufacturer, device.serial, device.part});
}

// Ends in KiB, both inside.
inline std::string array_range(std::uint16_t array, std::uint32_t first_kib,
                               std::uint32_t last_kib) {
  return structure(
      19, 0x1300, little(first_kib, 4) + little(last_kib, 4) + little(array, 2) + little(1, 1), {});
}

inline std::string device_range(std::uint16_t device, std::uint32_t first_kib,
                                std::uint32_t last_kib, unsigned position, unsigned depth) {
  return structure(20, 0x1400,
                   little(first_kib, 4) + little(last_kib, 4) + little(device, 2) +
                       little(0x1300, 2) + little(1, 1) + little(position, 1) + little(depth, 1),
                   {});
}

}  // namespace poisonctl
