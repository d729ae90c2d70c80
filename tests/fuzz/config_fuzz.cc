// add_config: each line that is not understood is named once, and what counts has a place in the
// file.
#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>

#include "cli/config.h"
#include "registry/redfish/address.h"
#include "registry/text.h"
#include "tests/fuzz/fuzz_check.h"

using namespace poisonctl;

namespace {

// Without a place, the default; else a line of the file.
void check_place(const ConfigPlace& place, std::size_t lines, bool is_default) {
  if (place.file.empty()) {
    fuzz_check(place.line == 0 && is_default, "what stands nowhere is the default");
  } else {
    fuzz_check(place.line >= 1 && place.line <= lines, "a place is a line of the file");
  }
}

// What is taken is fit for use: a URL, paths of it, and actions that can be filled in.
void check_redfish(const RedfishSettings& redfish) {
  fuzz_check(!redfish.configured() || parse_service_url(redfish.url).ok(), "the URL is one");
  fuzz_check(redfish.user.find(':') == std::string::npos, "Basic knows no such user");
  for (const ActionTemplate* action : {&redfish.retire, &redfish.repair}) {
    if (!action->configured()) continue;
    const auto filled = fill(*action, {.block = *ByteRange::from_size(PhysAddr(0x1000), 0x1000),
                                       .dimm = "../\"A 1\"",
                                       .key = "[poisonctl 0x1000+0x1000 #0]"});
    fuzz_check(filled.has_value(), "an action that was taken can be filled in");
    fuzz_check(path_of_link(ServiceAddress{"bmc"}, filled->path).ok() || filled->path.size() > 2000,
               "and its path is one of the service");
    fuzz_check(nlohmann::json::accept(filled->body), "and its body is JSON");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view content = as_text(data, size);
  Config config;
  add_config(content, "poisonctl.conf", config);
  const std::size_t lines = split_lines(content).size();
  check_place(config.bounds_from, lines, config.bounds == Bounds());
  check_place(config.refresh_from, lines, config.refresh.empty());
  fuzz_check(config.refresh.size() <= 3, "there are three to refresh");
  check_redfish(config.redfish);
  fuzz_check(config.files.size() == 1, "one file was read");
  std::size_t last = 0;
  for (const ConfigProblem& problem : config.problems) {
    fuzz_check(problem.place.line > last && problem.place.line <= lines,
               "problems are of different lines, in their order");
    last = problem.place.line;
    fuzz_check_shown(problem.message);
  }
  return 0;
}
