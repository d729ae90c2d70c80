#include "registry/sources/trace/decode.h"

#include <gtest/gtest.h>

#include <limits>

#include "registry/range_text.h"
#include "tests/unit/sources/trace/trace_samples.h"

namespace poisonctl {
namespace {

constexpr auto kNowhere = std::numeric_limits<std::uint64_t>::max();

std::vector<Event> decode(const TraceEvent& trace, std::uint64_t page_size = 4096) {
  return events_of(trace, {.page_shift = shift_of(page_size), .memory_end = PhysAddr(1ULL << 40)});
}

// "ue 0x1000+0x1000/4096": kind, place, granularity; "-" where there is no place.
std::string shown(const std::vector<Event>& events) {
  std::string all;
  for (const Event& event : events) {
    if (!all.empty()) all += "; ";
    all += std::string(to_word(event.kind)) + " ";
    if (!event.range) {
      all += "-";
      continue;
    }
    std::ostringstream text;
    text << std::hex << "0x" << event.range->begin().value() << "+0x" << event.range->size() << "/"
         << std::dec << event.granularity;
    all += text.str();
  }
  return all;
}

TEST(TraceDecode, MemoryFailureHasTheKernelsWordsAndItsPageSize) {
  const auto small = decode(memory_failure_at(0x8000, 7));
  EXPECT_EQ(shown(small), "ue 0x8000000+0x1000/4096");
  EXPECT_EQ(small.front().result, "free buddy page: Recovered");
  EXPECT_EQ(small.front().observed, at_second(7));
  EXPECT_EQ(small.front().evidence,
            "memory_failure_event on CPU 3: pfn=0x8000 type=\"free buddy page\"(16) "
            "result=\"Recovered\"(3)");
  EXPECT_EQ(shown(decode(memory_failure_at(0x8000), 65536)), "ue 0x80000000+0x10000/65536");
}

TEST(TraceDecode, AFrameBeyondWhatCanBeIsEvidenceWithoutAPlace) {
  EXPECT_EQ(shown(decode(memory_failure_at(kNowhere))), "ue -");
}

// mm/memory-failure.c counts a frame once: not when it was poisoned already.
TEST(TraceDecode, OnlyAFrameThatIsNewRaisesTheCounter) {
  const auto counted = [](const std::string& name, const std::string& type) {
    return raises_counter(trace_of(name, {number_field("pfn", 1), number_field("type", 1, type)}));
  };
  EXPECT_TRUE(counted("memory_failure_event", "free buddy page"));
  EXPECT_TRUE(counted("memory_failure_event", "unknown page"));
  EXPECT_FALSE(counted("memory_failure_event", "already poisoned page"));
  EXPECT_FALSE(counted("memory_failure_event", "already poisoned"));
  EXPECT_FALSE(counted("memory_failure_event", "non struct page pfn"));
  EXPECT_FALSE(counted("mce_record", "free buddy page"));
}

// STATUS, MISC, what comes of it: Intel.
struct IntelCase {
  const char* what;
  std::uint64_t status;
  std::uint64_t misc;
  const char* expected;
};

TEST(TraceDecode, IntelMachineChecks) {
  const IntelCase cases[] = {
      {"scrubber, page granularity", 0xbd000000000000c0, 0x8c, "ue 0x12345000+0x1000/4096"},
      {"data load that met poison, line granularity", 0xbd80000000100134, 0x86,
       "ue 0x12345640+0x40/64"},
      {"corrected memory read", 0x8c00004000010090, 0x86, "ce 0x12345640+0x40/64"},
      {"MISC is not valid", 0xb5000000000000c0, 0x8c, "ue -"},
      {"ADDR is not valid", 0xb9000000000000c0, 0x8c, "ue -"},
      {"a linear address", 0xbd000000000000c0, 0x4c, "ue -"},
      {"the granularity says nothing", 0xbd000000000000c0, 0xbf, "ue -"},
      {"a bus error is none of memory", 0xbd00000000000e0b, 0x8c, ""},
      {"the bank has nothing", 0x3d000000000000c0, 0x8c, ""},
  };
  for (const IntelCase& one : cases) {
    SCOPED_TRACE(one.what);
    TraceEvent trace = scrubber_check(0x12345678);
    trace.fields.at(1).number = one.status;
    trace.fields.at(3).number = one.misc;
    EXPECT_EQ(shown(decode(trace)), one.expected);
  }
}

TEST(TraceDecode, AMachineCheckNamesItsBankAndSocket) {
  const auto events = decode(scrubber_check(0x8000000));
  ASSERT_EQ(events.size(), 1U);
  EXPECT_EQ(to_text(events.front().dram), "socket=1");
  EXPECT_NE(events.front().evidence.find("status=0xbd000000000000c0"), std::string::npos);
  EXPECT_NE(events.front().evidence.find("bank=0x9"), std::string::npos);
}

TEST(TraceDecode, CorrectedErrorsOfABankThatCounts) {
  TraceEvent trace = scrubber_check(0x8000000);
  trace.fields.at(0).number = 1U << 10U;                            // MCG_CMCI_P
  trace.fields.at(1).number = 0x8c00000000010090 | (23ULL << 38U);  // 23 of them
  EXPECT_EQ(decode(trace).front().count, 23U);
  trace.fields.at(0).number = 0;
  EXPECT_EQ(decode(trace).front().count, 1U);
}

TEST(TraceDecode, AmdAddressesAreOfMemoryOnlyWherePoisonWasMet) {
  const auto amd = [](std::uint64_t status, std::uint64_t ipid) {
    return decode(
        trace_of("mce_record", {number_field("status", status), number_field("addr", 0x3456789),
                                number_field("ipid", ipid), number_field("cpuid", 0xa10f11),
                                number_field("bank", 0), number_field("cpuvendor", 2)}));
  };
  constexpr std::uint64_t kUmc = 0x9600000000;
  EXPECT_EQ(shown(amd(0xbc00000000000000, kUmc)), "ue -");
  EXPECT_EQ(shown(amd(0x8c00100000000000, kUmc)), "deferred -");
  EXPECT_EQ(shown(amd(0x9c00000000000000, kUmc)), "ce -");
  EXPECT_EQ(shown(amd(0xbc00080000000000, 0xb000000000)), "ue 0x3456789+0x1/0");
  EXPECT_EQ(shown(amd(0xbc00000000000000, 0xb000000000)), "");
}

TEST(TraceDecode, EdacGrainIsAPowerOfTwo) {
  const auto edac = [](std::uint64_t type, std::uint64_t address, std::uint64_t grain) {
    return decode(trace_of("mc_event",
                           {number_field("error_type", type), text_field("label", "DIMM_A1"),
                            number_field("error_count", 3), number_field("mc_index", 1),
                            number_field("address", address), number_field("grain_bits", grain)}));
  };
  EXPECT_EQ(shown(edac(0, 0x12345, 6)), "ce 0x12340+0x40/64");
  EXPECT_EQ(shown(edac(1, 0x12345, 12)), "ue 0x12000+0x1000/4096");
  EXPECT_EQ(shown(edac(2, 0, 6)), "deferred -");
  // ghes_edac gives such ones: the address is good.
  EXPECT_EQ(shown(edac(1, 0x12345, 63)), "ue 0x12345+0x1/0");
  EXPECT_EQ(shown(edac(1, 0x12345, 31)), "ue 0x12345+0x1/0");
  EXPECT_EQ(shown(edac(4, 0x12345, 6)), "");
  const auto events = edac(0, 0x12345, 6);
  EXPECT_EQ(events.front().count, 3U);
  EXPECT_EQ(events.front().label, "DIMM_A1");
  EXPECT_EQ(to_text(events.front().dram), "controller=1");
}

TEST(TraceDecode, FirmwareRecordsCountNothing) {
  const auto extlog = [](std::uint64_t severity, std::uint64_t address, std::uint64_t mask) {
    return decode(trace_of("extlog_mem_event",
                           {number_field("err_seq", 500), number_field("etype", 3),
                            number_field("sev", severity), number_field("pa", address),
                            number_field("pa_mask_lsb", mask), text_field("fru_text", "Card 2")}));
  };
  EXPECT_EQ(shown(extlog(0, 0x12345, 6)), "ue 0x12340+0x40/64");
  EXPECT_EQ(shown(extlog(2, 0x12345, 255)), "ce 0x12345+0x1/0");
  EXPECT_EQ(shown(extlog(1, kNowhere, 255)), "ue -");
  EXPECT_EQ(shown(extlog(3, 0x12345, 6)), "");
  EXPECT_EQ(extlog(2, 0x12345, 6).front().count, 1U);
}

TEST(TraceDecode, FirmwareRecordsNameTheCell) {
  // struct cper_mem_err_compact: bytes 0 to 7 say which of the others are valid.
  std::string data(56, '\0');
  const auto dram = [&data] {
    return to_text(
        decode(trace_of("extlog_mem_event", {number_field("sev", 2), bytes_field("data", data)}))
            .front()
            .dram);
  };
  data[8] = 1;   // node
  data[10] = 2;  // card
  data[12] = 3;  // module
  data[14] = 4;  // bank
  data[15] = 5;
  data[16] = 6;     // device
  data[18] = 7;     // row
  data[20] = 8;     // column
  data[48] = 1;     // rank
  data[54] = 0x22;  // bit 17 of the row; the upper bits are a chip
  EXPECT_EQ(dram(), "");
  data[0] = static_cast<char>(0xf8);
  data[1] = static_cast<char>(0x83);
  EXPECT_EQ(dram(), "socket=1 controller=2 slot=3 rank=1 device=6 bank=1284 row=7 column=8");
  data[2] = 0x1c;  // the row is extended, the bank is told as group and address
  EXPECT_EQ(dram(),
            "socket=1 controller=2 slot=3 rank=1 device=6 bank_group=5 bank=4 row=131079 column=8");
  data.resize(54);  // older kernels
  EXPECT_EQ(dram(),
            "socket=1 controller=2 slot=3 rank=1 device=6 bank_group=5 bank=4 row=7 column=8");
  data.resize(53);
  EXPECT_EQ(dram(), "");
}

TEST(TraceDecode, ArmCacheErrorsThatWereNotCorrected) {
  std::string info(32, '\0');
  info[2] = 0x14;  // error information and physical address are valid
  info[8] = 0x10;  // "corrected" is valid, and not set
  info[24] = 0x40;
  info[25] = 0x23;
  const auto arm = [](const std::string& infos) {
    return decode(trace_of("arm_event", {number_field("sev", 2), bytes_field("pei_buf", infos)}));
  };
  EXPECT_EQ(shown(arm(info)), "ue 0x2340+0x1/0");
  EXPECT_EQ(shown(arm(info.substr(0, 31))), "ce -");
  info[4] = 1;  // an error of the TLB
  EXPECT_EQ(shown(arm(info)), "ce -");
  EXPECT_EQ(shown(decode(trace_of("arm_event", {number_field("affinity", 0)}))), "");
}

TEST(TraceDecode, CxlPoisonListsAndWhatIsDoneToThem) {
  const auto poison = [](const char* what, const char* source, std::uint64_t hpa,
                         std::uint64_t alias, std::uint64_t dpa, std::uint64_t length) {
    return decode(trace_of(
        "cxl_poison", {text_field("memdev", "mem0"), number_field("serial", 0xabcd),
                       number_field("trace_type", 0, what), number_field("hpa", hpa),
                       number_field("hpa_alias0", alias), number_field("dpa", dpa),
                       number_field("dpa_length", length), number_field("source", 1, source)}));
  };
  EXPECT_EQ(shown(poison("List", "External", 0x100000, kNowhere, 0, 0x100)),
            "media 0x100000+0x100/64");
  EXPECT_EQ(shown(poison("List", "Injected", 0x1000c0, kNowhere, 0xc0, 0x40)),
            "injected 0x1000c0+0x40/64");
  EXPECT_EQ(shown(poison("Inject", "Unknown", 0x100000, 0x900000, 0, 0x100)),
            "injected 0x100000+0x100/64; injected 0x900000+0x100/64");
  EXPECT_EQ(shown(poison("Clear", "Unknown", 0x100000, kNowhere, 0, 0x100)), "");
  // What lies beyond the first granule is somewhere, and is not left out.
  const auto longer = poison("List", "External", 0x1000c0, kNowhere, 0xc0, 0x1000);
  EXPECT_EQ(shown(longer), "media 0x1000c0+0x40/64; media -");
  EXPECT_EQ(longer.back().label, "cxl serial 0xabcd dpa 0xc0+0x1000");
  EXPECT_TRUE(longer.back().evidence.starts_with("4032 bytes after the first 64, "));
  const auto unmapped = poison("List", "Internal", kNowhere, kNowhere, 0x1840, 0x1000);
  EXPECT_EQ(shown(unmapped), "media -");
  EXPECT_EQ(unmapped.front().label, "cxl serial 0xabcd dpa 0x1840+0x1000");
}

TEST(TraceDecode, CxlCoordinatesCountOnlyWhereTheRecordSaysThatTheyAreValid) {
  const auto dram = [](std::uint64_t validity, const char* type, std::uint64_t descriptor) {
    return decode(trace_of(
        "cxl_dram",
        {number_field("serial", 1), number_field("dpa", 0), number_field("descriptor", descriptor),
         number_field("type", 0, type), number_field("transaction_type", 1, "Host Read"),
         number_field("channel", 0), number_field("rank", 1), number_field("bank_group", 2),
         number_field("bank", 3), number_field("row", 4), number_field("column", 5),
         number_field("sub_channel", 6), number_field("validity_flags", validity),
         number_field("hpa", 0x200000), number_field("hpa_alias0", kNowhere)}));
  };
  EXPECT_EQ(to_text(dram(0, "ECC Error", 1).front().dram), "");
  EXPECT_EQ(to_text(dram(0x21, "ECC Error", 1).front().dram), "channel=0 row=4");
  EXPECT_EQ(to_text(dram(0x47b, "ECC Error", 1).front().dram),
            "channel=0 sub_channel=6 rank=1 bank_group=2 bank=3 row=4 column=5");
  EXPECT_EQ(shown(dram(0, "ECC Error", 1)), "ue 0x200000+0x40/64");
  EXPECT_EQ(shown(dram(0, "ECC Error", 2)), "ce 0x200000+0x40/64");
  EXPECT_EQ(shown(dram(0, "Invalid Address", 1)), "ue -");
}

TEST(TraceDecode, EventsThatLackEveryFieldAreNoCrash) {
  for (const KnownTraceEvent& known : known_trace_events()) {
    SCOPED_TRACE(known.name);
    for (const Event& event : decode(trace_of(std::string(known.name), {}))) {
      EXPECT_EQ(event.range, std::nullopt);
      EXPECT_GE(event.count, 1U);
    }
  }
  EXPECT_TRUE(decode(trace_of("sched_switch", {})).empty());
}

TEST(TraceDecode, AGapIsEvidenceWithoutAPlace) {
  const Event gap = gap_of(17, at_second(1), at_second(2));
  EXPECT_EQ(gap.range, std::nullopt);
  EXPECT_EQ(gap.evidence,
            "17 trace events lost between 2026-01-01T00:00:01Z and 2026-01-01T00:00:02Z: the ring "
            "buffer of the kernel overran");
  EXPECT_EQ(gap_of(17, std::nullopt, at_second(2)).evidence,
            "17 trace events lost before 2026-01-01T00:00:02Z, when 'poisonctl watch' took over a "
            "buffer that was there: the ring buffer of the kernel overran; the one before it may "
            "have recorded some of them");
}

TEST(TraceEvent, EvidenceIsBoundedAndPrintable) {
  TraceEvent trace = trace_of("mc_event", {text_field("label", "a\nb\"")});
  EXPECT_EQ(trace.evidence(), "mc_event on CPU 3: label=\"a\\x0ab\"\"");
  for (int i = 0; i < 1000; ++i) trace.fields.push_back(bytes_field("x", std::string(500, 'x')));
  EXPECT_LE(trace.evidence().size(), Event::kEvidenceLimit);
}

}  // namespace
}  // namespace poisonctl
