#include "registry/smbios.h"

#include <fmt/format.h>

#include <set>

#include "registry/bytes.h"
#include "registry/text.h"

namespace poisonctl {

namespace {

constexpr std::size_t kHeader = 4;  // type, length, handle: 6.1.2
constexpr unsigned kMemoryDevice = 17;
constexpr unsigned kArrayRange = 19;
constexpr unsigned kDeviceRange = 20;
constexpr unsigned kEndOfTable = 127;

// One structure: its formatted area, and the texts after it.
class Structure {
 public:
  Structure(std::string_view formatted, std::string_view texts)
      : formatted_(formatted), texts_(texts) {}

  [[nodiscard]] unsigned type() const { return byte(0); }
  [[nodiscard]] std::uint16_t handle() const { return word(2); }
  // Fields beyond the end are of a later version than the firmware's, and 0.
  [[nodiscard]] std::uint8_t byte(std::size_t at) const {
    return static_cast<std::uint8_t>(number(at, 1));
  }
  [[nodiscard]] std::uint16_t word(std::size_t at) const {
    return static_cast<std::uint16_t>(number(at, 2));
  }
  [[nodiscard]] std::uint32_t dword(std::size_t at) const {
    return static_cast<std::uint32_t>(number(at, 4));
  }
  [[nodiscard]] std::uint64_t qword(std::size_t at) const { return number(at, 8); }
  // Texts are numbered from 1; 0 means none (6.1.3).
  [[nodiscard]] std::string text(std::size_t at) const {
    std::string_view rest = texts_;
    for (unsigned number = byte(at); number > 1 && !rest.empty(); --number) {
      const auto end = rest.find('\0');
      rest = end == std::string_view::npos ? std::string_view() : rest.substr(end + 1);
    }
    if (byte(at) == 0) return {};
    return std::string(trim(rest.substr(0, rest.find('\0'))));
  }

 private:
  [[nodiscard]] std::uint64_t number(std::size_t at, std::size_t width) const {
    return at + width > formatted_.size() ? 0 : little_endian(formatted_.substr(at, width));
  }

  std::string_view formatted_;
  std::string_view texts_;
};

// 7.18.1: MiB, or KiB with bit 15 set; 0x7FFF: see the extended size (7.18.5), in MiB.
std::uint64_t device_bytes(const Structure& device) {
  constexpr std::uint16_t kUnknown = 0xFFFF;
  constexpr std::uint16_t kSeeExtended = 0x7FFF;
  constexpr std::uint16_t kInKib = 0x8000;
  const std::uint16_t size = device.word(0x0C);
  if (size == kUnknown) return 0;
  if (size == kSeeExtended) return std::uint64_t{device.dword(0x1C) & 0x7FFFFFFFU} << 20U;
  if ((size & kInKib) != 0) return std::uint64_t{size & 0x7FFFU} << 10U;
  return std::uint64_t{size} << 20U;
}

// 7.18.4: 0xFFFF means the extended speed.
std::uint32_t device_speed(const Structure& device) {
  constexpr std::uint16_t kSeeExtended = 0xFFFF;
  return device.word(0x15) == kSeeExtended ? device.dword(0x54) & 0x7FFFFFFFU : device.word(0x15);
}

SmbiosDevice device_in(const Structure& structure) {
  return {.handle = structure.handle(),
          .array = structure.word(0x04),
          .bytes = device_bytes(structure),
          .locator = structure.text(0x10),
          .bank = structure.text(0x11),
          .manufacturer = structure.text(0x17),
          .serial = structure.text(0x18),
          .part = structure.text(0x1A),
          .speed = device_speed(structure)};
}

// Addresses of 7.20 and 7.21: both ends in KiB; with 0xFFFFFFFF, in bytes at `extended`. The end is
// the last one inside.
std::optional<ByteRange> range_in(const Structure& structure, std::size_t extended) {
  constexpr std::uint32_t kSeeExtended = 0xFFFFFFFF;
  constexpr std::uint64_t kKib = 1024;
  const std::uint64_t first = structure.dword(0x04);
  const std::uint64_t last = structure.dword(0x08);
  if (first == kSeeExtended) {
    return ByteRange::from_last(PhysAddr(structure.qword(extended)),
                                PhysAddr(structure.qword(extended + 8)));
  }
  return ByteRange::from_last(PhysAddr(first * kKib), PhysAddr(last * kKib + kKib - 1));
}

void take(const Structure& structure, SmbiosMemory& memory) {
  if (structure.type() == kMemoryDevice) memory.devices.push_back(device_in(structure));
  if (structure.type() == kArrayRange) {
    if (const auto range = range_in(structure, 0x0F)) {
      memory.array_ranges.push_back({structure.word(0x0C), *range});
    }
  }
  if (structure.type() == kDeviceRange) {
    if (const auto range = range_in(structure, 0x13)) {
      memory.device_ranges.push_back({structure.word(0x0C), *range, structure.byte(0x10),
                                      structure.byte(0x11), structure.byte(0x12)});
    }
  }
}

}  // namespace

Result<SmbiosMemory> parse_smbios(std::string_view table, const std::string& shown) {
  SmbiosMemory memory;
  std::size_t at = 0;
  const auto bad = [&](std::string_view what) {
    return Error{ErrorCode::kBadData,
                 fmt::format("{}: the SMBIOS structure at offset {} {}", shown, at, what)};
  };
  // What is shorter than a header at the end is padding.
  while (at + kHeader <= table.size()) {
    const std::size_t length = static_cast<unsigned char>(table[at + 1]);
    if (length < kHeader) return bad(fmt::format("says it has {} bytes; at least 4", length));
    if (length > table.size() - at) return bad("reaches past the end of the table");
    // Two zero bytes end the texts, even if there are none (6.1.3).
    const auto end = table.find(std::string_view("\0\0", 2), at + length);
    if (end == std::string_view::npos) return bad("has texts that do not end");
    const Structure structure(table.substr(at, length),
                              table.substr(at + length, end - (at + length)));
    if (structure.type() == kEndOfTable) break;
    take(structure, memory);
    at = end + 2;
  }
  return memory;
}

std::optional<std::size_t> device_at(const SmbiosMemory& memory, const ByteRange& range,
                                     std::string_view label) {
  std::set<std::uint16_t> handles;
  for (const SmbiosDeviceRange& device : memory.device_ranges) {
    if (device.range.overlaps(range)) handles.insert(device.device);
  }
  std::optional<std::size_t> found;
  for (std::size_t i = 0; i < memory.devices.size(); ++i) {
    const SmbiosDevice& device = memory.devices[i];
    const bool meant = handles.size() == 1 ? handles.contains(device.handle)
                                           : !label.empty() && device.locator == label;
    if (!meant) continue;
    if (found) return std::nullopt;
    found = i;
  }
  return found;
}

}  // namespace poisonctl
