#include "registry/kernel_config.h"

#include <fmt/format.h>

#include "registry/text.h"

namespace poisonctl {

Result<std::string> kernel_config_path(const SysRoot& sysroot) {
  const auto release = sysroot.read("proc/sys/kernel/osrelease");
  if (!release) return release.error();
  return fmt::format("boot/config-{}", trim(*release));
}

Result<KernelConfig> KernelConfig::load(const SysRoot& sysroot) {
  const auto path = kernel_config_path(sysroot);
  if (!path) return path.error();
  auto text = sysroot.read(*path);
  if (!text) return text.error();
  return KernelConfig(*std::move(text));
}

Result<KernelConfig> KernelConfig::load(const SysRoot& sysroot, std::string_view release) {
  // The release can come out of a kernel image, which may say anything.
  if (release.empty() || release.find('/') != std::string_view::npos) {
    return Error{ErrorCode::kNoInput, "'" + printable(release) + "' is no name of a kernel"};
  }
  auto text = sysroot.read(fmt::format("boot/config-{}", release));
  if (!text) return text.error();
  return KernelConfig(*std::move(text));
}

std::optional<std::string_view> KernelConfig::value(std::string_view option) const {
  for (const std::string_view line : split_lines(text_)) {
    if (line.starts_with(option) && line.substr(option.size()).starts_with('=')) {
      return trim(line.substr(option.size() + 1));
    }
  }
  return std::nullopt;
}

}  // namespace poisonctl
