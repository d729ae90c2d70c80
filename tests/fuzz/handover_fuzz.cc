// read_handover: any bytes are a handover within its limits or an error; and none that a fuzzer
// made is signed by anybody.
#include <cstddef>
#include <cstdint>

#include "registry/handover.h"
#include "tests/fuzz/fuzz_check.h"

using namespace poisonctl;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto handover = read_handover(as_text(data, size), "input");
  if (!handover) {
    fuzz_check(handover.error().code == ErrorCode::kBadData ||
                   handover.error().code == ErrorCode::kUnknownForm,
               "every error is kBadData or kUnknownForm");
    fuzz_check(handover.error().message.starts_with("input:"), "an error names the file");
    fuzz_check_shown(handover.error().message);
    return 0;
  }
  const Handover& content = handover->content;
  // 14 bytes a range.
  fuzz_check(content.ranges.size() <= size / 14, "no more ranges than there are bytes for");
  PhysAddr end;
  for (const HandoverRange& entry : content.ranges) {
    fuzz_check(entry.range.is_aligned(content.page_shift), "ranges are whole pages");
    fuzz_check(end <= entry.range.begin(), "ranges are sorted and disjoint");
    end = entry.range.end();
  }
  fuzz_check(claims_in(content).size() == content.ranges.size(), "each range is a claim");
  return 0;
}
