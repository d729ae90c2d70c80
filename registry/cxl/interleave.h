// Interleave arithmetic of CXL: which byte of which device answers at a host physical address, and
// the other way round (CXL 3.1, 8.2.4.20 "CXL HDM Decoder Capability Structure" and its
// implementation notes; 9.18.1.3 and 9.18.1.5 for the windows of the platform). Pure.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "registry/address.h"
#include "registry/range_set.h"
#include "registry/result.h"

namespace poisonctl {

// A byte address inside a device (DPA). Without a region it says nothing of the host's memory.
class DeviceAddr {
 public:
  constexpr DeviceAddr() = default;
  explicit constexpr DeviceAddr(std::uint64_t value) : value_(value) {}
  [[nodiscard]] constexpr std::uint64_t value() const { return value_; }
  friend constexpr auto operator<=>(DeviceAddr, DeviceAddr) = default;

 private:
  std::uint64_t value_ = 0;
};

// A non-empty range of device bytes below kLimit: device addresses have 52 bits (CXL 3.1, table
// 8-140, which has bits 63:6 and limits them to the capacity, 8.2.4.20 has bits 51:28).
class DeviceRange {
 public:
  static constexpr std::uint64_t kLimit = std::uint64_t{1} << 52U;
  // Nothing when size is 0 or the range passes kLimit.
  static constexpr std::optional<DeviceRange> from_size(DeviceAddr begin, std::uint64_t size) {
    if (size == 0 || begin.value() >= kLimit || size > kLimit - begin.value()) return std::nullopt;
    return DeviceRange(begin.value(), begin.value() + size);
  }
  [[nodiscard]] constexpr DeviceAddr begin() const { return DeviceAddr(begin_); }
  [[nodiscard]] constexpr DeviceAddr end() const { return DeviceAddr(end_); }  // one past the last
  [[nodiscard]] constexpr std::uint64_t size() const { return end_ - begin_; }
  [[nodiscard]] constexpr bool contains(const DeviceRange& other) const {
    return begin_ <= other.begin_ && other.end_ <= end_;
  }
  // What both have.
  [[nodiscard]] constexpr std::optional<DeviceRange> shared_with(const DeviceRange& other) const {
    const std::uint64_t begin = begin_ > other.begin_ ? begin_ : other.begin_;
    const std::uint64_t end = end_ < other.end_ ? end_ : other.end_;
    if (begin >= end) return std::nullopt;
    return DeviceRange(begin, end);
  }
  friend constexpr auto operator<=>(const DeviceRange&, const DeviceRange&) = default;

 private:
  constexpr DeviceRange(std::uint64_t begin, std::uint64_t end) : begin_(begin), end_(end) {}
  std::uint64_t begin_;
  std::uint64_t end_;
};

// "0x1000+0x40".
std::string to_text(const DeviceRange& range);

// 1, 2, 3, 4, 6, 8, 12, 16; and the powers of two from 256 to 16384 (CXL 3.1, 8.2.4.20.7).
bool is_cxl_ways(std::uint64_t ways);
bool is_cxl_granularity(std::uint64_t bytes);

// One level of decoders between the processor and the devices.
struct DecoderLevel {
  std::uint64_t ways = 1;
  std::uint64_t granularity = 0;  // bytes; says nothing where ways is 1
  friend bool operator==(const DecoderLevel&, const DecoderLevel&) = default;
};

// Levels of decoders, in any order, as the one that they act like: the finest granularity, and as
// many ways as they have together. Each level takes over where the finer one ends, and a factor of
// 3 is only left to the coarsest, which divides all upper bits (8.2.4.20.13). Errors: kBadData for
// levels that leave address bits unused or use them twice.
Result<DecoderLevel> flattened(std::span<const DecoderLevel> levels);

// An interleave set: `ways` devices that share one range of host memory.
class CxlInterleave {
 public:
  struct Shape {
    ByteRange range;  // of the host; each device gives the same share of it
    std::uint64_t ways = 1;
    std::uint64_t granularity = 256;  // bytes
    // XORMAPs of the platform (CXIMS), one for each bit of the position that is computed: the bit
    // is the parity of the address bits in the map. Empty: modulo arithmetic.
    std::vector<std::uint64_t> xor_maps = {};
  };
  // Errors: kBadData for what no decoder can be: other ways or granularities, a range that is not
  // made of whole stripes or begins within one, maps whose lowest bits are not those of the
  // position.
  static Result<CxlInterleave> make(Shape shape);

  // A byte of the set by the device that has it: `position` is below ways, `offset` counts from the
  // first byte that the device gives to the set.
  struct Place {
    std::uint64_t position = 0;
    std::uint64_t offset = 0;
    friend bool operator==(const Place&, const Place&) = default;
  };
  // Nothing when the address or the place is not in the set.
  [[nodiscard]] std::optional<Place> place_at(PhysAddr address) const;
  [[nodiscard]] std::optional<PhysAddr> address_of(const Place& place) const;

  // The host bytes of `size` device bytes. They lie in pieces of a granule; where these are more
  // than kMostPieces, whole stripes are taken instead, and `exact` is false. Nothing when the bytes
  // are not all in the share of the device.
  struct HostBytes {
    RangeSet bytes;
    bool exact = true;
  };
  [[nodiscard]] std::optional<HostBytes> host_bytes_of(const Place& first,
                                                       std::uint64_t size) const;
  static constexpr std::uint64_t kMostPieces = 4096;

  // How much of the set one device has, bytes.
  [[nodiscard]] std::uint64_t share() const { return shape_.range.size() / shape_.ways; }
  // All granules of one turn, bytes.
  [[nodiscard]] std::uint64_t stripe() const { return shape_.granularity * shape_.ways; }
  [[nodiscard]] const Shape& shape() const { return shape_; }

 private:
  explicit CxlInterleave(Shape shape) : shape_(std::move(shape)) {}
  Shape shape_;
};

}  // namespace poisonctl
