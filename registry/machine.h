// Who and what the machine is: the facts that every observation is stamped with.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "registry/address.h"
#include "registry/result.h"
#include "registry/sysroot.h"

namespace poisonctl {

struct Machine {
  PageShift page_shift;
  std::string architecture;    // as uname -m; empty before Linux 6.1, which does not export it
  std::string kernel_release;  // as uname -r
  std::string boot_id;         // a UUID, new on every boot
  std::string host_id;         // /etc/machine-id; empty where there is none (an initramfs)
  std::string product_uuid;    // SMBIOS system UUID; empty without DMI or privilege
  std::string product_serial;  // SMBIOS system serial; likewise
  std::string command_line;    // of the running kernel, without the line end
};

// Reads proc/self/auxv (page size), proc/sys/kernel, proc/cmdline, etc/machine-id and the DMI id.
// Errors: as SysRoot::read for the first three; the others may be absent.
Result<Machine> load_machine(const SysRoot& sysroot);

// The page size from the auxiliary vector of any process (AT_PAGESZ, getauxval(3)): native words in
// pairs, little-endian 64-bit or 32-bit or big-endian 64-bit, ended by a pair of zeros. Public for
// its fuzz target. Errors: kBadData.
Result<PageShift> parse_auxv_page_size(std::string_view auxv, const std::string& shown);

// HardwareCorrupted of /proc/meminfo, in bytes; nothing on a kernel without CONFIG_MEMORY_FAILURE.
// It counts failed attempts too and is never proof of anything but "look". Errors: as
// SysRoot::read, kBadData.
Result<std::optional<std::uint64_t>> read_hardware_corrupted(const SysRoot& sysroot);

}  // namespace poisonctl
