// kexec_file_load(2) and the reboot into what it has loaded; where a kernel may lie so that it is
// on no bad frame.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "registry/posix_file.h"
#include "registry/range_set.h"
#include "registry/result.h"

namespace poisonctl {

// Loads a kernel with an initramfs for the next reboot; what was loaded before is gone. Neither
// file may be open for writing (kernel_read_file() denies that). Errors: kNoPrivilege,
// kNotAvailable (CONFIG_KEXEC_FILE), kBadData (no kernel that this one can start), kLocked, kIo.
Result<void> load_kernel(const UniqueFd& kernel, const UniqueFd& initrd,
                         const std::string& command_line, const std::string& shown);

// Writes what is cached to the disks and starts the loaded kernel at once: nothing is stopped or
// unmounted. Returns only with an error: kNoPrivilege, kNotAvailable (none is loaded), kIo.
Error start_loaded_kernel();

// The largest part of `ram` without a byte of `bad`; of two that are as large, the lower. For
// --mem-min and --mem-max of kexec(8), which then puts nothing on a bad frame. Nothing without RAM.
std::optional<ByteRange> largest_clean_window(const RangeSet& ram, const RangeSet& bad);

}  // namespace poisonctl
