// add_config: each line that is not understood is named once, and what counts has a place in the
// file.
#include <cstddef>
#include <cstdint>

#include "cli/config.h"
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

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view content = as_text(data, size);
  Config config;
  add_config(content, "poisonctl.conf", config);
  const std::size_t lines = split_lines(content).size();
  check_place(config.bounds_from, lines, config.bounds == Bounds());
  check_place(config.refresh_from, lines, config.refresh.empty());
  fuzz_check(config.refresh.size() <= 2, "there are two to refresh");
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
