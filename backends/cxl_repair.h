// Repair of CXL memory by the device itself: post-package repair and sparing, through the
// mem_repair attributes of EDAC (Documentation/ABI/testing/sysfs-edac-memory-repair,
// Documentation/edac/memory_repair.rst). Nothing here decides that something is repaired: the
// poison list does, read again.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "registry/cxl/interleave.h"
#include "registry/event.h"
#include "registry/result.h"
#include "registry/sysroot.h"

namespace poisonctl {

// What a device can replace, the least first: a line of 64 bytes, a row, a bank, a rank.
enum class RepairKind { kCachelineSparing, kPpr, kRowSparing, kBankSparing, kRankSparing };
// As in repair_type: "ppr", "row-sparing"; and back.
std::string_view to_word(RepairKind kind);
std::optional<RepairKind> repair_kind_from(std::string_view word);

// One mem_repairN of a device.
struct RepairFunction {
  std::string folder;  // "sys/bus/edac/devices/cxl_mem0/mem_repair0"
  RepairKind kind = RepairKind::kPpr;
  bool permanent = false;         // as persist_mode is now: hard, and not undone by a reset
  bool can_set_mode = false;      // persist_mode can be written; of PPR it is fixed (Linux 7.2)
  bool safe_when_in_use = false;  // data stays, and can be used meanwhile
  // The place that it asks for: the names of its attributes.
  std::vector<std::string> coordinates;
  std::optional<std::uint64_t> least_address;  // min_dpa and max_dpa
  std::optional<std::uint64_t> most_address;
};

// Those of a device that is called `memdev` in this boot, the least drastic first; none where the
// kernel has no CONFIG_CXL_EDAC_MEM_REPAIR or the device offers nothing. Attributes that make no
// sense are told in `problems`. Errors: kNoPrivilege, kIo.
struct RepairFunctions {
  std::vector<RepairFunction> functions;
  std::vector<std::string> problems;
};
Result<RepairFunctions> find_repair_functions(const SysRoot& sysroot, std::string_view memdev);

// What is to be repaired.
struct RepairTarget {
  DeviceRange bytes;
  DramCoordinates dram;                           // what events have told
  std::optional<std::uint64_t> nibble_mask = {};  // likewise
  bool in_use = false;                            // a region has memory of the device
};

struct RepairPolicy {
  bool permanent = false;      // hard repair; else one that a reset undoes
  bool unsafe_in_use = false;  // also what may lose data of memory that a region has
  // Only this kind. Without it banks and ranks are never spared: that takes far more than is bad.
  std::optional<RepairKind> only = {};
};

// The function to repair a target with. Errors: kNotAvailable (the device has none), kRefused with
// the reason for each that it has.
Result<const RepairFunction*> choose_repair(std::span<const RepairFunction> functions,
                                            const RepairTarget& target, const RepairPolicy& policy);

// Sets all attributes, reads them back, and gives the order. Errors: kIo (an attribute did not take
// what was written, or the order failed: the errno and what it may mean), kNoPrivilege.
Result<void> order_repair(const SysRoot& sysroot, const RepairFunction& function,
                          const RepairTarget& target, const RepairPolicy& policy);

// Overwrites a line of 64 bytes with zeros and takes it off the poison list (debugfs,
// cxl/memN/clear_poison). The cells are what they were: this is no repair. Errors: kNotAvailable
// (debugfs is not mounted, or the kernel has no such file), kIo, kNoPrivilege.
Result<void> clear_poison(const SysRoot& sysroot, std::string_view memdev, DeviceAddr line);

}  // namespace poisonctl
