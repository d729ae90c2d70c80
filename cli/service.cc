#include "cli/service.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "registry/text.h"

namespace poisonctl {

namespace {

constexpr std::string_view kJournalSocket = "/run/systemd/journal/socket";

// Far more than any service of ours lets the manager keep.
constexpr std::uint64_t kMostKeptFiles = 64;
// SD_LISTEN_FDS_START, sd_listen_fds(3).
constexpr int kFirstKeptFile = 3;

// One datagram to a socket of the file system, or of the abstract name space ("@NAME"), and with it
// a file unless that is null.
bool send_datagram(std::string_view path, std::string_view data, const UniqueFd* file = nullptr) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path) return false;
  std::memcpy(address.sun_path, path.data(), path.size());
  if (path.front() == '@') address.sun_path[0] = '\0';
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size());
  const UniqueFd socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!socket.valid()) return false;
  iovec text{.iov_base = const_cast<char*>(data.data()), .iov_len = data.size()};
  msghdr message{};
  message.msg_name = &address;
  message.msg_namelen = length;
  message.msg_iov = &text;
  message.msg_iovlen = 1;
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  if (file != nullptr) {
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    cmsghdr* const header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    const int fd = file->get();
    std::memcpy(CMSG_DATA(header), &fd, sizeof fd);
  }
  const ssize_t sent = ::sendmsg(socket.get(), &message, MSG_NOSIGNAL | MSG_DONTWAIT);
  return sent == static_cast<ssize_t>(data.size());
}

void notify(std::string_view state, const UniqueFd* file) {
  const char* const path = std::getenv("NOTIFY_SOCKET");  // NOLINT(concurrency-mt-unsafe)
  // Nobody to tell when it fails: systemd then stops waiting at its own time limit.
  if (path != nullptr) static_cast<void>(send_datagram(path, state, file));
}

std::string_view variable(const char* name) {
  const char* const value = std::getenv(name);  // NOLINT(concurrency-mt-unsafe)
  return value == nullptr ? std::string_view() : std::string_view(value);
}

}  // namespace

void notify_service_manager(std::string_view state) { notify(state, nullptr); }

Result<UniqueFd> signals_to_end() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  // It returns its error; errno stays as it was.
  if (const int error = ::pthread_sigmask(SIG_BLOCK, &set, nullptr); error != 0) {
    return os_error("pthread_sigmask", error, ErrorCode::kIo);
  }
  UniqueFd signals(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  if (signals.valid()) return signals;
  return os_error("signalfd", errno, ErrorCode::kIo);
}

std::vector<std::pair<std::string, UniqueFd>> take_kept_files() {
  const auto count = parse_unsigned(variable("LISTEN_FDS"), 10);
  if (!count || *count > kMostKeptFiles) return {};
  if (variable("LISTEN_PID") != std::to_string(::getpid())) return {};
  std::vector<std::pair<std::string, UniqueFd>> kept;
  std::string_view names = variable("LISTEN_FDNAMES");
  for (int fd = kFirstKeptFile; fd < kFirstKeptFile + static_cast<int>(*count); ++fd) {
    const std::string_view name = names.substr(0, names.find(':'));
    names.remove_prefix(std::min(name.size() + 1, names.size()));
    if (::fcntl(fd, F_SETFD, FD_CLOEXEC) == 0) kept.emplace_back(name, UniqueFd(fd));
  }
  return kept;
}

void keep_file(std::string_view name, const UniqueFd& file) {
  notify(fmt::format("FDSTORE=1\nFDPOLL=0\nFDNAME={}", name), &file);
}

void forget_file(std::string_view name) {
  notify(fmt::format("FDSTOREREMOVE=1\nFDNAME={}", name), nullptr);
}

Result<void> request_refresh(const SysRoot& sysroot) {
  constexpr mode_t kMode = 0644;
  return sysroot.replace_file("run/poisonctl/refresh", "", kMode);
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
