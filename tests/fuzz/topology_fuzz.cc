// parse_topology: what it takes is written the same way again, and can be compared with itself.
#include <cstddef>
#include <cstdint>

#include "registry/topology.h"
#include "registry/topology_compare.h"
#include "tests/fuzz/fuzz_check.h"

using namespace poisonctl;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto topology = parse_topology(as_text(data, size), "input");
  if (!topology) {
    fuzz_check(topology.error().code == ErrorCode::kBadData, "every error is kBadData");
    fuzz_check(topology.error().message.starts_with("input:"), "an error names the file");
    fuzz_check_shown(topology.error().message);
    return 0;
  }
  const auto again = parse_topology(to_text(*topology), "again");
  fuzz_check(again.ok() && *again == *topology, "its text reads back equal");
  fuzz_check(hardware_digest(*again) == hardware_digest(*topology), "and has the same digest");
  const Comparison comparison(*topology, *again);
  fuzz_check(comparison.is_same() && comparison.differences().empty(),
             "nothing differs from itself");
  fuzz_check(comparison.judge(*ByteRange::from_size(PhysAddr(0), 4096)).meaning == Meaning::kSame,
             "and every address means the same");
  fuzz_check(!what_it_can_tell(*topology).empty(), "something can be said of it");
  return 0;
}
