// Windows' list of bad memory: the text that `bcdedit /enum {badmemory}` prints.
//   badmemorylist           0xb7
//                           0xb8
// or the command that makes it, as 'emit e820 --form bcdedit' writes it:
//   bcdedit /set {badmemory} badmemorylist 0xb7 0xb8
// The numbers are page frames of 4 KiB, hexadecimal (BcdLibraryIntegerList_BadMemoryList, element
// 0x1700000a). Windows lists a page once it predicts from corrected errors that the page will fail,
// or because somebody put it there; it does not say which, so events are kUncorrected.
#pragma once

#include "registry/sources/source.h"

namespace poisonctl {

// UTF-8 with or without a byte order mark, an 8-bit code page, or UTF-16LE with a byte order mark,
// which is what a redirect in PowerShell writes. Headings may be in any language: element names are
// not translated. Errors: kBadData for a number that is no frame, for other encodings, and for a
// text without the {badmemory} object.
Result<SourceReport> collect_bcdedit(ByteStream& stream, const SourceSettings& settings,
                                     const EventSink& sink);

}  // namespace poisonctl
