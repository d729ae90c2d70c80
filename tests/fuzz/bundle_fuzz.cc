// check_bundle: any bytes are no bundle, or one with findings: nobody that a fuzzer knows signs.
#include <cstddef>
#include <cstdint>
#include <string>

#include "registry/audit/bundle_check.h"
#include "registry/audit/ustar.h"
#include "tests/fuzz/fuzz_check.h"

using namespace poisonctl;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const BundleTrust trust{.keys = {std::string(32, '\1')}, .ca_pem = {}};
  TextStream stream(as_text(data, size), "input");
  const auto report = check_bundle(stream, trust);
  if (!report) {
    fuzz_check(report.error().code == ErrorCode::kBadData, "every error is kBadData");
    fuzz_check_shown(report.error().message);
    return 0;
  }
  fuzz_check(!report->findings.empty(), "it is not found good");
  fuzz_check(report->findings.size() <= kMostFindings, "findings are bounded");
  for (const std::string& finding : report->findings) fuzz_check_shown(finding);
  for (const std::string& note : report->notes) fuzz_check_shown(note);
  return 0;
}
