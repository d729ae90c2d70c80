// Where the bytes of CXL devices answer in host memory, from the decoders and regions in sysfs
// (Documentation/ABI/testing/sysfs-bus-cxl) and the CEDT. Devices go by their serial number: memN
// is another device after a boot.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "registry/cxl/interleave.h"
#include "registry/result.h"
#include "registry/sysroot.h"

namespace poisonctl {

// A memory device, as it is called in this boot.
struct CxlDevice {
  std::string memdev;  // "mem0"
  std::uint64_t serial = 0;
  std::uint64_t bytes = 0;  // capacity, volatile and persistent; 0: not known
};

// What one device gives to one region.
struct CxlShare {
  std::string region;   // "region0"
  std::string decoder;  // of the endpoint, "decoder2.0"
  std::uint64_t serial = 0;
  DeviceRange device_bytes;
  std::size_t set = 0;  // which of the interleave sets of the map
  std::uint64_t position = 0;
};

class CxlAddressMap {
 public:
  // What the kernel of `sysroot` has now. A region that contradicts itself is left out, and
  // problems() says why: of its bytes nobody knows where they are. Errors: kNotAvailable (no CXL
  // bus); those of the files it cannot do without.
  static Result<CxlAddressMap> load(const SysRoot& sysroot);

  // In the order of their names. More than one may have the same serial number, and then neither
  // can be told from the other.
  [[nodiscard]] const std::vector<CxlDevice>& devices() const { return devices_; }
  [[nodiscard]] const std::vector<CxlShare>& shares() const { return shares_; }
  // The device of a serial number. Errors: kNotAvailable (none has it), kRefused (two have it, or
  // it is 0, which is what a device says that has none).
  [[nodiscard]] Result<const CxlDevice*> device(std::uint64_t serial) const;

  // Where device bytes are in host memory.
  struct Located {
    RangeSet host;                      // empty where no region has them
    std::vector<DeviceRange> unplaced;  // what no region has, sorted
    bool exact = true;                  // false: the healthy rest of the stripes is in `host`
  };
  // Errors: kRefused for bytes beyond the end of the device, and those of device().
  [[nodiscard]] Result<Located> locate(std::uint64_t serial, const DeviceRange& bytes) const;

  // The device and its byte at a host address; nothing where no region is.
  struct DeviceByte {
    std::uint64_t serial = 0;
    DeviceAddr address;
    friend bool operator==(const DeviceByte&, const DeviceByte&) = default;
  };
  [[nodiscard]] std::optional<DeviceByte> device_byte_at(PhysAddr address) const;

  // The host memory of the set that a share of this map belongs to.
  [[nodiscard]] const ByteRange& region_of(const CxlShare& share) const {
    return sets_.at(share.set).interleave.shape().range;
  }
  // All granules of one turn of the set that a share of this map belongs to, bytes.
  [[nodiscard]] std::uint64_t stripe_of(const CxlShare& share) const {
    return sets_.at(share.set).interleave.stripe();
  }

  // One sentence for each region that is left out, and for each table that cannot be read.
  [[nodiscard]] const std::vector<std::string>& problems() const { return problems_; }

 private:
  friend class CxlMapReader;
  // A set, and how far below it the same bytes have a second address (an extended linear cache);
  // 0: they have none.
  struct Set {
    CxlInterleave interleave;
    std::uint64_t cache_bytes = 0;
  };
  std::vector<CxlDevice> devices_;
  std::vector<Set> sets_;
  std::vector<CxlShare> shares_;
  std::vector<std::string> problems_;
};

}  // namespace poisonctl
