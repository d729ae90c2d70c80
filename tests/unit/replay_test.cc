// Replay against a kernel that a test plays: what is ordered, what is left alone, and what is said
// of each frame afterwards.
#include "backends/replay.h"

#include <gtest/gtest.h>
#include <linux/kernel-page-flags.h>

#include <cerrno>
#include <map>

#include "registry/text.h"
#include "tests/unit/fake_sysroot.h"
#include "tests/unit/temp_tree.h"
#include "tests/unit/test_ranges.h"

namespace poisonctl {
namespace {

using namespace std::chrono_literals;

constexpr std::uint64_t kPage = 4096;
constexpr std::uint64_t kFrames = 0x100;
constexpr PageFlagWord flag(unsigned number) { return PageFlagWord{1} << number; }
constexpr PageFlagWord kPoison = flag(KPF_HWPOISON);
constexpr PageFlagWord kFree = flag(KPF_BUDDY);
constexpr PageFlagWord kReserved = flag(32);
constexpr PageFlagWord kMapped = flag(KPF_MMAP) | flag(KPF_ANON) | flag(KPF_LRU);

// 1 MiB of RAM whose frames are free, but for those that a test sets; each order is obeyed as
// `answers` says: the flags after it, and the errno.
class FakeKernel {
 public:
  FakeKernel() : inner_(tree_.open()), root_(*inner_) {
    words_.assign(kFrames, kFree);
    tree_.write("proc/iomem", "00000000-000fffff : System RAM\n");
    tree_.write("sys/devices/system/memory/hard_offline_page", "");
    recovery("1\n");
    root_.answer([this](std::string_view path, std::string_view text) { return obey(path, text); });
  }

  struct Answer {
    PageFlagWord flags = kPoison;
    int error = 0;
  };
  void set(std::uint64_t pfn, PageFlagWord flags) { words_.at(pfn) = flags; }
  void answer(std::uint64_t pfn, Answer answer) { answers_[pfn] = answer; }
  void recovery(std::string_view value) {
    tree_.write("proc/sys/vm/memory_failure_recovery", value);
  }
  void panics() { tree_.write("proc/sys/vm/panic_on_unrecoverable_memory_failure", "1\n"); }
  void no_flags() { has_flags_ = false; }
  // What happens in a pause.
  void meanwhile(std::function<void(FakeKernel&)> what) { meanwhile_ = std::move(what); }
  void stop_after(int count) { stop_after_ = count; }

  Result<ReplayResult> run(const RangeSet& frames, ReplayPolicy policy = {}) {
    write_flags();
    const auto map = load_memory_map(root_);
    if (!map) return map.error();
    const ReplayHooks hooks{
        .stopped =
            [this] { return stop_after_ >= 0 && static_cast<int>(orders.size()) >= stop_after_; },
        .pause =
            [this](std::chrono::milliseconds time) {
              pauses.push_back(time);
              if (meanwhile_) meanwhile_(*this);
              write_flags();
            },
    };
    return replay(frames, root_, *map, shift_of(kPage), policy, hooks);
  }

  // The only frame's outcome.
  ReplayRun only(std::uint64_t pfn, ReplayPolicy policy = {}) {
    const auto result = run(frame_set({pfn}), std::move(policy));
    if (!result || result->runs.size() != 1) throw std::runtime_error("expected one run");
    return result->runs.front();
  }

  static RangeSet frame_set(const std::vector<std::uint64_t>& pfns) {
    std::vector<ByteRange> ranges;
    for (const std::uint64_t pfn : pfns) ranges.push_back(range(pfn * kPage, pfn * kPage + 4095));
    return set_of(std::move(ranges));
  }

  std::vector<std::string> orders;
  std::vector<std::chrono::milliseconds> pauses;

 private:
  int obey(std::string_view path, std::string_view text) {
    EXPECT_EQ(path, "sys/devices/system/memory/hard_offline_page");
    orders.emplace_back(text);
    const auto address = parse_prefixed_hex(text);
    if (!address || *address % kPage != 0) return EINVAL;
    const std::uint64_t pfn = *address / kPage;
    if ((words_.at(pfn) & kPoison) != 0) return EHWPOISON;
    const auto found = answers_.find(pfn);
    const Answer answer = found == answers_.end() ? Answer{} : found->second;
    words_.at(pfn) = answer.flags;
    write_flags();
    return answer.error;
  }
  void write_flags() {
    if (has_flags_) tree_.write_words("proc/kpageflags", words_);
  }

  TempTree tree_;
  std::unique_ptr<SysRoot> inner_;
  FakeSysRoot root_;
  std::vector<PageFlagWord> words_;
  std::map<std::uint64_t, Answer> answers_;
  std::function<void(FakeKernel&)> meanwhile_;
  bool has_flags_ = true;
  int stop_after_ = -1;
};

TEST(Replay, WhatBecameOfAFrame) {
  struct Case {
    std::string_view what;
    PageFlagWord before;
    FakeKernel::Answer answer;
    ReplayState state;
    FrameUse use;
    Retirement retirement;
    std::size_t orders;
  };
  constexpr auto kNobody = FrameUse::kNone;
  const Case cases[] = {
      {"a free frame", kFree, {}, ReplayState::kEffective, kNobody, Retirement::kEffective, 1},
      {"retired before", kPoison, {}, ReplayState::kAlready, kNobody, Retirement::kEffective, 0},
      {"no page", flag(KPF_NOPAGE), {}, ReplayState::kAbsent, kNobody, Retirement::kEffective, 0},
      // The answer says yes and the flags say no: nothing is believed.
      {"granted, and still free",
       kFree,
       {kFree, 0},
       ReplayState::kFailed,
       kNobody,
       Retirement::kPending,
       5},
      {"flagged, and still free",
       kFree,
       {kFree | kPoison, EBUSY},
       ReplayState::kFailed,
       kNobody,
       Retirement::kFailed,
       1},
      // The flags say yes and the answer says no: the kernel knows better.
      {"taken while we asked",
       kFree,
       {kPoison, EBUSY},
       ReplayState::kTaken,
       FrameUse::kFree,
       Retirement::kFailed,
       1},
      {"slab",
       flag(KPF_SLAB),
       {kPoison | flag(KPF_SLAB), EBUSY},
       ReplayState::kTaken,
       FrameUse::kSlab,
       Retirement::kFailed,
       1},
      {"page table",
       flag(KPF_PGTABLE),
       {kPoison | flag(KPF_PGTABLE), EBUSY},
       ReplayState::kTaken,
       FrameUse::kPageTable,
       Retirement::kFailed,
       1},
      {"reserved",
       kReserved,
       {kPoison | kReserved, EBUSY},
       ReplayState::kTaken,
       FrameUse::kReserved,
       Retirement::kFailed,
       1},
      {"of the kernel, without a flag",
       0,
       {kPoison, EBUSY},
       ReplayState::kTaken,
       FrameUse::kKernel,
       Retirement::kFailed,
       1},
      {"page cache",
       flag(KPF_LRU) | flag(KPF_UPTODATE),
       {},
       ReplayState::kEffective,
       kNobody,
       Retirement::kEffective,
       1},
      {"page cache, not written back",
       flag(KPF_LRU) | flag(KPF_DIRTY),
       {},
       ReplayState::kTaken,
       FrameUse::kPageCache,
       Retirement::kPending,
       0},
      {"of a process",
       kMapped,
       {},
       ReplayState::kTaken,
       FrameUse::kAnonymous,
       Retirement::kPending,
       0},
      {"a transparent huge page",
       kMapped | flag(KPF_THP),
       {},
       ReplayState::kTaken,
       FrameUse::kHuge,
       Retirement::kPending,
       0},
      {"a free hugetlb page",
       flag(KPF_HUGE) | flag(KPF_COMPOUND_TAIL),
       {},
       ReplayState::kEffective,
       kNobody,
       Retirement::kEffective,
       1},
      {"a hugetlb page in use",
       flag(KPF_HUGE) | flag(KPF_MMAP),
       {},
       ReplayState::kTaken,
       FrameUse::kHuge,
       Retirement::kPending,
       0},
      {"given back to the host",
       flag(KPF_OFFLINE),
       {},
       ReplayState::kTaken,
       FrameUse::kHost,
       Retirement::kPending,
       0},
      {"flagged before, in use",
       kPoison | flag(KPF_SLAB),
       {},
       ReplayState::kTaken,
       FrameUse::kSlab,
       Retirement::kFailed,
       0},
      {"flagged before, mapped",
       kPoison | kMapped,
       {},
       ReplayState::kTaken,
       FrameUse::kAnonymous,
       Retirement::kPending,
       0},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.what);
    FakeKernel kernel;
    kernel.set(0x80, c.before);
    kernel.answer(0x80, c.answer);
    const ReplayRun run = kernel.only(0x80);
    EXPECT_EQ(to_word(run.state), to_word(c.state)) << run.how;
    EXPECT_EQ(to_word(run.use), to_word(c.use)) << run.how;
    EXPECT_EQ(run.retirement, c.retirement) << run.how;
    EXPECT_EQ(kernel.orders.size(), c.orders);
    if (c.orders != 0) {
      EXPECT_EQ(kernel.orders.front(), "0x80000");  // a byte address
    }
  }
}

TEST(Replay, AFrameLeftOutOfTheMapIsExcludedAndOneOfADeviceIsLeftAlone) {
  TempTree tree;
  tree.write("proc/iomem",
             "00000000-0007ffff : System RAM\n00080000-00080fff : Unusable memory\n"
             "00081000-000fffff : Persistent Memory\n");
  tree.write("sys/devices/system/memory/hard_offline_page", "");
  tree.write("proc/sys/vm/memory_failure_recovery", "1\n");
  std::vector<PageFlagWord> words(kFrames, kFree);
  words[0x80] = kReserved;
  words[0x81] = 0;
  tree.write_words("proc/kpageflags", words);
  const auto root = tree.open();
  const auto map = load_memory_map(*root);
  const auto result = replay(FakeKernel::frame_set({0x80, 0x81}), *root, *map, shift_of(kPage), {},
                             {.stopped = [] { return false; }, .pause = [](auto) {}});
  ASSERT_TRUE(result.ok()) << result.error().message;
  ASSERT_EQ(result->runs.size(), 2U);
  EXPECT_EQ(result->runs[0].state, ReplayState::kExcluded);
  EXPECT_EQ(result->runs[1].state, ReplayState::kUnknown);
  EXPECT_EQ(tree.content("sys/devices/system/memory/hard_offline_page"), "");
}

TEST(Replay, WaitsForWhatMayComeFreeWithPausesThatDouble) {
  FakeKernel kernel;
  kernel.set(0x10, 0);  // in the list of one CPU
  kernel.set(0x11, flag(KPF_LRU) | flag(KPF_WRITEBACK));
  kernel.meanwhile([](FakeKernel& it) {
    if (it.pauses.size() == 2) it.set(0x10, kFree);
    if (it.pauses.size() == 3) it.set(0x11, flag(KPF_LRU));
  });
  const auto result = kernel.run(FakeKernel::frame_set({0x10, 0x11}));
  ASSERT_TRUE(result.ok());
  ASSERT_EQ(result->runs.size(), 1U);
  EXPECT_EQ(result->runs[0].state, ReplayState::kEffective);
  EXPECT_EQ(kernel.pauses, (std::vector{10ms, 20ms, 40ms}));
  EXPECT_EQ(kernel.orders, (std::vector<std::string>{"0x10000", "0x11000"}));
}

TEST(Replay, GivesUpAfterSoManyRounds) {
  FakeKernel kernel;
  kernel.set(0x10, kMapped);
  EXPECT_EQ(kernel.only(0x10).state, ReplayState::kTaken);
  EXPECT_EQ(kernel.pauses, (std::vector{10ms, 20ms, 40ms, 80ms}));
  EXPECT_TRUE(kernel.orders.empty());
}

TEST(Replay, TakesFromProcessesOnlyWhenTold) {
  FakeKernel kernel;
  kernel.set(0x10, kMapped);
  EXPECT_EQ(kernel.only(0x10, {.take_from_processes = true}).state, ReplayState::kEffective);
}

TEST(Replay, NeverOrdersWhatWouldPanicTheMachine) {
  FakeKernel kernel;
  kernel.panics();
  kernel.set(0x10, flag(KPF_SLAB));
  kernel.set(0x11, kReserved);
  kernel.set(0x12, 0);
  const auto result = kernel.run(FakeKernel::frame_set({0x10, 0x11, 0x12}));
  ASSERT_TRUE(result.ok());
  EXPECT_TRUE(kernel.orders.empty());
  EXPECT_EQ(result->runs.size(), 3U);
  for (const ReplayRun& run : result->runs) EXPECT_EQ(run.state, ReplayState::kTaken);

  kernel.recovery("0\n");
  const auto refused = kernel.run(FakeKernel::frame_set({0x20}));
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::kNotAvailable);
  EXPECT_NE(refused.error().message.find("panic"), std::string::npos);
  EXPECT_TRUE(kernel.orders.empty());
}

TEST(Replay, WithoutFlagsNothingIsClaimed) {
  FakeKernel kernel;
  kernel.no_flags();
  const auto refused = kernel.run(FakeKernel::frame_set({0x10}));
  ASSERT_FALSE(refused.ok());
  EXPECT_TRUE(kernel.orders.empty());
  const ReplayRun run = kernel.only(0x10, {.blind = true});
  EXPECT_EQ(run.state, ReplayState::kUnknown);
  EXPECT_EQ(run.retirement, Retirement::kUnknown);
  EXPECT_EQ(kernel.orders, std::vector<std::string>{"0x10000"});
  EXPECT_TRUE(kernel.pauses.empty());
}

TEST(Replay, ADryRunOrdersNothingAndWaitsForNothing) {
  FakeKernel kernel;
  kernel.set(0x11, kMapped);
  kernel.set(0x12, flag(KPF_LRU));
  const auto result = kernel.run(FakeKernel::frame_set({0x10, 0x11, 0x12}), {.dry_run = true});
  ASSERT_TRUE(result.ok());
  ASSERT_EQ(result->runs.size(), 3U);
  EXPECT_EQ(result->runs[0].state, ReplayState::kPending);
  EXPECT_EQ(result->runs[1].state, ReplayState::kTaken);
  EXPECT_EQ(result->runs[2].state, ReplayState::kPending);
  EXPECT_TRUE(kernel.orders.empty());
  EXPECT_TRUE(kernel.pauses.empty());
}

// The kernel keeps only the frames that it was told of when it takes such a page apart, whatever
// the flag of all of it says.
TEST(Replay, EachBadFrameOfAPoisonedHugetlbPageIsNamedOnce) {
  constexpr PageFlagWord kHead = kPoison | flag(KPF_HUGE) | flag(KPF_COMPOUND_HEAD);
  constexpr PageFlagWord kTail = kPoison | flag(KPF_HUGE) | flag(KPF_COMPOUND_TAIL);
  const auto in_pool = [&](FakeKernel& kernel) {
    kernel.set(0x20, kHead);
    kernel.set(0x21, kTail);
    kernel.set(0x22, kTail | flag(KPF_MMAP));
  };
  const RangeSet bad = FakeKernel::frame_set({0x21, 0x22});
  FakeKernel kernel;
  in_pool(kernel);
  const auto result = kernel.run(bad);
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(kernel.orders, (std::vector<std::string>{"0x21000", "0x22000"}));
  EXPECT_EQ(result->runs.at(0).state, ReplayState::kAlready);
  EXPECT_EQ(result->runs.at(0).error, EHWPOISON);
  FakeKernel later;
  in_pool(later);
  const auto again = later.run(bad, {.settled = FakeKernel::frame_set({0x21})});
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(later.orders, std::vector<std::string>{"0x22000"});
  FakeKernel looked_at;
  in_pool(looked_at);
  const ReplayRun run = looked_at.only(0x21, {.dry_run = true});
  EXPECT_EQ(run.state, ReplayState::kPending);
  EXPECT_EQ(run.how, std::string_view(kHowUnnamed));
  // Of a page that is all on the list nobody has said which frame it is.
  FakeKernel vague;
  in_pool(vague);
  const auto of_page = vague.run(FakeKernel::frame_set({0x20, 0x21, 0x22}));
  ASSERT_TRUE(of_page.ok());
  EXPECT_TRUE(vague.orders.empty());
}

// Linux 6.1 and 6.6 have these flags on the head alone: dirty data was taken for clean.
TEST(Replay, TheTailOfALargePageIsAsDirtyAsItsHead) {
  for (const PageFlagWord data : {flag(KPF_DIRTY), flag(KPF_WRITEBACK), flag(KPF_SWAPBACKED)}) {
    FakeKernel kernel;
    kernel.set(0x20, flag(KPF_COMPOUND_HEAD) | flag(KPF_LRU) | data);
    for (std::uint64_t pfn = 0x21; pfn < 0x24; ++pfn) kernel.set(pfn, flag(KPF_COMPOUND_TAIL));
    const ReplayRun run = kernel.only(0x22);
    EXPECT_EQ(run.state, ReplayState::kTaken);
    EXPECT_EQ(run.use, FrameUse::kPageCache);
    EXPECT_TRUE(kernel.orders.empty());
  }
  FakeKernel clean;
  clean.set(0x20, flag(KPF_COMPOUND_HEAD) | flag(KPF_LRU));
  clean.set(0x21, flag(KPF_COMPOUND_TAIL));
  EXPECT_EQ(clean.only(0x21).state, ReplayState::kEffective);
}

TEST(Replay, StoppedInTheMiddleItNamesWhatIsLeftAndTheNextRunDoesTheRest) {
  FakeKernel kernel;
  kernel.stop_after(2);
  const RangeSet frames = FakeKernel::frame_set({0x10, 0x11, 0x20, 0x30});
  const auto first = kernel.run(frames);
  ASSERT_TRUE(first.ok());
  EXPECT_TRUE(first->stopped);
  ASSERT_EQ(first->runs.size(), 3U);
  EXPECT_EQ(first->runs[0].state, ReplayState::kEffective);
  EXPECT_EQ(first->runs[1].state, ReplayState::kPending);
  EXPECT_EQ(first->runs[2].state, ReplayState::kPending);

  kernel.stop_after(-1);
  const auto second = kernel.run(frames);
  ASSERT_TRUE(second.ok());
  EXPECT_EQ(second->runs[0].state, ReplayState::kAlready);
  EXPECT_EQ(second->runs[1].state, ReplayState::kEffective);
  EXPECT_EQ(kernel.orders.size(), 4U);  // each once

  const auto third = kernel.run(frames);
  EXPECT_EQ(third->orders, 0U);
}

// An untyped page that the kernel kept has, once flagged, the flags of one that is isolated.
TEST(Replay, WhatTheKernelKeptBeforeIsNotTakenForRetired) {
  FakeKernel kernel;
  kernel.set(0x10, kPoison);
  const ReplayRun run =
      kernel.only(0x10, {.doubts = {.kept = FakeKernel::frame_set({0x10}), .unsure = {}}});
  EXPECT_EQ(run.state, ReplayState::kTaken);
  EXPECT_EQ(run.retirement, Retirement::kFailed);
}

// It was flagged before, or by the replay that was cut off and was perhaps told that it is in use.
TEST(Replay, AFlaggedFrameIsInDoubtAfterAReplayThatWasCutOff) {
  FakeKernel kernel;
  kernel.set(0x10, kPoison);
  kernel.set(0x11, kPoison);
  kernel.set(0x12, kFree);
  kernel.set(0x13, kPoison);
  ReplayPolicy policy;
  policy.cut_off = true;
  policy.settled = FakeKernel::frame_set({0x11});
  const auto cut = kernel.run(FakeKernel::frame_set({0x10, 0x11, 0x12}), policy);
  ASSERT_EQ(cut->runs.size(), 3U);
  EXPECT_EQ(cut->runs[0].state, ReplayState::kUnknown);
  EXPECT_EQ(cut->runs[0].retirement, Retirement::kUnknown);
  EXPECT_EQ(cut->runs[1].state, ReplayState::kAlready);
  EXPECT_EQ(cut->runs[2].state, ReplayState::kEffective);
  EXPECT_EQ(cut->doubts.unsure, FakeKernel::frame_set({0x10}));
  // The next one, which follows a whole one, still does not know; of another frame it does.
  const auto next = kernel.run(FakeKernel::frame_set({0x10, 0x12, 0x13}), {.doubts = cut->doubts});
  ASSERT_EQ(next->runs.size(), 2U);
  EXPECT_EQ(next->runs[0].state, ReplayState::kUnknown);
  EXPECT_EQ(next->runs[1].state, ReplayState::kAlready);
  EXPECT_EQ(next->doubts.unsure, FakeKernel::frame_set({0x10}));
}

TEST(Replay, WhatAnEarlierListLeftInDoubtStays) {
  FakeKernel kernel;
  kernel.set(0x10, kFree);
  const FlagDoubts doubts{.kept = FakeKernel::frame_set({0x20}),
                          .unsure = FakeKernel::frame_set({0x21})};
  const auto result = kernel.run(FakeKernel::frame_set({0x10}), {.doubts = doubts});
  EXPECT_EQ(result->doubts.kept, doubts.kept);
  EXPECT_EQ(result->doubts.unsure, doubts.unsure);
}

TEST(Replay, NoFrameIsLost) {
  FakeKernel kernel;
  for (std::uint64_t pfn = 0; pfn < kFrames; ++pfn) {
    constexpr PageFlagWord kSome[] = {kFree,   kPoison,   0,
                                      kMapped, kReserved, flag(KPF_LRU) | flag(KPF_DIRTY)};
    kernel.set(pfn, kSome[pfn * 7 % std::size(kSome)]);
  }
  const RangeSet frames = set_of({range(0x3000, 0x40fff), range(0x50000, 0xfffff)});
  const auto result = kernel.run(frames);
  ASSERT_TRUE(result.ok());
  std::vector<ByteRange> told;
  std::uint64_t bytes = 0;
  for (const ReplayRun& run : result->runs) {
    told.push_back(run.range);
    bytes += run.range.size();
  }
  EXPECT_EQ(set_of(told), frames);
  EXPECT_EQ(bytes, frames.bytes());
}

TEST(Replay, WordsReadBack) {
  for (int number = 0; number < 8; ++number) {
    const auto state = static_cast<ReplayState>(number);
    EXPECT_EQ(replay_state_from(to_word(state)), state);
  }
  EXPECT_EQ(replay_state_from("else"), std::nullopt);
  for (int number = 0; number < 10; ++number) {
    const auto use = static_cast<FrameUse>(number);
    EXPECT_EQ(frame_use_from(to_word(use)), use);
  }
  EXPECT_EQ(frame_use_from(""), std::nullopt);
}

}  // namespace
}  // namespace poisonctl
