// EDAC counters: evidence of a DIMM, never of an address.
#include "registry/sources/edac.h"

#include "tests/unit/fake_sysroot.h"
#include "tests/unit/sources/event_lines.h"
#include "tests/unit/temp_tree.h"

namespace poisonctl {
namespace {

class Edac : public ::testing::Test {
 protected:
  void write(const std::string& inside, const std::string& content) const {
    tree_.write("sys/devices/system/edac/mc/" + inside, content);
  }
  [[nodiscard]] Collected collect() const {
    const auto root = tree_.open();
    return collected([&](const EventSink& sink) { return collect_edac(*root, sink); });
  }
  TempTree tree_;
};

TEST_F(Edac, Golden) {
  // A controller with DIMMs, whose csrows count the same errors again.
  write("mc0/dimm0/dimm_label", "CPU_SrcID#0_MC#0_Chan#0_DIMM#0\n");
  write("mc0/dimm0/dimm_location", "channel 0 slot 0 \n");
  write("mc0/dimm0/dimm_ce_count", "12\n");
  write("mc0/dimm0/dimm_ue_count", "0\n");
  write("mc0/dimm3/dimm_label", "DIMM_B1\n");
  write("mc0/dimm3/dimm_location", "channel 1 slot 1 \n");
  write("mc0/dimm3/dimm_ce_count", "0\n");
  write("mc0/dimm3/dimm_ue_count", "2\n");
  write("mc0/csrow0/ce_count", "12\n");
  write("mc0/csrow0/ch0_ce_count", "12\n");
  write("mc0/ce_noinfo_count", "3\n");
  write("mc0/ue_noinfo_count", "0\n");
  // Ranks instead of DIMMs.
  write("mc1/rank4/dimm_ce_count", "1\n");
  write("mc1/rank4/dimm_location", "csrow 2 channel 0 \n");
  // An old kernel: folders of DIMMs without counters, and csrows.
  write("mc2/dimm0/dimm_label", "A1\n");
  write("mc2/csrow1/ch0_ce_count", "5\n");
  write("mc2/csrow1/ch0_dimm_label", "A1\n");
  write("mc2/csrow1/ch1_ce_count", "0\n");
  write("mc2/csrow1/ce_count", "5\n");
  write("mc2/csrow1/ue_count", "1\n");
  // One counter for the row only.
  write("mc3/csrow0/ce_count", "9223372036854775807\n");
  write("mcx/dimm0/dimm_ce_count", "9\n");
  write("power/control", "auto\n");
  expect_golden(collect().lines, "edac/machine.events");
}

TEST_F(Edac, SaysThatThereIsNoController) {
  for (int i = 0; i < 2; ++i) {
    const Collected got = collect();
    EXPECT_EQ(got.code, ErrorCode::kNotAvailable);
    EXPECT_NE(got.error.find("sys/devices/system/edac/mc has no memory controller"),
              std::string::npos)
        << got.error;
    write("power/control", "auto\n");  // the folder without a controller
  }
}

TEST_F(Edac, RefusesACounterThatIsNoNumber) {
  const std::string values[] = {
      "", "x", "-1", "1 2", "9223372036854775808", std::string(5000, '1'), std::string("1\0", 2)};
  for (const std::string& value : values) {
    write("mc0/dimm0/dimm_ce_count", value);
    const Collected got = collect();
    EXPECT_EQ(got.code, ErrorCode::kBadData) << value;
    EXPECT_NE(got.error.find("mc0/dimm0/dimm_ce_count"), std::string::npos) << got.error;
  }
}

TEST_F(Edac, CutsALabelOfAnyLength) {
  write("mc0/dimm0/dimm_label", std::string(4000, 'L'));
  write("mc0/dimm0/dimm_ce_count", "1\n");
  const Collected got = collect();
  ASSERT_EQ(got.events.size(), 1U) << got.error;
  EXPECT_EQ(got.events[0].label.size(), Event::kLabelLimit);
}

TEST_F(Edac, HandsOnWhatTheMachineRefuses) {
  write("mc0/dimm0/dimm_ce_count", "1\n");
  const auto root = tree_.open();
  FakeSysRoot fake(*root);
  fake.fail("sys/devices/system/edac/mc/mc0/dimm0/dimm_ue_count",
            {ErrorCode::kNoPrivilege, "no", 13});
  const Collected got = collected([&](const EventSink& sink) { return collect_edac(fake, sink); });
  EXPECT_EQ(got.code, ErrorCode::kNoPrivilege);
}

}  // namespace
}  // namespace poisonctl
