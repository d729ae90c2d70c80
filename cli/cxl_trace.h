// The trace events that CXL devices answer with, for the time of one command. Used by 'collect cxl'
// and 'apply cxl'.
#pragma once

#include <memory>

#include "registry/posix_file.h"
#include "registry/result.h"
#include "registry/sources/cxl_devices.h"
#include "registry/sources/trace/reader.h"
#include "registry/sysroot.h"

namespace poisonctl {

class CxlTrace {
 public:
  // Of the running machine, one at a time: an answer that two read at once would reach only one of
  // them. Errors: kNotAvailable (a captured machine; no tracefs; a kernel without the event
  // cxl_poison), kLocked (another command asks), those of TraceReader::open and of the lock.
  static Result<CxlTrace> open(const SysRoot& sysroot);

  CxlTrace(CxlTrace&&) noexcept = default;
  CxlTrace& operator=(CxlTrace&&) = delete;
  CxlTrace(const CxlTrace&) = delete;
  CxlTrace& operator=(const CxlTrace&) = delete;
  ~CxlTrace();  // removes the instance from the kernel

  // Valid as long as the object stays where it is.
  [[nodiscard]] TracedEvents feed();

 private:
  CxlTrace(UniqueFd lock, TraceReader reader)
      : lock_(std::move(lock)), reader_(std::make_unique<TraceReader>(std::move(reader))) {}
  UniqueFd lock_;
  std::unique_ptr<TraceReader> reader_;
};

}  // namespace poisonctl
