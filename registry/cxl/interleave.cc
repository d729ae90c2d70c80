#include "registry/cxl/interleave.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <utility>

#include "registry/text.h"

namespace poisonctl {

namespace {

using std::uint64_t;

constexpr uint64_t kMostWays = 16;
constexpr uint64_t kLeastGranularity = 256;
constexpr uint64_t kMostGranularity = 16384;

unsigned lowest_bit(uint64_t map) { return static_cast<unsigned>(std::countr_zero(map)); }

uint64_t parity(uint64_t value) { return static_cast<uint64_t>(std::popcount(value)) & 1U; }

uint64_t with_bit(uint64_t value, unsigned number, uint64_t bit) {
  return (value & ~(uint64_t{1} << number)) | bit << number;
}

// The address whose plain bits are the position: 9.18.1.5, "XORALLBITS". All maps see the address
// of the host.
uint64_t decoded(uint64_t address, const std::vector<uint64_t>& maps) {
  uint64_t plain = address;
  for (const uint64_t map : maps) plain = with_bit(plain, lowest_bit(map), parity(address & map));
  return plain;
}

// The inverse. A map has no bit below its lowest, so that the highest bit is known first.
uint64_t encoded(uint64_t plain, const std::vector<uint64_t>& maps) {
  uint64_t address = plain;
  for (std::size_t i = maps.size(); i-- > 0;) {
    address = with_bit(address, lowest_bit(maps[i]), parity(address & maps[i]));
  }
  return address;
}

Error bad_shape(const CxlInterleave::Shape& shape, std::string_view problem) {
  return Error{
      ErrorCode::kBadData,
      fmt::format("CXL interleave of {} by {} bytes at {:#x}+{:#x}: {}", shape.ways,
                  shape.granularity, shape.range.begin().value(), shape.range.size(), problem)};
}

}  // namespace

std::string to_text(const DeviceRange& range) {
  return fmt::format("{:#x}+{:#x}", range.begin().value(), range.size());
}

bool is_cxl_ways(uint64_t ways) {
  const uint64_t power = ways % 3 == 0 ? ways / 3 : ways;
  return std::has_single_bit(power) && ways <= kMostWays;
}

bool is_cxl_granularity(uint64_t bytes) {
  return std::has_single_bit(bytes) && bytes >= kLeastGranularity && bytes <= kMostGranularity;
}

Result<DecoderLevel> flattened(std::span<const DecoderLevel> levels) {
  std::vector<DecoderLevel> sorted;
  for (const DecoderLevel& level : levels) {
    if (!is_cxl_ways(level.ways) || (level.ways > 1 && !is_cxl_granularity(level.granularity))) {
      return Error{ErrorCode::kBadData,
                   fmt::format("a CXL decoder of {} ways by {} bytes: expected 1, 2, 3, 4, 6, 8, "
                               "12 or 16 ways by 256 to 16384 bytes",
                               level.ways, level.granularity)};
    }
    if (level.ways > 1) sorted.push_back(level);
  }
  std::sort(sorted.begin(), sorted.end(), [](const DecoderLevel& a, const DecoderLevel& b) {
    return a.granularity < b.granularity;
  });
  if (sorted.empty()) return DecoderLevel{};
  DecoderLevel flat = sorted.front();
  for (std::size_t i = 1; i < sorted.size(); ++i) {
    const DecoderLevel& next = sorted[i];
    if (flat.ways % 3 == 0 || next.granularity != flat.granularity * flat.ways ||
        !is_cxl_ways(flat.ways * next.ways)) {
      return Error{ErrorCode::kBadData,
                   fmt::format("nested CXL decoders of {} ways by {} bytes and of {} ways by {} "
                               "bytes: together they are no interleave of CXL 3.1, 8.2.4.20",
                               flat.ways, flat.granularity, next.ways, next.granularity)};
    }
    flat.ways *= next.ways;
  }
  return flat;
}

Result<CxlInterleave> CxlInterleave::make(Shape shape) {
  if (!is_cxl_ways(shape.ways)) {
    return bad_shape(shape, "expected 1, 2, 3, 4, 6, 8, 12 or 16 ways");
  }
  if (!is_cxl_granularity(shape.granularity)) {
    return bad_shape(shape, "expected a granularity of 256 to 16384 bytes, a power of two");
  }
  if (shape.range.size() % (shape.ways * shape.granularity) != 0) {
    return bad_shape(shape, "the size is not a multiple of the stripe");
  }
  const uint64_t power = shape.ways % 3 == 0 ? shape.ways / 3 : shape.ways;
  if (shape.range.begin().value() % (power * shape.granularity) != 0) {
    return bad_shape(shape, "it begins within a stripe");
  }
  if (shape.xor_maps.size() > static_cast<std::size_t>(std::countr_zero(power))) {
    return bad_shape(shape, fmt::format("{} XOR maps are more than the position has bits",
                                        shape.xor_maps.size()));
  }
  for (std::size_t i = 0; i < shape.xor_maps.size(); ++i) {
    const uint64_t lowest = shape.granularity << i;
    if (shape.xor_maps[i] == 0 || (shape.xor_maps[i] & (~shape.xor_maps[i] + 1)) != lowest) {
      return bad_shape(shape, fmt::format("XOR map {} is {:#x}; expected its lowest bit to be "
                                          "{:#x}, that of the position",
                                          i, shape.xor_maps[i], lowest));
    }
  }
  return CxlInterleave(std::move(shape));
}

std::optional<CxlInterleave::Place> CxlInterleave::place_at(PhysAddr address) const {
  if (address < shape_.range.begin() || address >= shape_.range.end()) return std::nullopt;
  // The device is chosen by the address (9.18.1.3), the byte in it by the offset (8.2.4.20.13):
  // where the range begins is a multiple of any power of two of granules, but not of 3.
  const uint64_t plain = decoded(address.value(), shape_.xor_maps);
  const uint64_t offset = plain - shape_.range.begin().value();
  const uint64_t stripe_number = offset / shape_.granularity / shape_.ways;
  return Place{plain / shape_.granularity % shape_.ways,
               stripe_number * shape_.granularity + offset % shape_.granularity};
}

std::optional<PhysAddr> CxlInterleave::address_of(const Place& place) const {
  if (place.position >= shape_.ways || place.offset >= share()) return std::nullopt;
  const uint64_t first = shape_.range.begin().value() / shape_.granularity;
  const uint64_t turned = (place.position + shape_.ways - first % shape_.ways) % shape_.ways;
  const uint64_t granule = first + place.offset / shape_.granularity * shape_.ways + turned;
  const uint64_t plain = granule * shape_.granularity + place.offset % shape_.granularity;
  return PhysAddr(encoded(plain, shape_.xor_maps));
}

std::optional<CxlInterleave::HostBytes> CxlInterleave::host_bytes_of(const Place& first,
                                                                     uint64_t size) const {
  if (size == 0 || first.offset >= share() || size > share() - first.offset ||
      first.position >= shape_.ways) {
    return std::nullopt;
  }
  const uint64_t end = first.offset + size;
  const uint64_t base = shape_.range.begin().value();
  if (shape_.ways == 1) {
    return HostBytes{
        RangeSet::from_ranges({*ByteRange::from_size(PhysAddr(base + first.offset), size)})};
  }
  const uint64_t first_granule = first.offset / shape_.granularity;
  const uint64_t last_granule = (end - 1) / shape_.granularity;
  if (last_granule - first_granule >= kMostPieces) {
    const uint64_t begin = base + first_granule * stripe();
    return HostBytes{RangeSet::from_ranges({*ByteRange::from_size(
                         PhysAddr(begin), (last_granule - first_granule + 1) * stripe())}),
                     false};
  }
  std::vector<ByteRange> pieces;
  for (uint64_t granule = first_granule; granule <= last_granule; ++granule) {
    const uint64_t from = std::max(first.offset, granule * shape_.granularity);
    const uint64_t until = std::min(end, (granule + 1) * shape_.granularity);
    const auto address = address_of({first.position, from});
    pieces.push_back(*ByteRange::from_size(*address, until - from));
  }
  return HostBytes{RangeSet::from_ranges(std::move(pieces))};
}

}  // namespace poisonctl
