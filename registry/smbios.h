// The SMBIOS structure table, as far as it says which memory modules there are and where they
// answer (DMTF DSP0134, "SMBIOS Reference Specification" 3.x: 7.18 Memory Device, 7.20 Memory Array
// Mapped Address, 7.21 Memory Device Mapped Address).
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "registry/address.h"
#include "registry/result.h"

namespace poisonctl {

// Type 17: a socket, with what is in it. Texts are as the firmware writes them, without blanks at
// the ends.
struct SmbiosDevice {
  std::uint16_t handle = 0;
  std::uint16_t array = 0;  // handle of the type 16 that it belongs to
  std::uint64_t bytes = 0;  // 0: empty, or not known
  std::string locator;
  std::string bank;
  std::string manufacturer;
  std::string serial;
  std::string part;
  std::uint32_t speed = 0;  // MT/s; 0: not known
};

// Type 19: a range that an array answers.
struct SmbiosArrayRange {
  std::uint16_t array = 0;
  ByteRange range;
};

// Type 20: a range that a device answers, alone or with others in turn.
struct SmbiosDeviceRange {
  std::uint16_t device = 0;
  ByteRange range;
  std::uint8_t row_position = 0;         // 255: not known
  std::uint8_t interleave_position = 0;  // 0: not interleaved; 255: not known
  std::uint8_t interleave_depth = 0;     // 255: not known
};

struct SmbiosMemory {
  std::vector<SmbiosDevice> devices;
  std::vector<SmbiosArrayRange> array_ranges;
  std::vector<SmbiosDeviceRange> device_ranges;
};

// The table of /sys/firmware/dmi/tables/DMI, without its entry point. Structures of other types are
// skipped; a range that ends before it begins, or beyond the address space, says nothing and is
// left out. Errors: kBadData for a structure or its texts that reach past the end of the table.
Result<SmbiosMemory> parse_smbios(std::string_view table, const std::string& shown);

// Which of memory.devices to blame for `range`: the one device that answers there; where several
// do, or nobody knows, the one whose locator is `label`. Nothing where that is no device or more
// than one: a wrong module would be pulled.
std::optional<std::size_t> device_at(const SmbiosMemory& memory, const ByteRange& range,
                                     std::string_view label);

}  // namespace poisonctl
