// Where a kernel that has just booted finds a handover: what the boot loader or kexec put into the
// root of the initramfs, and what a region that outlives the kernel gave to pstore.
#pragma once

#include <string>
#include <vector>

#include "registry/result.h"
#include "registry/sysroot.h"

namespace poisonctl {

// In the root of the initramfs: what the boot loader or kexec added to it (backends/initrd), and
// what was there when it was made (packaging/). Not one file for both: of two archives the kernel
// keeps the file of the last, and the older list would take the place of the newer.
inline constexpr std::string_view kInitrdHandover = "poisonctl/handover";
inline constexpr std::string_view kBuiltInHandover = "etc/poisonctl/handover";

// One place where there is something, or cannot be read.
struct FoundHandover {
  std::string from;  // the file, and the offset where it is not its beginning
  Result<std::string> blob;
};

// In the order of trustworthiness of the carrier. Nothing is empty: no carrier has anything.
std::vector<FoundHandover> find_handovers(const SysRoot& sysroot);

// The places in a log of raw records where a handover may begin, the newest first, at most
// kMostInRecord: what is written to pmsg is kept in order, and the oldest is cut first.
inline constexpr std::size_t kMostInRecord = 16;
std::vector<std::size_t> handovers_in_record(std::string_view record);

}  // namespace poisonctl
