// What lies where in the physical address space, from every place the kernel tells it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "registry/address.h"
#include "registry/range_set.h"
#include "registry/result.h"
#include "registry/sysroot.h"

namespace poisonctl {

// One line of /proc/iomem.
struct Resource {
  ByteRange range;
  unsigned depth = 0;  // 0 at the top; a child follows its parent and is one deeper
  std::string name;
};

// One folder of /sys/firmware/memmap: the map as the boot loader or the last kexec passed it, which
// no memmap= on the command line changes (drivers/firmware/memmap.c).
struct FirmwareEntry {
  ByteRange range;
  std::string type;
};

// The physical address space of one machine at one moment.
class MemoryMap {
 public:
  MemoryMap(std::vector<Resource> resources, std::vector<FirmwareEntry> firmware);

  [[nodiscard]] const std::vector<Resource>& resources() const { return resources_; }
  [[nodiscard]] const std::vector<FirmwareEntry>& firmware() const { return firmware_; }

  // What this kernel manages as memory: every "System RAM" of /proc/iomem, nested ones too (CXL).
  [[nodiscard]] const RangeSet& system_ram() const { return system_ram_; }
  // What the machine has: system_ram, the firmware's RAM, and what a memmap= of this boot took out.
  // A frame that is excluded today must stay on the list for tomorrow, so checks go by this set.
  [[nodiscard]] const RangeSet& installed_ram() const { return installed_ram_; }
  // Memory that is not System RAM now but has a driver or can become RAM: persistent memory, DAX,
  // CXL windows, soft-reserved ranges.
  [[nodiscard]] const RangeSet& device_memory() const { return device_memory_; }
  // What the firmware keeps for itself.
  [[nodiscard]] const RangeSet& firmware_reserved() const { return firmware_reserved_; }
  // Code, data and bss of the running kernel.
  [[nodiscard]] const RangeSet& kernel_image() const { return kernel_image_; }
  // What is kept for a kernel that saves a crash (crashkernel=).
  [[nodiscard]] const RangeSet& crash_kernel() const { return crash_kernel_; }
  // One past the last byte of anything in the map.
  [[nodiscard]] PhysAddr end() const { return end_; }

 private:
  std::vector<Resource> resources_;
  std::vector<FirmwareEntry> firmware_;
  RangeSet system_ram_;
  RangeSet installed_ram_;
  RangeSet device_memory_;
  RangeSet firmware_reserved_;
  RangeSet kernel_image_;
  RangeSet crash_kernel_;
  PhysAddr end_;
};

// /proc/iomem and, where there is one, /sys/firmware/memmap. Errors: as SysRoot::read; kNoPrivilege
// when /proc/iomem shows only zeros (it does to anyone without CAP_SYS_ADMIN, kernel/resource.c);
// kBadData with the line.
Result<MemoryMap> load_memory_map(const SysRoot& sysroot);

// The text of /proc/iomem. `shown` names it in errors.
Result<std::vector<Resource>> parse_iomem(std::string_view text, const std::string& shown);

// A memory block: the unit of memory hot-plug.
struct MemoryBlock {
  std::uint64_t number = 0;  // N of memoryN; it begins at N times the block size
  ByteRange range;
  bool online = false;
  std::optional<unsigned> node;
};

// /sys/devices/system/memory and /sys/devices/system/node; empty on a kernel without memory
// hot-plug. A block may contain holes. Errors: as SysRoot::read, kBadData.
Result<std::vector<MemoryBlock>> load_memory_blocks(const SysRoot& sysroot);

// The part of the address space that belongs to one NUMA node.
struct NodeRange {
  ByteRange range;
  unsigned node = 0;
  friend bool operator==(const NodeRange&, const NodeRange&) = default;
};

// Which node has which blocks, sorted by address, adjacent blocks of a node joined; empty without
// NUMA. Reads one folder a node, whatever the number of blocks. Errors: as SysRoot::list, kBadData.
Result<std::vector<NodeRange>> load_nodes(const SysRoot& sysroot);

// The node of an address, if any range has it.
std::optional<unsigned> node_of(const std::vector<NodeRange>& nodes, PhysAddr address);

}  // namespace poisonctl
