// Commands to the board's management controller (BMC), through the kernel's interface: /dev/ipmi0
// (include/uapi/linux/ipmi.h, drivers/char/ipmi/ipmi_devintf.c). IPMI is the Intelligent Platform
// Management Interface Specification 2.0.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "registry/result.h"
#include "registry/sysroot.h"

namespace poisonctl {

inline constexpr std::string_view kIpmiDevice = "dev/ipmi0";

// A request to the BMC itself (LUN 0).
struct IpmiCommand {
  std::uint8_t network_function = 0;
  std::uint8_t command = 0;
  std::string_view data;  // at most 255 bytes
};

// What it says: the completion code (5.2), and the bytes after it.
struct IpmiAnswer {
  std::uint8_t completion = 0;
  std::string data;
};

// A way to a BMC. One command at a time.
class Ipmi {
 public:
  Ipmi() = default;
  Ipmi(const Ipmi&) = delete;
  Ipmi& operator=(const Ipmi&) = delete;
  virtual ~Ipmi() = default;
  // Sends a command and waits for its answer, for kIpmiSeconds at the most. Errors: kLocked when
  // no answer came in time: then nobody knows whether the command was carried out; kNotAvailable
  // when there is no BMC any more; kIo.
  [[nodiscard]] virtual Result<IpmiAnswer> send(const IpmiCommand& command) = 0;
};

// A KCS interface transfers a byte in some 10 to 100 us, and the kernel's driver gives a BMC 5 s
// for each step (IBF_TIMEOUT, OBF_TIMEOUT in drivers/char/ipmi/ipmi_kcs_sm.c).
inline constexpr int kIpmiSeconds = 15;

class KernelIpmi final : public Ipmi {
 public:
  // Errors: kNotAvailable, with what to do, where the machine has no BMC or the kernel no driver
  // for it; kNoPrivilege.
  static Result<std::unique_ptr<Ipmi>> open(const SysRoot& sysroot);
  [[nodiscard]] Result<IpmiAnswer> send(const IpmiCommand& command) override;

 private:
  KernelIpmi(UniqueFd fd, std::string shown) : fd_(std::move(fd)), shown_(std::move(shown)) {}
  [[nodiscard]] Result<IpmiAnswer> receive();
  UniqueFd fd_;
  std::string shown_;
  long last_id_ = 0;
};

}  // namespace poisonctl
