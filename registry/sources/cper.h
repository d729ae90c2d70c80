// Common Platform Error Records: what firmware, a BMC and the kernel's ERST hand on of hardware
// errors (UEFI Specification 2.10, appendix N), one or several in a file; and the blocks that
// firmware keeps in BERT and GHES, which hold the same sections in other headers (ACPI 6.5,
// 18.3.2.7.1). Read are memory error sections 1 and 2 (N.2.5, N.2.6) and the CXL events of general
// media and DRAM (CXL 3.1, 8.2.9.2.1). What is about other hardware is counted in a warning.
#pragma once

#include "registry/sources/source.h"

namespace poisonctl {

// The label of an event is the FRU text; of a CXL event the serial number and the device address,
// as for the source cxl: CXL records have no physical address. A record that is marked as simulated
// gives kInjected, a section that is marked as latent kDeferred, informational ones nothing.
// A record of more than 1 MiB is refused. Errors: kBadData with the offset.
Result<SourceReport> collect_cper(ByteStream& stream, const SourceSettings& settings,
                                  const EventSink& sink);

}  // namespace poisonctl
