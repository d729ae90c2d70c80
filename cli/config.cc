#include "cli/config.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>

#include "registry/redfish/address.h"
#include "registry/text.h"

namespace poisonctl {

namespace {

constexpr std::array<std::string_view, 3> kRefreshable = {"e820", "reserve-mem", "bmc"};

Result<void> set_bounds(std::string_view value, Config& config) {
  const auto bounds = parse_bounds(value);
  if (!bounds) return bounds.error();
  config.bounds = *bounds;
  return {};
}

Result<void> set_refresh(std::string_view value, Config& config) {
  std::vector<std::string> names;
  std::string words(value);
  std::replace(words.begin(), words.end(), ',', ' ');
  for (const std::string_view word : split_words(words)) {
    if (word == "kho") {
      return Error{ErrorCode::kBadData,
                   "refresh: kho is kept current by poisonctl-kho.service, which follows the "
                   "registry by itself; enable that"};
    }
    if (std::find(kRefreshable.begin(), kRefreshable.end(), word) == kRefreshable.end()) {
      return Error{
          ErrorCode::kBadData,
          fmt::format("refresh: expected e820, reserve-mem or bmc, found '{}'", printable(word))};
    }
    if (std::find(names.begin(), names.end(), word) == names.end()) names.emplace_back(word);
  }
  config.refresh = std::move(names);
  return {};
}

// Begins the message with the key.
Error of_key(std::string_view key, const Error& error) {
  return {error.code, fmt::format("{}: {}", key, error.message)};
}

Result<void> set_url(std::string_view value, Config& config) {
  if (auto address = parse_service_url(value); !address) return of_key("url", address.error());
  config.redfish.url = value;
  return {};
}

// A whole path: what is looked for must not depend on where we are started.
Result<void> set_file(std::string_view key, std::string_view value, std::string& file) {
  constexpr std::size_t kLongest = 4096;
  if (!value.starts_with('/') || printable(value, kLongest) != value) {
    return Error{ErrorCode::kBadData,
                 fmt::format("{}: expected a path from / on, found '{}'", key, printable(value))};
  }
  file = value;
  return {};
}

Result<void> set_ca_file(std::string_view value, Config& config) {
  return set_file("ca_file", value, config.redfish.ca_file);
}

Result<void> set_password_file(std::string_view value, Config& config) {
  return set_file("password_file", value, config.redfish.password_file);
}

// Basic (RFC 7617, 2) has no user with a colon.
Result<void> set_user(std::string_view value, Config& config) {
  constexpr std::size_t kLongest = 256;
  if (value.empty() || value.size() > kLongest || value.find(':') != std::string_view::npos ||
      printable(value, kLongest) != value) {
    return Error{ErrorCode::kBadData,
                 fmt::format("user: expected at most {} characters without a colon, found '{}'",
                             kLongest, printable(value))};
  }
  config.redfish.user = value;
  return {};
}

Result<void> set_timeout(std::string_view value, Config& config) {
  constexpr std::uint64_t kLongest = 600;
  const auto seconds = parse_unsigned(value, 10);
  if (!seconds || *seconds == 0 || *seconds > kLongest) {
    return Error{ErrorCode::kBadData, fmt::format("timeout: expected 1 to {} seconds, found '{}'",
                                                  kLongest, printable(value))};
  }
  config.redfish.timeout = std::chrono::seconds(*seconds);
  return {};
}

Result<void> set_entries(std::string_view value, Config& config) {
  // Of any service: what is wanted is a path.
  const auto path = path_of_link(ServiceAddress{"bmc"}, value);
  if (!path || *path != value) {
    return Error{ErrorCode::kBadData,
                 fmt::format("entries: expected the path of a LogEntryCollection, found '{}'",
                             printable(value))};
  }
  config.redfish.entries = *path;
  return {};
}

template <ActionTemplate RedfishSettings::*kAction>
Result<void> set_action(std::string_view value, Config& config) {
  auto set = parse_action(value, config.redfish.*kAction);
  return set ? set : of_key(kAction == &RedfishSettings::retire ? "retire" : "repair", set.error());
}

template <ActionTemplate RedfishSettings::*kAction>
Result<void> set_action_body(std::string_view value, Config& config) {
  auto set = parse_action_body(value, config.redfish.*kAction);
  return set ? set
             : of_key(kAction == &RedfishSettings::retire ? "retire_body" : "repair_body",
                      set.error());
}

struct Setting {
  std::string_view section;
  std::string_view key;
  Result<void> (*set)(std::string_view value, Config& config);  // changes nothing on failure
  ConfigPlace Config::*from;
};

constexpr std::string_view kKnown =
    "known are bounds in [list], refresh in [watch], and url, ca_file, user, password_file, "
    "timeout, entries, retire, retire_body, repair and repair_body in [redfish]";
constexpr std::array<Setting, 12> kSettings = {
    {{"list", "bounds", set_bounds, &Config::bounds_from},
     {"watch", "refresh", set_refresh, &Config::refresh_from},
     {"redfish", "url", set_url, &Config::redfish_url_from},
     {"redfish", "ca_file", set_ca_file, &Config::redfish_ca_file_from},
     {"redfish", "user", set_user, &Config::redfish_user_from},
     {"redfish", "password_file", set_password_file, &Config::redfish_password_file_from},
     {"redfish", "timeout", set_timeout, &Config::redfish_timeout_from},
     {"redfish", "entries", set_entries, &Config::redfish_entries_from},
     {"redfish", "retire", set_action<&RedfishSettings::retire>, &Config::redfish_retire_from},
     {"redfish", "retire_body", set_action_body<&RedfishSettings::retire>,
      &Config::redfish_retire_body_from},
     {"redfish", "repair", set_action<&RedfishSettings::repair>, &Config::redfish_repair_from},
     {"redfish", "repair_body", set_action_body<&RedfishSettings::repair>,
      &Config::redfish_repair_body_from}}};

const Setting* find_setting(std::string_view section, std::string_view key) {
  for (const Setting& setting : kSettings) {
    if (setting.section == section && setting.key == key) return &setting;
  }
  return nullptr;
}

bool is_section(std::string_view name) {
  return std::any_of(kSettings.begin(), kSettings.end(),
                     [&](const Setting& setting) { return setting.section == name; });
}

// Reads one file, line by line.
class Reader {
 public:
  Reader(const std::string& shown, Config& config) : shown_(shown), config_(config) {}

  void take(std::string_view line) {
    ++line_;
    const std::string_view text = trim(line.substr(0, line.find('#')));
    if (text.empty()) return;
    if (text.front() == '[') {
      take_section(text);
    } else if (const auto equals = text.find('='); equals == std::string_view::npos) {
      problem(fmt::format("'{}': expected KEY = VALUE or [SECTION]; {}", printable(text), kKnown));
    } else if (section_known_) {
      take_setting(trim(text.substr(0, equals)), trim(text.substr(equals + 1)));
    }
  }

 private:
  void take_section(std::string_view text) {
    const bool closed = text.size() > 1 && text.back() == ']';
    section_ = closed ? trim(text.substr(1, text.size() - 2)) : "";
    section_known_ = is_section(section_);
    // What stands below it is not looked at: one mistake, one problem.
    if (!section_known_) {
      problem(fmt::format("there is no section '{}'; {}", printable(text), kKnown));
    }
  }

  void take_setting(std::string_view key, std::string_view value) {
    const Setting* const setting = find_setting(section_, key);
    if (setting == nullptr) {
      problem(fmt::format(
          "there is no key '{}'{}; {}", printable(key),
          section_.empty() ? " above the first section" : fmt::format(" in [{}]", section_),
          kKnown));
      return;
    }
    const auto [first, is_first] = seen_.try_emplace(setting, line_);
    if (!is_first) {
      problem(fmt::format("[{}] {}: stands in line {} already", section_, key, first->second));
      return;
    }
    if (const auto done = setting->set(value, config_); !done) {
      problem(fmt::format("[{}] {}", section_, done.error().message));
      return;
    }
    config_.*setting->from = {shown_, line_};
  }

  void problem(std::string message) {
    config_.problems.push_back({{shown_, line_}, std::move(message)});
  }

  const std::string& shown_;
  Config& config_;
  std::size_t line_ = 0;
  std::string_view section_;
  bool section_known_ = true;  // above the first one, each key is told by itself
  std::map<const Setting*, std::size_t> seen_;
};

}  // namespace

void add_config(std::string_view content, const std::string& shown, Config& config) {
  Reader reader(shown, config);
  for (const std::string_view line : split_lines(content)) reader.take(line);
  config.files.push_back(shown);
}

namespace {

// Where the first of its settings stands.
ConfigPlace place_of_redfish(const Config& config) {
  for (const Setting& setting : kSettings) {
    if (setting.section == "redfish" && !(config.*setting.from).file.empty()) {
      return config.*setting.from;
    }
  }
  return {};
}

}  // namespace

Result<Config> read_config(const SysRoot& sysroot) {
  std::vector<std::string> paths = {std::string(kConfigFile)};
  const auto names = sysroot.list(kConfigFolder);  // sorted
  if (!names && names.error().code != ErrorCode::kNoInput) return names.error();
  if (names) {
    for (const std::string& name : *names) {
      if (name.ends_with(".conf")) paths.push_back(fmt::format("{}/{}", kConfigFolder, name));
    }
  }
  Config config;
  for (const std::string& path : paths) {
    const auto content = sysroot.read(path, kMostConfigBytes);
    if (!content && content.error().code == ErrorCode::kNoInput) continue;
    if (!content) return content.error();
    add_config(*content, sysroot.shown(path), config);
  }
  if (auto whole = check_whole(config.redfish); !whole) {
    config.problems.push_back({place_of_redfish(config), whole.error().message});
  }
  return config;
}

Result<Config> load_config(const SysRoot& sysroot) {
  auto config = read_config(sysroot);
  if (config && !config->problems.empty()) {
    const ConfigProblem& problem = config->problems.front();
    return Error{ErrorCode::kBadData, fmt::format("{}: line {}: {}", problem.place.file,
                                                  problem.place.line, problem.message)};
  }
  return config;
}

}  // namespace poisonctl
