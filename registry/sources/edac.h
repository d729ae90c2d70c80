// The error counters of the memory controllers' drivers, in /sys/devices/system/edac/mc
// (Documentation/ABI/testing/sysfs-devices-edac). They name a DIMM and count, and know no address:
// every counter that is not zero becomes evidence without a place.
#pragma once

#include "registry/sources/source.h"
#include "registry/sysroot.h"

namespace poisonctl {

// Counts dimmN and rankN folders where there are any, and else the older csrowN, which count the
// same errors again; and the errors that a controller could not lay at any DIMM. Counters begin
// with the driver, so what they say has no date. Errors: kNotAvailable (no such controllers here),
// kBadData (a counter that is no number), and those of SysRoot::read.
Result<SourceReport> collect_edac(const SysRoot& sysroot, const EventSink& sink);

}  // namespace poisonctl
