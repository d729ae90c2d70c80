// Source "cxl" without a file: the poison lists of the CXL devices of the running machine. The
// kernel reads them when it is told to (trigger_poison_list), and answers with trace events
// (drivers/cxl/core/memdev.c, mbox.c and trace.h).
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "registry/cxl/address_map.h"
#include "registry/cxl/device_label.h"
#include "registry/cxl/health.h"
#include "registry/range_set.h"
#include "registry/result.h"
#include "registry/sources/source.h"
#include "registry/sources/trace/event.h"
#include "registry/sysroot.h"

namespace poisonctl {

// Hands over the trace events that came since the last call. Errors: kIo.
using TracedEvents = std::function<Result<void>(const std::function<void(const TraceEvent&)>&)>;

// One entry of a poison list (CXL 3.1, table 8-140).
struct CxlPoison {
  DeviceRange bytes;
  // Where the kernel says that the first of them is; nothing without a region.
  std::optional<PhysAddr> kernel_address;
  bool kernel_tells = true;  // kernels before 6.10 trace no address
  std::string source;        // "Internal", "External", "Injected", ...
};

// What one device answered.
struct CxlPoisonList {
  CxlDevice device;
  std::vector<CxlPoison> entries;
  bool overflowed = false;    // it has more bad places than its list has room for
  bool cut = false;           // it has more entries than the kernel reads
  std::string unusable = {};  // entries that no device can have: the first of them
  // Why there is no list, if so: kNotAvailable (the device keeps none), kIo, kNoPrivilege.
  std::optional<Error> problem = {};
};

// Asks one device. What cannot be had is `problem`; errors: those of `traced`.
Result<CxlPoisonList> read_poison_list(const SysRoot& sysroot, const CxlDevice& device,
                                       const TracedEvents& traced);

// The source and the result of the event that says of device bytes that they were repaired for
// good, where no resolution says so: what was seen there before is no longer so.
inline constexpr std::string_view kCxlRepairSource = "cxl-repair";
inline constexpr std::string_view kCxlRepaired = "repaired";

// What is known besides of the machine and the registry.
struct CxlKnowledge {
  const CxlAddressMap& map;
  PageShift page_shift;
  // Asks a device for its health: read_cxl_health(), or nothing to ask. What it complains of is
  // warned of; that it gives none (kNotAvailable, kNoInput) is no complaint.
  std::function<Result<CxlHealth>(const CxlDevice&)> health = {};
  // Records that were resolved. What a device still lists is a new observation there, at `now`; for
  // all others the list is a state, and no observation each time that it is read.
  RangeSet resolved = {};
  // The same of device bytes that were repaired for good, and not seen to be bad since.
  std::vector<CxlDevicePlace> repaired = {};
  std::optional<Time> now = {};
};

// Reads the lists of all devices of the map. Each entry becomes events about the frames that hold
// it, and one without a place for what no region has. The address that we compute is compared with
// the kernel's: where they differ, that is warned of, and the kernel's is taken as far as it goes,
// because that is where it would retire. Errors: kNotAvailable (no devices; no device that has a
// list), those of `traced` and the sink.
Result<SourceReport> collect_cxl_devices(const SysRoot& sysroot, const CxlKnowledge& knowledge,
                                         const TracedEvents& traced, const EventSink& sink);

// The events that one without a place is, now that a region may have its device bytes: none as long
// as there is no region, when the label names no device bytes, and where the record was resolved.
// `id` is that of the event in the registry.
std::vector<Event> placed_now(const Event& event, std::int64_t id, const CxlKnowledge& knowledge);

}  // namespace poisonctl
