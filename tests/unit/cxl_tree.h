// A machine with CXL memory as its kernel shows it: the folders of sysfs are where the kernel has
// them, with links from /sys/bus/cxl/devices. One window over host bridges, a device below each
// root port, and a region over all of them.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tests/unit/temp_tree.h"

namespace poisonctl {

struct CxlTreeShape {
  std::uint64_t bridges = 1;  // ways of the window
  std::uint64_t ports = 1;    // ways of each host bridge
  std::uint64_t granularity = 256;
  std::uint64_t begin = std::uint64_t{12} << 30U;  // of the region
  std::uint64_t share = std::uint64_t{256} << 20U;
  std::uint64_t skip = 0;  // device bytes before the share
  std::uint64_t capacity = std::uint64_t{512} << 20U;
};

// Serial numbers are 0xabcd0001 and on, in the order of the positions in the region; memN are in
// the opposite order.
class CxlTree : public TempTree {
 public:
  explicit CxlTree(const CxlTreeShape& shape) : shape_(shape) {
    const std::uint64_t ways = shape.bridges * shape.ports;
    const std::string root = "sys/devices/platform/ACPI0017:00/root0";
    decoder(root, "decoder0.0", {shape.begin, std::uint64_t{64} << 30U}, shape.bridges,
            shape.granularity);
    for (std::uint64_t bridge = 0; bridge < shape.bridges; ++bridge) {
      const std::string port = fmt::format("{}/port{}", root, bridge + 1);
      link_device(port, fmt::format("port{}", bridge + 1));
      decoder(port, fmt::format("decoder{}.0", bridge + 1), region_range(), shape.ports,
              shape.granularity * shape.bridges);
      for (std::uint64_t below = 0; below < shape.ports; ++below) {
        add_device(port, below * shape.bridges + bridge);
      }
    }
    set("region0/resource", fmt::format("{:#x}", shape.begin));
    set("region0/size", fmt::format("{:#x}", shape.share * ways));
    set("region0/commit", "1");
    set("region0/interleave_ways", fmt::format("{}", ways));
    set("region0/interleave_granularity", fmt::format("{}", shape.granularity));
    for (std::uint64_t position = 0; position < ways; ++position) {
      set(fmt::format("region0/target{}", position), endpoint_decoder(position));
    }
  }

  // An attribute below /sys/bus/cxl/devices.
  void set(std::string_view attribute, std::string_view text) const {
    write(fmt::format("sys/bus/cxl/devices/{}", attribute), fmt::format("{}\n", text));
  }
  [[nodiscard]] static std::uint64_t serial_at(std::uint64_t position) {
    return 0xabcd0001 + position;
  }
  [[nodiscard]] static std::string endpoint_decoder(std::uint64_t position) {
    return fmt::format("decoder{}.0", kFirstEndpoint + position);
  }
  [[nodiscard]] std::string memdev(std::uint64_t position) const {
    return fmt::format("mem{}", shape_.bridges * shape_.ports - 1 - position);
  }

 private:
  static constexpr std::uint64_t kFirstEndpoint = 40;
  struct Extent {
    std::uint64_t begin;
    std::uint64_t size;
  };
  [[nodiscard]] Extent region_range() const {
    return {shape_.begin, shape_.share * shape_.bridges * shape_.ports};
  }

  // `folder` is there, and has a link of its name on the bus.
  void link_device(const std::string& folder, const std::string& name) const {
    make_folder(folder);
    link("sys/bus/cxl/devices/" + name, "../../../" + folder.substr(4));
  }
  void decoder(const std::string& parent, const std::string& name, Extent range, std::uint64_t ways,
               std::uint64_t granularity) const {
    const std::string folder = parent + "/" + name;
    link_device(folder, name);
    write(folder + "/start", fmt::format("{:#x}\n", range.begin));
    write(folder + "/size", fmt::format("{:#x}\n", range.size));
    write(folder + "/interleave_ways", fmt::format("{}\n", ways));
    write(folder + "/interleave_granularity", fmt::format("{}\n", granularity));
  }
  void add_device(const std::string& port, std::uint64_t position) const {
    const std::string memory = "sys/devices/pci0000:0c/" + memdev(position);
    link_device(memory, memdev(position));
    write(memory + "/serial", fmt::format("{:#x}\n", serial_at(position)));
    write(memory + "/ram/size", fmt::format("{:#x}\n", shape_.capacity));
    write(memory + "/pmem/size", "0x0\n");
    const std::string name = fmt::format("endpoint{}", kFirstEndpoint + position);
    const std::string endpoint = port + "/" + name;
    link_device(endpoint, name);
    link(endpoint + "/uport", "/" + memory);
    decoder(endpoint, endpoint_decoder(position), region_range(), shape_.bridges * shape_.ports,
            shape_.granularity);
    write(fmt::format("{}/{}/dpa_resource", endpoint, endpoint_decoder(position)),
          fmt::format("{:#x}\n", shape_.skip));
    write(fmt::format("{}/{}/dpa_size", endpoint, endpoint_decoder(position)),
          fmt::format("{:#x}\n", shape_.share));
  }

  CxlTreeShape shape_;
};

}  // namespace poisonctl
