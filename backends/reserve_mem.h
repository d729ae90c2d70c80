// Backend "reserve-mem": carries the signed list over a kexec in a region of memory that the kernel
// keeps for pstore (reserve_mem=, ramoops, /dev/pmsg0). The region has no address, so it can never
// keep a chosen frame out.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "backends/backend.h"

namespace poisonctl {

class ReserveMemBackend final : public Backend {
 public:
  [[nodiscard]] std::string_view name() const override { return "reserve-mem"; }
  [[nodiscard]] std::string_view summary() const override {
    return "carries the signed list over a kexec in a region for pstore; cannot keep out an "
           "address";
  }
  [[nodiscard]] Reach reach() const override { return Reach::kCarries; }
  [[nodiscard]] Availability probe(const SysRoot& sysroot) const override;
  // The artifact is the options for the command line of this kernel and of the next: the same for
  // both, or the region moves.
  [[nodiscard]] Result<Plan> plan(const PlanRequest& request,
                                  const SysRoot& sysroot) const override;
};

inline constexpr std::string_view kPmsgDevice = "dev/pmsg0";

// The bytes that /dev/pmsg0 of this kernel keeps: what is written last. Errors: kNotAvailable, with
// what to do, when the kernel was started without a region.
Result<std::size_t> pmsg_bytes(const SysRoot& sysroot);

// In one piece. Errors: kIo, kNoPrivilege.
Result<void> write_pmsg(const SysRoot& sysroot, std::string_view handover);

// The size of the region that holds a handover of so many bytes and some more, a power of two.
std::size_t reserve_mem_bytes(std::size_t handover_bytes);

}  // namespace poisonctl
