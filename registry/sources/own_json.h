// Source "json": what poisonctl itself prints, "poisonctl/records-v1" (list --json) and
// "poisonctl/events-v1" (show --json), for a registry that moves to another file or was lost.
#pragma once

#include "registry/sources/source.h"

namespace poisonctl {

// records-v1: one event for each suspect or faulty record, of the kind of its severity, with its
// count of events, at the time it was last seen. Resolved and quarantined records are not imported.
// Its list "evidence" becomes events without a range.
// events-v1: one event for each, except outcomes and resolutions, which are about another boot and
// another registry. An event without an observation time gets the time at which it was recorded.
// What is left out is said once. The evidence of an event is the item as it was printed.
//
// Event::foreign_host is the host that the item names: whoever records it clears the name of its
// own host. An item that names none is taken to be about the host that imports it. Any size of
// input in bounded memory. Errors: kBadData with file and line: another schema, a value that the
// schema does not have; those of the stream and the sink.
Result<SourceReport> collect_own_json(ByteStream& stream, const SourceSettings& settings,
                                      const EventSink& sink);

}  // namespace poisonctl
