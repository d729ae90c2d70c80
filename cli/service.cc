#include "cli/service.h"

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstddef>
#include <cstdlib>
#include <cstring>

#include "registry/posix_file.h"

namespace poisonctl {

namespace {

constexpr std::string_view kJournalSocket = "/run/systemd/journal/socket";

// One datagram to a socket of the file system, or of the abstract name space ("@NAME").
bool send_datagram(std::string_view path, std::string_view data) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path) return false;
  std::memcpy(address.sun_path, path.data(), path.size());
  if (path.front() == '@') address.sun_path[0] = '\0';
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size());
  const UniqueFd socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!socket.valid()) return false;
  const ssize_t sent = ::sendto(socket.get(), data.data(), data.size(), MSG_NOSIGNAL | MSG_DONTWAIT,
                                reinterpret_cast<const sockaddr*>(&address), length);
  return sent == static_cast<ssize_t>(data.size());
}

}  // namespace

void notify_service_manager(std::string_view state) {
  const char* const path = std::getenv("NOTIFY_SOCKET");  // NOLINT(concurrency-mt-unsafe)
  // Nobody to tell when it fails: systemd then stops waiting at its own time limit.
  if (path != nullptr) static_cast<void>(send_datagram(path, state));
}

bool stderr_is_journal() {
  const char* const stream = std::getenv("JOURNAL_STREAM");  // NOLINT(concurrency-mt-unsafe)
  struct stat status {};
  if (stream == nullptr || ::fstat(STDERR_FILENO, &status) != 0) return false;
  return fmt::format("{}:{}", status.st_dev, status.st_ino) == stream;
}

bool send_to_journal(const std::vector<std::pair<std::string, std::string>>& fields) {
  std::string data;
  for (const auto& [name, value] : fields) data += fmt::format("{}={}\n", name, value);
  return send_datagram(kJournalSocket, data);
}

}  // namespace poisonctl
