// The registry on disk: an import is stored whole or not at all, and no file that is not a sound
// registry is ever changed or crashes a reader.
#include "registry/store.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <functional>
#include <set>

#include "registry/checkpoint.h"
#include "registry/sqlite.h"
#include "tests/unit/sample_events.h"
#include "tests/unit/temp_tree.h"
#include "tests/unit/test_store.h"

namespace poisonctl {

static bool operator==(const Event& a, const Event& b) {
  return a.kind == b.kind && a.range == b.range && a.granularity == b.granularity &&
         a.count == b.count && a.observed == b.observed && a.foreign_host == b.foreign_host &&
         a.label == b.label && a.dram == b.dram && a.result == b.result &&
         a.retirement == b.retirement && a.resolution == b.resolution && a.evidence == b.evidence;
}

namespace {

using enum EventKind;
using Mode = Store::Mode;

const Provenance kBoot1 = provenance_of("kernel", "boot-1", at_second(1));
const Provenance kBoot2 = provenance_of("kernel", "boot-2", at_second(2));

// Offsets in the header of an SQLite file (sqlite.org/fileformat.html, 1.3).
constexpr std::size_t kUserVersionAt = 60;
constexpr std::size_t kApplicationIdAt = 68;
// What a connection locks (the same page, "locking protocol" in os_unix.c).
constexpr off_t kSharedLockAt = 0x40000000 + 2;
constexpr off_t kSharedLockSize = 510;

// A folder with a registry in it.
class StoreTest : public ::testing::Test {
 protected:
  [[nodiscard]] std::string path() const { return tree_.path("registry.db"); }
  [[nodiscard]] std::string bytes() const { return tree_.content("registry.db"); }
  void write(std::string_view content) const { tree_.write("registry.db", content); }
  // Whether the file is still that; it is too long to be printed.
  [[nodiscard]] bool is_still(std::string_view content) const { return bytes() == content; }

  // A registry with one record of frame 1.
  void make() const {
    const Event first[] = {event_of(kUncorrected, frame_at(1), "first")};
    auto store = Store::open(path(), Mode::kCreate);
    ASSERT_TRUE(store.ok()) << store.error().message;
    const auto summary = append(*store, kBoot1, first);
    ASSERT_TRUE(summary.ok()) << summary.error().message;
  }

  TempTree tree_;
};

// Runs `body` in another process, as nobody when this one is root, and returns what it returns.
int in_child(bool give_up_root, const std::function<int()>& body) {
  const pid_t child = ::fork();
  if (child == 0) {
    constexpr uid_t kNobody = 65534;
    if (give_up_root && ::geteuid() == 0 && ::setresuid(kNobody, kNobody, kNobody) != 0) {
      ::_exit(120);
    }
    ::_exit(body());
  }
  int status = -1;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  if (WIFEXITED(status)) return WEXITSTATUS(status);
  return WIFSIGNALED(status) ? -WTERMSIG(status) : -1;
}

// How an operation ended, as an exit status of a child.
template <typename T>
int code_of(const Result<T>& result) {
  return result.ok() ? 0 : 1 + static_cast<int>(result.error().code);
}
int code_of(ErrorCode code) { return 1 + static_cast<int>(code); }

TEST_F(StoreTest, IsMadeForItsOwnerAndGroupWhateverTheUmask) {
  for (const mode_t mask : {mode_t{0}, mode_t{077}}) {
    const std::string made = tree_.path(fmt::format("made-{:o}", mask));
    const mode_t before = ::umask(mask);
    const auto store = Store::open(made, Mode::kCreate);
    ::umask(before);
    ASSERT_TRUE(store.ok()) << store.error().message;
    struct stat status {};
    ASSERT_EQ(::stat(made.c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 07777U, 0640U);
  }
}

TEST_F(StoreTest, LeavesOneFileItsCheckpointAndTheKey) {
  make();
  std::set<std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator(tree_.path())) {
    files.insert(entry.path().filename());
  }
  EXPECT_EQ(files, (std::set<std::string>{"registry.db", "registry.db.head", "registry.db.key"}));
}

TEST_F(StoreTest, SaysWhatItIsInTheFileHeader) {
  make();
  const std::string file = bytes();
  EXPECT_EQ(file.substr(kApplicationIdAt, 4), "pois");
  EXPECT_EQ(file.substr(kUserVersionAt, 4), std::string("\0\0\0\3", 4));
}

TEST_F(StoreTest, ReopenedItTellsWhatWasAppended) {
  Event vague = event_of(kPoisoned, range(0x200000, 0x3fffff), "kpageflags[0x200]=0x80000");
  vague.granularity = vague.range->size();
  Event full = event_of(kCorrected, frame_at(10), "all there is");
  full.granularity = 64;
  full.count = (std::uint64_t{1} << 63U) - 1;
  full.observed = at_second(3) + std::chrono::nanoseconds(7);
  full.foreign_host = "another";
  full.label = "CPU1_DIMM_A1";
  full.dram.socket = 1;
  full.dram.row = 4294967295U;
  full.dram.column = 0;
  full.result = "Recovered";
  Event nowhere = event_of(kDeferred, frame_at(1), "no address");
  nowhere.range.reset();
  const Event events[] = {
      event_of(kUncorrected, frame_at(9), "evidence with \xe2\x82\xac and ' and \" and \n"),
      vague,
      event_of(kCorrected,
               ByteRange::from_last(PhysAddr(kPhysAddrLimit - 0x1000), PhysAddr(kPhysAddrLimit - 1))
                   .value()),
      full,
      nowhere,
      outcome_of(Retirement::kFailed, frame_at(9), "in use"),
      resolution_of(Resolution::kRepaired, frame_at(9), "PPR"),
  };
  Provenance by = provenance_of("operator", "boot-9", at_second(77) + std::chrono::nanoseconds(5));
  by.host_id = "h";
  by.product_uuid = "u";
  by.product_serial = "s";
  by.source_version = "2";
  by.origin = "/a/file";
  by.monotonic_ns = (std::uint64_t{1} << 63U) - 1;
  by.uid = 4294967294U;
  by.page_shift = shift_of(65536);
  {
    auto store = Store::open(path(), Mode::kCreate);
    ASSERT_TRUE(store.ok());
    const auto summary = append(*store, by, events);
    ASSERT_TRUE(summary.ok()) << summary.error().message;
    EXPECT_EQ(summary->added, std::size(events));
    EXPECT_EQ(summary->new_records, 3U);
    EXPECT_EQ(summary->without_place, 2U);
    EXPECT_EQ(summary->known, 0U);
  }
  auto store = Store::open(path(), Mode::kRead);
  ASSERT_TRUE(store.ok());
  const auto stored = events_of(*store);
  ASSERT_EQ(stored.size(), std::size(events));
  for (std::size_t i = 0; i < stored.size(); ++i) {
    const StoredEvent& read = stored[i];
    EXPECT_TRUE(read.event == events[i]) << i;
    EXPECT_EQ(read.id, static_cast<std::int64_t>(i + 1));
    EXPECT_EQ(read.provenance.time, by.time);
    EXPECT_EQ(read.provenance.monotonic_ns, by.monotonic_ns);
    EXPECT_EQ(read.provenance.source, by.source);
    EXPECT_EQ(read.provenance.source_version, by.source_version);
    EXPECT_EQ(read.provenance.origin, by.origin);
    EXPECT_EQ(read.provenance.tool, by.tool);
    EXPECT_EQ(read.provenance.uid, by.uid);
    EXPECT_EQ(read.provenance.boot_id, by.boot_id);
    EXPECT_EQ(read.provenance.kernel_release, by.kernel_release);
    EXPECT_EQ(read.provenance.host_id, by.host_id);
    EXPECT_EQ(read.provenance.product_uuid, by.product_uuid);
    EXPECT_EQ(read.provenance.product_serial, by.product_serial);
    EXPECT_EQ(read.provenance.page_shift, by.page_shift);
  }
  const auto records = records_of(*store);
  ASSERT_EQ(records.size(), 3U);
  EXPECT_EQ(records[0].range, frame_at(9));
  EXPECT_EQ(records[1].range, vague.range);
  EXPECT_FALSE(records[1].is_exact(shift_of(4096)));
  EXPECT_EQ(records[2].condition, Condition::kSuspect);
}

TEST_F(StoreTest, EachEventPointsToTheImportItCameWith) {
  auto store = Store::open(path(), Mode::kCreate);
  ASSERT_TRUE(store.ok());
  const Event event[] = {event_of(kUncorrected, frame_at(1))};
  ASSERT_TRUE(append(*store, kBoot1, event).ok());
  ASSERT_TRUE(append(*store, kBoot2, event).ok());
  const auto stored = events_about(*store, frame_at(1));
  ASSERT_EQ(stored.size(), 2U);
  EXPECT_EQ(stored.front().provenance.boot_id, "boot-1");
  EXPECT_EQ(stored.back().provenance.boot_id, "boot-2");
}

TEST_F(StoreTest, RecordsComeByAddressThenSizeUntilTheVisitorHasEnough) {
  auto store = Store::open(path(), Mode::kCreate);
  ASSERT_TRUE(store.ok());
  const Event events[] = {event_of(kUncorrected, frame_at(9)),
                          event_of(kUncorrected, range(0x1000, 0x2fff)),
                          event_of(kUncorrected, frame_at(1))};
  ASSERT_TRUE(append(*store, kBoot1, events).ok());
  const auto records = records_of(*store);
  ASSERT_EQ(records.size(), 3U);
  EXPECT_EQ(records[0].range, frame_at(1));
  EXPECT_EQ(records[1].range, range(0x1000, 0x2fff));
  EXPECT_EQ(records[2].range, frame_at(9));
  int visits = 0;
  ASSERT_TRUE(store->for_each_record([&](const Record&) { return ++visits < 2; }).ok());
  EXPECT_EQ(visits, 2);
}

TEST_F(StoreTest, RecordsAboutARangeAreThoseThatOverlapIt) {
  auto store = Store::open(path(), Mode::kCreate);
  ASSERT_TRUE(store.ok());
  // More than are read in one go; one of them begins far before it.
  std::vector<Event> events = {event_of(kUncorrected, range(0x1000, 0x7ffffff))};
  for (std::uint64_t pfn = 2; pfn < 4000; ++pfn) {
    events.push_back(event_of(kUncorrected, frame_at(pfn)));
  }
  ASSERT_TRUE(append(*store, kBoot1, events).ok());
  const ByteRange wanted = range(0x201000, 0xa00fff);  // neighbours touch it
  std::vector<ByteRange> expected;
  for (const Record& record : records_of(*store)) {
    if (record.range.overlaps(wanted)) expected.push_back(record.range);
  }
  ASSERT_EQ(expected.size(), 2049U);
  std::vector<ByteRange> told;
  const auto read = store->for_each_record_about(wanted, [&](const Record& record) {
    told.push_back(record.range);
    return true;
  });
  ASSERT_TRUE(read.ok());
  EXPECT_EQ(told, expected);
  int visits = 0;
  ASSERT_TRUE(
      store->for_each_record_about(wanted, [&](const Record&) { return ++visits < 2; }).ok());
  EXPECT_EQ(visits, 2);
}

TEST_F(StoreTest, EventsAboutARangeAreThoseThatOverlapIt) {
  auto store = Store::open(path(), Mode::kCreate);
  ASSERT_TRUE(store.ok());
  const Event events[] = {event_of(kUncorrected, frame_at(1), "before"),
                          event_of(kUncorrected, frame_at(2), "in"),
                          event_of(kUncorrected, range(0x1000, 0x2fff), "over the edge"),
                          event_of(kUncorrected, frame_at(3), "after")};
  ASSERT_TRUE(append(*store, kBoot1, events).ok());
  const auto stored = events_about(*store, frame_at(2));
  std::vector<std::string> told;
  for (const StoredEvent& event : stored) told.push_back(event.event.evidence);
  EXPECT_EQ(told, (std::vector<std::string>{"in", "over the edge"}));
}

TEST_F(StoreTest, EvidenceIsKeptUpToItsLimit) {
  auto store = Store::open(path(), Mode::kCreate);
  ASSERT_TRUE(store.ok());
  const std::string longest(Event::kEvidenceLimit, 'x');
  const Event events[] = {event_of(kUncorrected, frame_at(1), longest),
                          event_of(kUncorrected, frame_at(2), longest + "more"),
                          event_of(kUncorrected, frame_at(3), std::string("a\0b", 3))};
  ASSERT_TRUE(append(*store, kBoot1, events).ok());
  const auto stored = events_about(*store, range(0x1000, 0x3fff));
  ASSERT_EQ(stored.size(), 3U);
  EXPECT_EQ(stored[0].event.evidence, longest);
  EXPECT_EQ(stored[1].event.evidence, longest.substr(5) + "[cut]");
  EXPECT_EQ(stored[2].event.evidence, std::string("a\0b", 3));
}

TEST_F(StoreTest, AFlagThatIsStillSetIsNewsOnceABoot) {
  auto store = Store::open(path(), Mode::kCreate);
  ASSERT_TRUE(store.ok());
  const Event flagged[] = {event_of(kPoisoned, frame_at(1), "flags")};
  struct Case {
    Provenance by;
    std::uint64_t added;
  };
  Provenance other_source = kBoot1;
  other_source.source = "memtest";
  Provenance later = kBoot1;
  later.time = at_second(1000);
  const Case cases[] = {{kBoot1, 1}, {kBoot1, 0}, {later, 0},        {kBoot2, 1},
                        {kBoot2, 0}, {kBoot1, 0}, {other_source, 1}, {other_source, 0}};
  std::uint64_t events = 0;
  for (const Case& c : cases) {
    const auto summary = append(*store, c.by, flagged);
    ASSERT_TRUE(summary.ok());
    EXPECT_EQ(summary->added, c.added);
    EXPECT_EQ(summary->known, 1 - c.added);
    EXPECT_EQ(summary->new_records, events == 0 ? 1U : 0U);
    events += c.added;
    EXPECT_EQ(records_of(*store).front().events, events);
  }
  // The same flag twice in one import is one observation too.
  const Event twice[] = {event_of(kPoisoned, frame_at(2)), event_of(kPoisoned, frame_at(2))};
  const auto summary = append(*store, kBoot1, twice);
  ASSERT_TRUE(summary.ok());
  EXPECT_EQ(summary->added, 1U);
  EXPECT_EQ(summary->known, 1U);
}

TEST_F(StoreTest, ErrorsThatHappenAgainAreNewsEachTime) {
  auto store = Store::open(path(), Mode::kCreate);
  ASSERT_TRUE(store.ok());
  for (const EventKind kind : {kUncorrected, kCorrected}) {
    const Event event[] = {event_of(kind, frame_at(1)), event_of(kind, frame_at(1))};
    const auto summary = append(*store, kBoot1, event);
    ASSERT_TRUE(summary.ok());
    EXPECT_EQ(summary->added, 2U);
  }
  EXPECT_EQ(records_of(*store).front().events, 4U);
}

TEST_F(StoreTest, AnOutcomeIsNewsWhenStateWordsOrBootDiffer) {
  make();
  auto store = Store::open(path(), Mode::kWrite);
  ASSERT_TRUE(store.ok());
  struct Case {
    Provenance by;
    Event outcome;
    std::uint64_t added;
  };
  const Case cases[] = {
      {kBoot1, outcome_of(Retirement::kPending, frame_at(1), "free"), 1},
      {kBoot1, outcome_of(Retirement::kPending, frame_at(1), "free"), 0},
      {kBoot1, outcome_of(Retirement::kPending, frame_at(1), "in use"), 1},
      {kBoot1, outcome_of(Retirement::kEffective, frame_at(1), "in use"), 1},
      {kBoot2, outcome_of(Retirement::kEffective, frame_at(1), "in use"), 1},
      {kBoot2, outcome_of(Retirement::kEffective, frame_at(1), "in use"), 0},
      // To look and not to know is an outcome too.
      {kBoot1, outcome_of(Retirement::kUnknown, frame_at(1), ""), 1},
      {kBoot1, outcome_of(Retirement::kUnknown, frame_at(1), ""), 0},
  };
  for (const Case& c : cases) {
    const auto summary = append(*store, c.by, std::span(&c.outcome, 1));
    ASSERT_TRUE(summary.ok());
    EXPECT_EQ(summary->added, c.added) << c.outcome.evidence;
  }
  EXPECT_EQ(records_of(*store).front().events, 1U);
}

TEST_F(StoreTest, GenerationGrowsWithObservationsAndIgnoresOutcomes) {
  auto store = Store::open(path(), Mode::kCreate);
  ASSERT_TRUE(store.ok());
  ASSERT_EQ(store->generation().value(), 0U);
  std::uint64_t last = 0;
  struct Case {
    Event event;
    Provenance by;
    bool grows;
  };
  const Case cases[] = {
      {event_of(kCorrected, frame_at(1)), kBoot1, true},
      {event_of(kCorrected, frame_at(1)), kBoot1, true},
      {outcome_of(Retirement::kPending, frame_at(1), "free"), kBoot1, false},
      {outcome_of(Retirement::kFailed, frame_at(1), "slab"), kBoot1, false},
      {event_of(kPoisoned, frame_at(1)), kBoot1, true},
      {event_of(kPoisoned, frame_at(1)), kBoot1, false},
      {event_of(kUncorrected, frame_at(5)), kBoot2, true},
  };
  for (const Case& c : cases) {
    ASSERT_TRUE(append(*store, c.by, std::span(&c.event, 1)).ok());
    const auto generation = store->generation();
    ASSERT_TRUE(generation.ok());
    if (c.grows) {
      EXPECT_GT(*generation, last);
    } else {
      EXPECT_EQ(*generation, last);
    }
    last = *generation;
  }
}

TEST_F(StoreTest, AnImportThatFailsAtItsLastEventStoresNothing) {
  make();
  const std::string before = bytes();
  auto store = Store::open(path(), Mode::kWrite);
  ASSERT_TRUE(store.ok());
  std::vector<Event> events;
  for (std::uint64_t i = 0; i < 100; ++i) {
    events.push_back(event_of(kUncorrected, frame_at(1 + i), std::string(1000, 'x')));
  }
  events.push_back(outcome_of(Retirement::kEffective, frame_at(5000), "of no record"));
  const auto summary = append(*store, kBoot1, events);
  ASSERT_FALSE(summary.ok());
  EXPECT_EQ(summary.error().code, ErrorCode::kUsage);
  EXPECT_TRUE(is_still(before));
  EXPECT_EQ(records_of(*store).size(), 1U);
  EXPECT_EQ(records_of(*store).front().events, 1U);
  // The connection is as good as before.
  events.pop_back();
  const auto good = append(*store, kBoot1, events);
  ASSERT_TRUE(good.ok());
  EXPECT_EQ(good->added, 100U);
  EXPECT_EQ(records_of(*store).size(), 100U);
}

TEST_F(StoreTest, AnEmptyImportChangesNothing) {
  make();
  auto store = Store::open(path(), Mode::kWrite);
  ASSERT_TRUE(store.ok());
  const std::uint64_t generation = store->generation().value();
  const auto summary = append(*store, kBoot1, {});
  ASSERT_TRUE(summary.ok());
  EXPECT_EQ(summary->added + summary->known + summary->new_records, 0U);
  EXPECT_EQ(store->generation().value(), generation);
}

TEST_F(StoreTest, AReaderNeverWrites) {
  make();
  const std::string before = bytes();
  auto store = Store::open(path(), Mode::kRead);
  ASSERT_TRUE(store.ok());
  const Event event[] = {event_of(kUncorrected, frame_at(2))};
  const auto summary = append(*store, kBoot1, event);
  ASSERT_FALSE(summary.ok());
  EXPECT_EQ(summary.error().code, ErrorCode::kCannotWrite);
  EXPECT_EQ(records_of(*store).size(), 1U);
  EXPECT_TRUE(is_still(before));
}

// What is opened, what the error must be for each mode, and what its message must name.
TEST_F(StoreTest, RefusesWhatIsNoRegistryAndLeavesItAsItIs) {
  make();
  const std::string sound = bytes();
  std::string newer = sound;
  newer[kUserVersionAt + 3] = 9;
  std::string older = sound;
  older[kUserVersionAt + 3] = 0;
  std::string foreign = sound;
  foreign.replace(kApplicationIdAt, 4, "\0\0\0\0", 4);
  std::string named = sound;
  named.replace(kApplicationIdAt, 4, "othr");
  struct Case {
    std::string_view what;
    std::string content;
    std::vector<std::string_view> told;
    ErrorCode code = ErrorCode::kUnknownForm;
  };
  const Case cases[] = {
      {"text",
       "memmap=0x1000%0x8000000-1+5\n" + std::string(4096, '.'),
       {"not an SQLite"},
       ErrorCode::kBadData},
      {"a newer registry", newer, {"version 9", "knows 1 to 3"}},
      {"a registry of version 0", older, {"version 0", "knows 1 to 3"}},
      {"another program's database", foreign, {"not a registry"}},
      {"a database with another id", named, {"not a registry"}},
      {"random bytes after a good magic",
       sound.substr(0, 16) + std::string(4096, '\xa5'),
       {},
       ErrorCode::kBadData},
  };
  for (const Case& c : cases) {
    for (const Mode mode : {Mode::kRead, Mode::kWrite, Mode::kCreate}) {
      write(c.content);
      const auto store = Store::open(path(), mode);
      ASSERT_FALSE(store.ok()) << c.what;
      EXPECT_EQ(store.error().code, c.code) << c.what << store.error().message;
      EXPECT_NE(store.error().message.find(path()), std::string::npos) << store.error().message;
      for (const std::string_view told : c.told) {
        EXPECT_NE(store.error().message.find(told), std::string::npos) << store.error().message;
      }
      EXPECT_TRUE(is_still(c.content)) << c.what;
    }
  }
}

TEST_F(StoreTest, AnEmptyFileIsNoRegistryToAReaderAndANewOneToACreator) {
  for (const Mode mode : {Mode::kRead, Mode::kWrite}) {
    write("");
    const auto store = Store::open(path(), mode);
    ASSERT_FALSE(store.ok());
    EXPECT_EQ(store.error().code, ErrorCode::kBadData);
    EXPECT_NE(store.error().message.find("empty"), std::string::npos);
    EXPECT_EQ(bytes(), "");
  }
  make();
  EXPECT_EQ(records_at(path()).size(), 1U);
}

TEST_F(StoreTest, SaysWhatIsWrongWithThePath) {
  make();
  tree_.make_folder("folder");
  struct Case {
    std::string path;
    Mode mode;
    ErrorCode code;
  };
  const Case cases[] = {
      {tree_.path("none.db"), Mode::kRead, ErrorCode::kNoInput},
      {tree_.path("none.db"), Mode::kWrite, ErrorCode::kNoInput},
      {tree_.path("none/none.db"), Mode::kCreate, ErrorCode::kNoInput},
      {path() + "/below-a-file", Mode::kCreate, ErrorCode::kNoInput},
      {tree_.path("folder"), Mode::kRead, ErrorCode::kBadData},
      {tree_.path("folder"), Mode::kCreate, ErrorCode::kBadData},
      {"/dev/null", Mode::kCreate, ErrorCode::kBadData},
  };
  for (const Case& c : cases) {
    const auto store = Store::open(c.path, c.mode);
    ASSERT_FALSE(store.ok()) << c.path;
    EXPECT_EQ(store.error().code, c.code) << store.error().message;
    EXPECT_NE(store.error().message.find(c.path), std::string::npos) << store.error().message;
  }
  EXPECT_FALSE(std::filesystem::exists(tree_.path("none.db")));
}

// Somebody who may write in the folder must not lead root to another file.
TEST_F(StoreTest, FollowsNoLink) {
  make();
  const std::string before = bytes();
  tree_.link("link.db", "registry.db");
  tree_.link("dangling.db", "made-elsewhere.db");
  for (const Mode mode : {Mode::kRead, Mode::kWrite, Mode::kCreate}) {
    const auto link = Store::open(tree_.path("link.db"), mode);
    ASSERT_FALSE(link.ok());
    EXPECT_NE(link.error().message.find("symbolic link"), std::string::npos)
        << link.error().message;
    EXPECT_FALSE(Store::open(tree_.path("dangling.db"), mode).ok());
  }
  EXPECT_TRUE(is_still(before));
  EXPECT_FALSE(std::filesystem::exists(tree_.path("made-elsewhere.db")));
}

TEST_F(StoreTest, AFileOfSomebodyElseIsReadWhereThatIsAllowedAndNeverWritten) {
  make();
  const std::string before = bytes();
  const auto read = [&] {
    auto store = Store::open(path(), Mode::kRead);
    if (!store) return code_of(store);
    return code_of(store->for_each_record([](const Record&) { return true; }));
  };
  const auto write = [&] {
    auto store = Store::open(path(), Mode::kWrite);
    if (!store) return code_of(store);
    const Event event[] = {event_of(kUncorrected, frame_at(2))};
    return code_of(append(*store, kBoot1, event));
  };
  ASSERT_EQ(::chmod(path().c_str(), 0444), 0);
  EXPECT_EQ(in_child(true, read), 0);
  EXPECT_EQ(in_child(true, write), code_of(ErrorCode::kCannotWrite));
  ASSERT_EQ(::chmod(path().c_str(), 0), 0);
  EXPECT_EQ(in_child(true, read), code_of(ErrorCode::kNoPrivilege));
  EXPECT_EQ(in_child(true, write), code_of(ErrorCode::kNoPrivilege));
  ASSERT_EQ(::chmod(path().c_str(), 0600), 0);
  EXPECT_TRUE(is_still(before));
}

TEST_F(StoreTest, CannotBeMadeInAFolderThatMayNotBeWritten) {
  tree_.make_folder("closed");
  ASSERT_EQ(::chmod(tree_.path("closed").c_str(), 0555), 0);
  const auto create = [&] {
    return code_of(Store::open(tree_.path("closed/registry.db"), Mode::kCreate));
  };
  EXPECT_EQ(in_child(true, create), code_of(ErrorCode::kNoPrivilege));
  ASSERT_EQ(::chmod(tree_.path("closed").c_str(), 0755), 0);
}

// A lock on the bytes that SQLite locks, held by another process as long as this object lives.
class LockOfAnotherProcess {
 public:
  explicit LockOfAnotherProcess(const std::string& path) {
    int ready[2] = {-1, -1};
    if (::pipe2(ready, O_CLOEXEC) != 0) throw std::runtime_error("pipe2");
    child_ = ::fork();
    if (child_ == 0) {
      const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
      struct flock lock {};
      lock.l_type = F_WRLCK;
      lock.l_whence = SEEK_SET;
      lock.l_start = kSharedLockAt;
      lock.l_len = kSharedLockSize;
      const bool held = fd >= 0 && ::fcntl(fd, F_SETLK, &lock) == 0;
      if (!held || ::write(ready[1], "x", 1) != 1) ::_exit(1);
      for (;;) ::pause();
    }
    ::close(ready[1]);
    char byte = 0;
    held_ = ::read(ready[0], &byte, 1) == 1;
    ::close(ready[0]);
  }
  LockOfAnotherProcess(const LockOfAnotherProcess&) = delete;
  LockOfAnotherProcess& operator=(const LockOfAnotherProcess&) = delete;
  ~LockOfAnotherProcess() {
    ::kill(child_, SIGKILL);
    ::waitpid(child_, nullptr, 0);
  }
  [[nodiscard]] bool held() const { return held_; }

 private:
  pid_t child_ = -1;
  bool held_ = false;
};

TEST_F(StoreTest, IsLockedWhileAnotherProcessCommits) {
  make();
  const std::string before = bytes();
  {
    const LockOfAnotherProcess lock(path());
    ASSERT_TRUE(lock.held());
    const auto store = Store::open(path(), Mode::kRead);
    ASSERT_FALSE(store.ok());
    EXPECT_EQ(store.error().code, ErrorCode::kLocked) << store.error().message;
    EXPECT_NE(store.error().message.find("try again"), std::string::npos);
  }
  EXPECT_TRUE(is_still(before));
  EXPECT_EQ(records_at(path()).size(), 1U);
}

TEST_F(StoreTest, AWriterThatCannotCommitBecauseOfAReaderStoresNothing) {
  make();
  const std::string before = bytes();
  const auto reader = sqlite::Database::open(path(), sqlite::OpenMode::kRead, 0);
  ASSERT_TRUE(reader.ok());
  auto looking = reader->prepare("SELECT * FROM event");
  ASSERT_TRUE(looking.ok() && looking->step().value());
  auto writer = Store::open(path(), Mode::kWrite);
  ASSERT_TRUE(writer.ok());
  const Event event[] = {event_of(kUncorrected, frame_at(2))};
  const auto summary = append(*writer, kBoot1, event);
  ASSERT_FALSE(summary.ok());
  EXPECT_EQ(summary.error().code, ErrorCode::kLocked);
  EXPECT_TRUE(is_still(before));
  looking->reset();
  ASSERT_TRUE(append(*writer, kBoot1, event).ok());
  EXPECT_EQ(records_at(path()).size(), 2U);
}

TEST_F(StoreTest, AReaderThatTakesItsTimeKeepsNoWriterWaiting) {
  // More than are read in one go; and entries of the largest size.
  constexpr std::uint64_t kMany = 1500;
  std::vector<Event> many;
  for (std::uint64_t i = 0; i < kMany; ++i) {
    many.push_back(event_of(kUncorrected, frame_at(2 * i),
                            std::string(i % 10 == 0 ? Event::kEvidenceLimit : 1, 'x')));
  }
  append_at(path(), kBoot1, many);
  auto reader = Store::open(path(), Mode::kRead);
  auto writer = Store::open(path(), Mode::kWrite);
  ASSERT_TRUE(reader.ok() && writer.ok());
  std::uint64_t written = 0;
  const auto write = [&] {
    const Event event[] = {event_of(kUncorrected, frame_at(10000 + written))};
    ++written;
    const auto summary = append(*writer, kBoot1, event);
    EXPECT_TRUE(summary.ok()) << summary.error().message;
  };

  std::int64_t entries = 0;
  auto read = reader->for_each_event([&](const StoredEvent& stored) {
    EXPECT_EQ(stored.id, ++entries);
    if (entries % 100 == 1) write();
    return true;
  });
  ASSERT_TRUE(read.ok()) << read.error().message;
  EXPECT_EQ(entries, kMany) << "the log as it was when the reader began";

  const std::uint64_t there = kMany + written;
  std::vector<ByteRange> seen;
  read = reader->for_each_record([&](const Record& record) {
    if (seen.size() % 100 == 0) write();
    seen.push_back(record.range);
    return true;
  });
  ASSERT_TRUE(read.ok()) << read.error().message;
  EXPECT_TRUE(std::is_sorted(seen.begin(), seen.end(),
                             [](const auto& a, const auto& b) { return a.begin() < b.begin(); }));
  EXPECT_EQ(std::adjacent_find(seen.begin(), seen.end()), seen.end());
  EXPECT_GE(seen.size(), there) << "none of those that were there is left out";
}

// What a file system that is full, or a quota, looks like to anybody: no byte past `limit`.
int append_with_file_limit(const std::string& path, rlim_t limit, bool signal_kills) {
  return in_child(false, [&] {
    auto store = Store::open(path, Mode::kWrite);
    if (!store) return 100;
    std::vector<Event> events;
    for (std::uint64_t i = 0; i < 500; ++i) {
      events.push_back(
          event_of(kUncorrected, frame_at(i), std::string(Event::kEvidenceLimit, 'x')));
    }
    if (::signal(SIGXFSZ, signal_kills ? SIG_DFL : SIG_IGN) == SIG_ERR) return 101;
    const rlimit size{limit, limit};
    const rlimit no_core{0, 0};
    if (::setrlimit(RLIMIT_CORE, &no_core) != 0 || ::setrlimit(RLIMIT_FSIZE, &size) != 0) {
      return 102;
    }
    const auto appended = append(*store, kBoot1, events);
    if (!appended) std::fprintf(stderr, "%s\n", appended.error().message.c_str());
    return code_of(appended);
  });
}

// In the cache (small limit) and after the cache has been spilled to the file (large limit).
TEST_F(StoreTest, AFullDiskIsToldAndStoresNothing) {
  for (const rlim_t limit : {rlim_t{64} << 10U, rlim_t{1} << 20U, rlim_t{4} << 20U}) {
    std::filesystem::remove(path());
    make();
    const std::string before = bytes();
    ASSERT_LT(before.size(), limit);
    EXPECT_EQ(append_with_file_limit(path(), limit, false), code_of(ErrorCode::kCannotWrite));
    // The next one to look undoes what the writer could not.
    EXPECT_EQ(records_at(path()).size(), 1U);
    EXPECT_TRUE(is_still(before)) << limit;
  }
}

// As after a power loss: the journal is there, the file is half written.
TEST_F(StoreTest, AReaderAfterAWriterThatDiedSeesWhatWasThereBefore) {
  make();
  const std::string before = bytes();
  ASSERT_EQ(append_with_file_limit(path(), rlim_t{4} << 20U, true), -SIGXFSZ);
  ASSERT_FALSE(is_still(before));  // else there is nothing to recover from
  const auto records = records_at(path());
  ASSERT_EQ(records.size(), 1U);
  EXPECT_EQ(records.front().range, frame_at(1));
  EXPECT_TRUE(is_still(before));
}

TEST_F(StoreTest, AWriterAfterAWriterThatDiedGoesOnFromWhatWasThereBefore) {
  make();
  ASSERT_EQ(append_with_file_limit(path(), rlim_t{4} << 20U, true), -SIGXFSZ);
  auto store = Store::open(path(), Mode::kWrite);
  ASSERT_TRUE(store.ok()) << store.error().message;
  const Event event[] = {event_of(kUncorrected, frame_at(2))};
  ASSERT_TRUE(append(*store, kBoot1, event).ok());
  EXPECT_EQ(records_of(*store).size(), 2U);
}

// Everything that a reader may ask. True when all of it was answered.
bool read_all(const std::string& path) {
  auto store = Store::open(path, Mode::kRead);
  if (!store) {
    EXPECT_NE(store.error().message.find(path), std::string::npos) << store.error().message;
    EXPECT_NE(store.error().code, ErrorCode::kBug) << store.error().message;
    return false;
  }
  const auto records = store->for_each_record([](const Record&) { return true; });
  const auto events = store->for_each_event([](const StoredEvent&) { return true; });
  const auto generation = store->generation();
  if (!records) {
    EXPECT_NE(records.error().code, ErrorCode::kBug) << records.error().message;
  }
  return records.ok() && events.ok() && generation.ok();
}

TEST_F(StoreTest, ADamagedFileIsAnErrorOrReadAndStaysAsItIs) {
  {
    auto store = Store::open(path(), Mode::kCreate);
    ASSERT_TRUE(store.ok());
    std::vector<Event> events;
    for (std::uint64_t i = 0; i < 120; ++i) {
      events.push_back(event_of(kUncorrected, frame_at(2 * i), "flags of the frame"));
    }
    ASSERT_TRUE(append(*store, kBoot1, events).ok());
  }
  const std::string sound = bytes();
  ASSERT_TRUE(read_all(path()));
  constexpr std::size_t kPage = 4096;
  int refused = 0;
  for (std::size_t page = 0; page < sound.size(); page += kPage) {
    // The head of each page, where its type and its cells' places are, and steps through the rest.
    for (std::size_t at = 0; at < kPage; at += at < 64 ? 3 : 211) {
      std::string damaged = sound;
      for (std::size_t i = page + at; i < page + at + 2; ++i) {
        damaged[i] = static_cast<char>(~static_cast<unsigned char>(damaged[i]));
      }
      write(damaged);
      if (!read_all(path())) ++refused;
      EXPECT_TRUE(is_still(damaged)) << page + at;
    }
    std::string zeroed = sound;
    zeroed.replace(page, kPage, kPage, '\0');
    write(zeroed);
    if (!read_all(path())) ++refused;
    EXPECT_TRUE(is_still(zeroed)) << page;
  }
  EXPECT_GT(refused, 10);
  // Cut anywhere but to nothing; every read needs a page that is not there.
  for (std::size_t size = 1; size < sound.size(); size += 1021) {
    write(sound.substr(0, size));
    EXPECT_FALSE(read_all(path())) << size;
    EXPECT_TRUE(is_still(sound.substr(0, size)));
  }
}

TEST_F(StoreTest, AWordThatNoVersionWroteIsDamage) {
  make();
  std::string changed = bytes();
  // The word of the condition, in the record.
  const std::size_t at = changed.rfind("faulty");
  ASSERT_NE(at, std::string::npos);
  changed.replace(at, 6, "FAULTY");
  write(changed);
  auto store = Store::open(path(), Mode::kRead);
  ASSERT_TRUE(store.ok());
  const auto read = store->for_each_record([](const Record&) { return true; });
  ASSERT_FALSE(read.ok());
  EXPECT_EQ(read.error().code, ErrorCode::kBadData);
  // And an import that would have to build on it stores nothing.
  auto writer = Store::open(path(), Mode::kWrite);
  ASSERT_TRUE(writer.ok());
  const Event events[] = {event_of(kUncorrected, frame_at(8)), event_of(kUncorrected, frame_at(1))};
  const auto summary = append(*writer, kBoot1, events);
  ASSERT_FALSE(summary.ok());
  EXPECT_EQ(summary.error().code, ErrorCode::kBadData);
  EXPECT_TRUE(is_still(changed));
}

// Eight processes make the registry together and append together; who is told "locked" tries again.
TEST_F(StoreTest, ConcurrentImportsLoseNothing) {
  constexpr std::uint64_t kProcesses = 8;
  constexpr std::uint64_t kImports = 8;
  constexpr std::uint64_t kEvents = 4;
  const auto one_process = [&](std::uint64_t process) {
    for (std::uint64_t import = 0; import < kImports; ++import) {
      std::vector<Event> events;
      for (std::uint64_t i = 0; i < kEvents; ++i) {
        events.push_back(
            event_of(kUncorrected, frame_at(1 + (process * kImports + import) * kEvents + i)));
      }
      events.push_back(event_of(kCorrected, frame_at(0)));  // the one that all of them know
      for (;;) {
        auto store = Store::open(path(), Mode::kCreate);
        auto stored = [&]() -> Result<ImportSummary> {
          if (!store) return store.error();
          return append(*store, kBoot1, events);
        }();
        if (stored) break;
        if (stored.error().code == ErrorCode::kLocked) continue;
        std::fprintf(stderr, "%s\n", stored.error().message.c_str());
        return 1;
      }
    }
    return 0;
  };
  std::vector<pid_t> children;
  for (std::uint64_t process = 0; process < kProcesses; ++process) {
    const pid_t child = ::fork();
    if (child == 0) ::_exit(one_process(process));
    children.push_back(child);
  }
  for (const pid_t child : children) {
    int status = -1;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
  }
  auto store = Store::open(path(), Mode::kRead);
  ASSERT_TRUE(store.ok());
  const auto records = records_of(*store);
  ASSERT_EQ(records.size(), 1 + kProcesses * kImports * kEvents);
  EXPECT_EQ(records.front().events, kProcesses * kImports);
  EXPECT_EQ(events_of(*store).size(), kProcesses * kImports * (kEvents + 1));
  // Whoever came last, the checkpoint is about the last event.
  const auto audited = audit(*store, path());
  ASSERT_TRUE(audited.ok()) << audited.error().message;
  EXPECT_EQ(audited->findings, std::vector<std::string>());
  ASSERT_TRUE(audited->checkpoint);
  EXPECT_EQ(audited->checkpoint->head.id, audited->head.id);
}

}  // namespace
}  // namespace poisonctl
