#include "registry/live_update.h"

#include <fmt/format.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <optional>

#include "registry/kernel_config.h"
#include "registry/text.h"

namespace poisonctl {

namespace {

// include/uapi/linux/liveupdate.h of Linux 6.19 and newer, which Debian 12 does not have. The first
// field of each argument is its size; the numbers are part of the kernel's interface for programs.
constexpr unsigned kType = 0xBA;                              // LIVEUPDATE_IOCTL_TYPE
constexpr unsigned long kCreateSession = _IO(kType, 0x00);    // NOLINT
constexpr unsigned long kRetrieveSession = _IO(kType, 0x01);  // NOLINT
constexpr unsigned long kPreserveFd = _IO(kType, 0x40);       // NOLINT
constexpr unsigned long kRetrieveFd = _IO(kType, 0x41);       // NOLINT
constexpr unsigned long kFinish = _IO(kType, 0x42);           // NOLINT

struct SessionArgument {
  std::uint32_t size = sizeof(SessionArgument);
  std::int32_t fd = -1;
  std::array<char, 64> name{};  // LIVEUPDATE_SESSION_NAME_LENGTH, with its final zero
};
struct FileArgument {
  std::uint32_t size = sizeof(FileArgument);
  std::int32_t fd = -1;
  std::uint64_t token = 0;
};
struct FinishArgument {
  std::uint32_t size = sizeof(FinishArgument);
  std::uint32_t reserved = 0;
};
static_assert(sizeof(SessionArgument) == 72 && sizeof(FileArgument) == 16 &&
              sizeof(FinishArgument) == 8);

// 0 or the errno.
template <typename Argument>
int call(const UniqueFd& fd, unsigned long request, Argument& argument) {
  return ::ioctl(fd.get(), request, &argument) == 0 ? 0 : errno;
}

class KernelSession final : public LiveSession {
 public:
  KernelSession(UniqueFd fd, std::string name) : fd_(std::move(fd)), name_(std::move(name)) {}

  Result<void> preserve(const UniqueFd& file, std::uint64_t token) override {
    FileArgument argument{.fd = file.get(), .token = token};
    const int error = call(fd_, kPreserveFd, argument);
    if (error == 0) return {};
    if (error == ENOENT) {
      return Error{ErrorCode::kNotAvailable,
                   fmt::format("{}: this kernel preserves no file in memory; it was built without "
                               "CONFIG_LIVEUPDATE_MEMFD",
                               shown()),
                   error};
    }
    return os_error(shown() + ": preserve", error, ErrorCode::kIo);
  }

  Result<UniqueFd> retrieve(std::uint64_t token) override {
    FileArgument argument{.token = token};
    const int error = call(fd_, kRetrieveFd, argument);
    if (error == 0) return UniqueFd(argument.fd);
    return os_error(shown() + ": retrieve", error, ErrorCode::kIo);
  }

  Result<void> finish() override {
    FinishArgument argument;
    const int error = call(fd_, kFinish, argument);
    if (error == 0) return {};
    return os_error(shown() + ": finish", error, ErrorCode::kIo);
  }

  [[nodiscard]] const UniqueFd& file() const override { return fd_; }

 private:
  [[nodiscard]] std::string shown() const {
    return fmt::format("/{}, session {}", kLiveUpdateDevice, name_);
  }

  UniqueFd fd_;
  std::string name_;
};

class KernelLiveUpdate final : public LiveUpdate {
 public:
  explicit KernelLiveUpdate(UniqueFd fd) : fd_(std::move(fd)) {}

  Result<std::unique_ptr<LiveSession>> create_session(const std::string& name) override {
    return session(kCreateSession, "create", name);
  }
  // EINVAL is what the kernel says of a session that somebody has retrieved already.
  Result<std::unique_ptr<LiveSession>> retrieve_session(const std::string& name) override {
    return session(kRetrieveSession, "retrieve", name);
  }

 private:
  Result<std::unique_ptr<LiveSession>> session(unsigned long request, std::string_view what,
                                               const std::string& name) {
    SessionArgument argument;
    if (name.empty() || name.size() >= argument.name.size()) {
      return Error{ErrorCode::kUsage, fmt::format("a session name of {} bytes", name.size())};
    }
    std::copy(name.begin(), name.end(), argument.name.begin());
    const int error = call(fd_, request, argument);
    if (error == 0) {
      return std::unique_ptr<LiveSession>(
          std::make_unique<KernelSession>(UniqueFd(argument.fd), name));
    }
    const bool taken = error == EEXIST || (request == kRetrieveSession && error == EINVAL);
    return os_error(fmt::format("/{}: {} session {}", kLiveUpdateDevice, what, name), error,
                    taken ? ErrorCode::kLocked : ErrorCode::kIo);
  }

  UniqueFd fd_;
};

// The value of the last word "NAME=VALUE" that kstrtobool() (lib/kstrtox.c) understands.
std::optional<bool> truth_of(std::string_view command_line, std::string_view prefix) {
  std::optional<bool> truth;
  for (const std::string_view word : split_words(command_line)) {
    if (word == "--") break;
    if (!word.starts_with(prefix)) continue;
    std::string value(word.substr(prefix.size(), 2));
    for (char& letter : value) {
      if (letter >= 'A' && letter <= 'Z') letter = static_cast<char>(letter - 'A' + 'a');
    }
    if (value.starts_with('y') || value.starts_with('t') || value.starts_with('1') ||
        value == "on") {
      truth = true;
    } else if (value.starts_with('n') || value.starts_with('f') || value.starts_with('0') ||
               value == "of") {
      truth = false;
    }
  }
  return truth;
}

// Whether the kernel called `release` was built with `option`; nothing when no file says.
std::optional<bool> built_with(const SysRoot& sysroot, std::string_view release,
                               std::string_view option) {
  const auto config = KernelConfig::load(sysroot, release);
  if (!config) return std::nullopt;
  return config->value(option) == "y";
}

}  // namespace

bool command_line_says_kho(std::string_view command_line, bool otherwise) {
  return truth_of(command_line, "kho=").value_or(otherwise);
}

bool kho_is_on(const SysRoot& sysroot) {
  const auto config = KernelConfig::load(sysroot);
  const bool by_default = config && config->value("CONFIG_KEXEC_HANDOVER_ENABLE_DEFAULT") == "y";
  const auto line = sysroot.read("proc/cmdline");
  return line ? command_line_says_kho(*line, by_default) : by_default;
}

std::string why_no_live_update(const SysRoot& sysroot) {
  const auto release = sysroot.read("proc/sys/kernel/osrelease");
  const std::string_view name = release ? trim(*release) : std::string_view();
  for (const std::string_view option : {"CONFIG_KEXEC_HANDOVER", "CONFIG_LIVEUPDATE"}) {
    if (!built_with(sysroot, name, option).value_or(true)) {
      return fmt::format(
          "this kernel ({}) was built without {}: the list travels in the initramfs "
          "instead ('poisonctl kexec' puts it there)",
          printable(name), option);
    }
  }
  const auto line = sysroot.read("proc/cmdline");
  const std::string_view words = line ? std::string_view(*line) : std::string_view();
  if (!kho_is_on(sysroot)) {
    return "kexec handover is off; boot with kho=on liveupdate=on";
  }
  if (!truth_of(words, "liveupdate=").value_or(false)) {
    return "live update is off; boot with liveupdate=on beside kho=on";
  }
  return fmt::format(
      "there is no /{} although kho and liveupdate are on: the kernel has no "
      "CONFIG_LIVEUPDATE (Linux 6.19), or could not reserve the scratch areas of KHO "
      "(see its log)",
      kLiveUpdateDevice);
}

Result<std::unique_ptr<LiveUpdate>> open_live_update(const SysRoot& sysroot) {
  auto fd = sysroot.open_device(kLiveUpdateDevice);
  if (fd) {
    return std::unique_ptr<LiveUpdate>(std::make_unique<KernelLiveUpdate>(*std::move(fd)));
  }
  const Error& error = fd.error();
  switch (error.code) {
    case ErrorCode::kNoInput:
      return Error{ErrorCode::kNotAvailable, why_no_live_update(sysroot), error.os_error};
    case ErrorCode::kLocked:
      return Error{error.code,
                   error.message +
                       "; the kernel lets one program at a time have it: try again, or "
                       "see with fuser(1) who has it",
                   error.os_error};
    case ErrorCode::kIo:  // luo_open(): what the kernel before left could not be read
      return Error{error.code,
                   error.message +
                       "; the kernel cannot read what the one before it left, and will "
                       "not until the next boot: its log says why",
                   error.os_error};
    default:
      return error;
  }
}

std::string_view image_version(std::string_view image) {
  // Documentation/arch/x86/boot.rst: "HdrS" at 0x202, kernel_version at 0x20e counts from 0x200.
  constexpr std::size_t kMagicAt = 0x202;
  constexpr std::size_t kPointerAt = 0x20e;
  constexpr std::size_t kBase = 0x200;
  constexpr std::size_t kLongest = 512;
  if (image.size() < kPointerAt + 2 || image.substr(kMagicAt, 4) != "HdrS") return {};
  const auto low = static_cast<unsigned char>(image[kPointerAt]);
  const auto high = static_cast<unsigned char>(image[kPointerAt + 1]);
  const std::size_t at = (static_cast<std::size_t>(high) << 8U | low) + kBase;
  if (at == kBase || at >= image.size()) return {};
  const std::string_view text = image.substr(at, kLongest);
  const std::size_t end = text.find('\0');
  return end == std::string_view::npos ? std::string_view() : text.substr(0, end);
}

NextKernel next_kernel_reads(const SysRoot& sysroot, std::string_view image,
                             std::string_view command_line) {
  if (!command_line_says_kho(command_line, true)) return NextKernel::kIgnores;
  // "RELEASE (BUILDER) VERSION", the words of uname -r and uname -v (arch/x86/boot/version.c).
  const std::string_view version = image_version(image);
  const std::string_view release = version.substr(0, version.find(' '));
  const auto own_release = sysroot.read("proc/sys/kernel/osrelease");
  const auto own_version = sysroot.read("proc/sys/kernel/version");
  if (!release.empty() && own_release && own_version && release == trim(*own_release) &&
      version.ends_with(fmt::format(") {}", trim(*own_version)))) {
    return NextKernel::kReads;
  }
  for (const std::string_view option : {"CONFIG_KEXEC_HANDOVER", "CONFIG_LIVEUPDATE"}) {
    if (!release.empty() && !built_with(sysroot, release, option).value_or(true)) {
      return NextKernel::kIgnores;
    }
  }
  return NextKernel::kNotKnown;
}

}  // namespace poisonctl
