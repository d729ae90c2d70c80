#include "registry/sysroot.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cerrno>

#include "registry/changeable_root.h"
#include "registry/posix_file.h"

namespace poisonctl {

namespace {

class OpenFile final : public PositionedFile {
 public:
  OpenFile(UniqueFd fd, std::string shown) : fd_(std::move(fd)), shown_(std::move(shown)) {}

  Result<std::size_t> read_at(std::uint64_t offset, std::span<std::byte> buffer) const override {
    std::size_t done = 0;
    while (done < buffer.size()) {
      const ssize_t got = ::pread(fd_.get(), buffer.data() + done, buffer.size() - done,
                                  static_cast<off_t>(offset + done));
      if (got < 0) {
        if (errno == EINTR) continue;
        return os_error(fmt::format("{}: read at offset {} failed", shown_, offset + done), errno,
                        ErrorCode::kIo);
      }
      if (got == 0) break;
      done += static_cast<std::size_t>(got);
    }
    return done;
  }

 private:
  UniqueFd fd_;
  std::string shown_;
};

class OpenAttribute final : public Attribute {
 public:
  explicit OpenAttribute(UniqueFd fd) : fd_(std::move(fd)) {}

  // At offset 0: sysfs does not care, and an attribute of a captured tree keeps the last order.
  // Files of debugfs have no offset (nonseekable_open).
  [[nodiscard]] int write(std::string_view text) const override {
    ssize_t put = 0;
    do {
      put = ::pwrite(fd_.get(), text.data(), text.size(), 0);
      if (put < 0 && errno == ESPIPE) put = ::write(fd_.get(), text.data(), text.size());
    } while (put < 0 && errno == EINTR);
    if (put < 0) return errno;
    return static_cast<std::size_t>(put) == text.size() ? 0 : EIO;
  }

 private:
  UniqueFd fd_;
};

class FolderRoot final : public ChangeableRoot {
 public:
  FolderRoot(UniqueFd root_fd, std::string root)
      : root_fd_(std::move(root_fd)), root_(std::move(root)) {}

  [[nodiscard]] const std::string& root() const override { return root_; }

  Result<std::string> read(std::string_view path, std::size_t limit) const override {
    const auto fd = open_inside(path, O_RDONLY);
    if (!fd) return fd.error();
    return read_opened(*fd, path, limit);
  }

  Result<std::string> read_private(std::string_view path, std::size_t limit) const override {
    constexpr mode_t kOthers = 0177;
    constexpr mode_t kPermissions = 07777;
    const auto fd = open_inside(path, O_RDONLY | O_NONBLOCK);
    if (!fd) return fd.error();
    struct stat status {};
    if (::fstat(fd->get(), &status) != 0) return os_error(shown(path), errno, ErrorCode::kIo);
    const bool ours = status.st_uid == 0 || status.st_uid == ::geteuid();
    if (S_ISREG(status.st_mode) && ours && (status.st_mode & kOthers) == 0) {
      return read_opened(*fd, path, limit);
    }
    return Error{
        ErrorCode::kRefused,
        fmt::format("{}: owner {}, mode {:o}: expected a file of root that nobody else can "
                    "read or write (chmod 600)",
                    shown(path), status.st_uid, status.st_mode & kPermissions)};
  }

 private:
  Result<std::string> read_opened(const UniqueFd& fd, std::string_view path,
                                  std::size_t limit) const {
    // Sizes of /proc and /sys files are 0 or 4096 whatever they hold: read until the end.
    std::string content;
    for (;;) {
      constexpr std::size_t kStep = 64U << 10U;
      const std::size_t before = content.size();
      content.resize(before + kStep);
      const ssize_t got = ::read(fd.get(), content.data() + before, kStep);
      if (got < 0 && errno == EINTR) {
        content.resize(before);
        continue;
      }
      if (got < 0) {
        return os_error(fmt::format("{}: read at offset {} failed", shown(path), before), errno,
                        ErrorCode::kIo);
      }
      content.resize(before + static_cast<std::size_t>(got));
      if (got == 0) return content;
      if (content.size() > limit) {
        return Error{
            ErrorCode::kBadData,
            fmt::format("{}: larger than {} bytes, which no such file is", shown(path), limit)};
      }
    }
  }

 public:
  Result<std::vector<std::string>> list(std::string_view path) const override {
    auto fd = open_inside(path, O_RDONLY | O_DIRECTORY);
    if (!fd) return fd.error();
    DIR* const folder = ::fdopendir(fd->get());
    if (folder == nullptr) return os_error(shown(path), errno, ErrorCode::kIo);
    static_cast<void>(fd->release());  // closedir closes it
    std::vector<std::string> names;
    errno = 0;
    for (const dirent* entry = ::readdir(folder); entry != nullptr; entry = ::readdir(folder)) {
      const std::string_view name = static_cast<const char*>(entry->d_name);
      if (name != "." && name != "..") names.emplace_back(name);
      errno = 0;
    }
    const int error = errno;
    ::closedir(folder);
    if (error != 0) return os_error(shown(path), error, ErrorCode::kIo);
    std::sort(names.begin(), names.end());
    return names;
  }

  Result<std::unique_ptr<PositionedFile>> open(std::string_view path) const override {
    auto fd = open_inside(path, O_RDONLY);
    if (!fd) return fd.error();
    return std::unique_ptr<PositionedFile>(std::make_unique<OpenFile>(*std::move(fd), shown(path)));
  }

  Result<std::unique_ptr<Attribute>> open_attribute(std::string_view path) const override {
    auto fd = open_inside(path, O_WRONLY);
    if (!fd) return fd.error();
    return std::unique_ptr<Attribute>(std::make_unique<OpenAttribute>(*std::move(fd)));
  }

  Result<UniqueFd> open_device(std::string_view path) const override {
    if (root_ != "/") return SysRoot::open_device(path);
    auto fd = open_inside(path, O_RDWR);
    if (!fd && fd.error().os_error == EBUSY) {
      return Error{ErrorCode::kLocked, fd.error().message, EBUSY};
    }
    return fd;
  }

  Result<void> replace_file(std::string_view path, std::string_view content,
                            mode_t mode) const override {
    auto folder_fd = make_folders(folder_of(path));
    if (!folder_fd) {
      return Error{ErrorCode::kCannotWrite, "cannot write " + folder_fd.error().message,
                   folder_fd.error().os_error};
    }
    return replace_file_at(folder_fd->get(), std::string(path.substr(path.rfind('/') + 1)), content,
                           mode, shown(path));
  }

  Result<UniqueFd> open_lock(std::string_view path) const override {
    const auto cannot = [&](int error_number) {
      return os_error("cannot open " + shown(path), error_number, ErrorCode::kCannotWrite);
    };
    const auto folder = make_folders(folder_of(path));
    if (!folder) return cannot(folder.error().os_error);
    const std::string name(path.substr(path.rfind('/') + 1));
    constexpr mode_t kMode = 0600;
    UniqueFd fd(
        ::openat(folder->get(), name.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, kMode));
    if (!fd.valid()) return cannot(errno);
    return fd;
  }

  Result<std::optional<mode_t>> file_mode(std::string_view path) const override {
    const auto folder = open_inside(folder_of(path), O_RDONLY | O_DIRECTORY);
    if (!folder && folder.error().code == ErrorCode::kNoInput) return std::optional<mode_t>();
    if (!folder) return folder.error();
    struct stat status {};
    const std::string name(path.substr(path.rfind('/') + 1));
    if (::fstatat(folder->get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) {
      if (errno == ENOENT) return std::optional<mode_t>();
      return os_error(shown(path), errno, ErrorCode::kIo);
    }
    if (!S_ISREG(status.st_mode)) {
      return Error{ErrorCode::kBadData,
                   shown(path) +
                       ": expected a plain file; nothing else is changed, not a link "
                       "either. Look at what is there"};
    }
    constexpr mode_t kPermissions = 07777;
    return std::optional<mode_t>(status.st_mode & kPermissions);
  }

  Result<void> remove_file(std::string_view path) const override {
    const auto cannot = [&](int error_number) {
      return os_error("cannot remove " + shown(path), error_number, ErrorCode::kCannotWrite);
    };
    const auto folder = open_inside(folder_of(path), O_RDONLY | O_DIRECTORY);
    if (!folder) return cannot(folder.error().os_error);
    const std::string name(path.substr(path.rfind('/') + 1));
    if (::unlinkat(folder->get(), name.c_str(), 0) != 0) return cannot(errno);
    if (::fsync(folder->get()) != 0) return cannot(errno);
    return {};
  }

 private:
  static std::string_view folder_of(std::string_view path) {
    const auto slash = path.rfind('/');
    return slash == std::string_view::npos ? "." : path.substr(0, slash);
  }

  // Opens `path` so that no link and no ".." leaves the root.
  Result<UniqueFd> open_inside(std::string_view path, int flags) const {
    const std::string name(path);
    if (root_ == "/") {
      UniqueFd fd(::openat(root_fd_.get(), name.c_str(), flags | O_CLOEXEC));
      if (!fd.valid()) return os_error(shown(path), errno, ErrorCode::kIo);
      return fd;
    }
    open_how how{};
    // A tree that somebody donated may hold anything: a FIFO must not block, a device not be
    // opened.
    how.flags = static_cast<decltype(how.flags)>(flags | O_CLOEXEC | O_NONBLOCK);
    how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
    UniqueFd fd(
        static_cast<int>(::syscall(SYS_openat2, root_fd_.get(), name.c_str(), &how, sizeof how)));
    if (!fd.valid()) return os_error(shown(path), errno, ErrorCode::kIo);
    struct stat status {};
    if (::fstat(fd.get(), &status) != 0) return os_error(shown(path), errno, ErrorCode::kIo);
    if (!S_ISREG(status.st_mode) && !S_ISDIR(status.st_mode)) {
      return Error{
          ErrorCode::kBadData,
          shown(path) + ": is neither a file nor a folder; a captured tree has only those"};
    }
    return fd;
  }

  // The folder at `path`, made with its parents where missing.
  Result<UniqueFd> make_folders(std::string_view path) const {
    auto found = open_inside(path, O_RDONLY | O_DIRECTORY);
    if (found || found.error().os_error != ENOENT) return found;
    const auto slash = path.rfind('/');
    auto parent = make_folders(slash == std::string_view::npos ? "." : path.substr(0, slash));
    if (!parent) return parent;
    const std::string name(path.substr(slash + 1));
    constexpr mode_t kMode = 0755;
    const bool made = ::mkdirat(parent->get(), name.c_str(), kMode) == 0;
    if (!made && errno != EEXIST) {
      return os_error("cannot make folder " + shown(path), errno, ErrorCode::kCannotWrite);
    }
    auto folder = open_inside(path, O_RDONLY | O_DIRECTORY);
    // Whatever the umask: who may read a file in it is said by the file.
    if (folder && made && ::fchmod(folder->get(), kMode) != 0) {
      return os_error("cannot make folder " + shown(path), errno, ErrorCode::kCannotWrite);
    }
    return folder;
  }

  UniqueFd root_fd_;
  std::string root_;
};

}  // namespace

std::string SysRoot::shown(std::string_view path) const {
  return root() == "/" ? fmt::format("/{}", path) : fmt::format("{}/{}", root(), path);
}

Result<std::string> SysRoot::read_private(std::string_view path, std::size_t /*limit*/) const {
  return Error{ErrorCode::kNotAvailable, shown(path) + ": nobody owns it"};
}

Result<UniqueFd> SysRoot::open_device(std::string_view path) const {
  return Error{ErrorCode::kNotAvailable, shown(path) + ": a captured machine has no devices"};
}

Result<std::unique_ptr<SysRoot>> open_sysroot(const std::string& folder) {
  auto root = open_changeable_root(folder);
  if (!root) return root.error();
  return std::unique_ptr<SysRoot>(*std::move(root));
}

Result<std::unique_ptr<ChangeableRoot>> open_changeable_root(const std::string& folder) {
  UniqueFd fd(::open(folder.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid()) return os_error("machine tree " + folder, errno, ErrorCode::kNoInput);
  std::string root = folder;
  while (root.size() > 1 && root.back() == '/') root.pop_back();
  if (root != "/") {
    open_how how{};
    how.flags = O_PATH | O_DIRECTORY | O_CLOEXEC;
    how.resolve = RESOLVE_IN_ROOT;
    const UniqueFd probe(static_cast<int>(::syscall(SYS_openat2, fd.get(), ".", &how, sizeof how)));
    if (!probe.valid()) {
      return Error{ErrorCode::kNotAvailable,
                   fmt::format("--sysroot {}: this kernel has no openat2(2) with RESOLVE_IN_ROOT "
                               "(Linux 5.6), without which links could leave the tree",
                               folder),
                   errno};
    }
  }
  return std::unique_ptr<ChangeableRoot>(
      std::make_unique<FolderRoot>(std::move(fd), std::move(root)));
}

}  // namespace poisonctl
