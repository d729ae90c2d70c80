// What gives an address its meaning: the memory modules behind it, the memory map, NUMA nodes, CXL
// devices. A snapshot of it goes with every event; when the machine has changed since, a record may
// be about a cell that is somewhere else now, or nowhere.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "registry/chain.h"
#include "registry/machine.h"
#include "registry/memory_map.h"
#include "registry/result.h"
#include "registry/sysroot.h"

namespace poisonctl {

// A memory module. Serial and part number are empty where the firmware says nothing, or one of the
// texts that mean nothing ("Unknown", "Not Specified", zeros).
struct MemoryModule {
  std::string slot;  // locator and bank, as the firmware names them
  std::string manufacturer;
  std::string serial;
  std::string part;
  std::uint64_t bytes = 0;
  std::uint32_t speed = 0;  // MT/s; 0: not known
  // Where it answers, as far as the firmware says; "answers" because an interleave has several
  // modules on one range.
  struct Mapping {
    ByteRange range;
    // How it shares the range: "" alone or not known, or "row R position P depth D" of SMBIOS.
    std::string way;
    friend bool operator==(const Mapping&, const Mapping&) = default;
  };
  std::vector<Mapping> mappings;  // sorted by range
  friend bool operator==(const MemoryModule&, const MemoryModule&) = default;
};

// A CXL region that is System RAM or could be: its devices by serial number, in their order.
struct CxlRegion {
  ByteRange range;
  std::uint64_t granularity = 0;  // of the interleave, bytes
  std::vector<std::string> serials;
  friend bool operator==(const CxlRegion&, const CxlRegion&) = default;
};

struct Topology {
  std::vector<MemoryModule> modules;  // sorted by slot; only sockets that have something in them
  std::vector<CxlRegion> cxl;         // sorted by range
  // The firmware's RAM (all installed RAM where it gives no map), widened to kRamGrain: where
  // firmware moves its tables by some pages from boot to boot, no address changes its meaning.
  std::vector<ByteRange> ram;
  std::vector<NodeRange> nodes;
  // Not part of what addresses mean, and so not of the digest: for people, and for handovers.
  std::uint64_t page_size = 0;
  std::string system_uuid;
  std::string system_serial;
  friend bool operator==(const Topology&, const Topology&) = default;
};

inline constexpr std::uint64_t kRamGrain = 16U << 20U;

// A topology, and what could not be read of it: one sentence each.
struct TopologyReading {
  Topology topology;
  std::vector<std::string> not_known;
};

// The topology of the machine under `sysroot`. Never fails for what firmware gets wrong: a record
// must be possible on any machine. Errors: those of load_nodes.
Result<TopologyReading> load_topology(const SysRoot& sysroot, const Machine& machine,
                                      const MemoryMap& map);

// The snapshot as it is stored: lines of words with tabs between, the same for the same topology.
// And back. Errors: kBadData with the line; never more than kMostSnapshotBytes.
std::string to_text(const Topology& topology);
Result<Topology> parse_topology(std::string_view text, const std::string& shown);
inline constexpr std::size_t kMostSnapshotBytes = 4U << 20U;

// SHA-256 of what gives the addresses of RAM their meaning and is there from the first moment of a
// boot: modules, RAM and its nodes. CXL regions may come up later and are not in it.
Digest hardware_digest(const Topology& topology);

// How much such a snapshot can tell, in one sentence for people.
std::string what_it_can_tell(const Topology& topology);

}  // namespace poisonctl
