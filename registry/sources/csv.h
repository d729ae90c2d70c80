// Source "csv": a table that people keep in a spreadsheet, or a script writes.
#pragma once

#include "registry/sources/source.h"

namespace poisonctl {

// RFC 4180: fields between commas, in double quotes when they have a comma, a line end or a quote
// in them (which is doubled). UTF-8, with or without a byte order mark. The first line names the
// columns, in any order:
//   address  needed as a column: 0x and hexadecimal digits. An empty one makes an event without a
//            range, which needs a label or a note
//   size     bytes, decimal or 0x, with K, M, G or T; 1 without it: the byte at the address
//   kind     ue (also without the column), ce, deferred, media, injected or poisoned
//   time     RFC 3339: 2026-03-01T12:00:00Z
//   label    the name of the DIMM or the device
//   result   what the kernel did
//   note     anything; it is kept in the evidence, as the whole row is
//   count    how many times, at least 1; 1 without it
// An empty field is as good as no column. Errors: kBadData with file, line and column: any other
// column, a row of another length, a value of another form; those of the stream and the sink.
Result<SourceReport> collect_csv(ByteStream& stream, const SourceSettings& settings,
                                 const EventSink& sink);

}  // namespace poisonctl
