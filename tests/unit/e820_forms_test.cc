// The forms of "e820" other than memmap=: what is read back from each is what was taken.
#include "backends/e820_forms.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <random>

#include "backends/e820.h"
#include "registry/sources/badram.h"
#include "registry/sources/bcdedit.h"
#include "tests/unit/kernel_model.h"
#include "tests/unit/temp_tree.h"
#include "tests/unit/test_ranges.h"

namespace poisonctl {
namespace {

constexpr std::uint64_t kPage = 4096;
constexpr std::uint64_t kMemoryEnd = std::uint64_t{1} << 40;

ByteRange frames(std::uint64_t first, std::uint64_t count) {
  return ByteRange::from_frames(Pfn(first), count, shift_of(kPage)).value();
}

MemoryMap map_of(std::vector<FirmwareEntry> firmware) { return {{}, std::move(firmware)}; }

RangeSet random_set(std::mt19937_64& random) {
  std::vector<ByteRange> ranges;
  for (std::uint64_t i = 1 + random() % 40; i != 0; --i) {
    ranges.push_back(frames(random() % (kMemoryEnd / kPage - 8), 1 + random() % 4));
  }
  return RangeSet::from_ranges(std::move(ranges));
}

// What a source of the registry makes of an artifact.
template <typename Collect>
RangeSet read_back(Collect collect, const std::string& text) {
  std::vector<ByteRange> ranges;
  TextStream stream(text, "it");
  const SourceSettings settings{.page_shift = shift_of(kPage), .memory_end = PhysAddr(kMemoryEnd)};
  const auto report = collect(stream, settings, [&](const Event& event, const SourceReport&) {
    if (event.range) ranges.push_back(*event.range);
    return Result<void>();
  });
  EXPECT_TRUE(report.ok()) << report.error().message;
  return RangeSet::from_ranges(std::move(ranges));
}

TEST(E820Forms, SourcesReadBackWhatTheTextFormsSay) {
  std::mt19937_64 random(3);
  const MemoryMap map = map_of({});
  for (int round = 0; round < 40; ++round) {
    const RangeSet set = random_set(random);
    const FormPlace place{map, 100};
    ASSERT_EQ(read_back(collect_badram, artifact_of_form("badram", set, place)), set);
    ASSERT_EQ(read_back(collect_badram, artifact_of_form("cutmem", set, place)), set);
    ASSERT_EQ(read_back(collect_bcdedit, artifact_of_form("bcdedit", set, place)), set);
  }
}

TEST(E820Forms, TheTextFormsLookLikeThis) {
  const MemoryMap map = map_of({});
  const FormPlace place{map, 100};
  const RangeSet set = set_of({frames(0x8000, 2), frames(0x200000, 1)});
  EXPECT_EQ(artifact_of_form("badram", set, place),
            "GRUB_BADRAM=\"0x8000000,0xffffffffffe000,0x200000000,0xfffffffffff000\"\n");
  EXPECT_EQ(artifact_of_form("cutmem", set, place),
            "cutmem 0x20000K 0x20008K\ncutmem 0x800000K 0x800004K\n");
  EXPECT_EQ(artifact_of_form("bcdedit", set, place),
            "bcdedit /set {badmemory} badmemorylist 0x8000 0x8001 0x200000\n");
}

// How GRUB 2.06 looks for the first match at or above `begin`; false where it never ends because
// the sum of 64 bits wraps.
bool grub_search_ends(const BadramPattern& pattern, std::uint64_t begin) {
  const auto match = [&](std::uint64_t number) {
    std::uint64_t at = pattern.address & pattern.mask;
    bool fixed_seen = false;  // free bits below the lowest fixed one do not count
    for (unsigned bit = 0, next = 0; bit < 64; ++bit) {
      const bool fixed = (pattern.mask >> bit & 1) != 0;
      fixed_seen = fixed_seen || fixed;
      if (fixed || !fixed_seen) continue;
      if ((number >> next++ & 1) != 0) at |= std::uint64_t{1} << bit;
    }
    return at;
  };
  if (match(0) >= begin) return true;
  std::uint64_t low = 0;
  std::uint64_t high = ~std::uint64_t{0};
  for (int steps = 0; high - low > 1; ++steps) {
    if (steps == 1000) return false;
    const std::uint64_t middle = (low + high) / 2;
    (match(middle) >= begin ? high : low) = middle;
  }
  return true;
}

TEST(E820Forms, GrubDoesNotHangInBadram) {
  EXPECT_FALSE(grub_search_ends({0x8000000, ~std::uint64_t{0xfff}}, 0x100000000));
  const MemoryMap map = map_of({});
  std::mt19937_64 random(206);
  for (int round = 0; round < 20; ++round) {
    const std::string line = artifact_of_form("badram", random_set(random), {map, 100});
    std::string_view list = std::string_view(line).substr(line.find('"') + 1);
    list = list.substr(0, list.find('"'));
    char* at = nullptr;
    for (std::string pairs(list); !pairs.empty(); pairs = *at == ',' ? at + 1 : "") {
      const std::uint64_t address = std::strtoull(pairs.c_str(), &at, 16);
      ASSERT_EQ(*at, ',');
      const std::uint64_t mask = std::strtoull(at + 1, &at, 16);
      for (const std::uint64_t begin : {std::uint64_t{0x100000}, std::uint64_t{1} << 32,
                                        std::uint64_t{1} << 40, kPhysAddrLimit - 1}) {
        ASSERT_TRUE(grub_search_ends({address, mask}, begin)) << std::hex << mask;
      }
    }
  }
}

struct RawEntry {
  std::uint64_t address;
  std::uint64_t size;
  std::uint32_t type;
};

std::vector<RawEntry> entries_in(std::string_view bytes) {
  constexpr std::size_t kSize = 20;
  EXPECT_EQ(bytes.size() % kSize, 0U);
  std::vector<RawEntry> entries;
  for (; bytes.size() >= kSize; bytes.remove_prefix(kSize)) {
    RawEntry entry{};
    std::memcpy(&entry.address, bytes.data(), 8);
    std::memcpy(&entry.size, bytes.data() + 8, 8);
    std::memcpy(&entry.type, bytes.data() + 16, 4);
    entries.push_back(entry);
  }
  return entries;
}

TEST(E820Forms, TheTableIsTheFirmwaresWithTheFramesUnusable) {
  const MemoryMap map = map_of({{range(0, 0x9ffff), "System RAM"},
                                {range(0xf0000, 0xfffff), "Reserved"},
                                {range(0x100000, 0xffffff), "System RAM"},
                                {range(0x1000000, 0x100ffff), "ACPI Tables"},
                                {range(0x2000000, 0x200ffff), "ACPI Non-volatile Storage"},
                                {range(0x3000000, 0x300ffff), "Persistent Memory"},
                                {range(0x4000000, 0x400ffff), "Soft Reserved"},
                                {range(0x5000000, 0x500ffff), "Something New"}});
  const RangeSet taken = set_of({range(0x100000, 0x100fff), range(0x200000, 0x201fff),
                                 range(0xfff000, 0x1000fff)});  // the last reaches past RAM
  const auto entries = entries_in(artifact_of_form("table", taken, {map, 100}));
  const std::vector<std::tuple<std::uint64_t, std::uint64_t, std::uint32_t>> expected = {
      {0, 0xa0000, 1},
      {0xf0000, 0x10000, 2},
      {0x100000, 0x1000, 5},
      {0x101000, 0xff000, 1},
      {0x200000, 0x2000, 5},
      {0x202000, 0xdfd000, 1},
      {0xfff000, 0x1000, 5},
      {0x1000000, 0x10000, 3},
      {0x2000000, 0x10000, 4},
      {0x3000000, 0x10000, 7},
      {0x4000000, 0x10000, 0xefffffff},
      {0x5000000, 0x10000, 2}};
  ASSERT_EQ(entries.size(), expected.size());
  for (std::size_t i = 0; i < entries.size(); ++i) {
    EXPECT_EQ(std::tuple(entries[i].address, entries[i].size, entries[i].type), expected[i]) << i;
  }
}

// 1,000 lists: a kernel that is given the table, or its usual map and the setup_data, has all RAM
// but what is covered.
TEST(E820Forms, AKernelStartedWithABinaryFormLosesExactlyWhatIsCovered) {
  std::mt19937_64 random(1000);
  TempTree tree;
  tree.write("proc/cmdline", "ro\n");
  tree.write("proc/iomem", "00000000-0009ffff : System RAM\n00100000-07ffffff : System RAM\n");
  const std::pair<const char*, const char*> parts[] = {{"0x0", "0x9ffff"},
                                                       {"0x100000", "0x7ffffff"}};
  for (std::size_t i = 0; i < 2; ++i) {
    const std::string folder = "sys/firmware/memmap/" + std::to_string(i);
    tree.write(folder + "/start", parts[i].first);
    tree.write(folder + "/end", parts[i].second);
    tree.write(folder + "/type", "System RAM");
  }
  const auto root = tree.open();
  const RangeSet ram = set_of({range(0, 0x9ffff), range(0x100000, 0x7ffffff)});
  for (int round = 0; round < 500; ++round) {
    RetireList list{.generation = 1, .page_shift = shift_of(kPage), .frames = {}, .refused = {}};
    std::vector<ByteRange> wanted;
    for (std::uint64_t i = 1 + random() % 120; i != 0; --i) {
      wanted.push_back(frames(0x100 + random() % 0x7000, 1 + random() % 4));
    }
    list.frames = RangeSet::from_ranges(wanted);
    for (const std::string_view form : {"table", "setup-data"}) {
      const auto plan = E820Backend().plan({.list = list, .form = form}, *root);
      ASSERT_TRUE(plan.ok()) << plan.error().message;
      std::vector<ByteRange> refused;
      for (const Refusal& refusal : plan->refused) refused.push_back(refusal.range);
      ASSERT_EQ(plan->covered.united_with(set_of(refused)), list.frames);
      ASSERT_TRUE(plan->covered.intersected_with(set_of(refused)).empty());
      std::string_view bytes = plan->artifact;
      if (form == "setup-data") {
        ASSERT_EQ(bytes.substr(0, 8), std::string(8, '\0'));             // next
        ASSERT_EQ(bytes.substr(8, 4), std::string_view("\1\0\0\0", 4));  // SETUP_E820_EXT
        bytes.remove_prefix(16);
      }
      const auto entries = entries_in(bytes);
      ASSERT_LE(entries.size(), 128U);
      KernelModel kernel(form == "table" ? RangeSet() : ram, 131);
      for (const RawEntry& entry : entries) {
        kernel.add_entry(*ByteRange::from_size(PhysAddr(entry.address), entry.size),
                         static_cast<int>(entry.type));
      }
      ASSERT_EQ(kernel.of_type(KernelModel::kRam), ram.minus(plan->covered)) << form;
      ASSERT_EQ(kernel.of_type(KernelModel::kUnusable), plan->covered) << form;
    }
  }
}

TEST(E820Forms, EachFormHasItsRoom) {
  std::vector<FirmwareEntry> firmware;
  for (std::uint64_t i = 0; i < 20; ++i) firmware.push_back({frames(i << 20, 1), "System RAM"});
  const MemoryMap map = map_of(firmware);
  const FormPlace place{map, 61};
  EXPECT_EQ(room_of_form("badram", place).ranges, 128U - 20 - 16);
  EXPECT_EQ(room_of_form("cutmem", place).ranges, 128U - 20 - 16);
  EXPECT_EQ(room_of_form("table", place).ranges, (128U - 20) / 2);
  EXPECT_EQ(room_of_form("setup-data", place).ranges, 30U);
  // A line that is as long as it may be.
  const Room windows = room_of_form("bcdedit", place);
  for (const ByteRange& one : {frames(0, 1), frames(0xf, 2), frames(0xfffff, 3)}) {
    const std::string line = artifact_of_form("bcdedit", set_of({one}), place);
    EXPECT_LE(line.size() - 1 + windows.text - windows.text_of(one), 8191U);
  }
}

}  // namespace
}  // namespace poisonctl
