// The rules between a list and a machine: what each finds, and that no byte is lost between what is
// accepted and what is refused.
#include "registry/check.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <iterator>
#include <random>

#include "registry/retire_list.h"
#include "tests/unit/checked_machine.h"
#include "tests/unit/sample_events.h"
#include "tests/unit/test_files.h"

namespace poisonctl {
namespace {

constexpr std::uint64_t kPage = 4096;

Record record_of(const ByteRange& where, Condition condition = Condition::kFaulty,
                 bool exact = true) {
  Event event = event_of(
      condition == Condition::kFaulty ? EventKind::kUncorrected : EventKind::kCorrected, where);
  if (!exact) event.granularity = std::uint64_t{2} << 20U;
  Record record = empty_record(1, record_range(where), Time());
  fold_event(record, event, provenance_of("operator", "boot-1", Time()), {}, false);
  return record;
}

MemoryMap map_of(std::string_view iomem, std::vector<FirmwareEntry> firmware = {}) {
  return {parse_iomem(iomem, "iomem").value(), std::move(firmware)};
}

// A PC: the kernel at 2 MiB, ACPI tables and a hole at 4 MiB, persistent memory at 16 MiB.
constexpr std::string_view kPc =
    "00000000-00000fff : Reserved\n"
    "00001000-0009fbff : System RAM\n"
    "00100000-003fffff : System RAM\n"
    "  00200000-0027ffff : Kernel code\n"
    "  00300000-0030ffff : Kernel data\n"
    "00400000-0040ffff : ACPI Tables\n"
    "00420000-0042ffff : Unknown E820 type\n"
    "00440000-0044ffff : PCI Bus 0000:00\n"
    "01000000-01ffffff : Persistent Memory\n"
    "  01000000-017fffff : System RAM (kmem)\n";

std::vector<std::string> rules_found(const CheckResult& result) {
  std::vector<std::string> ids;
  for (const Finding& finding : result.findings) ids.emplace_back(finding.rule->id);
  return ids;
}

RangeSet refused_in(const CheckResult& result) {
  std::vector<ByteRange> ranges;
  for (const Refusal& refusal : result.refused) ranges.push_back(refusal.range);
  return RangeSet::from_ranges(std::move(ranges));
}

TEST(Check, EveryRule) {
  struct Case {
    std::string_view name;
    ByteRange where;
    bool exact;
    std::uint64_t page_size;
    std::vector<std::string> found;
    std::vector<ByteRange> accepted;
    std::vector<ByteRange> refused;
  };
  const Case cases[] = {
      {"plain RAM", range(0x110000, 0x110fff), true, kPage, {}, {range(0x110000, 0x110fff)}, {}},
      {"RAM that a driver brought",
       range(0x1000000, 0x1000fff),
       true,
       kPage,
       {},
       {range(0x1000000, 0x1000fff)},
       {}},
      {"above all",
       range(0x2000000, 0x2000fff),
       true,
       kPage,
       {"beyond-machine"},
       {},
       {range(0x2000000, 0x2000fff)}},
      {"the last frame there can be",
       range(kPhysAddrLimit - kPage, kPhysAddrLimit - 1),
       true,
       kPage,
       {"beyond-machine"},
       {},
       {range(kPhysAddrLimit - kPage, kPhysAddrLimit - 1)}},
      {"ACPI",
       range(0x400000, 0x400fff),
       true,
       kPage,
       {"firmware-reserved"},
       {},
       {range(0x400000, 0x400fff)}},
      {"the first page",
       range(0, 0xfff),
       true,
       kPage,
       {"firmware-reserved"},
       {},
       {range(0, 0xfff)}},
      {"an unknown type",
       range(0x420000, 0x420fff),
       true,
       kPage,
       {"firmware-reserved"},
       {},
       {range(0x420000, 0x420fff)}},
      {"persistent memory",
       range(0x1800000, 0x1800fff),
       true,
       kPage,
       {"device-memory"},
       {},
       {range(0x1800000, 0x1800fff)}},
      {"a hole", range(0x410000, 0x410fff), true, kPage, {"hole"}, {}, {range(0x410000, 0x410fff)}},
      {"a device",
       range(0x440000, 0x440fff),
       true,
       kPage,
       {"outside-ram"},
       {},
       {range(0x440000, 0x440fff)}},
      {"the frame that RAM ends in",
       range(0x9f000, 0x9ffff),
       true,
       kPage,
       {"partial-frame"},
       {},
       {range(0x9f000, 0x9ffff)}},
      {"half RAM, half ACPI",
       range(0x3ff000, 0x400fff),
       true,
       kPage,
       {"firmware-reserved", "partly-outside"},
       {range(0x3ff000, 0x3fffff)},
       {range(0x400000, 0x400fff)}},
      {"the kernel's code",
       range(0x27f000, 0x27ffff),
       true,
       kPage,
       {"kernel-image"},
       {range(0x27f000, 0x27ffff)},
       {}},
      {"after the kernel's code",
       range(0x280000, 0x280fff),
       true,
       kPage,
       {},
       {range(0x280000, 0x280fff)},
       {}},
      {"the kernel's data",
       range(0x300000, 0x300fff),
       true,
       kPage,
       {"kernel-image"},
       {range(0x300000, 0x300fff)},
       {}},
      {"a frame of 4K on a kernel with 64K",
       range(0x11f000, 0x11ffff),
       true,
       65536,
       {"page-size"},
       {range(0x110000, 0x11ffff)},
       {}},
      {"a page of 64K that is RAM in part on a kernel with 64K",
       range(0x90000, 0x9ffff),
       true,
       65536,
       {"partial-frame"},
       {},
       {range(0x90000, 0x9ffff)}},
      {"a huge page",
       range(0x200000, 0x3fffff),
       false,
       kPage,
       {"kernel-image", "not-exact"},
       {range(0x200000, 0x3fffff)},
       {}},
  };
  const MemoryMap map = map_of(kPc);
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    const PageShift shift = shift_of(c.page_size);
    const Record faulty[] = {record_of(c.where, Condition::kFaulty, c.exact)};
    const CheckResult result = check_on(map, shift, faulty);
    EXPECT_EQ(rules_found(result), c.found);
    EXPECT_EQ(result.accepted, set_of(c.accepted));
    EXPECT_EQ(refused_in(result), set_of(c.refused));
    // A suspect range has the same findings, and is neither kept out nor refused.
    const Record suspect[] = {record_of(c.where, Condition::kSuspect, c.exact)};
    const CheckResult watched = check_on(map, shift, suspect);
    EXPECT_EQ(rules_found(watched), c.found);
    EXPECT_TRUE(watched.accepted.empty());
    EXPECT_TRUE(watched.refused.empty());
  }
}

TEST(Check, EachRuleHasItsSeverityAndRefusesOrNot) {
  struct Case {
    std::string_view id;
    std::string_view severity;
    bool refuses;
  };
  const Case cases[] = {{"quarantined", "warning", true},
                        {"injected", "note", true},
                        {"beyond-machine", "error", true},
                        {"partial-frame", "note", true},
                        {"efi-runtime", "error", true},
                        {"device-tree", "error", true},
                        {"firmware-reserved", "note", true},
                        {"device-memory", "warning", true},
                        {"hole", "error", true},
                        {"outside-ram", "error", true},
                        {"partly-outside", "warning", false},
                        {"first-mib", "note", false},
                        {"kernel-image", "warning", false},
                        {"crash-kernel", "warning", false},
                        {"initrd", "warning", false},
                        {"kho-scratch", "warning", false},
                        {"offline-block", "warning", false},
                        {"page-size", "note", false},
                        {"not-exact", "warning", false},
                        {"duplicate", "note", false},
                        {"overlap", "note", false},
                        {"huge-pages", "warning", false},
                        {"past-bound", "warning", true},
                        {"hard-limit", "error", true},
                        {"sources-disagree", "warning", false}};
  ASSERT_EQ(rules().size(), std::size(cases));
  for (std::size_t i = 0; i < std::size(cases); ++i) {
    EXPECT_EQ(rules()[i].id, cases[i].id);
    EXPECT_EQ(to_word(rules()[i].severity), cases[i].severity);
    EXPECT_EQ(rules()[i].refuses, cases[i].refuses);
    EXPECT_EQ(rule_of(cases[i].id), &rules()[i]);
    EXPECT_FALSE(rules()[i].advice.empty());
  }
}

// The firmware still calls it RAM, no list for RAM reaches it: memmap=64K!1M.
TEST(Check, RamThatAnOptionMadePersistentMemory) {
  const MemoryMap map = map_of(
      "00001000-000fffff : System RAM\n"
      "00100000-0010ffff : Persistent Memory (legacy)\n"
      "  00100000-0010ffff : namespace0.0\n"
      "00110000-003fffff : System RAM\n",
      {{range(0x1000, 0x3fffff), "System RAM"}});
  const Record records[] = {record_of(range(0x10f000, 0x10ffff)),
                            record_of(range(0x110000, 0x110fff))};
  const CheckResult result = check_on(map, PageShift::smallest(), records);
  EXPECT_EQ(rules_found(result), std::vector<std::string>{"device-memory"});
  EXPECT_EQ(result.accepted, set_of({range(0x110000, 0x110fff)}));
  EXPECT_EQ(refused_in(result), set_of({range(0x10f000, 0x10ffff)}));
  EXPECT_NE(result.refused.at(0).reason.find("ndctl list --media-errors"), std::string::npos);
}

TEST(Check, TheManualHasEachRule) {
  std::ifstream file(checkout_path("packaging/man/poisonctl-check.8"));
  const std::string manual{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  for (const Rule& rule : rules()) {
    const std::string line = fmt::format("\n.B {}\n({})", rule.id, to_word(rule.severity));
    std::string plain = line;
    for (auto at = plain.find('-'); at != std::string::npos; at = plain.find('-', at + 2)) {
      plain.insert(at, "\\");
    }
    EXPECT_TRUE(manual.find(line) != std::string::npos || manual.find(plain) != std::string::npos)
        << rule.id;
  }
}

// What is in RAM and yet not the kernel's to give, or to be told of: each by the fact it comes
// from.
TEST(Check, EveryRuleThatGoesByMoreThanTheMap) {
  const ByteRange frame = range(0x110000, 0x110fff);
  struct Case {
    std::string_view rule;
    void (*place)(TestMachine& machine, const RangeSet& where);
    bool accepted;
  };
  const Case cases[] = {
      {"efi-runtime", [](TestMachine& m, const RangeSet& w) { m.placement.efi_runtime = w; },
       false},
      {"device-tree", [](TestMachine& m, const RangeSet& w) { m.placement.device_tree = w; },
       false},
      {"initrd", [](TestMachine& m, const RangeSet& w) { m.placement.initrd = w; }, true},
      {"kho-scratch", [](TestMachine& m, const RangeSet& w) { m.placement.kho_scratch = w; }, true},
      {"offline-block", [](TestMachine& m, const RangeSet& w) { m.placement.offline_blocks = w; },
       true},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.rule);
    for (const bool there : {true, false}) {
      TestMachine machine{.map = map_of(kPc)};
      // The last byte of the frame, or the first one after it.
      c.place(machine, set_of({there ? range(0x110fff, 0x1147ff) : range(0x111000, 0x1147ff)}));
      const Record records[] = {record_of(frame)};
      const CheckResult result = check_records(records, machine.view(), {});
      EXPECT_EQ(rules_found(result),
                there ? std::vector<std::string>{std::string(c.rule)} : std::vector<std::string>());
      EXPECT_EQ(result.accepted, c.accepted || !there ? set_of({frame}) : RangeSet());
      EXPECT_EQ(refused_in(result), c.accepted || !there ? RangeSet() : set_of({frame}));
    }
  }
}

TEST(Check, TheFirstMibIsToldOfOnlyWhereTheKernelKeepsIt) {
  TestMachine machine{.map = map_of(kPc)};
  const Record records[] = {record_of(range(0x9e000, 0x9efff)),
                            record_of(range(0x100000, 0x100fff))};
  EXPECT_TRUE(check_records(records, machine.view(), {}).findings.empty());
  machine.placement.keeps_first_mib = true;
  const CheckResult result = check_records(records, machine.view(), {});
  ASSERT_EQ(rules_found(result), std::vector<std::string>{"first-mib"});
  EXPECT_EQ(result.findings[0].range, records[0].range);
  EXPECT_EQ(result.accepted, set_of({records[0].range, records[1].range}));
}

TEST(Check, TheAreaOfTheCrashKernelIsToldOf) {
  const MemoryMap map = map_of(
      "00100000-00ffffff : System RAM\n"
      "  00800000-008fffff : Crash kernel\n");
  const Record records[] = {record_of(range(0x8ff000, 0x8fffff)),
                            record_of(range(0x900000, 0x900fff))};
  const CheckResult result = check_on(map, shift_of(kPage), records);
  ASSERT_EQ(rules_found(result), std::vector<std::string>{"crash-kernel"});
  EXPECT_EQ(result.findings[0].range, records[0].range);
}

TEST(Check, WhatATestInjectedIsKeptAndOnlyActedOnWhenAsked) {
  const TestMachine machine{.map = map_of(kPc)};
  Record injected = record_of(range(0x110000, 0x110fff));
  injected.severity = EventKind::kInjected;
  const Record records[] = {injected, record_of(range(0x112000, 0x112fff))};
  const CheckResult kept = check_records(records, machine.view(), {});
  EXPECT_EQ(rules_found(kept), std::vector<std::string>{"injected"});
  EXPECT_EQ(refused_in(kept), set_of({injected.range}));
  EXPECT_EQ(kept.accepted, set_of({records[1].range}));
  const CheckResult asked = check_records(records, machine.view(), {.include_injected = true});
  EXPECT_TRUE(asked.findings.empty());
  EXPECT_EQ(asked.accepted, set_of({injected.range, records[1].range}));
  // A frame that is also really bad is kept out, and counted once.
  const Record both[] = {injected, record_of(range(0x110000, 0x111fff))};
  const CheckResult real = check_records(both, machine.view(), {});
  EXPECT_EQ(real.accepted, set_of({range(0x110000, 0x111fff)}));
  EXPECT_TRUE(real.refused.empty());
}

TEST(Check, WhatIsQuarantinedIsRefusedWithItsReason) {
  const TestMachine machine{.map = map_of(kPc)};
  Record quarantined = record_of(range(0x110000, 0x111fff));
  quarantined.condition = Condition::kQuarantined;
  quarantined.quarantine_reason = "the DIMM is gone";
  const Record records[] = {quarantined, record_of(range(0x111000, 0x111fff))};
  const CheckResult result = check_records(records, machine.view(), {});
  ASSERT_EQ(rules_found(result), std::vector<std::string>{"quarantined"});
  EXPECT_NE(reason_of(result.findings[0]).find("(the DIMM is gone)"), std::string::npos);
  EXPECT_EQ(refused_in(result), set_of({range(0x110000, 0x110fff)}));
  // What another record says of the memory that is here now counts.
  EXPECT_EQ(result.accepted, set_of({range(0x111000, 0x111fff)}));
}

TEST(Check, FramesThatAreNamedMoreThanOnce) {
  struct Case {
    std::string_view name;
    std::uint64_t page_size;
    std::vector<ByteRange> records;
    std::vector<std::string> found;
  };
  const Case cases[] = {
      {"neighbours", kPage, {range(0x110000, 0x110fff), range(0x111000, 0x111fff)}, {}},
      {"one in the other",
       kPage,
       {range(0x110000, 0x113fff), range(0x112000, 0x112fff)},
       {"overlap"}},
      {"a long one that reaches over two",
       kPage,
       {range(0x110000, 0x11ffff), range(0x112000, 0x112fff), range(0x118000, 0x118fff)},
       {"overlap", "overlap"}},
      {"out of order", kPage, {range(0x112000, 0x112fff), range(0x110000, 0x113fff)}, {"overlap"}},
      {"two of 4K in one page of 64K",
       65536,
       {range(0x110000, 0x110fff), range(0x111000, 0x111fff)},
       {"page-size", "page-size", "duplicate"}},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    std::vector<Record> records;
    for (const ByteRange& where : c.records) records.push_back(record_of(where));
    const CheckResult result = check_on(map_of(kPc), shift_of(c.page_size), records);
    EXPECT_EQ(rules_found(result), c.found);
    EXPECT_EQ(result.accepted, set_of(c.records).widened_to(shift_of(c.page_size)));
  }
}

TEST(Check, WhatTheHugetlbPoolLosesIsCountedOncePerPage) {
  TestMachine machine{.map = map_of("00100000-1ffffffff : System RAM\n")};
  const Record records[] = {record_of(range(0x40000000, 0x40000fff)),
                            record_of(range(0x40002000, 0x40002fff)),
                            record_of(range(0x7ffff000, 0x80000fff))};
  EXPECT_TRUE(check_records(records, machine.view(), {}).findings.empty());
  machine.placement.hugetlb_page = 1U << 30U;
  const CheckResult result = check_records(records, machine.view(), {});
  ASSERT_EQ(rules_found(result), std::vector<std::string>{"huge-pages"});
  EXPECT_EQ(result.findings[0].range, range(0x40000000, 0x80000fff));
  // Two pages of 1 GiB less four frames of 4 KiB.
  EXPECT_EQ(result.findings[0].detail, "2 pages of 1 GiB, and with them 2.0 GiB of healthy memory");
}

Record known_to(const ByteRange& where, std::vector<std::string> sources) {
  Record record = record_of(where);
  record.sources = std::move(sources);
  return record;
}

TEST(Check, SourcesDisagreeWhenTheirFramesLieAPowerOfTwoApart) {
  const Record one = known_to(range(0x1000000, 0x1000fff), {"memtest"});
  struct Case {
    std::string_view name;
    Record other;
    std::size_t findings;
  };
  const Case cases[] = {
      {"one bit", known_to(range(0x1010000, 0x1010fff), {"mcelog"}), 1},
      {"the next frame", known_to(range(0x1001000, 0x1001fff), {"mcelog"}), 1},
      {"two bits", known_to(range(0x1011000, 0x1011fff), {"mcelog"}), 0},
      {"the same frame to the byte", known_to(range(0x1000040, 0x100007f), {"mcelog"}), 0},
      {"one source knows both", known_to(range(0x1010000, 0x1010fff), {"mcelog", "memtest"}), 0},
      {"more than one frame", known_to(range(0x1010000, 0x1011fff), {"mcelog"}), 0},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    for (const bool swapped : {false, true}) {
      const Record records[] = {swapped ? c.other : one, swapped ? one : c.other};
      const CheckResult result = check_on(map_of(kPc), shift_of(kPage), records);
      std::size_t found = 0;
      for (const Finding& finding : result.findings) {
        if (finding.rule->id != "sources-disagree") continue;
        ++found;
        EXPECT_EQ(finding.range, one.range);
        EXPECT_EQ(finding.other, c.other.range);
      }
      EXPECT_EQ(found, c.findings);
      // A list is made without them: there may be several for each record.
      const TestMachine machine{.map = map_of(kPc)};
      const auto list = make_retire_list(std::span<const Record>(records), machine.view(), {}, 1);
      EXPECT_TRUE(std::none_of(
          list.findings.begin(), list.findings.end(),
          [](const Finding& finding) { return finding.rule->id == "sources-disagree"; }));
      EXPECT_TRUE(result.accepted.contains(one.range));
      EXPECT_TRUE(result.accepted.contains(c.other.range.widened_to(shift_of(kPage))));
    }
  }
  Record resolved = cases[0].other;
  resolved.condition = Condition::kResolved;
  const Record records[] = {one, resolved};
  EXPECT_TRUE(check_on(map_of(kPc), shift_of(kPage), records).findings.empty());
}

TEST(Check, EveryByteOfARangeOverAllKindsHasItsOwnReason) {
  const Record record[] = {record_of(range(0x3ff000, 0x20fffff))};
  const CheckResult result = check_on(map_of(kPc), shift_of(kPage), record);
  struct Expected {
    ByteRange range;
    std::string_view words;
  };
  const Expected expected[] = {
      {range(0x400000, 0x40ffff), "firmware"},    {range(0x410000, 0x41ffff), "hole"},
      {range(0x420000, 0x42ffff), "firmware"},    {range(0x430000, 0x43ffff), "hole"},
      {range(0x440000, 0x44ffff), "of a device"}, {range(0x450000, 0xffffff), "hole"},
      {range(0x1800000, 0x1ffffff), "device"},    {range(0x2000000, 0x20fffff), "lies above"},
  };
  ASSERT_EQ(result.refused.size(), std::size(expected));
  for (std::size_t i = 0; i < std::size(expected); ++i) {
    EXPECT_EQ(result.refused[i].range, expected[i].range);
    EXPECT_NE(result.refused[i].reason.find(expected[i].words), std::string::npos)
        << result.refused[i].reason;
  }
  EXPECT_EQ(result.accepted, set_of({range(0x3ff000, 0x3fffff), range(0x1000000, 0x17fffff)}));
}

TEST(Check, OverlappingRecordsNameEachRefusedByteOnce) {
  const Record records[] = {record_of(range(0x410000, 0x411fff)),
                            record_of(range(0x411000, 0x412fff)),
                            record_of(range(0x410000, 0x410fff))};
  const CheckResult result = check_on(map_of(kPc), shift_of(kPage), records);
  ASSERT_EQ(result.refused.size(), 1U);
  EXPECT_EQ(result.refused[0].range, range(0x410000, 0x412fff));
  EXPECT_EQ(rules_found(result),
            (std::vector<std::string>{"hole", "hole", "hole", "overlap", "overlap"}));
}

// It left /proc/iomem because of the memmap= of this boot; the next boot must leave it out again.
TEST(Check, AFrameThatThisBootLeavesOutStaysAccepted) {
  constexpr std::string_view kExcluded =
      "00100000-007fffff : System RAM\n"
      "00800000-00800fff : Unusable memory\n"
      "00801000-00ffffff : System RAM\n";
  const Record record[] = {record_of(range(0x800000, 0x800fff))};
  const std::vector<FirmwareEntry> firmware = {{range(0x100000, 0xffffff), "System RAM"}};
  for (const auto& with : {firmware, std::vector<FirmwareEntry>()}) {
    const CheckResult result = check_on(map_of(kExcluded, with), shift_of(kPage), record);
    EXPECT_EQ(result.accepted, set_of({range(0x800000, 0x800fff)}));
    EXPECT_TRUE(result.refused.empty());
    EXPECT_TRUE(result.findings.empty());
  }
  // Where the firmware itself calls it unusable, it is no RAM.
  const std::vector<FirmwareEntry> says_unusable = {{range(0x100000, 0x7fffff), "System RAM"},
                                                    {range(0x800000, 0x800fff), "Unusable memory"},
                                                    {range(0x801000, 0xffffff), "System RAM"}};
  const CheckResult result = check_on(map_of(kExcluded, says_unusable), shift_of(kPage), record);
  EXPECT_TRUE(result.accepted.empty());
  EXPECT_EQ(rules_found(result), std::vector<std::string>{"firmware-reserved"});
}

TEST(Check, NoRecordsNoFindings) {
  const CheckResult result = check_on(map_of(kPc), shift_of(kPage), {});
  EXPECT_TRUE(result.accepted.empty());
  EXPECT_TRUE(result.refused.empty());
  EXPECT_TRUE(result.findings.empty());
}

// A map of up to 20 top-level resources of any kind, at odd addresses, some with children.
MemoryMap random_map(std::mt19937_64& random) {
  constexpr std::array<const char*, 8> kNames = {
      "System RAM",  "System RAM",        "System RAM", "Reserved",
      "ACPI Tables", "Persistent Memory", "PCI Bus",    "Unusable memory"};
  std::vector<Resource> resources;
  std::vector<FirmwareEntry> firmware;
  std::uint64_t at = random() % 0x3000;
  const std::uint64_t count = 1 + random() % 20;
  for (std::uint64_t i = 0; i < count; ++i) {
    const ByteRange where = range(at, at + random() % 0x40000);
    const char* const name = kNames.at(random() % kNames.size());
    resources.push_back({where, 0, name});
    if (random() % 4 == 0) {
      resources.push_back({range(where.begin().value() + where.size() / 2, where.last().value()), 1,
                           random() % 2 == 0 ? "Kernel code" : "System RAM (kmem)"});
    }
    if (random() % 2 == 0) {
      firmware.push_back({where, random() % 2 == 0 ? "System RAM" : "Reserved"});
    }
    at = where.end().value() + (random() % 3 == 0 ? random() % 0x20000 : 0);
  }
  return {std::move(resources), std::move(firmware)};
}

TEST(Check, AcceptedAndRefusedAreDisjointAndTogetherTheFaultyFramesOnRandomMaps) {
  std::mt19937_64 random(20260301);
  constexpr std::array<std::uint64_t, 3> kPageSizes = {4096, 16384, 65536};
  std::uint64_t bytes_accepted = 0;
  std::uint64_t bytes_refused = 0;
  for (int round = 0; round < 500; ++round) {
    SCOPED_TRACE(round);
    const MemoryMap map = random_map(random);
    const PageShift shift = shift_of(kPageSizes.at(random() % kPageSizes.size()));
    std::vector<Record> records;
    std::vector<ByteRange> faulty;
    const std::uint64_t count = random() % 30;
    for (std::uint64_t i = 0; i < count; ++i) {
      const std::uint64_t begin = random() % 0x400000 / kPage * kPage;
      const ByteRange where = range(begin, begin + (1 + random() % 64) * kPage - 1);
      const Condition condition = random() % 4 == 0 ? Condition::kSuspect : Condition::kFaulty;
      records.push_back(record_of(where, condition, random() % 5 != 0));
      if (condition == Condition::kFaulty) faulty.push_back(where);
    }
    const CheckResult result = check_on(map, shift, records);
    const RangeSet wanted = RangeSet::from_ranges(faulty).widened_to(shift);
    std::uint64_t refused = 0;
    for (const Refusal& refusal : result.refused) refused += refusal.range.size();
    // Equal sums and an equal union: nothing twice, nothing lost.
    ASSERT_EQ(result.accepted.united_with(refused_in(result)), wanted);
    ASSERT_EQ(result.accepted.bytes() + refused, wanted.bytes());
    ASSERT_TRUE(
        std::is_sorted(result.refused.begin(), result.refused.end(),
                       [](const Refusal& a, const Refusal& b) { return a.range < b.range; }));
    ASSERT_EQ(result.accepted.minus(map.installed_ram()), RangeSet());
    ASSERT_EQ(result.accepted.widened_to(shift), result.accepted);
    bytes_accepted += result.accepted.bytes();
    bytes_refused += refused;
  }
  // Both sides of the rule were there to be tested.
  EXPECT_GT(bytes_accepted, 1U << 20U);
  EXPECT_GT(bytes_refused, 1U << 20U);
}

}  // namespace
}  // namespace poisonctl
