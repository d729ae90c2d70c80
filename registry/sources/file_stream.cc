#include "registry/sources/file_stream.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>

#include "registry/posix_file.h"

namespace poisonctl {

namespace {

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

 private:
  UniqueFd fd_;
  std::string shown_;
  std::uint64_t offset_ = 0;
};

}  // namespace

Result<std::unique_ptr<ByteStream>> open_file_stream(const std::string& path) {
  const bool standard = path == "-";
  UniqueFd fd(standard ? ::fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0)
                       : ::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  const std::string shown = standard ? "standard input" : path;
  if (!fd.valid()) return os_error(shown, errno, ErrorCode::kIo);
  return std::unique_ptr<ByteStream>(std::make_unique<FileStream>(std::move(fd), shown));
}

}  // namespace poisonctl
