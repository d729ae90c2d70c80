#include "backends/cxl_repair.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <map>

#include "tests/unit/fake_sysroot.h"
#include "tests/unit/temp_tree.h"

namespace poisonctl {
namespace {

using std::uint64_t;

constexpr const char* kDevice = "sys/bus/edac/devices/cxl_mem0/";

RepairTarget line_at(uint64_t address) {
  return {.bytes = *DeviceRange::from_size(DeviceAddr(address), 64), .dram = {}};
}

class CxlRepair : public testing::Test {
 protected:
  void add(const std::string& name, const std::map<std::string, std::string>& attributes) {
    for (const auto& [attribute, text] : attributes) {
      tree_.write(kDevice + name + "/" + attribute, text + "\n");
    }
    tree_.write(kDevice + name + "/repair", "");
  }
  void add_ppr(const std::string& name, const std::string& mode, const std::string& safe) {
    add(name, {{"repair_type", "ppr"},
               {"persist_mode", mode},
               {"repair_safe_when_in_use", safe},
               {"dpa", "0x0"},
               {"min_dpa", "0x0"},
               {"max_dpa", "0xfffffff"},
               {"nibble_mask", "0x0"}});
  }
  std::vector<RepairFunction> functions() {
    root_ = tree_.open();
    auto found = find_repair_functions(*root_, "mem0");
    EXPECT_TRUE(found.ok());
    problems_ = found->problems;
    return found->functions;
  }
  // The kernel keeps what is written and answers `error` to the order.
  Result<void> order(const RepairFunction& function, const RepairTarget& target,
                     const RepairPolicy& policy, int error = 0) {
    FakeSysRoot root(*root_);
    root.answer([&](std::string_view path, std::string_view text) {
      orders_.push_back(std::string(path.substr(path.rfind('/') + 1)) + "=" + std::string(text));
      if (path.ends_with("/repair")) return error;
      if (!deaf_) tree_.write(path, std::string(text) + "\n");
      return 0;
    });
    return order_repair(root, function, target, policy);
  }

  TempTree tree_;
  std::unique_ptr<SysRoot> root_;
  std::vector<std::string> problems_;
  std::vector<std::string> orders_;
  bool deaf_ = false;  // attributes stay what they are
};

using Lines = std::vector<std::string>;

TEST_F(CxlRepair, TheLeastDrasticComesFirst) {
  add("mem_repair0", {{"repair_type", "rank-sparing"}});
  add("mem_repair1", {{"repair_type", "ppr"}, {"dpa", "0x0"}});
  add("mem_repair2", {{"repair_type", "cacheline-sparing"}});
  add("mem_repair3", {{"repair_type", "row-sparing"}});
  add("mem_repair4", {{"repair_type", "bank-sparing"}});
  add("mem_repair5", {{"repair_type", "chip-kill"}});
  add("scrub0", {{"repair_type", "ppr"}});
  std::string kinds;
  for (const RepairFunction& function : functions()) {
    kinds += std::string(to_word(function.kind)) + " ";
  }
  EXPECT_EQ(kinds, "cacheline-sparing ppr row-sparing bank-sparing rank-sparing ");
  ASSERT_EQ(problems_.size(), 1U);
  EXPECT_NE(problems_[0].find("'chip-kill' is no kind of repair"), std::string::npos);
}

TEST_F(CxlRepair, WithoutFunctionsItSaysSo) {
  EXPECT_TRUE(functions().empty());
  const auto chosen = choose_repair({}, line_at(0), {});
  ASSERT_FALSE(chosen.ok());
  EXPECT_EQ(chosen.error().code, ErrorCode::kNotAvailable);
}

TEST_F(CxlRepair, NeverUnsafeInUseWithoutAsking) {
  add_ppr("mem_repair0", "0", "0");
  const auto found = functions();
  RepairTarget target = line_at(0x1000);
  EXPECT_TRUE(choose_repair(found, target, {}).ok()) << "offline it is safe";
  target.in_use = true;
  const auto refused = choose_repair(found, target, {});
  ASSERT_FALSE(refused.ok());
  EXPECT_TRUE(
      refused.error().message.starts_with("ppr: it may lose data of memory that a region has"));
  EXPECT_TRUE(choose_repair(found, target, {.unsafe_in_use = true}).ok());
}

TEST_F(CxlRepair, NoRepairWithoutAPlace) {
  add("mem_repair0", {{"repair_type", "ppr"}});
  EXPECT_EQ(choose_repair(functions(), line_at(0), {}).error().message,
            "ppr: it takes no device address");
}

TEST_F(CxlRepair, BanksAndRanksOnlyWhenNamed) {
  add("mem_repair0", {{"repair_type", "bank-sparing"}});
  const auto found = functions();
  EXPECT_FALSE(choose_repair(found, line_at(0), {}).ok());
  EXPECT_TRUE(choose_repair(found, line_at(0), {.only = RepairKind::kBankSparing}).ok());
  EXPECT_FALSE(choose_repair(found, line_at(0), {.only = RepairKind::kPpr}).ok());
}

TEST_F(CxlRepair, SparingNeedsItsCoordinates) {
  add("mem_repair0",
      {{"repair_type", "row-sparing"}, {"row", "0"}, {"bank", "0"}, {"nibble_mask", "0x0"}});
  const auto found = functions();
  RepairTarget target = line_at(0);
  target.dram.bank = 3;
  EXPECT_EQ(choose_repair(found, target, {}).error().message,
            "row-sparing: it needs the row, which no event told");
  target.dram.row = 77;
  const auto chosen = choose_repair(found, target, {});
  ASSERT_TRUE(chosen.ok());
  ASSERT_TRUE(order(**chosen, target, {}).ok());
  EXPECT_EQ(orders_, (Lines{"bank=0x3", "row=0x4d", "repair=1"}));
}

TEST_F(CxlRepair, OutsideOfItsReachAndLongerThanALine) {
  add_ppr("mem_repair0", "0", "1");
  const auto found = functions();
  EXPECT_EQ(choose_repair(found, line_at(0x10000000), {}).error().message,
            "ppr: it reaches from 0x0 to 0xfffffff only");
  RepairTarget target = line_at(0);
  target.bytes = *DeviceRange::from_size(DeviceAddr(0), 128);
  EXPECT_EQ(choose_repair(found, target, {}).error().message,
            "it has 2 lines of 64 bytes: each would take a spare of its own");
}

TEST_F(CxlRepair, AFixedModeIsNoOther) {
  add("mem_repair0", {{"repair_type", "ppr"}, {"dpa", "0x0"}});
  EXPECT_EQ(choose_repair(functions(), line_at(0), {.permanent = true}).error().message,
            "ppr: a reset undoes it");
}

TEST_F(CxlRepair, EveryAttributeIsSetAndReadBackBeforeTheOrder) {
  add_ppr("mem_repair0", "0", "1");
  RepairTarget target = line_at(0x1840);
  target.nibble_mask = 0xf;
  const auto found = functions();
  ASSERT_TRUE(order(found[0], target, {.permanent = true}).ok());
  EXPECT_EQ(orders_, (Lines{"persist_mode=0x1", "dpa=0x1840", "nibble_mask=0xf", "repair=1"}));
}

TEST_F(CxlRepair, NoOrderWhereAnAttributeDidNotTakeItsValue) {
  add_ppr("mem_repair0", "0", "1");
  deaf_ = true;
  const auto found = functions();
  const auto done = order(found[0], line_at(0x1840), {});
  ASSERT_FALSE(done.ok());
  EXPECT_NE(done.error().message.find("0x1840 was written and 0x0 is there; nothing was repaired"),
            std::string::npos)
      << done.error().message;
  EXPECT_EQ(orders_, Lines{"dpa=0x1840"});
}

TEST_F(CxlRepair, NothingIsLeftOfTheRepairBefore) {
  add_ppr("mem_repair0", "0", "1");
  tree_.write(std::string(kDevice) + "mem_repair0/nibble_mask", "0xf0\n");
  const auto found = functions();
  ASSERT_TRUE(order(found[0], line_at(0x40), {}).ok());
  EXPECT_EQ(orders_, (Lines{"dpa=0x40", "nibble_mask=0x0", "repair=1"}));
}

// Linux 7.2, drivers/cxl/core/edac.c: persist_mode of PPR has no store.
TEST_F(CxlRepair, AModeThatCannotBeWrittenIsFixed) {
  add_ppr("mem_repair0", "0", "1");
  root_ = tree_.open();
  FakeSysRoot root(*root_);
  root.answer([](std::string_view, std::string_view) { return 0; });
  root.fail_attribute(std::string(kDevice) + "mem_repair0/persist_mode",
                      Error{ErrorCode::kNoPrivilege, "persist_mode: Permission denied", EACCES});
  const auto found = find_repair_functions(root, "mem0");
  ASSERT_TRUE(found.ok());
  EXPECT_FALSE(found->functions[0].can_set_mode);
  EXPECT_TRUE(choose_repair(found->functions, line_at(0), {}).ok());
  EXPECT_EQ(choose_repair(found->functions, line_at(0), {.permanent = true}).error().message,
            "ppr: a reset undoes it");
}

TEST_F(CxlRepair, EbusyIsExplained) {
  add_ppr("mem_repair0", "0", "0");
  const auto found = functions();
  const auto failed = order(found[0], line_at(0), {}, EBUSY);
  ASSERT_FALSE(failed.ok());
  EXPECT_NE(failed.error().message.find("while no region has memory of the device"),
            std::string::npos);
}

TEST_F(CxlRepair, EinvalIsExplainedForMemoryInUse) {
  add_ppr("mem_repair0", "0", "1");
  const auto found = functions();
  RepairTarget target = line_at(0);
  EXPECT_EQ(order(found[0], target, {}, EINVAL).error().message.find("in this boot"),
            std::string::npos);
  target.in_use = true;
  const auto failed = order(found[0], target, {}, EINVAL);
  ASSERT_FALSE(failed.ok());
  EXPECT_EQ(failed.error().os_error, EINVAL);
  EXPECT_NE(failed.error().message.find("has reported in this boot"), std::string::npos);
}

TEST_F(CxlRepair, ClearingNeedsDebugfs) {
  tree_.make_folder("sys");
  root_ = tree_.open();
  EXPECT_EQ(clear_poison(*root_, "mem0", DeviceAddr(64)).error().code, ErrorCode::kNotAvailable);
  tree_.write("sys/kernel/debug/cxl/mem0/clear_poison", "");
  ASSERT_TRUE(clear_poison(*root_, "mem0", DeviceAddr(64)).ok());
  EXPECT_EQ(tree_.content("sys/kernel/debug/cxl/mem0/clear_poison"), "0x40");
}

}  // namespace
}  // namespace poisonctl
