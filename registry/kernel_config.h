// What a kernel was built with. Only a file tells that distributions install beside it.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "registry/result.h"
#include "registry/sysroot.h"

namespace poisonctl {

// boot/config-RELEASE of the running kernel. Errors: as SysRoot::read for the release.
Result<std::string> kernel_config_path(const SysRoot& sysroot);

class KernelConfig {
 public:
  // Of the running kernel. Errors: as SysRoot::read; kNoInput where the file is not there.
  static Result<KernelConfig> load(const SysRoot& sysroot);
  // Of the kernel called `release`, which must be a name of no folder. Errors: the same; kNoInput.
  static Result<KernelConfig> load(const SysRoot& sysroot, std::string_view release);

  // Of "CONFIG_NAME": "y", "m", a number or a text in quotes; nothing when it is not set.
  [[nodiscard]] std::optional<std::string_view> value(std::string_view option) const;

 private:
  explicit KernelConfig(std::string text) : text_(std::move(text)) {}
  std::string text_;
};

}  // namespace poisonctl
