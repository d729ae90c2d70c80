#include "cli/config.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <boost/program_options.hpp>
#include <sstream>

#include "registry/text.h"

namespace poisonctl {

namespace {

namespace po = boost::program_options;

constexpr std::size_t kMostBytes = 64U << 10U;
constexpr std::array<std::string_view, 3> kRefreshable = {"e820", "reserve-mem", "bmc"};

Error bad(const std::string& shown, std::string_view what) {
  return {ErrorCode::kBadData, fmt::format("{}: {}", shown, what)};
}

Result<std::vector<std::string>> refresh_in(const std::string& text, const std::string& shown) {
  std::vector<std::string> names;
  std::string words = text;
  std::replace(words.begin(), words.end(), ',', ' ');
  for (const std::string_view word : split_words(words)) {
    if (word == "kho") {
      return bad(shown,
                 "[watch] refresh: kho is kept current by poisonctl-kho.service, which follows the "
                 "registry by itself; enable that");
    }
    if (std::find(kRefreshable.begin(), kRefreshable.end(), word) == kRefreshable.end()) {
      return bad(shown,
                 fmt::format("[watch] refresh: expected e820, reserve-mem or bmc, found '{}'",
                             printable(word)));
    }
    if (std::find(names.begin(), names.end(), word) == names.end()) names.emplace_back(word);
  }
  return names;
}

Result<void> add_file(std::string_view content, const std::string& shown, Config& config) {
  po::options_description known;
  known.add_options()("list.bounds", po::value<std::string>())("watch.refresh",
                                                               po::value<std::string>());
  po::variables_map values;
  try {
    std::istringstream stream{std::string(content)};
    po::store(po::parse_config_file(stream, known), values);
  } catch (const po::error& error) {
    constexpr std::size_t kShown = 200;
    return bad(shown, fmt::format("{}; known are bounds in [list] and refresh in [watch]",
                                  printable(error.what(), kShown)));
  }
  if (values.count("list.bounds") != 0) {
    const auto bounds = parse_bounds(values["list.bounds"].as<std::string>());
    if (!bounds) return bad(shown, "[list] " + bounds.error().message);
    config.bounds = *bounds;
  }
  if (values.count("watch.refresh") != 0) {
    auto names = refresh_in(values["watch.refresh"].as<std::string>(), shown);
    if (!names) return names.error();
    config.refresh = *std::move(names);
  }
  config.files.push_back(shown);
  return {};
}

}  // namespace

Result<Config> load_config(const SysRoot& sysroot) {
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
    const auto content = sysroot.read(path, kMostBytes);
    if (!content && content.error().code == ErrorCode::kNoInput) continue;
    if (!content) return content.error();
    if (auto added = add_file(*content, sysroot.shown(path), config); !added) return added.error();
  }
  return config;
}

}  // namespace poisonctl
