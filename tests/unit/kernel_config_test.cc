#include "registry/kernel_config.h"

#include <gtest/gtest.h>

#include "tests/unit/temp_tree.h"

namespace poisonctl {
namespace {

TEST(KernelConfig, TellsWhatIsSetForTheRunningKernel) {
  TempTree tree;
  tree.write("proc/sys/kernel/osrelease", "7.2-test\n");
  tree.write("boot/config-7.1", "CONFIG_EFI=y\n");
  tree.write("boot/config-7.2-test",
             "# CONFIG_EFI is not set\n"
             "CONFIG_EFI_STUB=y\n"
             "#CONFIG_A=y\n"
             " CONFIG_B=y\n"
             "CONFIG_PSTORE_RAM=m\n"
             "CONFIG_NODES_SHIFT=10\n"
             "CONFIG_CMDLINE=\"a=b\"\n"
             "CONFIG_LAST=y");
  const auto config = KernelConfig::load(*tree.open());
  ASSERT_TRUE(config.ok()) << config.error().message;
  EXPECT_EQ(config->value("CONFIG_EFI"), std::nullopt);
  EXPECT_EQ(config->value("CONFIG_EFI_STUB"), "y");
  EXPECT_EQ(config->value("CONFIG_A"), std::nullopt);
  EXPECT_EQ(config->value("CONFIG_B"), std::nullopt);
  EXPECT_EQ(config->value("CONFIG_PSTORE_RAM"), "m");
  EXPECT_EQ(config->value("CONFIG_NODES_SHIFT"), "10");
  EXPECT_EQ(config->value("CONFIG_CMDLINE"), "\"a=b\"");
  EXPECT_EQ(config->value("CONFIG_LAST"), "y");
  EXPECT_EQ(config->value("CONFIG"), std::nullopt);
}

TEST(KernelConfig, NamesTheFileThatIsNotThere) {
  TempTree tree;
  tree.write("proc/sys/kernel/osrelease", "7.2-test\n");
  const auto config = KernelConfig::load(*tree.open());
  ASSERT_FALSE(config.ok());
  EXPECT_EQ(config.error().code, ErrorCode::kNoInput);
  EXPECT_NE(config.error().message.find("boot/config-7.2-test"), std::string::npos);
}

}  // namespace
}  // namespace poisonctl
