// Log entries of a Redfish service (DSP0268, LogEntry 1.9 and later) as its BMC answers them: a
// LogEntryCollection or single entries, one or several in a file, saved with any HTTP client.
#pragma once

#include "registry/sources/source.h"

namespace poisonctl {

// DiagnosticData of the types CPER and CPERSection is decoded as the source cper does; Created is
// the time where the record has none. An entry of type SEL about a memory sensor is evidence
// without a place, uncorrected where its severity is Critical; so is one of type CXL that is a
// warning or a failure and has no record. A Memory resource with its MemoryMetrics in it is
// evidence without a place as often as its counters of ECC errors say. An entry whose record cannot
// be read is evidence without a place too, and a warning; entries about other things, and members
// that are only links, are counted in warnings. At most 64 MiB. Errors: kBadData for what is no
// JSON, or has no log entry in it.
Result<SourceReport> collect_redfish(ByteStream& stream, const SourceSettings& settings,
                                     const EventSink& sink);

}  // namespace poisonctl
