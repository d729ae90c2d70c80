#include "registry/ipmi.h"

#include <fmt/format.h>
#include <linux/ipmi.h>
#include <poll.h>
#include <sys/ioctl.h>

#include <cerrno>
#include <chrono>

namespace poisonctl {

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kMostData = 255;

// ioctl(2), again when a signal came.
int control(int fd, unsigned long request, void* argument) {
  int done = 0;
  do {
    done = ::ioctl(fd, request, argument);
  } while (done < 0 && errno == EINTR);
  return done < 0 ? errno : 0;
}

}  // namespace

Result<std::unique_ptr<Ipmi>> KernelIpmi::open(const SysRoot& sysroot) {
  auto fd = sysroot.open_device(kIpmiDevice);
  const std::string shown = sysroot.shown(kIpmiDevice);
  if (fd) return std::unique_ptr<Ipmi>(new KernelIpmi(*std::move(fd), shown));
  const ErrorCode code = fd.error().code;
  if (code != ErrorCode::kNoInput && fd.error().os_error != ENXIO &&
      fd.error().os_error != ENODEV) {
    return fd.error();
  }
  return Error{
      ErrorCode::kNotAvailable,
      fmt::format("{} is not there: this machine has no BMC, or the kernel's drivers for it "
                  "are not loaded (modprobe ipmi_si ipmi_devintf)",
                  shown),
      fd.error().os_error};
}

Result<IpmiAnswer> KernelIpmi::send(const IpmiCommand& command) {
  if (command.data.size() > kMostData) {
    return Error{ErrorCode::kBug, fmt::format("an IPMI command of {} bytes", command.data.size())};
  }
  ipmi_system_interface_addr address{};
  address.addr_type = IPMI_SYSTEM_INTERFACE_ADDR_TYPE;
  address.channel = IPMI_BMC_CHANNEL;
  std::string data(command.data);
  ipmi_req request{};
  request.addr = reinterpret_cast<unsigned char*>(&address);  // NOLINT: the kernel's own type
  request.addr_len = sizeof address;
  request.msgid = ++last_id_;
  request.msg.netfn = command.network_function;
  request.msg.cmd = command.command;
  request.msg.data = reinterpret_cast<unsigned char*>(data.data());  // NOLINT
  request.msg.data_len = static_cast<unsigned short>(data.size());
  const int error = control(fd_.get(), IPMICTL_SEND_COMMAND, &request);
  if (error == ENODEV || error == ENXIO || error == ESHUTDOWN) {
    return Error{ErrorCode::kNotAvailable, shown_ + ": the BMC is gone", error};
  }
  if (error == EAGAIN || error == EBUSY) {
    return Error{ErrorCode::kLocked, shown_ + ": the BMC is busy", error};
  }
  if (error != 0) return os_error(shown_, error, ErrorCode::kIo);
  return receive();
}

Result<IpmiAnswer> KernelIpmi::receive() {
  const auto end = Clock::now() + std::chrono::seconds(kIpmiSeconds);
  for (;;) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - Clock::now());
    pollfd ready{.fd = fd_.get(), .events = POLLIN, .revents = 0};
    const int count = left.count() <= 0 ? 0 : ::poll(&ready, 1, static_cast<int>(left.count()));
    if (count == 0) {
      return Error{ErrorCode::kLocked,
                   fmt::format("{}: the BMC did not answer within {} s", shown_, kIpmiSeconds)};
    }
    if (count < 0) {
      if (errno == EINTR) continue;
      return os_error(shown_, errno, ErrorCode::kIo);
    }
    std::array<unsigned char, IPMI_MAX_MSG_LENGTH> data{};
    ipmi_addr address{};
    ipmi_recv got{};
    got.addr = reinterpret_cast<unsigned char*>(&address);  // NOLINT: the kernel's own type
    got.addr_len = sizeof address;
    got.msg.data = data.data();
    got.msg.data_len = data.size();
    const int error = control(fd_.get(), IPMICTL_RECEIVE_MSG_TRUNC, &got);
    if (error == EAGAIN) continue;
    // EMSGSIZE: the answer was cut to what fits; none that is asked for is so long.
    if (error != 0 && error != EMSGSIZE) return os_error(shown_, error, ErrorCode::kIo);
    // An answer that came too late for an earlier command is not this one's.
    if (got.recv_type != IPMI_RESPONSE_RECV_TYPE || got.msgid != last_id_) continue;
    if (got.msg.data_len == 0) {
      return Error{ErrorCode::kIo, shown_ + ": an answer without a completion code"};
    }
    return IpmiAnswer{data[0], std::string(data.begin() + 1, data.begin() + got.msg.data_len)};
  }
}

}  // namespace poisonctl
