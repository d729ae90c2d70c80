// Source "cxl-json": the poison lists in what `cxl list --media-errors` prints, and the badblocks
// in what `ndctl list --media-errors` prints. With -u too, where numbers are texts.
#pragma once

#include "registry/sources/source.h"

namespace poisonctl {

// An entry has a place when the listing says where in physical memory it is:
//   region (cxl)     resource + offset. `length` counts bytes of the device; in an interleaved
//   region
//                    they lie apart, and the event spans all of them with the size of a stripe as
//                    its granularity.
//   memdev (cxl)     never: the offset is a device address.
//   region (ndctl)   resource + 512 * offset, if the region has a resource; ndctl prints none
//   today. namespace (ndctl)  only in raw mode inside such a region: its offsets are the region's
//   then. In
//                    other modes they begin at the data, and the listing does not say where that
//                    is.
// Every other entry becomes an event without a range. (ndctl: Documentation/cxl/cxl-list.txt,
// Documentation/ndctl/ndctl-list.txt, cxl/json.c, ndctl/json.c.)
// Errors: kBadData (no JSON, no such listing, larger than 16 MiB); those of the stream and the
// sink.
Result<SourceReport> collect_cxl_json(ByteStream& stream, const SourceSettings& settings,
                                      const EventSink& sink);

}  // namespace poisonctl
