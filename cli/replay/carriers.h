// Where a kernel that has just booted finds a handover: in memory that the kernel before preserved,
// in what the boot loader or kexec put into the root of the initramfs, and in what a region that
// outlives the kernel gave to pstore.
#pragma once

#include <string>
#include <vector>

#include "registry/live_update.h"
#include "registry/result.h"
#include "registry/sysroot.h"

namespace poisonctl {

// In the root of the initramfs: what was there when it was made (packaging/). What the boot loader
// or kexec added to it is another file (backends/initrd.h): of two archives the kernel keeps the
// file of the last, and the older list would take the place of the newer.
inline constexpr std::string_view kBuiltInHandover = "etc/poisonctl/handover";

// What the kernel before preserved, a file for each list. The kernel gives it to one process, and
// forgets it when that ends (LiveSession): whoever runs later in this boot finds it here.
inline constexpr std::string_view kPreservedFolder = "run/poisonctl/preserved";

// One place where there is something, or cannot be read.
struct FoundHandover {
  std::string from;  // the file, and the offset where it is not its beginning
  Result<std::string> blob;
};

// One that a person named. Errors: those of open_own_file, kIo.
Result<std::string> read_handover_file(const std::string& path);

// Puts what the kernel before preserved into kPreservedFolder, and only then tells the kernel to
// forget it. The answer is what could not be received, or not be put there.
std::vector<FoundHandover> keep_preserved(LiveUpdate& live_update, const SysRoot& sysroot);

// In the order of trustworthiness of the carrier. Nothing is empty: no carrier has anything.
std::vector<FoundHandover> find_handovers(const SysRoot& sysroot);

// The places in a log of raw records where a handover may begin, the newest first, at most
// kMostInRecord: what is written to pmsg is kept in order, and the oldest is cut first.
inline constexpr std::size_t kMostInRecord = 16;
std::vector<std::size_t> handovers_in_record(std::string_view record);

}  // namespace poisonctl
