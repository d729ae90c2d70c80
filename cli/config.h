// What an administrator wants of every run: /etc/poisonctl/poisonctl.conf and, over it in the order
// of their names, the files of /etc/poisonctl/poisonctl.conf.d that end in .conf. A later file's
// value takes the place of an earlier one's, and an option on the command line that of both.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "registry/bounds.h"
#include "registry/result.h"
#include "registry/sysroot.h"

namespace poisonctl {

inline constexpr std::string_view kConfigFile = "etc/poisonctl/poisonctl.conf";
inline constexpr std::string_view kConfigFolder = "etc/poisonctl/poisonctl.conf.d";

struct Config {
  Bounds bounds;                     // [list] bounds
  std::vector<std::string> refresh;  // [watch] refresh: what 'apply' without a name applies
  std::vector<std::string> files;    // those that were read, as a person would type them
};

// No file is no error. Errors: kBadData with the file and what is wrong in it; those of the files.
Result<Config> load_config(const SysRoot& sysroot);

}  // namespace poisonctl
