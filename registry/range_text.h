// RANGE as people write it on the command line, and as poisonctl shows it.
#pragma once

#include <string>
#include <string_view>

#include "registry/address.h"
#include "registry/result.h"

namespace poisonctl {

// One of
//   0xADDR          the one frame that begins there
//   0xADDR+SIZE     SIZE in bytes, decimal or 0x, with K, M, G or T
//   0xFIRST-0xLAST  inclusive, as in /proc/iomem
//   pfn:0xN[+COUNT] COUNT frames (decimal or 0x) from frame N, of this machine's page size
// The result is aligned to `shift`: a range that is not is an error that names the frame meant,
// never rounded silently. Errors: kUsage.
Result<ByteRange> parse_range(std::string_view text, PageShift shift);

// "0x1000-0x1fff", the inclusive form that parse_range reads back.
std::string to_text(const ByteRange& range);

}  // namespace poisonctl
