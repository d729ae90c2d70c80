// Source "rasdaemon": the SQLite database in which rasdaemon keeps what the kernel's trace events
// said (usually /var/lib/rasdaemon/ras-mc_event.db).
#pragma once

#include <string>

#include "registry/sources/source.h"

namespace poisonctl {

// Reads the database `path` through a private copy in the folder `scratch`, because a lock on a
// live one can make rasdaemon lose an event. Tables and columns depend on the version and the
// build: what is not there is not read. A row without a physical address of memory becomes an event
// without a range; a row that contradicts the form of its table does too, with a warning.
//
// memory_failure_event has frame numbers as the kernel printed them, in pages of that kernel:
// settings.page_shift. (The fixed page of 4 KiB in rasdaemon is for addresses that it takes offline
// itself; no column comes from it.)
//
// Errors: those of sqlite::Snapshot::take; kBadData when the database is damaged; those of `sink`.
Result<SourceReport> collect_rasdaemon(const std::string& path, const std::string& scratch,
                                       const SourceSettings& settings, const EventSink& sink);

}  // namespace poisonctl
