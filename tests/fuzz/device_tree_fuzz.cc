// A device tree that somebody gives: any bytes are a tree to which nodes are added, or an error;
// and what is added is what the plan says.
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "backends/device_tree.h"
#include "registry/fdt.h"
#include "tests/fuzz/fuzz_check.h"

using namespace poisonctl;

namespace {

void check_error(const Error& error) {
  fuzz_check(error.code == ErrorCode::kBadData || error.code == ErrorCode::kUnknownForm ||
                 error.code == ErrorCode::kNotAvailable,
             "every error is about the tree");
  fuzz_check(error.message.starts_with("input:"), "an error names the file");
  fuzz_check_shown(error.message);
}

RetireList some_list() {
  const auto page = PageShift::smallest();
  std::vector<ByteRange> frames;
  for (std::uint64_t i = 0; i < 64; ++i) {
    frames.push_back(*ByteRange::from_frames(Pfn(0x40000 + 3 * i), 1 + i % 2, page));
  }
  frames.push_back(*ByteRange::from_frames(Pfn(0xfffff), 2, page));
  return {.generation = 1,
          .page_shift = page,
          .frames = RangeSet::from_ranges(std::move(frames)),
          .refused = {}};
}

void check_plan(const RetireList& list, const Plan& plan) {
  std::vector<ByteRange> refused;
  for (const Refusal& refusal : plan.refused) {
    fuzz_check_shown(refusal.reason);
    refused.push_back(refusal.range);
  }
  const RangeSet all = RangeSet::from_ranges(std::move(refused));
  fuzz_check(plan.covered.intersected_with(all).empty(), "covered and refused are disjoint");
  fuzz_check(plan.covered.united_with(all) == list.frames, "covered and refused are the list");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  constexpr std::size_t kLimit = std::size_t{2} << 20U;
  const auto tree = fdt::Tree::parse(as_text(data, size), kLimit, "input");
  if (!tree) {
    check_error(tree.error());
    return 0;
  }
  const auto document = tree->document("input");
  if (!document) {
    check_error(document.error());
    return 0;
  }
  const RetireList list = some_list();
  for (const bool overlay : {false, true}) {
    const auto plan =
        plan_device_tree(list, *document, overlay, {.bytes = kLimit, .nodes = 40}, "input");
    if (!plan) {
      check_error(plan.error());
      return 0;
    }
    check_plan(list, *plan);
    const auto made = fdt::Tree::parse(plan->artifact, plan->artifact.size(), "artifact");
    fuzz_check(made.ok(), "what is written is sound");
    if (overlay) continue;
    auto again = made->document("artifact");
    fuzz_check(again.ok(), "what is written can be read");
    const auto second =
        plan_device_tree(list, *std::move(again), false, {.bytes = kLimit, .nodes = 40}, "input");
    fuzz_check(second.ok() && second->covered == plan->covered, "a second time changes nothing");
  }
  return 0;
}
