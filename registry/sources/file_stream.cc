#include "registry/sources/file_stream.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>

#include "registry/posix_file.h"
#include "registry/text.h"

namespace poisonctl {

namespace {

// Far more than any log of memory errors; what is piped goes to the disk first.
constexpr std::uint64_t kMostPiped = std::uint64_t{1} << 30U;

class FileStream final : public ByteStream {
 public:
  FileStream(UniqueFd fd, std::string shown) : fd_(std::move(fd)), shown_(std::move(shown)) {}
  [[nodiscard]] const std::string& shown() const override { return shown_; }
  [[nodiscard]] Result<std::size_t> read(std::span<char> buffer) override {
    for (;;) {
      const ssize_t got = ::read(fd_.get(), buffer.data(), buffer.size());
      if (got >= 0) {
        offset_ += static_cast<std::uint64_t>(got);
        return static_cast<std::size_t>(got);
      }
      if (errno == EINTR) continue;
      return os_error(fmt::format("{}: read at offset {} failed", shown_, offset_), errno,
                      ErrorCode::kIo);
    }
  }

  // Whether no other program has to write its end first.
  [[nodiscard]] Result<bool> ends_by_itself() const {
    struct stat status {};
    if (::fstat(fd_.get(), &status) != 0) return os_error(shown_, errno, ErrorCode::kIo);
    const bool is_terminal = S_ISCHR(status.st_mode) && ::isatty(fd_.get()) == 1;
    return !S_ISFIFO(status.st_mode) && !S_ISSOCK(status.st_mode) && !is_terminal;
  }

 private:
  UniqueFd fd_;
  std::string shown_;
  std::uint64_t offset_ = 0;
};

Result<std::unique_ptr<FileStream>> open_stream(const std::string& path) {
  const bool standard = path == "-";
  UniqueFd fd(standard ? ::fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0)
                       : ::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  const std::string shown = standard ? "standard input" : path;
  if (!fd.valid()) return os_error(shown, errno, ErrorCode::kIo);
  return std::make_unique<FileStream>(std::move(fd), shown);
}

// Not every file system has O_TMPFILE.
UniqueFd file_without_name(const std::string& folder) {
  UniqueFd fd(::open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, S_IRUSR | S_IWUSR));
  if (fd.valid() || (errno != EOPNOTSUPP && errno != EISDIR)) return fd;
  std::string name = folder + "/.poisonctl-XXXXXX";
  UniqueFd named(::mkostemp(name.data(), O_CLOEXEC));
  if (named.valid()) ::unlink(name.c_str());
  return named;
}

// All that comes, at the beginning of a file. An invalid descriptor where there is no such folder.
Result<UniqueFd> read_to_its_end(FileStream& stream, const std::string& folder) {
  UniqueFd copy = file_without_name(folder);
  const std::string what = fmt::format("cannot keep {} in {}", stream.shown(), folder);
  if (!copy.valid() && errno == ENOENT) return copy;
  if (!copy.valid()) return os_error(what, errno, ErrorCode::kCannotWrite);
  std::array<char, 1U << 16U> buffer{};
  std::uint64_t size = 0;
  for (;;) {
    const auto got = stream.read(buffer);
    if (!got) return got.error();
    if (*got == 0) break;
    size += *got;
    if (size > kMostPiped) {
      return Error{ErrorCode::kBadData,
                   fmt::format("{}: more than {}; write it to a file, and name that",
                               stream.shown(), to_human_size(kMostPiped))};
    }
    if (const int error = write_fully(copy.get(), {buffer.data(), *got}); error != 0) {
      return os_error(what, error, ErrorCode::kCannotWrite);
    }
  }
  if (::lseek(copy.get(), 0, SEEK_SET) != 0) return os_error(what, errno, ErrorCode::kIo);
  return copy;
}

}  // namespace

Result<std::unique_ptr<ByteStream>> open_file_stream(const std::string& path) {
  auto stream = open_stream(path);
  if (!stream) return stream.error();
  return std::unique_ptr<ByteStream>(*std::move(stream));
}

Result<std::unique_ptr<ByteStream>> open_whole_file_stream(const std::string& path,
                                                           const std::string& folder) {
  auto stream = open_stream(path);
  if (!stream) return stream.error();
  const auto ends = (*stream)->ends_by_itself();
  if (!ends) return ends.error();
  if (*ends) return std::unique_ptr<ByteStream>(*std::move(stream));
  auto copy = read_to_its_end(**stream, folder);
  if (!copy) return copy.error();
  if (!copy->valid()) return std::unique_ptr<ByteStream>(*std::move(stream));
  return std::unique_ptr<ByteStream>(
      std::make_unique<FileStream>(*std::move(copy), (*stream)->shown()));
}

}  // namespace poisonctl
