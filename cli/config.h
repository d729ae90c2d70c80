// What an administrator wants of every run: /etc/poisonctl/poisonctl.conf and, over it in the order
// of their names, the files of /etc/poisonctl/poisonctl.conf.d that end in .conf. A later file's
// value takes the place of an earlier one's, and an option on the command line that of both.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "registry/bounds.h"
#include "registry/redfish/settings.h"
#include "registry/result.h"
#include "registry/sysroot.h"

namespace poisonctl {

inline constexpr std::string_view kConfigFile = "etc/poisonctl/poisonctl.conf";
inline constexpr std::string_view kConfigFolder = "etc/poisonctl/poisonctl.conf.d";
// Of one file.
inline constexpr std::size_t kMostConfigBytes = 64U << 10U;

// Where something stands. Without a file: the default, which stands nowhere.
struct ConfigPlace {
  std::string file;      // as a person would type it
  std::size_t line = 0;  // from 1 on
};

// A line that is not understood, and counts for nothing.
struct ConfigProblem {
  ConfigPlace place;
  std::string message;  // what was found, what was expected
};

struct Config {
  Bounds bounds;  // [list] bounds
  ConfigPlace bounds_from;
  std::vector<std::string> refresh;  // [watch] refresh: what 'apply' without a name applies
  ConfigPlace refresh_from;
  RedfishSettings redfish;  // [redfish]
  ConfigPlace redfish_url_from;
  ConfigPlace redfish_ca_file_from;
  ConfigPlace redfish_user_from;
  ConfigPlace redfish_password_file_from;
  ConfigPlace redfish_timeout_from;
  ConfigPlace redfish_entries_from;
  ConfigPlace redfish_retire_from;
  ConfigPlace redfish_retire_body_from;
  ConfigPlace redfish_repair_from;
  ConfigPlace redfish_repair_body_from;
  std::vector<std::string> files;  // those that were read, in their order
  std::vector<ConfigProblem> problems;
};

// Adds what a file of this content says, and what in it is not understood. `shown` names it.
void add_config(std::string_view content, const std::string& shown, Config& config);

// All files, problems and all, those of settings that need each other too. No file is no error.
// Errors: those of the files.
Result<Config> read_config(const SysRoot& sysroot);
// For what goes by it: the first problem is an error, kBadData, and nothing is guessed.
Result<Config> load_config(const SysRoot& sysroot);

}  // namespace poisonctl
