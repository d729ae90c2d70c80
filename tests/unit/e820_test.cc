// Backend "e820": its one line, its limits, and that an x86 kernel which reads that line takes away
// exactly the RAM that the plan calls covered.
#include "backends/e820.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <optional>
#include <random>

#include "registry/text.h"
#include "tests/unit/kernel_model.h"
#include "tests/unit/temp_tree.h"
#include "tests/unit/test_ranges.h"

namespace poisonctl {
namespace {

constexpr std::uint64_t kPage = 4096;
constexpr std::size_t kKib = 1024;
constexpr E820Limits kRoomy = {.text_bytes = std::numeric_limits<std::size_t>::max(),
                               .table_entries = std::numeric_limits<std::size_t>::max()};

RetireList list_of(std::vector<ByteRange> frames) {
  return {.generation = 1,
          .page_shift = shift_of(kPage),
          .frames = RangeSet::from_ranges(std::move(frames)),
          .refused = {}};
}

ByteRange frames(std::uint64_t first, std::uint64_t count) {
  return ByteRange::from_frames(Pfn(first), count, shift_of(kPage)).value();
}

RangeSet refused_in(const Plan& plan) {
  std::vector<ByteRange> ranges;
  for (const Refusal& refusal : plan.refused) ranges.push_back(refusal.range);
  return RangeSet::from_ranges(std::move(ranges));
}

TEST(E820, TheLineHasOneItemForEachCoalescedRangeInTheOrderOfAddresses) {
  struct Case {
    std::vector<ByteRange> frames;
    std::string_view artifact;
  };
  const Case cases[] = {
      {{}, ""},
      {{frames(0x8000, 1)}, "memmap=0x1000%0x8000000-1+5\n"},
      {{frames(0x100000, 1), frames(0x8000, 1)},
       "memmap=0x1000%0x8000000-1+5,0x1000%0x100000000-1+5\n"},
      {{frames(0x8001, 1), frames(0x8000, 1), frames(0x8001, 2)}, "memmap=0x3000%0x8000000-1+5\n"},
      {{range(0, 0xfff)}, "memmap=0x1000%0x0-1+5\n"},
      {{range(kPhysAddrLimit - kPage, kPhysAddrLimit - 1)}, "memmap=0x1000%0xfffffffffff000-1+5\n"},
  };
  for (const Case& c : cases) {
    const Plan plan = plan_e820(list_of(c.frames), kRoomy);
    EXPECT_EQ(plan.artifact, c.artifact);
    EXPECT_EQ(plan.covered, RangeSet::from_ranges(c.frames));
    EXPECT_TRUE(plan.refused.empty());
    EXPECT_EQ(plan.side_effects.empty(), c.frames.empty());
  }
}

TEST(E820, SideEffectsAreToldBeforeAnythingIsWritten) {
  const Plan plan = plan_e820(list_of({frames(0x8000, 3)}), kRoomy);
  std::string all;
  for (const std::string& effect : plan.side_effects) all += effect + "\n";
  EXPECT_NE(all.find("KASLR"), std::string::npos);
  EXPECT_NE(all.find("one boot"), std::string::npos);
  EXPECT_NE(all.find("12 KiB fewer"), std::string::npos) << all;
}

TEST(E820, TheLossOfRamThatIsToldIsThatOfWhatIsCovered) {
  const Plan plan = plan_e820(list_of({frames(0x8000, 1), frames(0x9000, 1)}),
                              {.text_bytes = 1000, .table_entries = 2});
  EXPECT_EQ(plan.covered.bytes(), kPage);
  std::string all;
  for (const std::string& effect : plan.side_effects) all += effect + "\n";
  EXPECT_NE(all.find("4 KiB fewer"), std::string::npos) << all;
}

TEST(E820, WhatWasRefusedBeforeStaysRefusedAndAllIsSorted) {
  RetireList list = list_of({frames(5, 1), frames(9, 1)});
  list.refused = {{frames(20, 1), "because"}, {frames(1, 1), "too low"}};
  const Plan plan = plan_e820(list, {.text_bytes = 1000, .table_entries = 2});
  ASSERT_EQ(plan.refused.size(), 3U);
  EXPECT_EQ(plan.refused[0].reason, "too low");
  EXPECT_EQ(plan.refused[1].range, frames(9, 1));
  EXPECT_EQ(plan.refused[2].reason, "because");
}

TEST(E820, TheTableFillsWithTheLargestRangesThenTheLowest) {
  // One of 3 frames, one of 2, three of 1.
  const std::vector<ByteRange> wanted = {frames(10, 1), frames(20, 2), frames(30, 1), frames(40, 3),
                                         frames(50, 1)};
  struct Case {
    std::size_t entries;
    std::vector<ByteRange> covered;
  };
  const Case cases[] = {
      {0, {}},
      {1, {}},
      {2, {wanted[3]}},
      {3, {wanted[3]}},
      {4, {wanted[3], wanted[1]}},
      {6, {wanted[3], wanted[1], wanted[0]}},
      {8, {wanted[3], wanted[1], wanted[0], wanted[2]}},
      {10, wanted},
  };
  for (const Case& c : cases) {
    const Plan plan = plan_e820(list_of(wanted), {.text_bytes = 1000, .table_entries = c.entries});
    EXPECT_EQ(plan.covered, RangeSet::from_ranges(c.covered)) << c.entries;
    EXPECT_EQ(plan.covered.united_with(refused_in(plan)), RangeSet::from_ranges(wanted));
    EXPECT_EQ(plan.refused.size(), wanted.size() - c.covered.size());
    for (const Refusal& refusal : plan.refused) {
      EXPECT_NE(refusal.reason.find("table"), std::string::npos) << refusal.reason;
    }
    EXPECT_EQ(plan.artifact.empty(), c.covered.empty());
  }
}

TEST(E820, TheCommandLineIsFilledToItsLastByteAndNotBeyond) {
  const std::vector<ByteRange> wanted = {frames(1, 1), frames(3, 1), frames(5, 2)};
  const std::string two = "memmap=0x1000%0x1000-1+5,0x2000%0x5000-1+5";
  const std::string one = "memmap=0x2000%0x5000-1+5";
  const std::string all = "memmap=0x1000%0x1000-1+5,0x1000%0x3000-1+5,0x2000%0x5000-1+5";
  struct Case {
    std::size_t bytes;
    std::string artifact;
  };
  const Case cases[] = {
      {0, ""},
      {6, ""},
      {one.size() - 1, ""},
      {one.size(), one + "\n"},
      {two.size() - 1, one + "\n"},
      {two.size(), two + "\n"},
      {all.size() - 1, two + "\n"},
      {all.size(), all + "\n"},
  };
  for (const Case& c : cases) {
    const Plan plan = plan_e820(list_of(wanted), {.text_bytes = c.bytes, .table_entries = 100});
    EXPECT_EQ(plan.artifact, c.artifact) << c.bytes;
    EXPECT_EQ(plan.covered.united_with(refused_in(plan)), RangeSet::from_ranges(wanted));
    EXPECT_TRUE(plan.covered.intersected_with(refused_in(plan)).empty());
    for (const Refusal& refusal : plan.refused) {
      EXPECT_NE(refusal.reason.find("command line"), std::string::npos) << refusal.reason;
    }
  }
}

// A machine of `entries` firmware ranges, booted with `command_line`.
void write_machine(const TempTree& tree, std::size_t entries, const std::string& command_line) {
  tree.write("proc/cmdline", command_line + "\n");
  tree.write("proc/sys/kernel/osrelease", "7.2.13\n");
  tree.write("proc/iomem", "00000000-ffffffff : System RAM\n");
  for (std::size_t i = 0; i < entries; ++i) {
    const std::string folder = "sys/firmware/memmap/" + std::to_string(i);
    tree.write(folder + "/start", to_hex(i << 24U) + "\n");
    tree.write(folder + "/end", to_hex((i << 24U) + 0xffffff) + "\n");
    tree.write(folder + "/type", "System RAM\n");
  }
}

RetireList scattered(std::size_t count) {
  std::vector<ByteRange> wanted;
  for (std::size_t i = 0; i < count; ++i) wanted.push_back(frames(0x100 + 2 * i, 1));
  return list_of(std::move(wanted));
}

TEST(E820, ProbeLooksForTheFirmwaresMap) {
  TempTree tree;
  const Availability none = E820Backend().probe(*tree.open());
  EXPECT_FALSE(none.available);
  EXPECT_NE(none.reason.find("sys/firmware/memmap"), std::string::npos);
  tree.make_folder("sys/firmware/memmap");
  EXPECT_FALSE(E820Backend().probe(*tree.open()).available);
  write_machine(tree, 2, "");
  const Availability some = E820Backend().probe(*tree.open());
  EXPECT_TRUE(some.available);
  EXPECT_NE(some.reason.find("2 entries"), std::string::npos) << some.reason;
}

// 128 entries and 3 a node, less the firmware's and 16 that the kernel adds itself; two a range.
TEST(E820, TheTableOfAMachineIsThatOfItsBuildConfiguration) {
  struct Case {
    std::string_view config;
    std::size_t covered;
  };
  constexpr Case kCases[] = {
      {"", (128 + 3 - 40 - 16) / 2},
      {"CONFIG_NODES_SHIFT=0\n", (128 + 3 - 40 - 16) / 2},
      {"# a comment\nCONFIG_NODES_SHIFT=2\nCONFIG_NUMA=y\n", (128 + 12 - 40 - 16) / 2},
      {"CONFIG_NODES_SHIFT=99\n", (128 + 3 - 40 - 16) / 2},
      {"CONFIG_NODES_SHIFT=x\n", (128 + 3 - 40 - 16) / 2},
  };
  for (const Case& c : kCases) {
    TempTree tree;
    write_machine(tree, 40, "ro");
    if (!c.config.empty()) tree.write("boot/config-7.2.13", c.config);
    const auto plan = E820Backend().plan({scattered(60)}, *tree.open());
    ASSERT_TRUE(plan.ok()) << plan.error().message;
    EXPECT_EQ(plan->covered.ranges().size(), c.covered) << c.config;
    EXPECT_EQ(plan->refused.size(), 60 - c.covered);
  }
}

// 2047 bytes of a bzImage, of which kexec_file_load keeps 30 and a NUL back.
TEST(E820, TheWholeCommandLineOfTheNextKernelFits) {
  constexpr std::size_t kLongest = 2016;
  constexpr std::size_t kItem = std::string_view(",0x1000%0x100000-1+5").size();
  for (const std::size_t used :
       {std::size_t{0}, std::size_t{1}, std::size_t{500}, std::size_t{1900}, kLongest - 27,
        kLongest - 26, kLongest, std::size_t{2047}, std::size_t{4000}}) {
    TempTree tree;
    write_machine(tree, 1, std::string(used, 'x'));
    tree.write("boot/config-7.2.13", "CONFIG_NODES_SHIFT=10\n");
    const auto plan = E820Backend().plan({scattered(500)}, *tree.open());
    ASSERT_TRUE(plan.ok());
    std::string line = plan->artifact;
    EXPECT_EQ(line.empty(), used + 1 + 26 > kLongest) << used;
    if (!line.empty()) {
      line.pop_back();
      const std::size_t whole = used + (used == 0 ? 0 : 1) + line.size();
      EXPECT_LE(whole, kLongest) << used;
      EXPECT_GT(whole + kItem, kLongest) << used;  // no further range would have fitted
    }
    EXPECT_EQ(plan->covered.united_with(refused_in(*plan)), scattered(500).frames);
  }
}

TEST(E820, TheMemmapOfThisBootDoesNotCrowdOutThatOfTheNext) {
  TempTree without;
  write_machine(without, 1, "ro quiet");
  TempTree with;
  write_machine(with, 1, "ro " + std::string("memmap=0x1000%0x8000000-1+5") + " quiet");
  without.write("boot/config-7.2.13", "CONFIG_NODES_SHIFT=10\n");
  with.write("boot/config-7.2.13", "CONFIG_NODES_SHIFT=10\n");
  const auto first = E820Backend().plan({scattered(500)}, *without.open());
  const auto second = E820Backend().plan({scattered(500)}, *with.open());
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_GT(first->covered.ranges().size(), 50U);
  EXPECT_EQ(first->artifact, second->artifact);
}

std::string line_of(const Plan& plan) {
  return plan.artifact.empty() ? std::string() : plan.artifact.substr(0, plan.artifact.size() - 1);
}

TEST(E820, TheModelLosesTheRamAboveWhenTheTableOverflows) {
  const RangeSet ram = set_of({range(0, 0xffffff)});
  KernelModel roomy(ram, 3);
  ASSERT_TRUE(roomy.boot("memmap=0x1000%0x8000-1+5"));
  EXPECT_EQ(roomy.of_type(KernelModel::kRam), ram.minus(set_of({range(0x8000, 0x8fff)})));
  KernelModel full(ram, 2);
  ASSERT_TRUE(full.boot("memmap=0x1000%0x8000-1+5"));
  EXPECT_EQ(full.of_type(KernelModel::kRam), set_of({range(0, 0x7fff)}));
  KernelModel refusing(ram, 3);
  EXPECT_FALSE(refusing.boot("memmap=0x1000%0x8000-1+1"));
  EXPECT_FALSE(refusing.boot("memmap=x"));
  // One '$' that a shell has taken: a limit.
  KernelModel limited(ram, 3);
  EXPECT_FALSE(limited.boot("memmap=0x1000\\$0x8000"));
  EXPECT_EQ(limited.of_type(KernelModel::kRam), set_of({range(0, 0xfff)}));
}

// 1,000 maps and lists, with limits from none to plenty.
TEST(E820, TheKernelTakesAwayExactlyWhatIsCoveredAndKeepsTheRamAbove) {
  std::mt19937_64 random(820);
  std::size_t covered = 0;
  std::size_t refused = 0;
  for (int round = 0; round < 1000; ++round) {
    SCOPED_TRACE(round);
    std::vector<ByteRange> parts;
    std::uint64_t at = random() % 16;
    for (std::uint64_t i = 1 + random() % 8; i != 0; --i) {
      const std::uint64_t pages = 1 + random() % 4096;
      parts.push_back(frames(at, pages));
      at += pages + 1 + random() % 1000;
    }
    parts.push_back(frames(at, 0x1000));  // the RAM above, of which nothing is bad
    const RangeSet ram = RangeSet::from_ranges(parts);

    std::vector<ByteRange> wanted;
    for (std::uint64_t i = random() % 120; i != 0; --i) {
      const ByteRange& part = parts.at(random() % (parts.size() - 1));
      const std::uint64_t pages = part.frame_count(shift_of(kPage));
      const std::uint64_t first = random() % pages;
      const std::uint64_t count = 1 + random() % std::min<std::uint64_t>(pages - first, 4);
      wanted.push_back(frames(part.begin().value() / kPage + first, count));
    }
    const RetireList list = list_of(wanted);
    const E820Limits limits = {.text_bytes = random() % 2500, .table_entries = random() % 300};
    const Plan plan = plan_e820(list, limits);
    ASSERT_EQ(plan.covered.united_with(refused_in(plan)), list.frames);
    ASSERT_TRUE(plan.covered.intersected_with(refused_in(plan)).empty());
    covered += plan.covered.ranges().size();
    refused += plan.refused.size();

    const std::string line = line_of(plan);
    ASSERT_LE(line.size(), limits.text_bytes);
    KernelModel kernel(ram, ram.ranges().size() + limits.table_entries);
    if (!line.empty()) {
      ASSERT_TRUE(kernel.boot(line)) << line;
    }
    ASSERT_EQ(kernel.of_type(KernelModel::kRam), ram.minus(plan.covered));
    ASSERT_EQ(kernel.of_type(KernelModel::kUnusable), plan.covered);
    ASSERT_TRUE(kernel.of_type(KernelModel::kRam).contains(parts.back()));
  }
  EXPECT_GT(covered, 10000U);
  EXPECT_GT(refused, 10000U);
}

// What somebody may have on a command line before ours, and what a shell leaves of it.
std::string random_command_line(std::mt19937_64& random) {
  constexpr std::string_view kWords[] = {"ro",
                                         "root=/dev/sda1",
                                         "dyndbg=\"file a +p\"",
                                         "\"quiet\"",
                                         "console=ttyS0,115200",
                                         "memmap=0x3000%0x5000-1+5",
                                         "memmap=0x1000%0x77000-1+5,0x1000%0x99000-1+5",
                                         "memmap=0x20000$0x40000",
                                         "memmap=64K#0x80000",
                                         "memmap=0x4000%0x200000-1+2",
                                         "mem=64M",
                                         "memmap=96M",
                                         "memmap=hello",
                                         "memmap=exactmap memmap=48M@0 memmap=16M@64M",
                                         "memmap=1M@1M",
                                         "memmap=0x10000%0x300000-5+1"};
  constexpr std::string_view kBlanks[] = {" ", "  ", "\t", " \t "};
  std::string line;
  for (std::uint64_t i = random() % 7; i != 0; --i) {
    line += kWords[random() % std::size(kWords)];
    line += kBlanks[random() % std::size(kBlanks)];
  }
  if (random() % 4 == 0) line += "-- memmap=1G init";
  return line;
}

// 1,000 lists, each merged into a command line: the kernel that reads it has the RAM that it would
// have had by the rest of it, without exactly what the plan says.
TEST(E820, MergedIntoAnyCommandLineTheKernelTakesAwayExactlyWhatIsCovered) {
  std::mt19937_64 random(821);
  std::size_t widened = 0;
  for (int round = 0; round < 1000; ++round) {
    const RangeSet ram = set_of({range(0, 0x9ffff), range(0x100000, 0x7ffffff)});
    std::vector<ByteRange> wanted;
    for (std::uint64_t i = random() % 60; i != 0; --i) {
      wanted.push_back(frames(0x100 + random() % 0x3e00, 1 + random() % 3));
    }
    RetireList list = list_of(wanted);
    for (const ByteRange& part : list.frames.ranges()) {
      if (random() % 2 == 0) list.uncorrected = list.uncorrected.united_with(set_of({part}));
    }
    const std::string before = random_command_line(random);
    SCOPED_TRACE(before);
    const auto base = merge_base(before, "it");
    ASSERT_TRUE(base.ok());
    E820Limits limits = {.text_bytes = random() % 1500, .table_entries = random() % 130};
    limits.entries_per_range = 2 * (1 + base->ram_items);
    limits.widening = {random() % 3 * 0x10000, ram};
    const Plan plan = plan_e820(list, limits);
    ASSERT_EQ(plan.covered.united_with(refused_in(plan)), list.frames);
    ASSERT_TRUE(plan.covered.intersected_with(refused_in(plan)).empty());

    const std::size_t entries =
        ram.ranges().size() + limits.entries_per_range * base->foreign_items;
    KernelModel without(ram, entries);
    without.boot(base->text);
    KernelModel with(ram, entries + limits.table_entries);
    with.boot(merged(*base, line_of(plan)));
    const RangeSet ram_before = without.of_type(KernelModel::kRam);
    const RangeSet gone = ram_before.minus(with.of_type(KernelModel::kRam));
    ASSERT_TRUE(with.of_type(KernelModel::kRam).minus(ram_before).empty());
    ASSERT_TRUE(with.of_type(KernelModel::kRam).intersected_with(plan.covered).empty());
    if (limits.widening.gap == 0) {
      ASSERT_EQ(gone, plan.covered.intersected_with(ram_before));
    } else if (gone.minus(plan.covered).bytes() != 0) {
      ++widened;
      const std::string effect =
          to_human_size(gone.minus(plan.covered).bytes()) + " of that is healthy";
      const bool told = std::any_of(
          plan.side_effects.begin(), plan.side_effects.end(),
          [&](const std::string& told_effect) { return told_effect.starts_with(effect); });
      // A command line that takes away some of the gaps itself makes it less.
      ASSERT_TRUE(told || ram_before != ram);
    }
  }
  EXPECT_GT(widened, 100U);
}

TEST(E820, ErrorsThatLostDataComeBeforeLargerRangesWithout) {
  RetireList list = list_of({frames(10, 1), frames(20, 2), frames(30, 1), frames(40, 5)});
  list.uncorrected = set_of({frames(10, 1), frames(20, 2)});
  list.beyond_replay = set_of({frames(10, 1), frames(30, 1)});
  const std::vector<ByteRange> order = {frames(10, 1), frames(20, 2), frames(30, 1), frames(40, 5)};
  for (std::size_t count = 0; count <= order.size(); ++count) {
    const Plan plan = plan_e820(list, {.text_bytes = 1000, .table_entries = 2 * count});
    EXPECT_EQ(plan.covered, set_of({order.begin(), order.begin() + static_cast<long>(count)}));
  }
}

TEST(E820, FramesInScratchAreasOfKhoAreRefusedForKexecAlone) {
  TempTree tree;
  write_machine(tree, 1, "ro kho=on");
  tree.write("sys/kernel/debug/kho/out/scratch_phys", "0x200000\n");
  tree.write("sys/kernel/debug/kho/out/scratch_len", "0x100000\n");
  const RetireList list = list_of({frames(0x1ff, 2), frames(0x400, 1)});
  const auto kexec = E820Backend().plan({list}, *tree.open());
  ASSERT_TRUE(kexec.ok()) << kexec.error().message;
  EXPECT_EQ(kexec->artifact, "memmap=0x1000%0x1ff000-1+5,0x1000%0x400000-1+5\n");
  ASSERT_EQ(kexec->refused.size(), 1U);
  EXPECT_EQ(kexec->refused[0].range, frames(0x200, 1));
  EXPECT_NE(kexec->refused[0].reason.find("KHO"), std::string::npos);
  EXPECT_EQ(kexec->covered.united_with(refused_in(*kexec)), list.frames);
  const auto boot =
      E820Backend().plan({.list = list, .command_line = {.loader = Loader::kBoot}}, *tree.open());
  ASSERT_TRUE(boot.ok());
  EXPECT_EQ(boot->covered, list.frames);
}

TEST(E820, RangesAreNeverJoinedAcrossAScratchAreaOrAHole) {
  TempTree tree;
  write_machine(tree, 1, "ro kho=on " + std::string(1970, 'x'));
  tree.write("proc/iomem", "00000000-00101fff : System RAM\n00103000-ffffffff : System RAM\n");
  tree.write("sys/kernel/debug/kho/out/scratch_phys", "0x202000\n");
  tree.write("sys/kernel/debug/kho/out/scratch_len", "0x1000\n");
  const RetireList list = list_of({frames(0x101, 1), frames(0x103, 1), frames(0x201, 1),
                                   frames(0x203, 1), frames(0x301, 1), frames(0x303, 1)});
  const auto plan =
      E820Backend().plan({.list = list, .command_line = {.widen = 0x4000}}, *tree.open());
  ASSERT_TRUE(plan.ok());
  EXPECT_EQ(plan->artifact, "memmap=0x3000%0x301000-1+5\n");
  EXPECT_EQ(plan->covered, set_of({frames(0x301, 1), frames(0x303, 1)}));
  EXPECT_EQ(plan->covered.united_with(refused_in(*plan)), list.frames);
}

// 2047 bytes for a boot loader, 2016 for kexec, and room for what kdump adds.
TEST(E820, EachLoaderHasItsOwnLongestCommandLine) {
  struct Case {
    Loader loader;
    std::string_view words;
    std::size_t kept_free;
    std::size_t longest;
  };
  constexpr Case kCases[] = {{Loader::kKexec, "ro", 0, 2016},
                             {Loader::kBoot, "ro", 0, 2047},
                             {Loader::kBoot, "ro", 100, 1947},
                             {Loader::kKexec, "ro crashkernel=256M", 0, 2016 - 128},
                             {Loader::kBoot, "ro crashkernel=256M", 0, 2047 - 128}};
  for (const Case& c : kCases) {
    TempTree tree;
    write_machine(tree, 1, "another");
    tree.write("boot/config-7.2.13", "CONFIG_NODES_SHIFT=10\n");
    const CommandLineRequest request = {
        .loader = c.loader, .merge = std::string(c.words), .kept_free = c.kept_free};
    const RetireList list = scattered(500);
    const auto plan = E820Backend().plan({.list = list, .command_line = request}, *tree.open());
    ASSERT_TRUE(plan.ok());
    ASSERT_TRUE(plan->artifact.starts_with(std::string(c.words) + " memmap="));
    EXPECT_LE(plan->artifact.size() - 1, c.longest);
    EXPECT_GT(plan->artifact.size() - 1 + std::string_view(",0x1000%0x100000-1+5").size(),
              c.longest);
  }
}

TEST(E820, OptionsOfOthersTakeTheirPartOfTheTable) {
  TempTree tree;
  write_machine(tree, 40, "ro");
  const RetireList list = scattered(60);
  const auto plan = [&](const std::string& line) {
    auto made = E820Backend().plan({.list = list, .command_line = {.merge = line}}, *tree.open());
    EXPECT_TRUE(made.ok());
    return made->covered.ranges().size();
  };
  EXPECT_EQ(plan("ro"), (131U - 40 - 16) / 2);
  EXPECT_EQ(plan("ro memmap=1M$1G,1M$2G memmap=4G!8G"), (131U - 40 - 16 - 6) / 2);
  EXPECT_EQ(plan("ro memmap=0x1000%0x8000000-1+5"), (131U - 40 - 16) / 2);
  // RAM that is added to RAM: each frame lies in two entries then, and splits both.
  EXPECT_EQ(plan("ro memmap=1M@1M"), (131U - 40 - 16 - 4) / 4);
}

TEST(E820, AQuoteWithoutAnEndIsRefusedAndWhatLimitsMemoryIsTold) {
  TempTree tree;
  write_machine(tree, 1, "ro mem=1G -- single");
  const RetireList list = scattered(2);
  const auto bad =
      E820Backend().plan({.list = list, .command_line = {.merge = "ro a=\"b"}}, *tree.open());
  ASSERT_FALSE(bad.ok());
  EXPECT_EQ(bad.error().code, ErrorCode::kBadData);
  EXPECT_NE(bad.error().message.find("byte 5"), std::string::npos) << bad.error().message;
  const auto plan = E820Backend().plan({list}, *tree.open());
  ASSERT_TRUE(plan.ok());
  std::string all;
  for (const std::string& effect : plan->side_effects) all += effect + "\n";
  EXPECT_NE(all.find("mem=1G is a limit"), std::string::npos) << all;
  EXPECT_NE(all.find("has '--'"), std::string::npos) << all;
}

TEST(E820, ReservingIsWrittenForWhereItStands) {
  const RetireList list = list_of({frames(0x8000, 1), frames(0x9000, 1)});
  const std::pair<Quoting, std::string_view> cases[] = {
      {Quoting::kPlain, "memmap=0x1000$0x8000000,0x1000$0x9000000\n"},
      {Quoting::kShell, "'memmap=0x1000$0x8000000,0x1000$0x9000000'\n"},
      {Quoting::kGrub, "memmap=0x1000\\$0x8000000,0x1000\\$0x9000000\n"},
      {Quoting::kGrubDefault, "memmap=0x1000\\\\\\$0x8000000,0x1000\\\\\\$0x9000000\n"},
  };
  for (const auto& [quoting, artifact] : cases) {
    const Plan plan = plan_e820(list, kRoomy, quoting);
    EXPECT_EQ(plan.artifact, artifact);
    EXPECT_NE(plan.side_effects[0].find("by BIOS or kexec it is"), std::string::npos);
  }
  const Plan many = plan_e820(scattered(5), kRoomy, Quoting::kPlain);
  EXPECT_NE(many.side_effects[0].find("4 memmap= regions at most"), std::string::npos);
  KernelModel kernel(set_of({range(0, 0xfffffff)}), 10);
  EXPECT_TRUE(kernel.boot("memmap=0x1000$0x8000000,0x1000$0x9000000"));
  EXPECT_EQ(kernel.of_type(KernelModel::kReserved), list.frames);
  EXPECT_FALSE(kernel.of_type(KernelModel::kRam).overlaps(frames(0x8000, 1)));
}

TEST(E820, WhatCannotBeAskedForTogetherIsSaid) {
  TempTree tree;
  write_machine(tree, 1, "ro");
  const RetireList list = scattered(1);
  const PlanRequest requests[] = {
      {.list = list, .command_line = {.merge = "ro", .reserve = Quoting::kShell}},
      {.list = list, .form = "table", .command_line = {.merge = "ro"}},
      {.list = list, .form = "badram", .command_line = {.reserve = Quoting::kGrub}},
  };
  for (const PlanRequest& request : requests) {
    const auto plan = E820Backend().plan(request, *tree.open());
    ASSERT_FALSE(plan.ok());
    EXPECT_EQ(plan.error().code, ErrorCode::kUsage);
  }
  const auto plain = E820Backend().plan(
      {.list = list, .command_line = {.merge = "ro", .reserve = Quoting::kPlain}}, *tree.open());
  ASSERT_TRUE(plain.ok());
  EXPECT_EQ(plain->artifact, "ro memmap=0x1000$0x100000\n");
}

// The zero page of a boot whose loader passed these ranges of RAM, and something reserved.
std::string zero_page_with(const std::vector<ByteRange>& ram) {
  std::string page(4096, '\0');
  const auto put = [&](std::size_t at, std::uint64_t value, std::size_t width) {
    for (std::size_t i = 0; i < width; ++i) page[at + i] = static_cast<char>(value >> 8 * i & 0xff);
  };
  put(0x1e8, ram.size() + 1, 1);
  std::size_t at = 0x2d0;
  for (const ByteRange& part : ram) {
    put(at, part.begin().value(), 8);
    put(at + 8, part.size(), 8);
    put(at + 16, 1, 4);
    at += 20;
  }
  put(at, 0xf0000000, 8);
  put(at + 8, 0x1000, 8);
  put(at + 16, 2, 4);
  return page;
}

// memmap= changes what was RAM before it (from type 1), and nothing that the kernel adds later.
TEST(E820, FramesOfRamThatIsInNoE820TableAreNotCalledCovered) {
  for (const bool has_zero_page : {false, true}) {
    TempTree tree;
    write_machine(tree, 4, "ro");  // 64 MiB by the firmware, of 4 GiB
    std::uint64_t end = 0x4000;
    if (has_zero_page) {  // a DIMM that was added has an entry in the firmware map too
      tree.write("sys/kernel/boot_params/data", zero_page_with({range(0x1000, 0x2ffffff)}));
      end = 0x3000;
    }
    const RetireList list = list_of({frames(0x2000, 1), frames(end - 1, 2), frames(0x8000, 1)});
    for (const std::string_view form : {"", "table", "setup-data", "badram", "cutmem"}) {
      const auto plan = E820Backend().plan({.list = list, .form = form}, *tree.open());
      ASSERT_TRUE(plan.ok()) << plan.error().message;
      EXPECT_EQ(plan->covered, set_of({frames(0x2000, 1), frames(end - 1, 1)})) << form;
      EXPECT_EQ(refused_in(*plan), set_of({frames(end, 1), frames(0x8000, 1)})) << form;
      EXPECT_NE(plan->refused.at(0).reason.find("hot-added"), std::string::npos);
    }
  }
}

// init_real_mode() panics without a piece of RAM below 1 MiB.
TEST(E820, APieceOfRamBelow1MibIsLeftForTheCodeThatStartsCpus) {
  struct Case {
    std::vector<ByteRange> bad;
    RangeSet refused;
  };
  const Case cases[] = {
      // Single frames with 64 KiB between two of them: nothing to give back.
      {{frames(0x10, 1), frames(0x30, 1), frames(0x50, 1), frames(0x9e, 1)}, {}},
      {{frames(0x10, 0x60)}, {}},
      {{frames(0x10, 0x90)}, set_of({frames(0x10, 0x10)})},
      {{frames(0, 0xa0), frames(0x200, 1)}, set_of({frames(0x10, 0x10)})},
      // Every eighth frame, and one piece that has one bad frame only.
      {{frames(0x11, 1), frames(0x18, 1), frames(0x20, 1), frames(0x28, 1), frames(0x30, 1),
        frames(0x38, 1), frames(0x47, 1), frames(0x50, 1), frames(0x58, 1), frames(0x60, 1),
        frames(0x68, 1), frames(0x70, 1), frames(0x78, 1), frames(0x80, 1), frames(0x88, 1),
        frames(0x90, 1), frames(0x98, 1)},
       set_of({frames(0x38, 1)})},
  };
  for (const Case& c : cases) {
    TempTree tree;
    write_machine(tree, 1, "ro");
    tree.write("sys/firmware/memmap/0/end", "0x9ffff\n");
    for (const auto& [name, text] :
         {std::pair("start", "0x100000\n"), std::pair("end", "0xfffffff\n"),
          std::pair("type", "System RAM\n")}) {
      tree.write(std::string("sys/firmware/memmap/1/") + name, text);
    }
    const RetireList list = list_of(c.bad);
    const auto plan = E820Backend().plan({.list = list}, *tree.open());
    ASSERT_TRUE(plan.ok()) << plan.error().message;
    EXPECT_EQ(refused_in(*plan), c.refused);
    EXPECT_EQ(plan->covered, list.frames.minus(c.refused));
  }
}

TEST(E820, TheOptionFitsIntoEachOfTheLinesThatItGoesInto) {
  TempTree tree;
  write_machine(tree, 1, "ro");
  tree.write("boot/config-7.2.13", "CONFIG_NODES_SHIFT=10\n");
  const RetireList list = scattered(200);
  std::string old(kKib, 'x');  // long for its old option, for which the new one comes
  old += " memmap=0x1000%0x1000-1+5";
  for (int i = 0; i < 60; ++i) old += ",0x1000%0x1000-1+5";
  const std::string full(1900, 'y');
  for (const bool full_first : {false, true}) {
    CommandLineRequest request{.loader = Loader::kBoot,
                               .merge = full_first ? full : old,
                               .also = {full_first ? old : full},
                               .kept_free = 20};
    const auto plan = E820Backend().plan({.list = list, .command_line = request}, *tree.open());
    ASSERT_TRUE(plan.ok()) << plan.error().message;
    const std::string line = line_of(*plan);
    const std::size_t option = line.size() - line.find("memmap=");
    EXPECT_LE(full.size() + 1 + option + 20, 2047U);
    EXPECT_GT(full.size() + 1 + option + 20 + 22, 2047U);
    EXPECT_EQ(plan->covered.united_with(refused_in(*plan)), list.frames);
  }
}

}  // namespace
}  // namespace poisonctl
