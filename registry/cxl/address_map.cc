#include "registry/cxl/address_map.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "registry/cxl/cedt.h"
#include "registry/text.h"

namespace poisonctl {

namespace {

using std::uint64_t;

constexpr std::string_view kBus = "sys/bus/cxl/devices";
constexpr std::string_view kCedt = "sys/firmware/acpi/tables/CEDT";

std::string of_device(std::string_view name, std::string_view attribute) {
  return fmt::format("{}/{}/{}", kBus, name, attribute);
}

// Of "decoder2.0": 2, the number of its port.
std::optional<uint64_t> port_of(std::string_view decoder) {
  constexpr std::string_view kPrefix = "decoder";
  const auto dot = decoder.find('.');
  if (!decoder.starts_with(kPrefix) || dot == std::string_view::npos) return std::nullopt;
  return parse_unsigned(decoder.substr(kPrefix.size(), dot - kPrefix.size()), 10);
}

// The name of a kind ("region") with a number after it.
bool is_numbered(std::string_view name, std::string_view kind) {
  return name.starts_with(kind) && parse_unsigned(name.substr(kind.size()), 10).has_value();
}

}  // namespace

// Fills a map, region by region.
class CxlMapReader {
 public:
  explicit CxlMapReader(const SysRoot& sysroot) : sysroot_(sysroot) {}

  Result<CxlAddressMap> read() {
    auto names = sysroot_.list(kBus);
    if (!names) {
      if (names.error().code != ErrorCode::kNoInput) return names.error();
      return Error{ErrorCode::kNotAvailable,
                   sysroot_.shown(kBus) +
                       " does not exist: this kernel has no CXL bus (CONFIG_CXL_BUS, module "
                       "cxl_core), or the machine has no CXL devices"};
    }
    names_ = *std::move(names);
    read_devices();
    read_cedt();
    for (const std::string& name : names_) {
      if (!is_numbered(name, "region")) continue;
      if (auto added = add_region(name); !added) {
        map_.problems_.push_back(fmt::format("{}: {}; of its bytes nobody can tell where they are",
                                             sysroot_.shown(of_device(name, "")),
                                             added.error().message));
      }
    }
    return std::move(map_);
  }

 private:
  using Level = DecoderLevel;

  [[nodiscard]] std::optional<std::string> text(std::string_view name,
                                                std::string_view attribute) const {
    auto read = sysroot_.read(of_device(name, attribute));
    if (!read) return std::nullopt;
    return std::string(trim(*read));
  }
  [[nodiscard]] std::optional<uint64_t> number(std::string_view name,
                                               std::string_view attribute) const {
    const auto word = text(name, attribute);
    return word ? parse_size(*word) : std::nullopt;
  }
  // The same where it must be there.
  [[nodiscard]] Result<uint64_t> needed(std::string_view name, std::string_view attribute) const {
    const auto value = number(name, attribute);
    if (value) return *value;
    return Error{ErrorCode::kBadData, fmt::format("{} is missing or no number",
                                                  sysroot_.shown(of_device(name, attribute)))};
  }

  void read_devices() {
    for (const std::string& name : names_) {
      if (!is_numbered(name, "mem")) continue;
      const auto serial = number(name, "serial");
      if (!serial) {
        map_.problems_.push_back(fmt::format("{} is missing or no number: the device is left out",
                                             sysroot_.shown(of_device(name, "serial"))));
        continue;
      }
      const uint64_t bytes = number(name, "ram/size").value_or(0);
      const uint64_t persistent = number(name, "pmem/size").value_or(0);
      const bool fits = bytes < DeviceRange::kLimit && persistent < DeviceRange::kLimit;
      map_.devices_.push_back({name, *serial, fits ? bytes + persistent : 0});
    }
  }

  // A machine without the table has no XOR arithmetic; of one whose table cannot be read, nobody
  // knows.
  void read_cedt() {
    const auto table = sysroot_.read(kCedt);
    if (!table && table.error().code == ErrorCode::kNoInput) {
      cedt_.emplace();
      return;
    }
    auto parsed = table ? parse_cedt(*table, sysroot_.shown(kCedt)) : Result<Cedt>(table.error());
    if (parsed) {
      cedt_ = *std::move(parsed);
    } else {
      map_.problems_.push_back(parsed.error().message);
    }
  }

  // The maps of the window that a region lies in. The table must say the same of the window as the
  // kernel does of its decoder.
  [[nodiscard]] Result<std::vector<uint64_t>> maps_for(const ByteRange& range,
                                                       const Level& root) const {
    if (!cedt_) {
      if (root.ways == 1 || root.ways == 3) return std::vector<uint64_t>();
      return Error{ErrorCode::kBadData,
                   fmt::format("without {} nobody knows whether the window uses XOR arithmetic",
                               sysroot_.shown(kCedt))};
    }
    const auto window =
        std::find_if(cedt_->windows.begin(), cedt_->windows.end(),
                     [&](const CxlWindow& candidate) { return candidate.range.contains(range); });
    if (window == cedt_->windows.end()) return std::vector<uint64_t>();
    if (window->ways != root.ways || (root.ways != 1 && window->granularity != root.granularity)) {
      return Error{
          ErrorCode::kBadData,
          fmt::format("the CEDT has {} host bridges by {} bytes there, the kernel's decoder {} by "
                      "{}",
                      window->ways, window->granularity, root.ways, root.granularity)};
    }
    return xor_maps_of(*cedt_, *window);
  }

  [[nodiscard]] Result<Level> level_of(const std::string& decoder) const {
    const auto ways = needed(decoder, "interleave_ways");
    if (!ways) return ways.error();
    const auto granularity = needed(decoder, "interleave_granularity");
    if (!granularity) return granularity.error();
    return Level{*ways, *granularity};
  }

  // The decoder of a root port, decoder0.N, whose window a region lies in.
  [[nodiscard]] Result<Level> root_level(const ByteRange& range) const {
    for (const std::string& name : names_) {
      if (!name.starts_with("decoder0.")) continue;
      const auto begin = number(name, "start");
      const auto size = number(name, "size");
      const auto window =
          begin && size ? ByteRange::from_size(PhysAddr(*begin), *size) : std::nullopt;
      if (window && window->contains(range)) return level_of(name);
    }
    return Error{ErrorCode::kBadData, "no decoder of the root (decoder0.N) has its addresses"};
  }

  // All levels above an endpoint: that of the root, and those of the ports in between, which are
  // the folders around that of the endpoint. Empty where these cannot be seen.
  [[nodiscard]] Result<std::vector<Level>> levels_above(uint64_t endpoint, const ByteRange& range,
                                                        const Level& root) const {
    constexpr int kMostPorts = 8;  // host bridge, and switches behind each other
    std::vector<Level> levels = {root};
    std::string folder = fmt::format("{}/endpoint{}", kBus, endpoint);
    for (int depth = 0; depth < kMostPorts; ++depth) {
      folder += "/..";
      const auto inside = sysroot_.list(folder);
      if (!inside) break;
      for (const std::string& name : *inside) {
        if (name.starts_with("decoder0.")) return levels;  // the root
        if (!port_of(name) || !decodes(name, range)) continue;
        const auto level = level_of(name);
        if (!level) return level.error();
        levels.push_back(*level);
      }
    }
    return std::vector<Level>();
  }

  // Whether a decoder answers at exactly these addresses.
  [[nodiscard]] bool decodes(std::string_view decoder, const ByteRange& range) const {
    return number(decoder, "start") == range.begin().value() &&
           number(decoder, "size") == range.size();
  }

  Result<void> add_region(const std::string& name) {
    const auto begin = number(name, "resource");
    const auto size = number(name, "size");
    const auto committed = number(name, "commit");
    if (!begin || !size || *size == 0 || committed == uint64_t{0}) return {};  // being made
    const auto range = ByteRange::from_size(PhysAddr(*begin), *size);
    if (!range) return Error{ErrorCode::kBadData, "its range is no memory"};
    const uint64_t cache = number(name, "extended_linear_cache_size").value_or(0);
    if (cache >= *size) return Error{ErrorCode::kBadData, "its cache is larger than it is"};
    const auto flat = level_of(name);
    if (!flat) return flat.error();
    const auto root = root_level(*range);
    if (!root) return root.error();
    auto maps = maps_for(*range, *root);
    if (!maps) return maps.error();
    auto set = CxlInterleave::make(
        {.range = *ByteRange::from_size(PhysAddr(*begin + cache), *size - cache),
         .ways = flat->ways,
         .granularity = flat->granularity,
         .xor_maps = *std::move(maps)});
    if (!set) return set.error();
    std::vector<CxlShare> shares;
    for (uint64_t position = 0; position < flat->ways; ++position) {
      auto share = share_at(name, position, *range, *flat, *root, *set);
      if (!share) return share.error();
      shares.push_back(*std::move(share));
    }
    map_.sets_.push_back({*std::move(set), cache});
    map_.shares_.insert(map_.shares_.end(), shares.begin(), shares.end());
    return {};
  }

  // The endpoint at one position of a region. What its decoder says must be what the region says:
  // one that lies would make other frames bad.
  Result<CxlShare> share_at(const std::string& region, uint64_t position, const ByteRange& range,
                            const Level& flat, const Level& root, const CxlInterleave& set) const {
    const auto decoder = text(region, fmt::format("target{}", position));
    const auto endpoint = decoder ? port_of(*decoder) : std::nullopt;
    if (!endpoint) {
      return Error{ErrorCode::kBadData,
                   fmt::format("target{} is not the decoder of an endpoint", position)};
    }
    if (!decodes(*decoder, range)) {
      return Error{
          ErrorCode::kBadData,
          fmt::format("{} answers at other addresses than the region: the platform translates "
                      "them, or the decoder is wrong",
                      *decoder)};
    }
    const auto own = level_of(*decoder);
    if (!own) return own.error();
    if (own->ways != flat.ways || (flat.ways > 1 && own->granularity != flat.granularity)) {
      return Error{ErrorCode::kBadData,
                   fmt::format("{} has {} ways by {} bytes, the region {} by {}", *decoder,
                               own->ways, own->granularity, flat.ways, flat.granularity)};
    }
    if (auto nested = check_levels(*endpoint, range, flat, root); !nested) return nested.error();
    return endpoint_share(region, *decoder, *endpoint, position, set);
  }

  [[nodiscard]] Result<void> check_levels(uint64_t endpoint, const ByteRange& range,
                                          const Level& flat, const Level& root) const {
    const auto levels = levels_above(endpoint, range, root);
    if (!levels) return levels.error();
    if (levels->empty()) return {};
    const auto together = flattened(*levels);
    if (!together) return together.error();
    if (together->ways == flat.ways &&
        (flat.ways == 1 || together->granularity == flat.granularity)) {
      return {};
    }
    return Error{
        ErrorCode::kBadData,
        fmt::format("the decoders above endpoint{} make {} ways by {} bytes, the region "
                    "says {} by {}",
                    endpoint, together->ways, together->granularity, flat.ways, flat.granularity)};
  }

  Result<CxlShare> endpoint_share(const std::string& region, const std::string& decoder,
                                  uint64_t endpoint, uint64_t position,
                                  const CxlInterleave& set) const {
    const auto serial = needed(fmt::format("endpoint{}", endpoint), "uport/serial");
    if (!serial) return serial.error();
    // After the skip of the decoder, which is what lies between it and the one before.
    const auto begin = needed(decoder, "dpa_resource");
    if (!begin) return begin.error();
    const auto size = needed(decoder, "dpa_size");
    if (!size) return size.error();
    const auto bytes = DeviceRange::from_size(DeviceAddr(*begin), *size);
    if (!bytes || *size != set.share()) {
      return Error{
          ErrorCode::kBadData,
          fmt::format("{} gives {:#x}+{:#x} of its device, where {:#x} bytes are its share",
                      decoder, *begin, *size, set.share())};
    }
    for (const CxlDevice& device : map_.devices_) {
      if (device.serial != *serial || device.bytes == 0 || bytes->end().value() <= device.bytes) {
        continue;
      }
      return Error{ErrorCode::kBadData,
                   fmt::format("{} gives {} of {}, which has {:#x} bytes", decoder, to_text(*bytes),
                               device.memdev, device.bytes)};
    }
    return CxlShare{.region = region,
                    .decoder = decoder,
                    .serial = *serial,
                    .device_bytes = *bytes,
                    .set = map_.sets_.size(),
                    .position = position};
  }

  const SysRoot& sysroot_;
  std::vector<std::string> names_;
  std::optional<Cedt> cedt_;
  CxlAddressMap map_;
};

Result<CxlAddressMap> CxlAddressMap::load(const SysRoot& sysroot) {
  return CxlMapReader(sysroot).read();
}

Result<const CxlDevice*> CxlAddressMap::device(uint64_t serial) const {
  if (serial == 0) {
    return Error{ErrorCode::kRefused,
                 "a CXL device of serial number 0 has none: nobody can tell which one is meant "
                 "after the next boot"};
  }
  const CxlDevice* found = nullptr;
  for (const CxlDevice& device : devices_) {
    if (device.serial != serial) continue;
    if (found != nullptr) {
      return Error{ErrorCode::kRefused,
                   fmt::format("{} and {} have the same serial number {:#x}: nobody can tell which "
                               "one is meant",
                               found->memdev, device.memdev, serial)};
    }
    found = &device;
  }
  if (found != nullptr) return found;
  return Error{ErrorCode::kNotAvailable,
               fmt::format("no CXL device here has the serial number {:#x}", serial)};
}

Result<CxlAddressMap::Located> CxlAddressMap::locate(uint64_t serial,
                                                     const DeviceRange& bytes) const {
  const auto found = device(serial);
  if (!found) return found.error();
  if ((*found)->bytes != 0 && bytes.end().value() > (*found)->bytes) {
    return Error{ErrorCode::kRefused,
                 fmt::format("device address {} lies beyond the {:#x} bytes of the device with "
                             "serial {:#x}",
                             to_text(bytes), (*found)->bytes, serial)};
  }
  Located located;
  std::vector<DeviceRange> placed;
  for (const CxlShare& share : shares_) {
    const auto part = share.device_bytes.shared_with(bytes);
    if (share.serial != serial || !part) continue;
    const Set& set = sets_.at(share.set);
    const auto host = set.interleave.host_bytes_of(
        {share.position, part->begin().value() - share.device_bytes.begin().value()}, part->size());
    if (!host) continue;
    located.exact = located.exact && host->exact;
    located.host = located.host.united_with(host->bytes);
    if (set.cache_bytes != 0) {
      std::vector<ByteRange> aliases;
      for (const ByteRange& range : host->bytes.ranges()) {
        const auto alias =
            ByteRange::from_size(PhysAddr(range.begin().value() - set.cache_bytes), range.size());
        if (alias) aliases.push_back(*alias);
      }
      located.host = located.host.united_with(RangeSet::from_ranges(std::move(aliases)));
    }
    placed.push_back(*part);
  }
  std::sort(placed.begin(), placed.end());
  uint64_t at = bytes.begin().value();
  for (const DeviceRange& part : placed) {
    if (part.begin().value() > at) {
      located.unplaced.push_back(
          *DeviceRange::from_size(DeviceAddr(at), part.begin().value() - at));
    }
    at = std::max(at, part.end().value());
  }
  if (at < bytes.end().value()) {
    located.unplaced.push_back(*DeviceRange::from_size(DeviceAddr(at), bytes.end().value() - at));
  }
  return located;
}

std::optional<CxlAddressMap::DeviceByte> CxlAddressMap::device_byte_at(PhysAddr address) const {
  for (const CxlShare& share : shares_) {
    const Set& set = sets_.at(share.set);
    auto place = set.interleave.place_at(address);
    if (!place && set.cache_bytes != 0) {
      place = set.interleave.place_at(PhysAddr(address.value() + set.cache_bytes));
    }
    if (!place || place->position != share.position) continue;
    return DeviceByte{share.serial, DeviceAddr(share.device_bytes.begin().value() + place->offset)};
  }
  return std::nullopt;
}

}  // namespace poisonctl
