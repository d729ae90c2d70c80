// merge_base: an option that is merged in is found again by the kernel's rules, and leaves no trace
// when it is taken out.
#include "backends/command_line.h"
#include "tests/fuzz/fuzz_check.h"

using namespace poisonctl;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto base = merge_base(as_text(data, size), "it");
  if (!base) {
    fuzz_check(base.error().code == ErrorCode::kBadData, "every error is kBadData");
    fuzz_check_shown(base.error().message);
    return 0;
  }
  for (const std::string& remark : base->remarks) fuzz_check_shown(remark);
  constexpr std::string_view kOption = "memmap=0x1000%0x8000000-1+5";
  const std::string whole = merged(*base, kOption);
  const auto line = parse_command_line(whole, "it");
  if (!line) {
    fuzz_check(whole.size() > kCommandLineLimit, "what was merged can be parsed");
    return 0;
  }
  fuzz_check(!line->arguments.empty() && line->arguments.back().name == "memmap" &&
                 is_own_memmap(line->arguments.back().value),
             "the option is the last that the kernel reads");
  const auto again = merge_base(whole, "it");
  fuzz_check(again && again->text == base->text, "taken out, it leaves no trace");
  return 0;
}
