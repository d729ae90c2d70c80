// Source "pfn": frame numbers, one a line, as scripts around the kernel's debugfs files keep
// them.
#pragma once

#include "registry/sources/source.h"

namespace poisonctl {

// A line is 0xPFN, or 0xFIRST..0xLAST or 0xFIRST-0xLAST (both inclusive); '#' starts a comment, and
// empty lines count for nothing. A frame number means a page of settings.page_shift. The list says
// only that the frames are bad: the events are uncorrected errors without a time.
// Errors: kBadData with file, line and what is wrong: no 0x, a range that runs backwards, a frame
// beyond 52 bits of address (no x86-64 or arm64 machine has more); those of the stream and the
// sink.
Result<SourceReport> collect_pfn_list(ByteStream& stream, const SourceSettings& settings,
                                      const EventSink& sink);

}  // namespace poisonctl
