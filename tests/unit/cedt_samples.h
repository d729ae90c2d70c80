// CEDTs that tests make field by field (CXL 3.1, 9.18.1).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace poisonctl {

inline void append_number(std::string& bytes, std::uint64_t value, unsigned width) {
  for (unsigned i = 0; i < width; ++i) {
    bytes += static_cast<char>(static_cast<unsigned char>(value >> (8 * i)));
  }
}

// `ways` and `granularity` as they are encoded.
struct SampleWindow {
  std::uint64_t begin = 0;
  std::uint64_t size = 0;
  std::uint8_t ways = 0;
  std::uint8_t arithmetic = 0;
  std::uint32_t granularity = 0;
  unsigned targets = 1;  // entries of the list that the structure has room for
};
inline std::string cfmws(const SampleWindow& window) {
  std::string bytes;
  append_number(bytes, 1, 2);
  append_number(bytes, 36 + 4 * window.targets, 2);
  append_number(bytes, 0, 4);
  append_number(bytes, window.begin, 8);
  append_number(bytes, window.size, 8);
  append_number(bytes, window.ways, 1);
  append_number(bytes, window.arithmetic, 1);
  append_number(bytes, 0, 2);
  append_number(bytes, window.granularity, 4);
  append_number(bytes, 0x0f, 2);
  append_number(bytes, 0, 2);
  for (unsigned i = 0; i < window.targets; ++i) append_number(bytes, i + 12, 4);
  return bytes;
}

inline std::string cxims(std::uint8_t granularity, const std::vector<std::uint64_t>& maps) {
  std::string bytes;
  append_number(bytes, 2, 2);
  append_number(bytes, 8 + 8 * maps.size(), 2);
  append_number(bytes, 0, 2);
  append_number(bytes, granularity, 1);
  append_number(bytes, maps.size(), 1);
  for (const std::uint64_t map : maps) append_number(bytes, map, 8);
  return bytes;
}

inline void fix_checksum(std::string& table) {
  table[9] = 0;
  unsigned sum = 0;
  for (const char c : table) sum += static_cast<unsigned char>(c);
  table[9] = static_cast<char>(static_cast<unsigned char>(0U - sum));
}

inline std::string cedt_of(const std::vector<std::string>& structures) {
  std::string table = "CEDT";
  std::string body;
  for (const std::string& structure : structures) body += structure;
  append_number(table, 36 + body.size(), 4);
  append_number(table, 1, 1);
  table += std::string(27, '\0') + body;
  fix_checksum(table);
  return table;
}

}  // namespace poisonctl
