#include "registry/redfish/settings.h"

#include <fmt/format.h>
#include <openssl/crypto.h>
#include <sys/prctl.h>

#include <cerrno>

#include "registry/posix_file.h"

namespace poisonctl {

Result<void> check_whole(const RedfishSettings& settings) {
  const auto missing = [](const char* what) {
    return Error{ErrorCode::kBadData, fmt::format("[redfish]: {} is missing", what)};
  };
  const bool anything = settings.tells() || !settings.user.empty() || !settings.ca_file.empty() ||
                        !settings.password_file.empty() || !settings.retire.body.empty() ||
                        !settings.repair.body.empty();
  if (!settings.configured()) return anything ? missing("url") : Result<void>();
  if (settings.user.empty()) return missing("user");
  if (settings.password_file.empty()) return missing("password_file");
  if (!settings.retire.configured() && !settings.retire.body.empty()) return missing("retire");
  if (!settings.repair.configured() && !settings.repair.body.empty()) return missing("repair");
  return {};
}

Result<Credentials> read_credentials(const RedfishSettings& settings, const SysRoot& sysroot) {
  constexpr std::size_t kMostBytes = 1024;
  // Before the password is in memory.
  // NOLINTNEXTLINE(cppcoreguidelines-pro-type-vararg): Linux's interface
  if (::prctl(PR_SET_DUMPABLE, 0) != 0) return os_error("PR_SET_DUMPABLE", errno, ErrorCode::kIo);
  const std::string path = settings.password_file.substr(1);
  auto text = sysroot.read_private(path, kMostBytes);
  if (!text) return text.error();
  std::string& lines = *text;
  Credentials credentials;
  credentials.user = settings.user;
  credentials.password = lines.substr(0, lines.find_first_of("\r\n"));
  ::OPENSSL_cleanse(lines.data(), lines.size());
  if (credentials.password.empty()) {
    return Error{ErrorCode::kBadData,
                 sysroot.shown(path) + ": expected a password on its first line"};
  }
  return credentials;
}

Result<std::string> read_authorities(const RedfishSettings& settings, const SysRoot& sysroot) {
  if (settings.ca_file.empty()) return std::string();
  constexpr std::size_t kMostBytes = std::size_t{4} << 20U;
  const std::string path = settings.ca_file.substr(1);
  auto text = sysroot.read(path, kMostBytes);
  if (!text || text->find("-----BEGIN CERTIFICATE-----") != std::string::npos) return text;
  return Error{
      ErrorCode::kBadData,
      sysroot.shown(path) + ": expected certificates in PEM (-----BEGIN CERTIFICATE-----)"};
}

}  // namespace poisonctl
