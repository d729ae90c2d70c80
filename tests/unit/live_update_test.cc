// What is said where live update cannot be had, and what the next kernel makes of it.
#include "registry/live_update.h"

#include <gtest/gtest.h>

#include "tests/unit/temp_tree.h"

namespace poisonctl {
namespace {

constexpr const char* kBuild = "#1 SMP PREEMPT_DYNAMIC Thu Jan  1 00:00:01 UTC 1970";

// A machine with a kernel of that configuration and command line.
struct MachineTree {
  TempTree tree;
  std::unique_ptr<SysRoot> root;
  MachineTree(const std::string& config, const std::string& command_line) {
    tree.write("proc/sys/kernel/osrelease", "7.2.13\n");
    tree.write("proc/sys/kernel/version", std::string(kBuild) + "\n");
    tree.write("proc/cmdline", command_line + "\n");
    if (!config.empty()) tree.write("boot/config-7.2.13", config);
    root = open_sysroot(tree.path()).value();
  }
};

constexpr const char* kAll = "CONFIG_KEXEC_HANDOVER=y\nCONFIG_LIVEUPDATE=y\n";

TEST(LiveUpdate, WhyThereIsNoneAndWhatToDo) {
  struct Case {
    std::string config, command_line, expected;
  };
  for (const Case& one : {
           Case{"CONFIG_SMP=y\n", "kho=on liveupdate=on", "without CONFIG_KEXEC_HANDOVER"},
           Case{"CONFIG_KEXEC_HANDOVER=y\n", "kho=on", "without CONFIG_LIVEUPDATE"},
           Case{kAll, "quiet", "boot with kho=on liveupdate=on"},
           Case{kAll, "kho=on kho=off liveupdate=on", "boot with kho=on liveupdate=on"},
           Case{std::string(kAll) + "CONFIG_KEXEC_HANDOVER_ENABLE_DEFAULT=y\n", "quiet",
                "boot with liveupdate=on beside"},
           Case{kAll, "kho=1 liveupdate=off", "boot with liveupdate=on beside"},
           Case{kAll, "kho=Y liveupdate=on", "could not reserve"},
           Case{"", "kho=on -- liveupdate=on", "boot with liveupdate=on beside"},
       }) {
    SCOPED_TRACE(one.command_line);
    const MachineTree machine(one.config, one.command_line);
    const std::string why = why_no_live_update(*machine.root);
    EXPECT_NE(why.find(one.expected), std::string::npos) << why;
  }
}

TEST(LiveUpdate, ACapturedMachineHasNoDevice) {
  const MachineTree machine(kAll, "kho=on liveupdate=on");
  machine.tree.write("dev/liveupdate", "");
  EXPECT_EQ(open_live_update(*machine.root).error().code, ErrorCode::kNotAvailable);
}

// The part of a bzImage that says what it is.
std::string bz_image(const std::string& version) {
  std::string image(0x400, '\0');
  image.replace(0x202, 4, "HdrS");
  image[0x20e] = '\0';
  image[0x20f] = '\2';  // 0x200 + 0x200
  return image + version + '\0';
}

TEST(LiveUpdate, TheVersionOfAnImage) {
  EXPECT_EQ(image_version(bz_image("7.2.13 (me@here) #1")), "7.2.13 (me@here) #1");
  EXPECT_EQ(image_version(""), "");
  EXPECT_EQ(image_version(std::string(0x400, 'x')), "");
  std::string beyond = bz_image("x");
  beyond[0x20f] = '\x7f';
  EXPECT_EQ(image_version(beyond), "");
  EXPECT_EQ(image_version(bz_image("x").substr(0, 0x401)), "");  // no end
  EXPECT_EQ(image_version(bz_image(std::string(1000, 'x'))), "");
}

TEST(LiveUpdate, OnlyTheSameBuildIsKnownToReadWhatThisOnePreserves) {
  const MachineTree machine(kAll, "kho=on liveupdate=on");
  machine.tree.write("boot/config-7.2.14", kAll);
  machine.tree.write("boot/config-6.1.0", "CONFIG_KEXEC_FILE=y\n");
  const auto verdict = [&](const std::string& version, const std::string& command_line) {
    return next_kernel_reads(*machine.root, bz_image(version), command_line);
  };
  const std::string same = std::string("7.2.13 (me@here) ") + kBuild;
  EXPECT_EQ(verdict(same, "kho=on"), NextKernel::kReads);
  EXPECT_EQ(verdict(same, "quiet"), NextKernel::kReads);
  EXPECT_EQ(verdict(same, "kho=off"), NextKernel::kIgnores);
  EXPECT_EQ(verdict("7.2.13 (me@here) #2 SMP", "kho=on"), NextKernel::kNotKnown);
  EXPECT_EQ(verdict("7.2.14 (me@here) #1", "kho=on"), NextKernel::kNotKnown);
  EXPECT_EQ(verdict("7.2.14 (me@here) #1", "kho=n"), NextKernel::kIgnores);
  EXPECT_EQ(verdict("6.1.0 (me@here) #1", "kho=on"), NextKernel::kIgnores);
  EXPECT_EQ(verdict("9.9.9 (me@here) #1", "quiet"), NextKernel::kNotKnown);  // nobody says
  EXPECT_EQ(next_kernel_reads(*machine.root, "an arm64 image", "kho=on"), NextKernel::kNotKnown);
}

}  // namespace
}  // namespace poisonctl
