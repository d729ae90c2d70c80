// The Live Update Orchestrator (LUO): /dev/liveupdate, which keeps a file in memory over a kexec
// for whoever holds its session. Linux 6.19 and newer, with kho=on and liveupdate=on.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "registry/posix_file.h"
#include "registry/result.h"
#include "registry/sysroot.h"

namespace poisonctl {

inline constexpr std::string_view kLiveUpdateDevice = "dev/liveupdate";
// There as long as the device is, in a captured machine too.
inline constexpr std::string_view kLiveUpdateClass = "sys/class/misc/liveupdate";

// A session: made here, or left by the kernel before this one.
class LiveSession {
 public:
  LiveSession() = default;
  LiveSession(const LiveSession&) = delete;
  LiveSession& operator=(const LiveSession&) = delete;
  // Gives up a session that was made here: what it has preserved goes no further. One of the kernel
  // before is finished by that, whatever happened (luo_session_release(), kernel/liveupdate/
  // luo_session.c).
  virtual ~LiveSession() = default;

  // From now on `file` reaches the next kernel with whatever is in it when that starts; its size
  // stays. Errors: kNotAvailable (no such file can be preserved), kIo.
  virtual Result<void> preserve(const UniqueFd& file, std::uint64_t token) = 0;
  // The file that the kernel before preserved. Errors: kNoInput (no such token), kIo; an error
  // stays.
  virtual Result<UniqueFd> retrieve(std::uint64_t token) = 0;
  // Tells the kernel that all is retrieved. Errors: kIo.
  virtual Result<void> finish() = 0;
  // A session lives as long as somebody has this file, or a copy of it.
  [[nodiscard]] virtual const UniqueFd& file() const = 0;
};

class LiveUpdate {
 public:
  LiveUpdate() = default;
  LiveUpdate(const LiveUpdate&) = delete;
  LiveUpdate& operator=(const LiveUpdate&) = delete;
  virtual ~LiveUpdate() = default;

  // `name` has 1 to 63 bytes. Errors: kLocked with errno EEXIST when there is one of that name;
  // kIo.
  virtual Result<std::unique_ptr<LiveSession>> create_session(const std::string& name) = 0;
  // Errors: kNoInput when the kernel before left none of that name; kLocked when somebody has it;
  // kIo.
  virtual Result<std::unique_ptr<LiveSession>> retrieve_session(const std::string& name) = 0;
};

// Only one program at a time may have the device open; sessions outlive that. Errors, each with
// what to do: kNotAvailable, kNoPrivilege, kLocked, kIo.
Result<std::unique_ptr<LiveUpdate>> open_live_update(const SysRoot& sysroot);

// Whether kho= of a kernel command line is true; `otherwise` where it is not said. As kstrtobool().
bool command_line_says_kho(std::string_view command_line, bool otherwise);

// Whether KHO is on here: by the command line, or else as the kernel was built
// (kernel/liveupdate/kexec_handover.c). False where no file says how.
bool kho_is_on(const SysRoot& sysroot);

// Why this kernel has no LUO, and what to do: one sentence.
std::string why_no_live_update(const SysRoot& sysroot);

// What the next kernel makes of the sessions of this one. A kernel with LUO whose format is another
// one panics (luo_restore_fail(), kernel/liveupdate/luo_internal.h), and no file says which format
// an image has.
enum class NextKernel {
  kReads,     // it is the very build that runs now
  kIgnores,   // it has no LUO, or no KHO: what is preserved is lost
  kNotKnown,  // it may panic
};
// `image` is the beginning of a kernel image, at least kImageHead bytes of it if it has them.
NextKernel next_kernel_reads(const SysRoot& sysroot, std::string_view image,
                             std::string_view command_line);
inline constexpr std::size_t kImageHead = 64U << 10U;

// "7.2.13-amd64 (builder) #1 SMP ..." of an x86 bzImage; empty for any other image.
std::string_view image_version(std::string_view image);

}  // namespace poisonctl
