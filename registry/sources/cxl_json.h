// Sources "cxl" and "ndctl": the poison lists in what `cxl list --media-errors` prints, and the
// badblocks in what `ndctl list --media-errors` prints. With -u too, where numbers are texts.
#pragma once

#include "registry/sources/source.h"

namespace poisonctl {

// An entry has a place when the listing says where in physical memory it is. In a region of cxl
// that is resource + offset; `length` counts bytes of the device, which lie apart in an interleaved
// region, and the event spans all of them with the size of a stripe as its granularity. A memdev of
// cxl gives device addresses, which are no place. In a region of ndctl it is resource + 512 *
// offset, if the region has a resource; ndctl prints none today. A namespace of ndctl has a place
// only in raw mode inside such a region: in other modes its offsets begin at the data, and the
// listing does not say where that is.
//
// Every other entry becomes an event without a range. (ndctl: Documentation/cxl/cxl-list.txt,
// Documentation/ndctl/ndctl-list.txt, cxl/json.c, ndctl/json.c.)
// Errors: kBadData (no JSON, no such listing, larger than 16 MiB); those of the stream and the
// sink.
Result<SourceReport> collect_cxl_json(ByteStream& stream, const SourceSettings& settings,
                                      const EventSink& sink);

}  // namespace poisonctl
