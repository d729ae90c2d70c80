// The topology: read from a machine, kept as text, and what a change of it does to records.
#include "registry/topology.h"

#include <gtest/gtest.h>

#include <functional>

#include "registry/quarantine.h"
#include "registry/topology_compare.h"
#include "tests/unit/sample_events.h"
#include "tests/unit/smbios_samples.h"
#include "tests/unit/temp_tree.h"

namespace poisonctl {
namespace {

constexpr std::uint64_t kGib = 1U << 30U;

MemoryModule module_in(std::string slot, std::string serial, std::uint64_t first,
                       std::uint64_t last) {
  return {.slot = std::move(slot),
          .manufacturer = "Maker",
          .serial = std::move(serial),
          .part = "P-1",
          .bytes = kGib,
          .speed = 3200,
          .mappings = {{range(first, last), ""}}};
}

// Two modules side by side, two nodes.
Topology two_modules() {
  return {
      .modules = {module_in("A1", "S1", 0, kGib - 1), module_in("B1", "S2", kGib, 2 * kGib - 1)},
      .cxl = {{range(8 * kGib, 9 * kGib - 1), 256, {"0xa", "0xb"}}},
      .ram = {range(0, 2 * kGib - 1)},
      .nodes = {{range(0, kGib - 1), 0}, {range(kGib, 2 * kGib - 1), 1}},
      .page_size = 4096,
      .system_uuid = "uuid",
      .system_serial = "serial"};
}

TEST(Topology, ItsTextReadsBack) {
  Topology interleaved = two_modules();
  interleaved.modules[0].mappings[0].way = "row 1 position 1 depth 2";
  for (const Topology& topology : {two_modules(), interleaved, Topology{}}) {
    const std::string text = to_text(topology);
    const auto read = parse_topology(text, "test");
    ASSERT_TRUE(read.ok()) << read.error().message;
    EXPECT_EQ(*read, topology);
    EXPECT_EQ(to_text(*read), text);
  }
  for (const std::string_view wrong :
       {"", "poisonctl-topology-v2\n", "poisonctl-topology-v1\nram\t0x1\n",
        "poisonctl-topology-v1\nmapping\t0x0-0x1\t\n", "poisonctl-topology-v1\nnode\tx\t0x0-0x1\n",
        "poisonctl-topology-v1\nmodule\ta\n", "poisonctl-topology-v1\n\n",
        "poisonctl-topology-v1\nram\t0x2-0x1\n", "poisonctl-topology-v1\r\nram\t0x0-0x1\n",
        "poisonctl-topology-v1\ncxl\t0x0-0xfff\t0\tserial\r\n",
        "poisonctl-topology-v1\nram\t0x0-0x1\nsystem\tu\x7f\ts\n"}) {
    EXPECT_FALSE(parse_topology(wrong, "test").ok()) << wrong;
  }
}

TEST(Topology, OfAMachine) {
  const TempTree tree;
  tree.write("sys/firmware/dmi/tables/DMI",
             memory_device({.handle = 1, .array = 9, .locator = "A1", .serial = "S1"}) +
                 memory_device({.handle = 2, .array = 9, .locator = "A2", .serial = "Unknown"}) +
                 memory_device({.handle = 3, .array = 9, .size = 0, .locator = "A3"}) +
                 memory_device({.handle = 4, .array = 9, .locator = "A4", .serial = "00000000"}) +
                 array_range(9, 0, 0x1fffff) + device_range(1, 0, 0xfffff, 0, 1) + end_of_table());
  tree.write("sys/bus/cxl/devices/region0/resource", "0x200000000\n");
  tree.write("sys/bus/cxl/devices/region0/size", "0x10000000\n");
  tree.write("sys/bus/cxl/devices/region0/interleave_ways", "2\n");
  tree.write("sys/bus/cxl/devices/region0/interleave_granularity", "256\n");
  tree.write("sys/bus/cxl/devices/region0/target0", "decoder5.0\n");
  tree.write("sys/bus/cxl/devices/region0/target1", "decoder3.0\n");
  tree.write("sys/bus/cxl/devices/region1/size", "0\n");
  tree.write("sys/bus/cxl/devices/endpoint5/uport/serial", "0xabcd0001\n");
  tree.write("sys/bus/cxl/devices/endpoint3/uport/serial", "0xabcd0002\n");
  const auto root = tree.open();
  const Machine machine{.page_shift = shift_of(4096),
                        .architecture = {},
                        .kernel_release = {},
                        .boot_id = {},
                        .host_id = {},
                        .product_uuid = "u",
                        .product_serial = {},
                        .command_line = {}};
  const MemoryMap map({}, {{range(0, 0x9fbff), "System RAM"},
                           {range(0x100000, 0x7ffdffff), "System RAM"},
                           {range(0x7ffe0000, 0x7fffffff), "ACPI Tables"}});
  const auto reading = load_topology(*root, machine, map);
  ASSERT_TRUE(reading.ok()) << reading.error().message;
  EXPECT_TRUE(reading->not_known.empty());
  const Topology& topology = reading->topology;
  ASSERT_EQ(topology.modules.size(), 3U);
  EXPECT_EQ(topology.modules[0].slot, "A1 / BANK 0");
  EXPECT_EQ(topology.modules[0].serial, "S1");
  ASSERT_EQ(topology.modules[0].mappings.size(), 1U);
  EXPECT_EQ(topology.modules[0].mappings[0], (MemoryModule::Mapping{range(0, 0x3fffffff), ""}));
  EXPECT_EQ(topology.modules[1].serial, "");
  EXPECT_EQ(topology.modules[1].mappings[0],
            (MemoryModule::Mapping{range(0, 0x7fffffff), "array"}));
  EXPECT_EQ(topology.modules[2].serial, "");
  // Firmware's tables at the end move by pages from boot to boot.
  EXPECT_EQ(topology.ram, std::vector<ByteRange>{range(0, 0x7fffffff)});
  ASSERT_EQ(topology.cxl.size(), 1U);
  EXPECT_EQ(topology.cxl[0].serials, (std::vector<std::string>{"0xabcd0001", "0xabcd0002"}));

  // Firmware that is wrong, or not there, costs only what it would have told.
  tree.write("sys/firmware/dmi/tables/DMI", "\x11\x01");
  EXPECT_TRUE(load_topology(*root, machine, map)->not_known.empty());  // padding
  tree.write("sys/firmware/dmi/tables/DMI", std::string("\x11\x50\0\0\0\0", 6));
  const auto broken = load_topology(*root, machine, map);
  ASSERT_TRUE(broken.ok());
  ASSERT_EQ(broken->not_known.size(), 1U);
  EXPECT_NE(broken->not_known[0].find("cannot be told apart"), std::string::npos);
  EXPECT_TRUE(broken->topology.modules.empty());
}

// Memory that a driver adds is there later in a boot than the list of the initramfs is judged.
TEST(Topology, WhereFirmwareGivesNoMapWhatADriverAddsIsNoRamOfTheMachine) {
  const TempTree tree;
  const auto root = tree.open();
  const Machine machine{.page_shift = shift_of(4096)};
  const MemoryMap early(parse_iomem("40000000-7fffffff : System RAM\n", "early").value(), {});
  const MemoryMap later(parse_iomem("40000000-7fffffff : System RAM\n"
                                    "80000000-bfffffff : System RAM (kmem)\n",
                                    "later")
                            .value(),
                        {});
  const auto before = load_topology(*root, machine, early);
  const auto after = load_topology(*root, machine, later);
  ASSERT_TRUE(before.ok() && after.ok());
  EXPECT_EQ(hardware_digest(before->topology), hardware_digest(after->topology));
}

TEST(Topology, WhatAChangeMeansForAnAddress) {
  struct Case {
    std::string_view name;
    std::function<void(Topology& before, Topology& now)> change;
    Meaning low;   // of an address in A1, node 0
    Meaning high;  // of an address in B1, node 1
    std::string_view says;
  };
  const auto without_serials = [](Topology& t) {
    for (MemoryModule& module : t.modules) module.serial.clear();
  };
  const Case cases[] = {
      {"nothing", [](Topology&, Topology&) {}, Meaning::kSame, Meaning::kSame, ""},
      {"a DIMM exchanged", [](Topology&, Topology& n) { n.modules[1].serial = "S9"; },
       Meaning::kSame, Meaning::kReplaced, "slot B1 had the module with serial S2, and has S9"},
      {"two DIMMs swapped",
       [](Topology&, Topology& n) { std::swap(n.modules[0].serial, n.modules[1].serial); },
       Meaning::kChanged, Meaning::kChanged, "is in slot"},
      {"a DIMM gone",
       [](Topology&, Topology& n) {
         n.modules.pop_back();
         n.ram = {range(0, kGib - 1)};
       },
       Meaning::kSame, Meaning::kChanged, "1 memory modules answered there, and 0 do now"},
      {"a DIMM added",
       [](Topology&, Topology& n) {
         n.modules.push_back(module_in("C1", "S3", 2 * kGib, 3 * kGib - 1));
         n.ram = {range(0, 3 * kGib - 1)};
       },
       Meaning::kSame, Meaning::kSame, ""},
      {"an interleave switched on",
       [](Topology&, Topology& n) {
         for (MemoryModule& module : n.modules) module.mappings = {{range(0, 2 * kGib - 1), "2"}};
       },
       Meaning::kChanged, Meaning::kChanged, "2 do now"},
      {"another way of the interleave",
       [](Topology& b, Topology& n) {
         for (Topology* t : {&b, &n}) {
           for (MemoryModule& m : t->modules) m.mappings = {{range(0, 2 * kGib - 1), "256"}};
         }
         n.modules[0].mappings[0].way = "4096";
       },
       Meaning::kChanged, Meaning::kChanged, "in another way"},
      {"one of an interleave exchanged: whose cell it was, nobody knows",
       [](Topology& b, Topology& n) {
         for (Topology* t : {&b, &n}) {
           for (MemoryModule& m : t->modules) m.mappings = {{range(0, 2 * kGib - 1), "256"}};
         }
         n.modules[1].serial = "S9";
       },
       Meaning::kChanged, Meaning::kChanged, "has S9 now"},
      {"a larger DIMM in the slot",
       [](Topology&, Topology& n) {
         n.modules[1].serial = "S9";
         n.modules[1].bytes = 2 * kGib;
       },
       Meaning::kSame, Meaning::kChanged, "has S9 now"},
      {"another part", [](Topology&, Topology& n) { n.modules[0].part = "P-2"; }, Meaning::kChanged,
       Meaning::kSame, "had a module P-1"},
      {"another slot", [](Topology&, Topology& n) { n.modules[0].slot = "D1"; }, Meaning::kChanged,
       Meaning::kSame, "slot A1 answered there, and slot D1 does now"},
      {"a node moved", [](Topology&, Topology& n) { n.nodes[1].node = 3; }, Meaning::kSame,
       Meaning::kChanged, "it was in NUMA node 1, and is in node 3 now"},
      {"another machine", [](Topology&, Topology& n) { n.system_uuid = "other"; },
       Meaning::kChanged, Meaning::kChanged, "another machine"},
      {"other pages", [](Topology&, Topology& n) { n.page_size = 65536; }, Meaning::kSame,
       Meaning::kSame, ""},
      {"no privilege to see modules", [](Topology&, Topology& n) { n.modules.clear(); },
       Meaning::kSame, Meaning::kSame, ""},
      {"no serials, the map grown",
       [&](Topology& b, Topology& n) {
         without_serials(b);
         without_serials(n);
         n.ram = {range(0, 3 * kGib - 1)};
       },
       Meaning::kChanged, Meaning::kChanged, "the memory map is another"},
      {"no modules, the map shrunk",
       [](Topology& b, Topology& n) {
         b.modules.clear();
         n.modules.clear();
         n.ram = {range(0, kGib - 1)};
       },
       Meaning::kChanged, Meaning::kChanged, "the memory map is another"},
      {"no serials, nothing else changed",
       [&](Topology& b, Topology& n) {
         without_serials(b);
         without_serials(n);
         n.cxl.clear();
       },
       Meaning::kSame, Meaning::kSame, ""},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    Topology before = two_modules();
    Topology now = two_modules();
    c.change(before, now);
    const Comparison comparison(before, now);
    const Judgement low = comparison.judge(range(0x1000, 0x1fff));
    const Judgement high = comparison.judge(range(kGib + 0x1000, kGib + 0x1fff));
    EXPECT_EQ(low.meaning, c.low);
    EXPECT_EQ(high.meaning, c.high);
    EXPECT_NE((low.reason + high.reason).find(c.says), std::string::npos)
        << low.reason << high.reason;
    EXPECT_EQ(low.reason.empty(), c.low == Meaning::kSame);
    // The digest changes with all that can change a meaning, but for the machine's own name.
    if (c.low != Meaning::kSame || c.high != Meaning::kSame) {
      EXPECT_FALSE(comparison.differences().empty());
      if (c.name != "another machine") {
        EXPECT_NE(hardware_digest(before), hardware_digest(now));
      }
    }
  }
}

TEST(Topology, ACxlAddressIsTheCellsOfItsDevices) {
  const ByteRange address = range(8 * kGib, 8 * kGib + 0xfff);
  Topology now = two_modules();
  now.cxl[0].serials = {"0xb", "0xa"};
  EXPECT_EQ(Comparison(two_modules(), now).judge(address).meaning, Meaning::kChanged);
  now.cxl[0] = {range(8 * kGib, 9 * kGib - 1), 4096, {"0xa", "0xb"}};
  EXPECT_EQ(Comparison(two_modules(), now).judge(address).meaning, Meaning::kChanged);
  now.cxl.clear();  // not up yet
  EXPECT_EQ(Comparison(two_modules(), now).judge(address).meaning, Meaning::kSame);
}

TEST(Quarantine, ARecordCountsWhileOneOfItsSnapshotsHolds) {
  Topology other = two_modules();
  other.modules[0].serial = "S9";
  const std::vector<std::string> snapshots = {to_text(two_modules()), to_text(other)};
  Hasher hasher;
  const std::string first = hasher.snapshot_name(snapshots[0]);
  const std::string second = hasher.snapshot_name(snapshots[1]);
  const auto record_seen_under = [](std::vector<std::string> names) {
    Record record = empty_record(1, range(0x1000, 0x1fff), at_second(0));
    record.condition = Condition::kFaulty;
    record.topologies = std::move(names);
    return record;
  };
  struct Case {
    std::vector<std::string> seen_under;
    Condition here;   // with the old module
    Condition there;  // with the new one
  };
  const Case cases[] = {
      {{first}, Condition::kFaulty, Condition::kQuarantined},
      {{second}, Condition::kQuarantined, Condition::kFaulty},
      {{first, second}, Condition::kFaulty, Condition::kFaulty},
      {{}, Condition::kFaulty, Condition::kFaulty},
      {{"unheard-of"}, Condition::kFaulty, Condition::kFaulty},
  };
  for (const Case& c : cases) {
    for (const bool changed : {false, true, false}) {  // and it comes back
      const auto quarantine =
          Quarantine::prepare(snapshots, changed ? other : two_modules()).value();
      Record record = record_seen_under(c.seen_under);
      const Judgement judgement = quarantine.apply(record);
      EXPECT_EQ(record.condition, changed ? c.there : c.here);
      EXPECT_EQ(record.quarantine_reason, judgement.reason);
      EXPECT_EQ(judgement.meaning == Meaning::kReplaced,
                record.condition == Condition::kQuarantined);
      Record resolved = record_seen_under(c.seen_under);
      resolved.condition = Condition::kResolved;
      static_cast<void>(quarantine.apply(resolved));
      EXPECT_EQ(resolved.condition, Condition::kResolved);
    }
  }
  EXPECT_FALSE(Quarantine::prepare({"rubbish"}, two_modules()).ok());
}

}  // namespace
}  // namespace poisonctl
