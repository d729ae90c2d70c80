// What lies in RAM, or keeps it, that the memory map does not tell: the initrd, the areas where KHO
// puts the next kernel, firmware that runs beside the kernel, what a device tree gave to a driver,
// memory blocks that are offline, hugetlb pools. The facts behind the checks (check.h).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "registry/memory_map.h"
#include "registry/range_set.h"
#include "registry/result.h"
#include "registry/sysroot.h"

namespace poisonctl {

struct Placement {
  RangeSet offline_blocks;  // memory blocks that the kernel does not use now
  // x86: the RAM of the memory map that the boot loader, or kexec, has passed (the zero page);
  // empty where that is not known, or is longer than the zero page has room for.
  RangeSet boot_ram;
  RangeSet initrd;       // where the boot loader, or kexec, had put the initrd of this boot
  RangeSet kho_scratch;  // where a kexec with KHO puts the next kernel; empty when KHO is off
  RangeSet efi_runtime;  // EFI runtime services: the firmware runs from there
  RangeSet device_tree;  // reserved-memory that a driver has
  // Bytes of the largest page of any hugetlb pool that has pages; 0 when none has.
  std::uint64_t hugetlb_page = 0;
  // Whether this is x86, whose kernels (5.13 and newer) keep the first MiB from everybody.
  bool keeps_first_mib = false;
  // What could not be looked at, and so was not checked: one sentence each.
  std::vector<std::string> not_known;
};

// Reads /sys/kernel/boot_params (x86) or /chosen of the device tree, debugfs kho/out,
// /sys/firmware/efi/runtime-map, /reserved-memory of the device tree, memory blocks and
// /sys/kernel/mm/hugepages. What a machine does not have is empty; what this user may not see is in
// not_known. Errors: kIo; kBadData with the file.
Result<Placement> load_placement(const SysRoot& sysroot);

}  // namespace poisonctl
