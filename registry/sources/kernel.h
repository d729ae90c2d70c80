// Source "kernel": the frames that the running kernel itself flags as poisoned.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "registry/event.h"
#include "registry/machine.h"
#include "registry/result.h"
#include "registry/sysroot.h"

namespace poisonctl {

inline constexpr const char* kKernelSource = "kernel";

struct KernelSourceOptions {
  bool full = false;     // scan even when the kernel counts no poisoned memory
  unsigned threads = 1;  // at least 1
};

struct KernelSourceResult {
  std::vector<Event> events;  // one a poisoned frame, or a hugetlb page; sorted by address
  std::uint64_t hardware_corrupted = 0;  // bytes, as /proc/meminfo counts them
  std::uint64_t scanned = 0;             // bytes of memory whose flags were read; 0 when not needed
};

// Scans /proc/kpageflags where /proc/iomem has RAM. HardwareCorrupted 0 ends it at once unless
// `full`. When memory is added or removed meanwhile, the scan is done again, a bounded number of
// times. Errors: kNotAvailable (a kernel without CONFIG_MEMORY_FAILURE or
// CONFIG_PROC_PAGE_MONITOR), kLocked (the memory map does not stop changing), and those of the
// files it reads.
Result<KernelSourceResult> collect_from_kernel(const SysRoot& sysroot, const Machine& machine,
                                               const KernelSourceOptions& options);

}  // namespace poisonctl
