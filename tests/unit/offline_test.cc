// Backend "offline": where it may be used, and which frames it can reach at all.
#include "backends/offline.h"

#include <gtest/gtest.h>

#include "tests/unit/temp_tree.h"
#include "tests/unit/test_ranges.h"

namespace poisonctl {
namespace {

constexpr std::string_view kFile = "sys/devices/system/memory/hard_offline_page";
constexpr std::string_view kRecovery = "proc/sys/vm/memory_failure_recovery";

TEST(Offline, ProbeSaysWhyNot) {
  struct Case {
    std::string_view what;
    bool has_file;
    const char* recovery;  // null: the file is not there
    bool available;
    std::string_view told;
  };
  const Case cases[] = {
      {"a kernel that can", true, "1\n", true, "page flags"},
      {"a kernel that would panic", true, "0\n", false, "panic"},
      {"a kernel that does not say", true, nullptr, false, "memory_failure_recovery"},
      {"a value from another world", true, "2\n", false, "panic"},
      {"no interface", false, "1\n", false, "hard_offline_page"},
      {"nothing at all", false, nullptr, false, "hard_offline_page"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.what);
    TempTree tree;
    if (c.has_file) tree.write(kFile, "");
    if (c.recovery != nullptr) tree.write(kRecovery, c.recovery);
    const Availability availability = OfflineBackend().probe(*tree.open());
    EXPECT_EQ(availability.available, c.available);
    EXPECT_NE(availability.reason.find(c.told), std::string::npos) << availability.reason;
  }
}

RetireList list_of(std::vector<ByteRange> frames, std::uint64_t page_size = 4096) {
  return {.generation = 1,
          .page_shift = shift_of(page_size),
          .frames = RangeSet::from_ranges(std::move(frames)),
          .refused = {}};
}

TEST(Offline, CoversTheFramesOfThisKernelAndNamesEachOnALine) {
  TempTree tree;
  tree.write("proc/iomem",
             "00001000-00003fff : System RAM\n00004000-00004fff : Unusable memory\n"
             "00005000-00008fff : System RAM\n");
  RetireList list = list_of({range(0x2000, 0x5fff)});
  list.refused.push_back({range(0x100000, 0x100fff), "was refused before"});
  list.refused.push_back({range(0, 0xfff), "was refused first"});
  const auto plan = OfflineBackend().plan({list}, *tree.open());
  ASSERT_TRUE(plan.ok()) << plan.error().message;
  EXPECT_EQ(plan->covered, set_of({range(0x2000, 0x3fff), range(0x5000, 0x5fff)}));
  EXPECT_EQ(plan->artifact, "0x2000\n0x3000\n0x5000\n");
  ASSERT_EQ(plan->refused.size(), 3U);
  EXPECT_EQ(plan->refused[0].reason, "was refused first");
  EXPECT_EQ(plan->refused[1].range, range(0x4000, 0x4fff));
  EXPECT_NE(plan->refused[1].reason.find("running kernel"), std::string::npos);
  EXPECT_EQ(plan->refused[2].reason, "was refused before");
  EXPECT_FALSE(plan->side_effects.empty());
}

TEST(Offline, AFrameIsOnePageOfThisKernel) {
  TempTree tree;
  tree.write("proc/iomem", "00000000-0002ffff : System RAM\n00030000-00033fff : System RAM\n");
  const auto plan =
      OfflineBackend().plan({list_of({range(0x10000, 0x3ffff)}, 65536)}, *tree.open());
  ASSERT_TRUE(plan.ok());
  EXPECT_EQ(plan->artifact, "0x10000\n0x20000\n");
  ASSERT_EQ(plan->refused.size(), 1U);
  EXPECT_EQ(plan->refused[0].range, range(0x30000, 0x3ffff));
}

TEST(Offline, NothingToDoIsAnEmptyPlan) {
  TempTree tree;
  tree.write("proc/iomem", "00000000-0002ffff : System RAM\n");
  const auto plan = OfflineBackend().plan({list_of({})}, *tree.open());
  ASSERT_TRUE(plan.ok());
  EXPECT_TRUE(plan->covered.empty());
  EXPECT_TRUE(plan->refused.empty());
  EXPECT_TRUE(plan->side_effects.empty());
  EXPECT_EQ(plan->artifact, "");
}

TEST(Offline, WithoutAMapThereIsNoPlan) {
  TempTree tree;
  tree.write("proc/iomem", "00000000-00000000 : System RAM\n");
  const auto plan = OfflineBackend().plan({list_of({range(0, 0xfff)})}, *tree.open());
  ASSERT_FALSE(plan.ok());
  EXPECT_EQ(plan.error().code, ErrorCode::kNoPrivilege);
}

}  // namespace
}  // namespace poisonctl
