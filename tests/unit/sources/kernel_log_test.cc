// The kernel's messages, out of every tool that keeps them.
#include "registry/sources/kernel_log.h"

#include "tests/unit/sources/hostile_input.h"

namespace poisonctl {
namespace {

TEST(KernelLog, Golden) {
  for (const char* name : {"dmesg", "edac", "hardware", "syslog"}) {
    expect_golden_case(collect_kernel_log, std::string("kernel_log/") + name);
  }
}

TEST(KernelLog, AFrameIsOfThePageSizeOfTheKernel) {
  const auto got = collected_from(
      collect_kernel_log, "Memory failure: 0x12: recovery action for free buddy page: Recovered\n",
      test_settings(65536));
  ASSERT_EQ(got.events.size(), 1U) << got.error;
  EXPECT_EQ(to_text(*got.events[0].range), "0x120000-0x12ffff");
}

TEST(KernelLog, KeepsWhatIsNoPlaceAsEvidence) {
  const std::string_view lines[] = {
      "Memory failure: 0x100000000000: already hardware poisoned",
      "Memory failure: 0xffffffffffffffff: recovery action for x: Ignored",
      "RAS: Soft-offlining pfn: 0x10000000000001",  // << 12 wraps
      "mce: Uncorrected hardware memory error in user-access at ffffffffffffffff",
      "EDAC MC0: 1 CE on A (page:0xfffffffffffff offset:0x0 grain:8)",
      "EDAC MC0: 1 CE on A (page:0x12 offset:0x1000 grain:8)",  // past its own page
  };
  for (const std::string_view line : lines) {
    const auto got = collected_from(collect_kernel_log, line);
    ASSERT_EQ(got.events.size(), 1U) << line << got.error;
    EXPECT_FALSE(got.events[0].range) << line;
    EXPECT_EQ(got.events[0].evidence, line);
  }
}

TEST(KernelLog, IgnoresWhatIsCutOrAnotherProgram) {
  const std::string_view lines[] = {
      "Memory failure:",
      "Memory failure: 0x12",
      "Memory failure: 0x12: recovery action for",
      "Memory failure: 0x12: recovery action for free buddy page",
      "Memory failure: buffer overflow when queuing memory failure at 0x12",
      "EDAC MC0: 1 CE",
      "EDAC MC0: x CE on A (page:0x1 offset:0x0 grain:8)",
      "EDAC MC: 1 CE on A (page:0x1 offset:0x0 grain:8)",
      "EDAC MC",
      "mce:",
      "mce: [Hardware Error]:",
      "{1}[Hardware Error]:",
      "{1",
      "{}",
      "<3>",
      "[",
      "[]",
      "kernel: ",
      "{1}[Hardware Error]: section_type: PCIe error",
      "user: Memory failure: 0x12: already hardware poisoned",
      "TSC 0 ADDR 1000 MISC 8c",
  };
  for (const std::string_view line : lines) {
    const auto got = collected_from(collect_kernel_log, line);
    EXPECT_EQ(got.lines, "") << line;
  }
}

TEST(KernelLog, RefusesDamagedNumbersWithTheLine) {
  const RefusedInput inputs[] = {
      {"\nMemory failure: 0x10000000000000000: already hardware poisoned",
       "input:2: 'Memory failure: 0x10000000000000000"},
      {"Memory failure: 0xzz: already hardware poisoned", "expected 0x and the number of a page"},
      {"soft offline: 0x12g: invalidated", "number of a page"},
      {"RAS: Soft-offlining pfn: 12", "number of a page"},
      {"Injecting memory failure at pfn x", "number of a page"},
      {"mce: Uncorrected hardware memory error in user-access at 8a398a40000000000",
       "a physical address in hexadecimal"},
      {"EDAC MC0: 1 CE on A (page:0x10000000000000000 offset:0x0 grain:8)", "page:0xPFN"},
      {"EDAC MC0: 1 CE on A (page:0x", "page:0xPFN"},
      {"EDAC MC0: 1 CE on A (page:0x1 offset:0xx grain:8)", "page:0xPFN"},
      {"[Hardware Error]: CPU 0: Machine Check: 0 Bank 9: zz", "the status of a machine check"},
      {"[Hardware Error]: CPU 0: Machine Check: 0 Bank 9: bd000000000000c0\n"
       "[Hardware Error]: TSC 0 ADDR 12345678901234567",
       "input:2: "},
      {"{1}[Hardware Error]: physical_address: 0x12345678901234567", "a physical address or mask"},
      {"{1}[Hardware Error]: physical_address_mask: 12", "a physical address or mask"},
  };
  for (const RefusedInput& input : inputs) expect_refused(collect_kernel_log, input);
}

TEST(KernelLog, ManyRecordsAtOnceAreBounded) {
  std::string text;
  for (int id = 1; id <= 20; ++id) {
    text += "{" + std::to_string(id) + "}[Hardware Error]: section_type: memory error\n";
  }
  const auto got = collected_from(collect_kernel_log, text);
  EXPECT_EQ(got.events.size(), 20U);
  ASSERT_EQ(got.report.warnings.size(), 1U) << got.lines;
  EXPECT_NE(got.report.warnings[0].find("without a severity"), std::string::npos);
}

// Printed as the further lines of a message that held what a user had typed.
TEST(KernelLog, TheFurtherLinesOfAMessageAreNoMessages) {
  const auto got = collected_from(
      collect_kernel_log,
      "[   12.345678] overlayfs: unrecognized mount option \"x\n"
      "               Memory failure: 0x12: recovery action for free buddy page: Recovered\n"
      "\tMemory failure: 0x13: already hardware poisoned\n"
      "               \" or missing value\n"
      "[   12.345679] Memory failure: 0x14: already hardware poisoned\n");
  ASSERT_EQ(got.events.size(), 1U) << got.error;
  EXPECT_EQ(to_text(*got.events[0].range), "0x14000-0x14fff");
  ASSERT_EQ(got.report.warnings.size(), 1U);
  EXPECT_NE(got.report.warnings[0].find("input:2: begins with a blank"), std::string::npos)
      << got.report.warnings[0];
}

TEST(KernelLog, WhatFirmwareTellsForInformationIsNoError) {
  const std::string section =
      "{1}[Hardware Error]:  Error 0, type: info\n"
      "{1}[Hardware Error]:  section_type: memory error\n"
      "{1}[Hardware Error]:  physical_address: 0x0000000012345000\n";
  for (const std::string_view of_record : {"info", "corrected"}) {
    const auto got = collected_from(
        collect_kernel_log,
        "{1}[Hardware Error]: event severity: " + std::string(of_record) + "\n" + section);
    EXPECT_TRUE(got.events.empty()) << got.lines << got.error;
    ASSERT_EQ(got.report.warnings.size(), 1U);
    EXPECT_NE(got.report.warnings[0].find("is no error: left out"), std::string::npos);
  }
}

TEST(KernelLog, GoesOnAfterTheNulsOfACrash) {
  const std::string text = "Memory failure: 0x1: already hardware poisoned\n" +
                           std::string(4096, '\0') +
                           "\nMemory failure: 0x2: already hardware poisoned\n";
  const auto got = collected_from(collect_kernel_log, text);
  EXPECT_EQ(got.events.size(), 2U);
  ASSERT_EQ(got.report.warnings.size(), 1U);
}

TEST(KernelLog, HostileInput) {
  expect_nothing_from_hostile_input(collect_kernel_log);
  expect_endless_line_is_refused(collect_kernel_log, 1U << 18U);
}

}  // namespace
}  // namespace poisonctl
