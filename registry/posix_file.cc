#include "registry/posix_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <system_error>

namespace poisonctl {

namespace {

// A file that nobody else made: O_EXCL, and a name that cannot be guessed and waited for.
UniqueFd create_temporary(int dir_fd, const std::string& base, std::string& name) {
  for (int attempt = 0; attempt < 16; ++attempt) {
    std::uint64_t random = 0;
    if (::getrandom(&random, sizeof random, 0) != static_cast<ssize_t>(sizeof random)) break;
    name = fmt::format("{}.{:016x}.tmp", base, random);
    UniqueFd fd(::openat(dir_fd, name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                         S_IRUSR | S_IWUSR));
    if (fd.valid() || errno != EEXIST) return fd;
  }
  return {};
}

// Writes the new content and puts it in place of the old. 0 or the errno.
int put_in_place(int dir_fd, int fd, const std::string& temporary, const std::string& target,
                 std::string_view content, mode_t mode, unsigned rename_flags) {
  if (const int error = write_fully(fd, content); error != 0) return error;
  if (::fchmod(fd, mode) != 0 || ::fsync(fd) != 0) return errno;
  const int renamed = ::renameat2(dir_fd, temporary.c_str(), dir_fd, target.c_str(), rename_flags);
  return renamed == 0 ? 0 : errno;
}

}  // namespace

Error os_error(std::string_view what, int error_number, ErrorCode otherwise) {
  ErrorCode code = otherwise;
  if (error_number == ENOENT || error_number == ENOTDIR) code = ErrorCode::kNoInput;
  if (error_number == EACCES || error_number == EPERM) code = ErrorCode::kNoPrivilege;
  return {code, fmt::format("{}: {}", what, std::generic_category().message(error_number)),
          error_number};
}

Result<UniqueFd> open_own_file(const std::string& path, std::string_view what) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd.valid()) return os_error(fmt::format("{} {}", what, path), errno, ErrorCode::kIo);
  return fd;
}

Result<UniqueFd> open_named_file(const std::string& path) {
  // Not blocking: a pipe that nobody writes to is refused below, not waited for.
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
  if (!fd.valid()) return os_error(path, errno, ErrorCode::kIo);
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0) return os_error(path, errno, ErrorCode::kIo);
  if (!S_ISREG(status.st_mode)) {
    return Error{ErrorCode::kBadData, path + ": is no regular file"};
  }
  return fd;
}

Result<std::string> read_named_file(const std::string& path, std::size_t limit) {
  const auto fd = open_named_file(path);
  if (!fd) return fd.error();
  auto text = read_up_to(*fd, limit + 1, path);
  if (text && text->size() > limit) {
    return Error{ErrorCode::kBadData,
                 fmt::format("{}: has more than {} bytes, the most that are read", path, limit)};
  }
  return text;
}

namespace {

Result<void> append_all(int to, const UniqueFd& from, std::uint64_t limit,
                        const std::string& shown) {
  constexpr std::size_t kStep = 1U << 20U;
  std::string buffer(kStep, '\0');
  std::uint64_t done = 0;
  for (;;) {
    const ssize_t got = ::pread(from.get(), buffer.data(), kStep, static_cast<off_t>(done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return os_error(shown, errno, ErrorCode::kIo);
    if (got == 0) return {};
    done += static_cast<std::uint64_t>(got);
    if (done > limit) {
      return Error{
          ErrorCode::kBadData,
          fmt::format("{}: has more than {} bytes, the most that are taken", shown, limit)};
    }
    const int error =
        write_fully(to, std::string_view(buffer).substr(0, static_cast<std::size_t>(got)));
    if (error != 0) return os_error("a file in memory", error, ErrorCode::kIo);
  }
}

}  // namespace

Result<UniqueFd> sealed_file(const char* name, std::string_view head, const UniqueFd* tail,
                             std::uint64_t limit, const std::string& tail_name) {
  constexpr std::string_view kWhat = "a file in memory";
  const UniqueFd fd(::memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd.valid()) return os_error(kWhat, errno, ErrorCode::kIo);
  if (const int error = write_fully(fd.get(), head); error != 0) {
    return os_error(kWhat, error, ErrorCode::kIo);
  }
  if (tail != nullptr) {
    if (auto added = append_all(fd.get(), *tail, limit, tail_name); !added) return added.error();
  }
  if (::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) !=
      0) {
    return os_error(kWhat, errno, ErrorCode::kIo);
  }
  // The one that was written goes away: a kernel reads no image that is open for writing.
  UniqueFd reader(::open(fmt::format("/proc/self/fd/{}", fd.get()).c_str(), O_RDONLY | O_CLOEXEC));
  if (!reader.valid()) return os_error("/proc/self/fd", errno, ErrorCode::kIo);
  return reader;
}

Result<UniqueFd> file_in_memory(const char* name, std::uint64_t bytes) {
  UniqueFd fd(::memfd_create(name, MFD_CLOEXEC));
  if (!fd.valid() || ::ftruncate(fd.get(), static_cast<off_t>(bytes)) != 0) {
    return os_error("a file in memory", errno, ErrorCode::kIo);
  }
  return fd;
}

Result<void> write_at(const UniqueFd& fd, std::uint64_t offset, std::string_view content,
                      std::string_view shown) {
  while (!content.empty()) {
    const ssize_t written =
        ::pwrite(fd.get(), content.data(), content.size(), static_cast<off_t>(offset));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return os_error(shown, errno, ErrorCode::kIo);
    content.remove_prefix(static_cast<std::size_t>(written));
    offset += static_cast<std::uint64_t>(written);
  }
  return {};
}

Result<std::uint64_t> size_of(const UniqueFd& fd, std::string_view shown) {
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0) return os_error(shown, errno, ErrorCode::kIo);
  return static_cast<std::uint64_t>(status.st_size);
}

Result<std::string> read_up_to(const UniqueFd& fd, std::size_t limit, std::string_view shown) {
  // A limit may be far above what there is, and replay must not itself sit on the frames that it is
  // to retire: room is made as it is filled.
  constexpr std::size_t kFirst = 64U << 10U;
  std::string text;
  std::size_t done = 0;
  while (done < limit) {
    if (done == text.size()) text.resize(std::min(limit, std::max(kFirst, 2 * done)));
    const ssize_t got =
        ::pread(fd.get(), text.data() + done, text.size() - done, static_cast<off_t>(done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return os_error(shown, errno, ErrorCode::kIo);
    if (got == 0) break;
    done += static_cast<std::size_t>(got);
  }
  text.resize(done);
  return text;
}

int write_fully(int fd, std::string_view content) {
  while (!content.empty()) {
    const ssize_t written = ::write(fd, content.data(), content.size());
    if (written < 0) {
      if (errno == EINTR) continue;
      return errno;
    }
    content.remove_prefix(static_cast<std::size_t>(written));
  }
  return 0;
}

namespace {

Result<void> put_file_at(int dir_fd, const std::string& path, std::string_view content, mode_t mode,
                         const std::string& shown, unsigned rename_flags) {
  const auto cannot = [&](int error_number) {
    return Error{ErrorCode::kCannotWrite,
                 fmt::format("cannot write {}: {}; the file is as it was", shown,
                             std::generic_category().message(error_number)),
                 error_number};
  };
  const auto slash = path.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  const std::string name = slash == std::string::npos ? path : path.substr(slash + 1);
  if (name.empty()) return cannot(EISDIR);

  const UniqueFd folder_fd(::openat(dir_fd, folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!folder_fd.valid()) return cannot(errno);
  std::string temporary;
  const UniqueFd fd = create_temporary(folder_fd.get(), name, temporary);
  if (!fd.valid()) return cannot(errno);
  const int error =
      put_in_place(folder_fd.get(), fd.get(), temporary, name, content, mode, rename_flags);
  if (error != 0) {
    ::unlinkat(folder_fd.get(), temporary.c_str(), 0);
    return cannot(error);
  }
  // The rename itself must reach the disk too: fsync the folder (man 2 fsync).
  if (::fsync(folder_fd.get()) != 0) {
    return Error{ErrorCode::kCannotWrite,
                 fmt::format("{} was written, but may not survive a power cut: {}", shown,
                             std::generic_category().message(errno)),
                 errno};
  }
  return {};
}

}  // namespace

Result<void> replace_file_at(int dir_fd, const std::string& path, std::string_view content,
                             mode_t mode, const std::string& shown) {
  return put_file_at(dir_fd, path, content, mode, shown, 0);
}

Result<void> make_file_at(int dir_fd, const std::string& path, std::string_view content,
                          mode_t mode, const std::string& shown) {
  return put_file_at(dir_fd, path, content, mode, shown, RENAME_NOREPLACE);
}

Error FileInTheMaking::cannot_write(int error_number) const {
  return {ErrorCode::kCannotWrite,
          fmt::format("cannot write {}: {}; the file is as it was", path_,
                      std::generic_category().message(error_number)),
          error_number};
}

Result<FileInTheMaking> FileInTheMaking::begin(const std::string& path) {
  std::string temporary;
  UniqueFd fd;
  if (!path.empty() && path.back() != '/') fd = create_temporary(AT_FDCWD, path, temporary);
  const int error = path.empty() || path.back() == '/' ? EISDIR : errno;
  FileInTheMaking made(path, std::move(temporary), std::move(fd));
  if (!made.fd_.valid()) return made.cannot_write(error);
  return made;
}

FileInTheMaking::FileInTheMaking(FileInTheMaking&& other) noexcept
    : path_(std::move(other.path_)),
      temporary_(std::move(other.temporary_)),
      fd_(std::move(other.fd_)) {}

FileInTheMaking::~FileInTheMaking() {
  if (fd_.valid()) ::unlink(temporary_.c_str());
}

Result<void> FileInTheMaking::write(std::string_view content) const {
  const int error = write_fully(fd_.get(), content);
  return error == 0 ? Result<void>() : cannot_write(error);
}

Result<void> FileInTheMaking::start_again() const {
  const bool done = ::ftruncate(fd_.get(), 0) == 0 && ::lseek(fd_.get(), 0, SEEK_SET) == 0;
  return done ? Result<void>() : cannot_write(errno);
}

Result<void> FileInTheMaking::commit(mode_t mode) {
  if (::fchmod(fd_.get(), mode) != 0 || ::fsync(fd_.get()) != 0) return cannot_write(errno);
  if (auto renamed = rename_durably(temporary_, path_); !renamed) return renamed;
  fd_.reset();
  return {};
}

Result<void> rename_durably(const std::string& from, const std::string& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) {
    return os_error(fmt::format("cannot rename {} to {}", from, to), errno,
                    ErrorCode::kCannotWrite);
  }
  const auto slash = to.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : to.substr(0, slash + 1);
  const UniqueFd fd(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid() || ::fsync(fd.get()) != 0) {
    return os_error(fmt::format("{} is in place, but may not survive a power cut", to), errno,
                    ErrorCode::kCannotWrite);
  }
  return {};
}

}  // namespace poisonctl
