// What page flags say of a frame, and a scan that finds each poisoned frame once.
#include "registry/page_flags.h"

#include <gtest/gtest.h>
#include <linux/kernel-page-flags.h>

#include <cerrno>
#include <map>
#include <random>

#include "tests/unit/fake_sysroot.h"
#include "tests/unit/temp_tree.h"
#include "tests/unit/test_ranges.h"

namespace poisonctl {
namespace {

constexpr std::string_view kFlags = "proc/kpageflags";
constexpr PageFlagWord flag(unsigned number) { return PageFlagWord{1} << number; }
constexpr PageFlagWord kPoison = flag(KPF_HWPOISON);
constexpr PageFlagWord kReserved = flag(32);
constexpr PageFlagWord kHead = flag(KPF_HUGE) | flag(KPF_COMPOUND_HEAD);
constexpr PageFlagWord kTail = flag(KPF_HUGE) | flag(KPF_COMPOUND_TAIL);

TEST(ClassifyFrame, EveryBranch) {
  struct Case {
    FrameView frame;
    Retirement retirement;
    std::string_view how;
  };
  using enum Retirement;
  const Case cases[] = {
      {{.has_page = false}, kEffective, "no such memory in this kernel"},
      {{.flags = kPoison | flag(KPF_BUDDY), .has_page = false}, kEffective, "no such memory"},
      // On the free lists, whatever /proc/iomem says: a memmap= inside a KHO scratch area is void.
      {{.flags = flag(KPF_BUDDY)}, kPending, "free"},
      {{.flags = flag(KPF_BUDDY), .in_ram = false}, kPending, "free"},
      {{.flags = flag(KPF_BUDDY), .in_ram = false, .near_ram = false}, kPending, "free"},
      {{.flags = flag(KPF_BUDDY) | kReserved, .in_ram = false}, kPending, "free"},
      {{.flags = kPoison | flag(KPF_BUDDY)}, kFailed, "free lists"},
      // device memory
      {{.flags = 0, .in_ram = false, .is_device = true}, kUnknown, "device memory"},
      {{.flags = flag(KPF_NOPAGE), .in_ram = false, .is_device = true}, kUnknown, "device memory"},
      // no struct page
      {{.flags = flag(KPF_NOPAGE)}, kEffective, "memory block is offline"},
      {{.flags = flag(KPF_NOPAGE), .in_ram = false}, kEffective, "not in this kernel's memory map"},
      // left out at boot
      {{.flags = kReserved, .in_ram = false}, kEffective, "left out"},
      {{.flags = kReserved, .in_ram = false, .near_ram = false}, kEffective, "left out"},
      // poisoned
      {{.flags = kPoison}, kEffective, "poisoned and on no list"},
      {{.flags = kPoison | flag(KPF_UPTODATE)}, kEffective, "poisoned and on no list"},
      {{.flags = kPoison, .in_ram = false}, kEffective, "poisoned and on no list"},
      {{.flags = kPoison | flag(KPF_SLAB)}, kFailed, "slab"},
      {{.flags = kPoison | flag(KPF_PGTABLE)}, kFailed, "page table"},
      {{.flags = kPoison | kReserved}, kFailed, "reserved by the kernel"},
      {{.flags = kPoison | flag(KPF_MMAP) | flag(KPF_ANON)}, kPending, "still mapped"},
      {{.flags = kPoison | flag(KPF_MMAP) | flag(KPF_THP)}, kPending, "still mapped"},
      {{.flags = kPoison | flag(KPF_THP) | flag(KPF_LRU)}, kFailed, "huge page not yet split"},
      {{.flags = kPoison | flag(KPF_LRU)}, kFailed, "page lists"},
      {{.flags = kPoison | kHead}, kEffective, "hugetlb page taken out of use"},
      {{.flags = kPoison | kTail}, kEffective, "hugetlb page taken out of use"},
      {{.flags = kPoison | kHead | flag(KPF_MMAP)}, kPending, "still mapped"},
      // no RAM, no flag
      {{.flags = 0, .in_ram = false}, kUnknown, "not reserved either"},
      {{.flags = flag(KPF_LRU), .in_ram = false, .near_ram = false}, kUnknown, "not reserved"},
      {{.flags = 0, .in_ram = false, .near_ram = false}, kEffective, "not in this kernel's memory"},
      // in use
      {{.flags = flag(KPF_OFFLINE)}, kPending, "given back to the host"},
      {{.flags = kHead}, kPending, "hugetlb pool"},
      {{.flags = kTail}, kPending, "hugetlb pool"},
      {{.flags = flag(KPF_SLAB)}, kPending, "slab"},
      {{.flags = flag(KPF_PGTABLE)}, kPending, "page table"},
      {{.flags = kReserved}, kPending, "reserved by the kernel at boot"},
      {{.flags = flag(KPF_ANON) | flag(KPF_LRU) | flag(KPF_MMAP)}, kPending, "by a process"},
      {{.flags = flag(KPF_LRU) | flag(KPF_UPTODATE)}, kPending, "page cache"},
      {{.flags = 0}, kPending, "in use by the kernel"},
  };
  for (const Case& c : cases) {
    const FrameState state = classify_frame(c.frame);
    EXPECT_EQ(state.retirement, c.retirement) << std::hex << c.frame.flags << ' ' << state.how;
    EXPECT_NE(std::string_view(state.how).find(c.how), std::string_view::npos)
        << std::hex << c.frame.flags << ' ' << state.how << ", expected " << c.how;
  }
}

// A kpageflags of `frames` words: zeros, and `set` at some.
void write_flags(const TempTree& tree, std::size_t frames,
                 const std::map<std::uint64_t, PageFlagWord>& set) {
  std::vector<PageFlagWord> words(frames);
  for (const auto& [pfn, word] : set) words.at(pfn) = word;
  tree.write_words(kFlags, words);
}

ByteRange frames(PageShift shift, std::uint64_t first, std::uint64_t count) {
  return ByteRange::from_frames(Pfn(first), count, shift).value();
}

struct Found {
  ByteRange range;
  bool exact;
  friend bool operator==(const Found&, const Found&) = default;
  friend void PrintTo(const Found& found, std::ostream* out) {
    *out << to_text(found.range) << (found.exact ? "" : " (some of it)");
  }
};

std::vector<Found> scan(const SysRoot& root, const RangeSet& where, PageShift shift,
                        unsigned threads = 1) {
  const auto flagged = scan_poisoned_frames(root, where, shift, {.threads = threads});
  EXPECT_TRUE(flagged.ok()) << flagged.error().message;
  std::vector<Found> found;
  if (flagged) {
    for (const FlaggedFrame& frame : *flagged) {
      EXPECT_NE(frame.flags & kPoison, 0U);
      found.push_back({frame.range, frame.exact});
    }
  }
  return found;
}

TEST(Scan, FindsFlaggedFramesOfTheAskedRangesOnly) {
  for (const std::uint64_t page : {4096U, 16384U, 65536U}) {
    const PageShift shift = shift_of(page);
    const TempTree tree;
    write_flags(tree, 100,
                {{0, kPoison},
                 {9, kPoison},
                 {10, kPoison},
                 {19, kPoison | flag(KPF_LRU)},
                 {20, kPoison},
                 {50, flag(KPF_BUDDY)},
                 {60, kPoison},
                 {99, kPoison}});
    const auto root = tree.open();
    EXPECT_EQ(
        scan(*root, set_of({frames(shift, 0, 1), frames(shift, 10, 10), frames(shift, 50, 50)}),
             shift),
        (std::vector<Found>{{frames(shift, 0, 1), true},
                            {frames(shift, 10, 1), true},
                            {frames(shift, 19, 1), true},
                            {frames(shift, 60, 1), true},
                            {frames(shift, 99, 1), true}}));
    // One byte of a frame is the frame.
    EXPECT_EQ(scan(*root, set_of({range(9 * page + 1, 9 * page + 1)}), shift),
              (std::vector<Found>{{frames(shift, 9, 1), true}}));
    // Two bytes of one frame are that frame, once.
    EXPECT_EQ(
        scan(*root, set_of({range(9 * page + 1, 9 * page + 1), range(9 * page + 5, 9 * page + 6)}),
             shift),
        (std::vector<Found>{{frames(shift, 9, 1), true}}));
    EXPECT_TRUE(scan(*root, {}, shift).empty());
    EXPECT_TRUE(scan(*root, set_of({frames(shift, 21, 39)}), shift).empty());
  }
}

TEST(Scan, ReadsRamAndNoHoles) {
  const PageShift shift = shift_of(4096);
  const TempTree tree;
  write_flags(tree, 10000, {});
  const auto inner = tree.open();
  const FakeSysRoot fake(*inner);
  EXPECT_TRUE(scan(fake, set_of({frames(shift, 0, 16), frames(shift, 9000, 16)}), shift).empty());
  EXPECT_EQ(fake.bytes_read_at(), 32 * sizeof(PageFlagWord));
  EXPECT_EQ(fake.used(), std::vector<std::string>{std::string(kFlags)});
}

// A pool page of `count` frames from `first`.
void add_hugetlb(std::map<std::uint64_t, PageFlagWord>& words, std::uint64_t first,
                 std::uint64_t count, bool flag_head, bool flag_tails) {
  for (std::uint64_t i = 0; i < count; ++i) {
    const bool flagged = i == 0 ? flag_head : flag_tails;
    words[first + i] = (i == 0 ? kHead : kTail) | (flagged ? kPoison : 0);
  }
}

TEST(Scan, HugetlbPageIsReportedWholeAndOnce) {
  // Kernels show the flag of the head for the head alone, or for every subpage. 4 frames is no real
  // size, 1300 is more than two steps of any reader, 512 and 32 are 2 MiB of 4 KiB and 64 KiB.
  for (const std::uint64_t size : {4U, 32U, 512U, 1300U}) {
    for (const bool all_subpages : {false, true}) {
      SCOPED_TRACE(size);
      SCOPED_TRACE(all_subpages);
      const PageShift shift = shift_of(4096);
      std::map<std::uint64_t, PageFlagWord> words;
      words[1535] = kPoison;                               // a base page just before
      add_hugetlb(words, 1536, size, true, all_subpages);  // two that touch
      add_hugetlb(words, 1536 + size, size, true, all_subpages);
      add_hugetlb(words, 1536 + 2 * size, size, false, false);  // a healthy one
      words[1536 + 3 * size] = kPoison;                         // a base page just after
      const TempTree tree;
      write_flags(tree, 1537 + 3 * size, words);
      const auto root = tree.open();
      EXPECT_EQ(scan(*root, set_of({frames(shift, 0, 1537 + 3 * size)}), shift),
                (std::vector<Found>{{frames(shift, 1535, 1), true},
                                    {frames(shift, 1536, size), false},
                                    {frames(shift, 1536 + size, size), false},
                                    {frames(shift, 1536 + 3 * size, 1), true}}));
    }
  }
}

TEST(Scan, HugetlbPageWhoseFlaggedTailComesFirst) {
  const PageShift shift = shift_of(4096);
  for (const std::uint64_t size : {4U, 512U, 1300U}) {
    SCOPED_TRACE(size);
    std::map<std::uint64_t, PageFlagWord> words;
    add_hugetlb(words, 100, size, true, true);
    add_hugetlb(words, 100 + size, size, true, true);
    const TempTree tree;
    write_flags(tree, 200 + 2 * size, words);
    const auto root = tree.open();
    const std::vector<Found> both = {{frames(shift, 100, size), false},
                                     {frames(shift, 100 + size, size), false}};
    EXPECT_EQ(scan(*root, set_of({frames(shift, 102, size)}), shift), both);
    EXPECT_EQ(scan(*root, set_of({frames(shift, 100 + size - 1, 1)}), shift),
              std::vector<Found>{both[0]});
    EXPECT_EQ(scan(*root, set_of({frames(shift, 100 + 2 * size - 1, 1)}), shift),
              std::vector<Found>{both[1]});
  }
}

TEST(Scan, HugetlbPageAtBothEndsOfTheFile) {
  const PageShift shift = shift_of(4096);
  std::map<std::uint64_t, PageFlagWord> words;
  add_hugetlb(words, 0, 8, true, true);
  add_hugetlb(words, 8, 8, true, false);
  const TempTree tree;
  write_flags(tree, 16, words);
  const auto root = tree.open();
  EXPECT_EQ(scan(*root, set_of({frames(shift, 3, 13)}), shift),
            (std::vector<Found>{{frames(shift, 0, 8), false}, {frames(shift, 8, 8), false}}));
}

TEST(Scan, TailsWithoutAHeadEndAtTheStartOfTheFile) {
  // No kernel writes this; a captured file may hold it.
  const PageShift shift = shift_of(4096);
  const TempTree tree;
  tree.write_words(kFlags, std::vector<PageFlagWord>(600, kTail | kPoison));
  EXPECT_EQ(scan(*tree.open(), set_of({frames(shift, 599, 1)}), shift),
            (std::vector<Found>{{frames(shift, 0, 600), false}}));
}

TEST(Scan, ThreadsGiveTheSameAnswer) {
  // More than one read of 1 MiB, so that there is something to share.
  const PageShift shift = shift_of(4096);
  constexpr std::size_t kFrames = 600000;
  std::mt19937 random(7);
  std::vector<PageFlagWord> words(kFrames);
  std::vector<Found> expected;
  for (int i = 0; i < 500; ++i) words[static_cast<std::size_t>(random()) % kFrames] = kPoison;
  for (std::size_t pfn = 0; pfn < kFrames; ++pfn) {
    if (words[pfn] != 0) expected.push_back({frames(shift, pfn, 1), true});
  }
  const TempTree tree;
  tree.write_words(kFlags, words);
  const auto root = tree.open();
  const RangeSet all = set_of({frames(shift, 0, kFrames)});
  for (const unsigned threads : {0U, 1U, 2U, 4U, 64U}) {
    EXPECT_EQ(scan(*root, all, shift, threads), expected) << threads;
  }
}

Error scan_error(const SysRoot& root, std::uint64_t count, unsigned threads = 1) {
  const PageShift shift = shift_of(4096);
  const auto flagged =
      scan_poisoned_frames(root, set_of({frames(shift, 0, count)}), shift, {.threads = threads});
  EXPECT_FALSE(flagged.ok());
  return flagged.ok() ? Error{} : flagged.error();
}

TEST(Scan, CutFileIsBadDataAndNeverAllClear) {
  const TempTree tree;
  const auto root = tree.open();
  write_flags(tree, 99, {});
  Error error = scan_error(*root, 100);
  EXPECT_EQ(error.code, ErrorCode::kBadData);
  EXPECT_NE(error.message.find("ends at frame 0x63 (offset 792)"), std::string::npos)
      << error.message;
  EXPECT_NE(error.message.find(tree.path(kFlags)), std::string::npos) << error.message;

  tree.write(kFlags, std::string(100 * 8 - 3, '\0'));
  error = scan_error(*root, 100);
  EXPECT_EQ(error.code, ErrorCode::kBadData);
  EXPECT_NE(error.message.find("ends inside a word, at offset 797"), std::string::npos)
      << error.message;

  tree.write(kFlags, "");
  EXPECT_EQ(scan_error(*root, 1).code, ErrorCode::kBadData);
}

TEST(Scan, FileThatIsAFolder) {
  const TempTree tree;
  tree.make_folder(kFlags);
  const Error error = scan_error(*tree.open(), 1);
  EXPECT_EQ(error.code, ErrorCode::kIo);
  EXPECT_EQ(error.os_error, EISDIR);
}

TEST(Scan, MissingFile) {
  const TempTree tree;
  const auto inner = tree.open();
  EXPECT_EQ(scan_error(*inner, 1).code, ErrorCode::kNoInput);
  // The running machine without the file is a kernel that lacks it.
  FakeSysRoot live(*inner);
  live.pretend_root("/");
  const Error error = scan_error(live, 1);
  EXPECT_EQ(error.code, ErrorCode::kNotAvailable);
  EXPECT_NE(error.message.find("CONFIG_PROC_PAGE_MONITOR"), std::string::npos);
}

TEST(Scan, ReadErrorInTheMiddleStopsEveryThread) {
  constexpr std::size_t kFrames = 600000;
  const TempTree tree;
  tree.write_words(kFlags, std::vector<PageFlagWord>(kFrames));
  const auto inner = tree.open();
  FakeSysRoot fake(*inner);
  fake.fail_at(kFlags, 300000 * sizeof(PageFlagWord), {ErrorCode::kIo, "injected", EIO});
  for (const unsigned threads : {1U, 4U}) {
    const Error error = scan_error(fake, kFrames, threads);
    EXPECT_EQ(error.code, ErrorCode::kIo);
    EXPECT_EQ(error.os_error, EIO);
    EXPECT_EQ(error.message, "injected");
  }
}

TEST(Scan, ReadErrorWhileAHugetlbPageIsMeasured) {
  const PageShift shift = shift_of(4096);
  std::map<std::uint64_t, PageFlagWord> words;
  add_hugetlb(words, 1000, 512, true, true);
  const TempTree tree;
  write_flags(tree, 2000, words);
  const auto inner = tree.open();
  for (const std::uint64_t broken : {1001U, 1400U}) {
    FakeSysRoot fake(*inner);
    fake.fail_at(kFlags, broken * sizeof(PageFlagWord), {ErrorCode::kIo, "injected", EIO});
    const auto flagged =
        scan_poisoned_frames(fake, set_of({frames(shift, 1200, 1)}), shift, {.threads = 1});
    ASSERT_FALSE(flagged.ok()) << broken;
    EXPECT_EQ(flagged.error().message, "injected");
  }
}

struct State {
  ByteRange range;
  Retirement retirement;
  friend bool operator==(const State&, const State&) = default;
  friend void PrintTo(const State& run, std::ostream* out) {
    *out << to_text(run.range) << ' ' << static_cast<int>(run.retirement);
  }
};

std::vector<State> retirement(const SysRoot& root, const RangeSet& ranges, const MemoryMap& map,
                              PageShift shift) {
  const auto runs = read_retirement(root, ranges, map, shift);
  EXPECT_TRUE(runs.ok()) << runs.error().message;
  std::vector<State> seen;
  std::vector<ByteRange> covered;
  if (runs) {
    for (const RetirementRun& run : *runs) {
      EXPECT_FALSE(run.how.empty());
      EXPECT_TRUE(covered.empty() || covered.back().end() <= run.range.begin()) << "not sorted";
      covered.push_back(run.range);
      seen.push_back({run.range, run.retirement});
    }
  }
  EXPECT_EQ(RangeSet::from_ranges(covered), ranges.widened_to(shift)) << "a byte lost or invented";
  return seen;
}

MemoryMap map_with(std::string_view iomem) { return {parse_iomem(iomem, "iomem").value(), {}}; }

TEST(ReadRetirement, RunsCoverExactlyTheWidenedInput) {
  using enum Retirement;
  for (const std::uint64_t page : {4096U, 16384U, 65536U}) {
    SCOPED_TRACE(page);
    const PageShift shift = shift_of(page);
    const TempTree tree;
    write_flags(tree, 64,
                {{4, kPoison},
                 {5, kPoison},
                 {6, flag(KPF_BUDDY)},
                 {7, kPoison | flag(KPF_BUDDY)},
                 {20, kPoison},
                 {40, kPoison}});
    const auto root = tree.open();
    const MemoryMap map({{frames(shift, 0, 64), 0, "System RAM"}}, {});
    EXPECT_EQ(retirement(*root,
                         set_of({range(4 * page + 1, 8 * page - 2), range(20 * page, 20 * page),
                                 range(40 * page, 41 * page)}),
                         map, shift),
              (std::vector<State>{{frames(shift, 4, 2), kEffective},
                                  {frames(shift, 6, 1), kPending},
                                  {frames(shift, 7, 1), kFailed},
                                  {frames(shift, 20, 1), kEffective},
                                  {frames(shift, 40, 1), kEffective},
                                  {frames(shift, 41, 1), kPending}}));
    EXPECT_TRUE(retirement(*root, {}, map, shift).empty());
  }
}

TEST(ReadRetirement, PastTheEndOfTheFileThereIsNoPage) {
  const PageShift shift = shift_of(4096);
  const TempTree tree;
  write_flags(tree, 10, {});
  const MemoryMap map({{frames(shift, 0, 10), 0, "System RAM"}}, {});
  EXPECT_EQ(
      retirement(*tree.open(), set_of({frames(shift, 8, 4), frames(shift, 1000, 1)}), map, shift),
      (std::vector<State>{{frames(shift, 8, 2), Retirement::kPending},
                          {frames(shift, 10, 2), Retirement::kEffective},
                          {frames(shift, 1000, 1), Retirement::kEffective}}));
}

// A claim of 4 PiB, and of all else that there is: hours of looking at frames that nobody has.
TEST(ReadRetirement, NobodyLooksAtEachFrameOfAnAddressSpace) {
  const PageShift shift = shift_of(4096);
  const TempTree tree;
  write_flags(tree, 10, {{3, kPoison}});
  const MemoryMap map({{frames(shift, 0, 10), 0, "System RAM"}}, {});
  const auto runs = retirement(*tree.open(), set_of({range(0, kPhysAddrLimit - 1)}), map, shift);
  ASSERT_EQ(runs.size(), 4U);
  EXPECT_EQ(runs[1], (State{frames(shift, 3, 1), Retirement::kEffective}));
  EXPECT_EQ(runs[3], (State{range(10 * 4096, kPhysAddrLimit - 1), Retirement::kEffective}));
}

TEST(ReadRetirement, MemoryMapDecidesWhereFlagsAreSilent) {
  using enum Retirement;
  const PageShift shift = shift_of(4096);
  const MemoryMap map = map_with(
      "00001000-07ffffff : System RAM\n"
      "08000000-08001fff : Unusable memory\n"
      "08002000-0fffffff : System RAM\n"
      "100000000-10fffffff : Persistent Memory\n");
  const TempTree tree;
  // An excluded frame that is honoured, and one that KHO's scratch area made void.
  tree.write_words(kFlags, {kReserved, 0, kPoison}, 0x8000);
  // A file long enough to have words for all that is asked.
  std::filesystem::resize_file(tree.path(kFlags), 0x110000 * sizeof(PageFlagWord));
  EXPECT_EQ(retirement(*tree.open(),
                       set_of({frames(shift, 0x8000, 3), frames(shift, 0x50000, 1),
                               frames(shift, 0x100000, 1)}),
                       map, shift),
            (std::vector<State>{{frames(shift, 0x8000, 1), kEffective},
                                {frames(shift, 0x8001, 1), kUnknown},
                                {frames(shift, 0x8002, 1), kEffective},
                                {frames(shift, 0x50000, 1), kEffective},
                                {frames(shift, 0x100000, 1), kUnknown}}));
}

TEST(ReadRetirement, FrameThatIsPartlyRamIsRam) {
  // With 64 KiB pages the boundary of a device need not be that of a frame.
  const PageShift shift = shift_of(65536);
  const MemoryMap map = map_with("00000000-00027fff : System RAM\n00028000-0003ffff : dax0.0\n");
  const TempTree tree;
  write_flags(tree, 4, {{2, kPoison}});
  EXPECT_EQ(retirement(
                *tree.open(),
                set_of({range(0x21000, 0x21fff), range(0x29000, 0x29fff), range(0x30000, 0x30fff)}),
                map, shift),
            (std::vector<State>{{frames(shift, 2, 1), Retirement::kEffective},
                                {frames(shift, 3, 1), Retirement::kUnknown}}));
}

TEST(ReadRetirement, RunsAreMaximalAcrossReads) {
  // One read is 131072 words: a run must not break there.
  const PageShift shift = shift_of(4096);
  constexpr std::size_t kFrames = 300000;
  const TempTree tree;
  tree.write_words(kFlags, std::vector<PageFlagWord>(kFrames, kPoison));
  const MemoryMap map({{frames(shift, 0, kFrames), 0, "System RAM"}}, {});
  EXPECT_EQ(retirement(*tree.open(), set_of({frames(shift, 0, kFrames)}), map, shift),
            (std::vector<State>{{frames(shift, 0, kFrames), Retirement::kEffective}}));
}

TEST(ReadRetirement, PassesErrorsOn) {
  const PageShift shift = shift_of(4096);
  const TempTree tree;
  write_flags(tree, 100, {});
  const auto inner = tree.open();
  const MemoryMap map({{frames(shift, 0, 100), 0, "System RAM"}}, {});
  const RangeSet ranges = set_of({frames(shift, 10, 1)});
  FakeSysRoot fake(*inner);
  fake.fail_at(kFlags, 80, {ErrorCode::kIo, "injected", EIO});
  EXPECT_EQ(read_retirement(fake, ranges, map, shift).error().message, "injected");
  tree.write(kFlags, std::string(83, '\0'));
  EXPECT_EQ(read_retirement(*inner, ranges, map, shift).error().code, ErrorCode::kBadData);
  const TempTree empty;
  EXPECT_EQ(read_retirement(*empty.open(), ranges, map, shift).error().code, ErrorCode::kNoInput);
}

}  // namespace
}  // namespace poisonctl
