// parse_report: what it takes is written and read the same way again.
#include <cstddef>
#include <cstdint>

#include "cli/replay/report.h"
#include "tests/fuzz/fuzz_check.h"

using namespace poisonctl;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto report = parse_report(as_text(data, size), "input");
  if (!report) {
    fuzz_check(report.error().code == ErrorCode::kBadData ||
                   report.error().code == ErrorCode::kUnknownForm,
               "every error is about the form");
    fuzz_check(report.error().message.starts_with("input:"), "an error names the file");
    fuzz_check_shown(report.error().message);
    return 0;
  }
  const std::string text = to_text(*report);
  const auto again = parse_report(text, "again");
  fuzz_check(again.ok() && to_text(*again) == text, "the report reads back equal");
  return 0;
}
