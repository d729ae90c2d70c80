// What memtest86+ shows of an error, typed off the screen or captured: BadRAM patterns, memmap=
// lists and bad pages (memtest86+ README, "Error reporting"; app/badram.c).
//   badram=0xADDR,0xMASK,...
//   memmap=0xSIZE$0xADDR,...
//   0x20..0x2a,0x30             pages of 4 KiB, inclusive, under the heading "Bad pages"
// A list goes on in the next line after a comma, as it does on the screen. The cells lost what was
// written to them: events are kUncorrected.
#pragma once

#include "registry/sources/source.h"

namespace poisonctl {

// Other lines are ignored, but for the one with the version. A version before 7.00, or none, gives
// a warning with BadRAM patterns: those versions cut the upper digits off (memtest86+ issue 308).
Result<SourceReport> collect_memtest(ByteStream& stream, const SourceSettings& settings,
                                     const EventSink& sink);

}  // namespace poisonctl
