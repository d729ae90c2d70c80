// collect_badram: what one pair expands to is what looking at every byte finds.
#include <cstring>

#include "registry/sources/badram.h"
#include "tests/fuzz/source_fuzz.h"

using namespace poisonctl;

namespace {

// The first 18 bytes of an input as a pattern and a memory small enough to look at.
void check_expansion(const std::uint8_t* data) {
  BadramPattern pattern;
  std::uint16_t end = 0;
  std::memcpy(&pattern.address, data, 8);
  std::memcpy(&pattern.mask, data + 8, 8);
  std::memcpy(&end, data + 16, 2);
  end = static_cast<std::uint16_t>(end & 0xfffU);
  std::vector<bool> found(end);
  std::uint64_t bytes = 0;
  std::uint64_t last = 0;
  const auto done =
      for_each_matching_range(pattern, PhysAddr(end), [&](const ByteRange& range) -> Result<void> {
        fuzz_check(bytes == 0 || range.begin().value() > last, "ascending and apart");
        fuzz_check(range.end().value() <= end, "inside the memory");
        last = range.end().value();
        bytes += range.size();
        for (std::uint64_t i = range.begin().value(); i < last; ++i) found[i] = true;
        return {};
      });
  fuzz_check(done.ok(), "expansion does not fail");
  fuzz_check(matching_bytes(pattern, PhysAddr(end)) == bytes, "the count is exact");
  for (std::uint64_t i = 0; i < end; ++i) {
    fuzz_check(found[i] == ((i & pattern.mask) == (pattern.address & pattern.mask)),
               "exactly the bytes that match");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size >= 18) check_expansion(data);
  fuzz_source(collect_badram, data, size, FuzzTexts::kAsRead, PhysAddr(std::uint64_t{1} << 20U));
  return 0;
}
