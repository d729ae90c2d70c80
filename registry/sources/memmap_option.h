// memmap= and badram= on a kernel command line: /proc/cmdline, a line of /etc/default/grub, or a
// line that was saved. (Documentation/admin-guide/kernel-parameters.txt, "memmap=";
// parse_memmap_one in arch/x86/kernel/e820.c.)
//   SIZE%ADDR-1+5   RAM made unusable: bad memory
//   SIZE$ADDR       reserved, for whatever reason: bad memory by custom
//   SIZE\$ADDR      the same, written so that GRUB's shell leaves the $ alone
// What else memmap= can do (@ # ! %, exactmap, a limit) has nothing to do with bad memory. Somebody
// wrote these ranges because memory failed there, so events are kUncorrected.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "registry/result.h"
#include "registry/sources/badram.h"
#include "registry/sources/source.h"

namespace poisonctl {

// The value of memmap=: items with commas between. Items of other kinds give one warning a kind. A
// reserved item of more than 1/16 of memory is evidence without a place, with a warning. `place`
// begins every message. Errors: kBadData for an item that is none of those above.
Result<void> collect_memmap_list(std::string_view list, std::string_view place,
                                 BadramImport& import);

// Every memmap= and badram= of every line, up to "--", where the kernel stops reading.
Result<SourceReport> collect_memmap_option(ByteStream& stream, const SourceSettings& settings,
                                           const EventSink& sink);

}  // namespace poisonctl
