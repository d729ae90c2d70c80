// What debugfs shows of kexec handover: any bytes are read within their limits or are an error, in
// either byte order, and what was read can be written and read again.
#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "registry/kho.h"
#include "tests/fuzz/fuzz_check.h"

using namespace poisonctl;

namespace {

void check_error(const Error& error) {
  fuzz_check(error.code == ErrorCode::kBadData || error.code == ErrorCode::kUnknownForm,
             "every error is kBadData or kUnknownForm");
  fuzz_check(error.message.starts_with("input:"), "an error names the file");
  fuzz_check_shown(error.message);
}

void check_root(std::string_view text, std::endian order) {
  const auto root = read_kho_root(text, order, "input");
  if (!root) return check_error(root.error());
  fuzz_check(root->subtrees.size() <= text.size(), "no more subtrees than bytes");
  const auto again = write_kho_root(*root, order);
  fuzz_check(again.ok() && read_kho_root(*again, order, "input").ok(), "it can be written again");
}

// The input is the metadata, and all of memory too: chains lead anywhere into it.
void check_hwpoison(std::string_view text, std::endian order) {
  const PageShift shift = PageShift::smallest();
  const auto metadata = read_hwpoison(text, order, shift, "input");
  if (!metadata) return check_error(metadata.error());
  std::size_t reads = 0;
  const MemoryReader memory = [&](PhysAddr address, std::size_t bytes) -> Result<std::string> {
    fuzz_check(bytes == shift.page_size(), "a page at a time");
    // Far more than there are pages would be a chain without an end.
    if (++reads > 4096) return Error{ErrorCode::kBadData, "input: enough"};
    std::string page(
        text.substr(std::min<std::uint64_t>(address.value() % 64, text.size()), bytes));
    page.resize(bytes);
    return page;
  };
  const auto frames = read_hwpoison_frames(*metadata, order, shift, memory, "input");
  if (!frames) return check_error(frames.error());
  fuzz_check(frames->size() == metadata->count, "as many frames as it says");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text = as_text(data, size);
  for (const std::endian order : {std::endian::little, std::endian::big}) {
    check_root(text, order);
    check_hwpoison(text, order);
  }
  if (const auto version = read_luo_version(text, "input"); !version) check_error(version.error());
  return 0;
}
