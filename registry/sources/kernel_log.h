// The kernel's own messages about bad memory: dmesg, journalctl -k, or the file of a syslog daemon.
// What is read, and where the kernel prints it:
//   Memory failure: 0xPFN: recovery action for WHAT: RESULT           mm/memory-failure.c
//   Memory failure: 0xPFN: already hardware poisoned                  the same
//   Memory failure: 0xPFN: unhandlable page                           the same
//   Memory failure: 0xPFN: memory outside kernel control              the same
//   soft offline: 0xPFN: WHAT (or soft_offline, Soft offline)         the same
//   Injecting memory failure for pfn 0xPFN at ...                     mm/madvise.c
//   Injecting memory failure at pfn 0xPFN                             mm/hwpoison-inject.c
//   RAS: Soft-offlining pfn: 0xPFN                                    drivers/ras/cec.c
//   EDAC MCn: COUNT CE WHAT on LABEL (... page:0x offset:0x grain:N)  drivers/edac/edac_mc.c
//   mce: [Hardware Error]: CPU n: Machine Check: ... Bank n: STATUS   arch/x86 mce/core.c
//     with its TSC ... ADDR ... MISC and PROCESSOR ... TIME lines
//   mce: Uncorrected hardware memory error in user-access at ADDR     the same
//   {N}[Hardware Error]: section_type: memory error, and its fields   drivers/firmware/efi/cper.c
#pragma once

#include "registry/sources/source.h"

namespace poisonctl {

// What soft offline and its counters say is kCorrected: the kernel moved the data before it was
// lost. "already hardware poisoned" is kPoisoned, an injection kInjected, the rest kUncorrected or
// what the message says. A PFN or page is one of settings.page_shift. `observed` is set from a TIME
// or from a stamp with year and zone (journalctl -o short-iso, dmesg --time-format iso), never from
// seconds since boot. Messages of other programs in the same log are ignored. A place that is no
// physical address is evidence without a place, with a warning. Errors: kBadData for a number of
// more than 64 bits in one of these messages, or when the input is UTF-16.
Result<SourceReport> collect_kernel_log(ByteStream& stream, const SourceSettings& settings,
                                        const EventSink& sink);

}  // namespace poisonctl
