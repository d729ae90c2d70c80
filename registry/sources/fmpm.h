// AMD's FRU Memory Poison Manager: the table in ras/fmpm/entries of debugfs
// (fmpm_show in drivers/ras/amd/fmpm.c). Columns: fru_idx fru_id entry timestamp hw_id addr spa;
// '*' stands for nothing. `addr` is what the memory controller knows, not a physical address. `spa`
// is one, as far as this kernel could work it out for the processors that are here; a row without
// it is evidence without a place. The driver stores errors as recoverable, that is not corrected:
// events are kUncorrected.
#pragma once

#include "registry/sources/source.h"

namespace poisonctl {

// The label of an event is the processor (PPIN) that the entry belongs to. The address is one place
// of a DRAM row that the driver retires as a whole; the table does not say how far the row reaches.
// Errors: kBadData for anything but that table.
Result<SourceReport> collect_fmpm(ByteStream& stream, const SourceSettings& settings,
                                  const EventSink& sink);

}  // namespace poisonctl
