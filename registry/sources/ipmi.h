// The event log of the board's management controller (sel.h): memory errors that firmware or the
// BMC logged, and notices of frames that this program, here or before a reinstallation, retired.
#pragma once

#include "registry/sel.h"
#include "registry/sources/source.h"

namespace poisonctl {

// An event of a memory sensor (IPMI 2.0, table 42-3, type 0Ch) names no address: it is evidence
// without a place, labelled with the number of the sensor and of the module. Errors are offsets 0
// (corrected), 1 (uncorrectable), 2 (parity), 3 (scrub failed) and 5 (too many corrected ones); the
// others (presence, configuration, temperature) are counted in a warning, as are OEM records of
// others, which are left alone. A notice of ours gives its block: kUncorrected where data was lost,
// else kMedia; the time is that of the record before it, without which it is evidence without a
// place.
// Errors: those of Sel.
Result<SourceReport> collect_ipmi(Sel& sel, const EventSink& sink);

}  // namespace poisonctl
