// mcelog: machine checks about memory, from their registers.
#include "registry/sources/mcelog.h"

#include "tests/unit/sources/hostile_input.h"

namespace poisonctl {
namespace {

TEST(Mcelog, Golden) {
  for (const char* name : {"daemon", "client", "raw"}) {
    expect_golden_case(collect_mcelog, std::string("mcelog/") + name);
  }
}

TEST(Mcelog, TellsMemoryFromTheRest) {
  struct Case {
    std::string_view what;
    MachineCheck check;
    std::string_view line;  // empty: no event
  };
  const auto check = [](std::uint64_t status, std::uint64_t address, std::uint64_t misc) {
    MachineCheck made;
    made.status = status;
    made.address = address;
    made.misc = misc;
    return made;
  };
  MachineCheck umc = check(0xdc2040000000011b, 0x7a5bc00, 0);
  umc.ipid = 0x9600350f00;
  MachineCheck deferred = check(0x9c20100000000000, 0x1000, 0);
  deferred.ipid = 0x9600350f00;
  MachineCheck core = umc;
  core.ipid = 0xb000000000;
  MachineCheck old_amd = check(0xbd000000000000c0, 0x1000, 0x8c);
  old_amd.is_amd = true;
  const Case cases[] = {
      {"scrubbing, uncorrected", check(0xbd000000000000c0, 0x12345678, 0x8c),
       "ue 0x12345000-0x12345fff granularity=4096 evidence=[]\n"},
      {"read, corrected, one cache line", check(0x8c00004000010091, 0x12345678, 0x86),
       "ce 0x12345640-0x1234567f granularity=64 evidence=[]\n"},
      {"no MISC", check(0x8400004000010091, 0x12345678, 0),
       "ce 0x12345678-0x12345678 evidence=[]\n"},
      {"no ADDR", check(0x8000004000010091, 0x12345678, 0), "ce nowhere evidence=[]\n"},
      {"MISC of another mode", check(0x8c00004000010091, 0x12345678, 0x46),
       "ce nowhere evidence=[]\n"},
      {"1 GiB wide", check(0xbd000000000000c0, 0x52345678, 0x9e),
       "ue 0x40000000-0x7fffffff granularity=1073741824 evidence=[]\n"},
      {"all of memory wide", check(0xbd000000000000c0, 0x52345678, 0xbf),
       "ue nowhere evidence=[]\n"},
      {"past the address space", check(0xbd000000000000c0, ~std::uint64_t{0}, 0x8c),
       "ue nowhere evidence=[]\n"},
      {"data load of poison", check(0xbd80000000100134, 0x1000, 0x86),
       "ue 0x1000-0x103f granularity=64 evidence=[]\n"},
      {"cache error", check(0x9c00000000000135, 0x1000, 0x86), ""},
      {"timer", check(0x8400000000000400, 0x1000, 0), ""},
      {"not valid", check(0x3d000000000000c0, 0x1000, 0x8c), ""},
      {"no status", MachineCheck(), ""},
      {"AMD memory controller", umc, "ce nowhere evidence=[]\n"},
      {"AMD deferred", deferred, "deferred nowhere evidence=[]\n"},
      {"AMD core", core, ""},
      {"older AMD", old_amd, ""},
  };
  for (const Case& c : cases) {
    const auto event = event_of(c.check, test_settings());
    EXPECT_EQ(event ? event_line(*event) : "", c.line) << c.what;
  }
}

TEST(Mcelog, RefusesWithTheLine) {
  const RefusedInput inputs[] = {
      {"Hardware event.\nCPU 0 BANK 1\nSTATUS 1bd000000000000c0 MCGSTATUS 0\n",
       "input:3: STATUS '1bd000000000000c0': expected a number of at most 64 bits"},
      {"CPU 0\nADDR 0xzz\n", "input:2: ADDR '0xzz'"},
      {"CPU 0\nTIME 99999999999999999999 x\n", "TIME"},
      {"CPU 0\nMISC -1\n", "MISC '-1'"},
  };
  for (const RefusedInput& input : inputs) expect_refused(collect_mcelog, input);
}

TEST(Mcelog, TimesPastTheCalendarAreNoTimes) {
  const auto got = collected_from(collect_mcelog,
                                  "CPU 0\nSTATUS 0xbd000000000000c0\nTIME 18446744073709551615\n");
  ASSERT_EQ(got.events.size(), 1U) << got.error;
  EXPECT_FALSE(got.events[0].observed);
}

TEST(Mcelog, GoesOnAfterTheNulsOfACrash) {
  const std::string text = "Offlining page 1000\n" + std::string(4096, '\0') +
                           "\nOfflining page 2000\n" + std::string(10, '\0') + "\n";
  const auto got = collected_from(collect_mcelog, text);
  EXPECT_EQ(got.events.size(), 2U);
  ASSERT_EQ(got.report.warnings.size(), 1U);
  EXPECT_EQ(got.report.warnings[0].rfind("input:2: ", 0), 0U) << got.report.warnings[0];
}

TEST(Mcelog, ARecordThatNeverEndsStaysSmall) {
  RepeatedStream stream("Hardware event.\nCPU 0\nSTATUS bd000000000000c0\n",
                        "some decoder's text that goes on and on\n", 8U << 20U);
  const Collected got = collected(
      [&](const EventSink& sink) { return collect_mcelog(stream, test_settings(), sink); });
  ASSERT_EQ(got.events.size(), 1U) << got.error;
  EXPECT_EQ(got.events[0].evidence.size(), Event::kEvidenceLimit);
}

TEST(Mcelog, HostileInput) {
  expect_nothing_from_hostile_input(collect_mcelog);
  expect_endless_line_is_refused(collect_mcelog, 1U << 18U);
}

}  // namespace
}  // namespace poisonctl
