#include "registry/sources/table.h"

#include <algorithm>
#include <array>

#include "registry/sources/badram.h"
#include "registry/sources/bcdedit.h"
#include "registry/sources/cper.h"
#include "registry/sources/csv.h"
#include "registry/sources/cxl_json.h"
#include "registry/sources/fmpm.h"
#include "registry/sources/kernel_log.h"
#include "registry/sources/mcelog.h"
#include "registry/sources/memmap_option.h"
#include "registry/sources/memtest.h"
#include "registry/sources/own_json.h"
#include "registry/sources/pfn_list.h"
#include "registry/sources/redfish.h"

namespace poisonctl {

std::span<const StreamSource> stream_sources() {
  static constexpr std::array<StreamSource, 14> kSources = {{
      {"badram", "BadRAM pairs, GRUB_BADRAM lines, GRUB's badram and cutmem", "", collect_badram},
      {"memmap", "memmap= of a kernel command line", "proc/cmdline", collect_memmap_option},
      {"memtest", "what memtest86+ prints", "", collect_memtest},
      {"bcdedit", "Windows' bcdedit /enum {badmemory}", "", collect_bcdedit},
      {"mcelog", "mcelog's text", "", collect_mcelog},
      {"kernel-log", "kernel messages: dmesg, journalctl -k, syslog", "", collect_kernel_log},
      {"fmpm", "AMD's list of bad rows", "sys/kernel/debug/ras/fmpm/entries", collect_fmpm,
       "the driver fmpm is not loaded (it is for AMD MI300), or debugfs is not mounted"},
      {"cper", "error records of firmware (CPER), BERT", "sys/firmware/acpi/tables/data/BERT",
       collect_cper, "the firmware has no record of the boot before this one"},
      {"cxl", "cxl list --media-errors", "", collect_cxl_json},
      {"ndctl", "ndctl list --media-errors", "", collect_cxl_json},
      {"redfish", "log entries of a Redfish service, with CPER; the configured one unless named",
       "", collect_redfish},
      {"json", "poisonctl's own JSON, of this host or another", "", collect_own_json},
      {"csv", "CSV with a header line", "", collect_csv},
      {"pfn", "frame numbers, one a line", "", collect_pfn_list},
  }};
  return kSources;
}

const StreamSource* find_stream_source(std::string_view name) {
  const auto table = stream_sources();
  const auto found = std::find_if(table.begin(), table.end(),
                                  [&](const StreamSource& source) { return source.name == name; });
  return found == table.end() ? nullptr : &*found;
}

}  // namespace poisonctl
