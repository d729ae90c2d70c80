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
#include "tests/unit/temp_tree.h"
#include "tests/unit/test_ranges.h"

namespace poisonctl {
namespace {

constexpr std::uint64_t kPage = 4096;
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

TEST(E820, WithoutOwnMemmapKeepsWhatOthersHaveSet) {
  struct Case {
    std::string_view given;
    std::string_view kept;
  };
  constexpr Case kCases[] = {
      {"", ""},
      {"ro quiet", "ro quiet"},
      {"ro memmap=0x1000%0x8000000-1+5 quiet", "ro quiet"},
      {"memmap=0x1000%0x8000000-1+5,0x2000%0x9000000-1+5", ""},
      {"memmap=0x1000%0x1000-1+5 memmap=0x1000%0x3000-1+5 ro", "ro"},
      {"  ro \t quiet  ", "ro quiet"},
      // Anybody else's stay.
      {"memmap=exactmap memmap=640K@0", "memmap=exactmap memmap=640K@0"},
      {"memmap=4G!12G", "memmap=4G!12G"},
      {"memmap=10M$0x18690000", "memmap=10M$0x18690000"},
      {"memmap=64K#0x18690000", "memmap=64K#0x18690000"},
      {"memmap=512M", "memmap=512M"},
      {"memmap=0x1000%0x1000-1+2", "memmap=0x1000%0x1000-1+2"},
      {"memmap=0x1000%0x1000+5", "memmap=0x1000%0x1000+5"},
      {"memmap=0x1000%0x1000-1", "memmap=0x1000%0x1000-1"},
      {"memmap=0x1000%0x1000", "memmap=0x1000%0x1000"},
      {"memmap=4K%0x1000-1+5", "memmap=4K%0x1000-1+5"},
      {"memmap=0x1000%4096-1+5", "memmap=0x1000%4096-1+5"},
      {"memmap=0x1000%0x1000-1+55", "memmap=0x1000%0x1000-1+55"},
      {"memmap=0x1000%0x1000-1+5,", "memmap=0x1000%0x1000-1+5,"},
      {"memmap=", "memmap="},
      {"memmap=%-1+5", "memmap=%-1+5"},
      // A list that somebody else has added to is theirs.
      {"memmap=0x1000%0x1000-1+5,4G!12G", "memmap=0x1000%0x1000-1+5,4G!12G"},
      {"memmap=exactmap,0x1000%0x1000-1+5", "memmap=exactmap,0x1000%0x1000-1+5"},
      {"xmemmap=0x1000%0x1000-1+5", "xmemmap=0x1000%0x1000-1+5"},
  };
  for (const Case& c : kCases) EXPECT_EQ(without_own_memmap(c.given), c.kept) << c.given;
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

// What an x86 kernel does with memmap=, written from what it does and not from how: a table of
// bounded size, an item that changes the type of the parts of its range that are RAM, and entries
// that are lost when the table is full (arch/x86/kernel/e820.c; Linux 7.2).
class KernelModel {
 public:
  KernelModel(const RangeSet& ram, std::size_t capacity) : capacity_(capacity) {
    for (const ByteRange& range : ram.ranges()) add({range, kRam});
  }

  // False where the kernel would say "malformed" and go on.
  [[nodiscard]] bool boot(std::string_view option) {
    if (!option.starts_with("memmap=")) return false;
    option.remove_prefix(7);
    while (!option.empty()) {
      const auto comma = option.find(',');
      if (!apply(std::string(option.substr(0, comma)))) return false;
      option.remove_prefix(comma == std::string_view::npos ? option.size() : comma + 1);
    }
    return true;
  }

  [[nodiscard]] RangeSet of_type(int type) const {
    std::vector<ByteRange> ranges;
    for (const Entry& entry : entries_) {
      if (entry.type == type) ranges.push_back(entry.range);
    }
    return RangeSet::from_ranges(std::move(ranges));
  }

  static constexpr int kRam = 1;
  static constexpr int kUnusable = 5;

 private:
  struct Entry {
    ByteRange range;
    int type;
  };

  // A number of any base with an optional K, M, G, T, P or E, as the kernel's memparse reads it.
  static std::uint64_t number_at(const char*& text) {
    char* end = nullptr;
    std::uint64_t value = std::strtoull(text, &end, 0);
    static constexpr std::string_view kSuffixes = "KMGTPE";
    const auto suffix = kSuffixes.find(static_cast<char>(*end & ~0x20));
    if (*end != '\0' && suffix != std::string_view::npos) {
      value <<= 10 * (suffix + 1);
      ++end;
    }
    text = end;
    return value;
  }

  bool apply(const std::string& item) {
    const char* at = item.c_str();
    const std::uint64_t size = number_at(at);
    if (at == item.c_str() || *at != '%') return false;  // no other form is ours to model
    ++at;
    const std::uint64_t start = number_at(at);
    int from = 0;
    int to = 0;
    if (*at == '-') {
      ++at;
      from = static_cast<int>(number_at(at));
    }
    if (*at == '+') {
      ++at;
      to = static_cast<int>(number_at(at));
    }
    const auto changed = ByteRange::from_size(PhysAddr(start), size);
    if (*at != '\0' || from == 0 || to == 0 || from == to || !changed) return false;
    change(*changed, from, to);
    return true;
  }

  void change(const ByteRange& changed, int from, int to) {
    // Entries that are added while going through are gone through as well.
    for (std::size_t i = 0; i < entries_.size(); ++i) {
      if (entries_[i].type != from || !entries_[i].range.overlaps(changed)) continue;
      const ByteRange whole = entries_[i].range;
      const PhysAddr begin = std::max(whole.begin(), changed.begin());
      const PhysAddr last = std::min(whole.last(), changed.last());
      const auto before = begin == whole.begin()
                              ? std::nullopt
                              : ByteRange::from_last(whole.begin(), PhysAddr(begin.value() - 1));
      const auto after = last == whole.last()
                             ? std::nullopt
                             : ByteRange::from_last(PhysAddr(last.value() + 1), whole.last());
      if (!before && !after) {
        entries_[i].type = to;
        continue;
      }
      entries_[i].range = before ? *before : *after;
      add({*ByteRange::from_last(begin, last), to});
      if (before && after) add({*after, from});
    }
  }

  void add(const Entry& entry) {
    if (entries_.size() < capacity_) entries_.push_back(entry);  // else the kernel only complains
  }

  std::size_t capacity_;
  std::vector<Entry> entries_;
};

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
  EXPECT_FALSE(refusing.boot("memmap=0x1000$0x8000"));
  EXPECT_FALSE(refusing.boot("memmap=0x1000%0x8000-1+1"));
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

}  // namespace
}  // namespace poisonctl
