// A file descriptor that closes itself, and the errno words that go into an Error.
#pragma once

#include <unistd.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "registry/result.h"

namespace poisonctl {

class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    if (this != &other) {
      reset();
      fd_ = std::exchange(other.fd_, -1);
    }
    return *this;
  }
  UniqueFd(const UniqueFd&) = delete;
  UniqueFd& operator=(const UniqueFd&) = delete;
  ~UniqueFd() { reset(); }

  [[nodiscard]] int get() const { return fd_; }
  [[nodiscard]] bool valid() const { return fd_ >= 0; }
  // Gives the descriptor away: the caller closes it.
  [[nodiscard]] int release() { return std::exchange(fd_, -1); }
  void reset() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }

 private:
  int fd_ = -1;
};

// "WHAT: No such file or directory", with the class that callers branch on: ENOENT and ENOTDIR are
// kNoInput, EACCES and EPERM kNoPrivilege, everything else `otherwise`.
Error os_error(std::string_view what, int error_number, ErrorCode otherwise);

// Opens a file of ours for reading; never through a symbolic link. `what` begins the message, with
// the path after it. Errors: those of os_error, else kIo.
Result<UniqueFd> open_own_file(const std::string& path, std::string_view what);
// Opens a file that somebody named, wherever it is, links followed. Errors: kNoInput, kNoPrivilege,
// kIo; kBadData for what is no regular file.
Result<UniqueFd> open_named_file(const std::string& path);
// All that is in such a file. Errors: as above; kBadData for more than `limit` bytes.
Result<std::string> read_named_file(const std::string& path, std::size_t limit);

// A file in memory with `head`, then all of `tail` (or none when that is null), that nobody can
// change any more and that is not open for writing. `tail_name` names it in errors. Errors:
// kBadData when there would be more than `limit` bytes of it; kIo.
Result<UniqueFd> sealed_file(const char* name, std::string_view head, const UniqueFd* tail,
                             std::uint64_t limit, const std::string& tail_name);

// A file in memory of `bytes` bytes, all zeros, that can be written to. Errors: kIo.
Result<UniqueFd> file_in_memory(const char* name, std::uint64_t bytes);

// Writes all of `content` at `offset` (bytes). Errors: kIo.
Result<void> write_at(const UniqueFd& fd, std::uint64_t offset, std::string_view content,
                      std::string_view shown);

// The size of a file in bytes. Errors: kIo.
Result<std::uint64_t> size_of(const UniqueFd& fd, std::string_view shown);

// What is in `fd` from its start, at most `limit` bytes. Errors: kIo.
Result<std::string> read_up_to(const UniqueFd& fd, std::size_t limit, std::string_view shown);

// Writes all of `content` to `fd`, in as many calls as it takes. 0 or the errno.
int write_fully(int fd, std::string_view content);

// Replaces or creates `path` (relative to the folder `dir_fd`, or AT_FDCWD) with `content`, so that
// a crash leaves the old file or the new one. Errors: kCannotWrite.
Result<void> replace_file_at(int dir_fd, const std::string& path, std::string_view content,
                             mode_t mode, const std::string& shown);

// A file that is written piece by piece and then takes the place of what is at its path, so that a
// crash leaves the old file or the new one. It goes away unless it is committed.
class FileInTheMaking {
 public:
  // Beside `path`, under another name. Errors: kCannotWrite.
  static Result<FileInTheMaking> begin(const std::string& path);
  FileInTheMaking(FileInTheMaking&& other) noexcept;
  FileInTheMaking& operator=(FileInTheMaking&&) = delete;
  FileInTheMaking(const FileInTheMaking&) = delete;
  FileInTheMaking& operator=(const FileInTheMaking&) = delete;
  ~FileInTheMaking();

  // Where it is until then, for a library that writes to a path.
  [[nodiscard]] const std::string& temporary_path() const { return temporary_; }
  // Errors of all three: kCannotWrite; what is at the path is as it was.
  [[nodiscard]] Result<void> write(std::string_view content) const;
  // From the start, as if nothing had been written.
  [[nodiscard]] Result<void> start_again() const;
  // When it returns without an error, the file is on the disk, with these permission bits.
  [[nodiscard]] Result<void> commit(mode_t mode);

 private:
  FileInTheMaking(std::string path, std::string temporary, UniqueFd fd)
      : path_(std::move(path)), temporary_(std::move(temporary)), fd_(std::move(fd)) {}
  [[nodiscard]] Error cannot_write(int error_number) const;
  std::string path_;
  std::string temporary_;
  UniqueFd fd_;
};

// Renames over whatever is at `to`, in the same folder, so that it survives a power cut. Errors:
// kCannotWrite.
Result<void> rename_durably(const std::string& from, const std::string& to);

// Makes `path` with `content` where nothing is yet, so that nobody ever sees a part of it: neither
// another process nor whoever comes after a crash. Errors: kCannotWrite, with errno EEXIST when it
// is there already.
Result<void> make_file_at(int dir_fd, const std::string& path, std::string_view content,
                          mode_t mode, const std::string& shown);

}  // namespace poisonctl
