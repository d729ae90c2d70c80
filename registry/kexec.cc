#include "registry/kexec.h"

#include <fmt/format.h>
#include <linux/reboot.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

namespace poisonctl {

Result<void> load_kernel(const UniqueFd& kernel, const UniqueFd& initrd,
                         const std::string& command_line, const std::string& shown) {
  // The length counts the byte that ends the text.
  const long loaded = ::syscall(SYS_kexec_file_load, kernel.get(), initrd.get(),
                                command_line.size() + 1, command_line.c_str(), 0UL);
  if (loaded == 0) return {};
  const int error = errno;
  const std::string why =
      fmt::format("{}: kexec_file_load: {}", shown, std::generic_category().message(error));
  switch (error) {
    case ENOSYS:
      return Error{ErrorCode::kNotAvailable,
                   why + "; this kernel was built without CONFIG_KEXEC_FILE", error};
    case EPERM:
      return Error{ErrorCode::kNoPrivilege,
                   why +
                       "; it takes root, kernel.kexec_load_disabled=0 and a kernel that is not "
                       "locked down",
                   error};
    case ENOEXEC:
      return Error{ErrorCode::kBadData, why + "; expected a kernel image of this architecture",
                   error};
    case EKEYREJECTED:
    case ENODATA:
    case EBADMSG:
    case ENOKEY:
      return Error{ErrorCode::kBadData, why + "; this kernel takes signed kernels only", error};
    case EINVAL:
      return Error{
          ErrorCode::kBadData,
          fmt::format("{}; its command line has {} bytes, and kernels take 2016 on x86 and "
                      "2047 elsewhere: shorten it, or see dmesg",
                      why, command_line.size()),
          error};
    case EBUSY:
      return Error{ErrorCode::kLocked, why + "; another kexec is under way", error};
    default:
      return Error{ErrorCode::kIo, why, error};
  }
}

Error start_loaded_kernel() {
  ::sync();
  static_cast<void>(::syscall(SYS_reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2,
                              LINUX_REBOOT_CMD_KEXEC, nullptr));
  const int error = errno;
  if (error == EINVAL) {
    return {ErrorCode::kNotAvailable, "reboot: no kernel is loaded, or this one has no kexec",
            error};
  }
  return os_error("reboot", error, ErrorCode::kIo);
}

std::optional<ByteRange> largest_clean_window(const RangeSet& ram, const RangeSet& bad) {
  std::optional<ByteRange> largest;
  const RangeSet clean = ram.minus(bad);
  for (const ByteRange& window : clean.ranges()) {
    if (!largest || window.size() > largest->size()) largest = window;
  }
  return largest;
}

}  // namespace poisonctl
