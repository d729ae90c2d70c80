// Integers in the bytes of others: firmware tables, device trees, boot parameters.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace poisonctl {

// All of `bytes`, 8 at the most, as one number.
inline std::uint64_t little_endian(std::string_view bytes) {
  std::uint64_t value = 0;
  for (std::size_t i = bytes.size(); i-- > 0;) {
    value = value << 8U | static_cast<unsigned char>(bytes[i]);
  }
  return value;
}

inline std::uint64_t big_endian(std::string_view bytes) {
  std::uint64_t value = 0;
  for (const char byte : bytes) value = value << 8U | static_cast<unsigned char>(byte);
  return value;
}

}  // namespace poisonctl
