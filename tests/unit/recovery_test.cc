// A damaged registry: set aside and never overwritten, what can be read is saved, and what cannot
// is counted.
#include "registry/recovery.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <set>

#include "registry/checkpoint.h"
#include "registry/signing.h"
#include "registry/sqlite.h"
#include "tests/unit/sample_events.h"
#include "tests/unit/temp_tree.h"
#include "tests/unit/test_store.h"
#include "tests/unit/unprivileged.h"

namespace poisonctl {
namespace {

using enum EventKind;

constexpr std::size_t kPage = 4096;

class RecoveryTest : public ::testing::Test {
 protected:
  [[nodiscard]] std::string path() const { return tree_.path("registry.db"); }
  [[nodiscard]] std::string bytes() const { return tree_.content("registry.db"); }

  // Adds `count` entries as one import. Each is told from all others by its evidence.
  void fill(std::uint64_t count) {
    std::vector<Event> events;
    for (std::uint64_t i = 0; i < count; ++i, ++entries_) {
      events.push_back(event_of(kUncorrected, frame_at(entries_ % 50),
                                fmt::format("entry {:06} {}", entries_, std::string(80, '.'))));
    }
    append_at(path(), provenance_of("kernel", "boot-1", at_second(static_cast<int>(entries_))),
              events);
  }

  // All names in the folder.
  [[nodiscard]] std::set<std::string> files() const {
    std::set<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(tree_.path())) {
      names.insert(entry.path().filename());
    }
    return names;
  }

  // The numbers of the entries that the registry has, from their evidence.
  [[nodiscard]] std::vector<std::uint64_t> entries() const {
    std::vector<std::uint64_t> numbers;
    auto store = Store::open(path(), Store::Mode::kRead);
    EXPECT_TRUE(store.ok()) << store.error().message;
    for (const StoredEvent& stored : events_of(*store)) {
      numbers.push_back(std::stoull(stored.event.evidence.substr(6, 6)));
    }
    return numbers;
  }

  // That what is at path() is in order, and fits its checkpoint.
  void expect_whole() const {
    auto store = Store::open(path(), Store::Mode::kRead);
    ASSERT_TRUE(store.ok()) << store.error().message;
    EXPECT_TRUE(store->is_sound().value());
    const auto audited = audit(*store, path());
    ASSERT_TRUE(audited.ok());
    EXPECT_EQ(audited->findings, std::vector<std::string>());
    ASSERT_TRUE(audited->checkpoint);
    EXPECT_EQ(audited->checkpoint->head.id, audited->head.id);
    auto writer = Store::open(path(), Store::Mode::kWrite);
    EXPECT_EQ(writer->count_wrong_records().value(), 0U);
  }

  // Pages of a table, by its name: the first one.
  [[nodiscard]] std::size_t root_page(std::string_view table) const {
    const auto db = sqlite::Database::open(path(), sqlite::OpenMode::kRead, 0);
    return static_cast<std::size_t>(
        db->scalar(fmt::format("SELECT rootpage FROM sqlite_schema WHERE name = '{}'", table))
            .value());
  }

  TempTree tree_;
  std::uint64_t entries_ = 0;
  const Time now_ = at_second(86400);
};

TEST_F(RecoveryTest, AWholeRegistryIsLeftAlone) {
  fill(10);
  const std::string before = bytes();
  const auto report = recover(path(), now_);
  ASSERT_TRUE(report.ok()) << report.error().message;
  EXPECT_FALSE(report->was_needed);
  EXPECT_EQ(bytes(), before);
  EXPECT_EQ(files(), (std::set<std::string>{"registry.db", "registry.db.head", "registry.db.key"}));
}

TEST_F(RecoveryTest, WhatIsNotThereIsNotMade) {
  const auto report = recover(path(), now_);
  ASSERT_FALSE(report.ok());
  EXPECT_EQ(report.error().code, ErrorCode::kNoInput);
  EXPECT_TRUE(files().empty());
}

// Every page in turn, without a snapshot: a bad page costs what is on it and no more.
TEST_F(RecoveryTest, SavesWhatIsNotOnTheDamagedPageAndCountsTheRest) {
  fill(200);
  fill(300);
  const std::string sound = bytes();
  const std::string head = tree_.content("registry.db.head");
  ASSERT_GT(sound.size(), 20 * kPage);
  int with_loss = 0;
  int without_loss = 0;
  for (std::size_t page = 1; page < sound.size() / kPage; page += 3) {
    SCOPED_TRACE(page);
    for (const auto& name : files()) {
      if (name.find(".damaged-") != std::string::npos) std::filesystem::remove(tree_.path(name));
    }
    std::string damaged = sound;
    damaged.replace(page * kPage, kPage, kPage, '\xa5');
    tree_.write("registry.db", damaged);
    tree_.write("registry.db.head", head);

    const auto report = recover(path(), now_);
    if (!report) {
      // A page that leads to all entries, or to the imports: then nothing may have changed.
      EXPECT_EQ(report.error().code, ErrorCode::kBadData) << report.error().message;
      EXPECT_EQ(bytes(), damaged);
      EXPECT_EQ(tree_.content("registry.db.head"), head);
      EXPECT_FALSE(std::filesystem::exists(path() + ".recovering"));
      continue;
    }
    if (!report->was_needed) continue;  // a page that nothing is on
    EXPECT_EQ(report->set_aside, path() + ".damaged-20260102T000000Z");
    EXPECT_EQ(tree_.content("registry.db.damaged-20260102T000000Z"), damaged);
    EXPECT_EQ(tree_.content("registry.db.damaged-20260102T000000Z.head"), head);
    EXPECT_FALSE(report->snapshot);
    EXPECT_EQ(report->from_snapshot, 0U);
    EXPECT_EQ(report->from_damaged + report->lost, 500U);
    const auto saved = entries();
    EXPECT_EQ(saved.size(), report->from_damaged);
    EXPECT_TRUE(std::is_sorted(saved.begin(), saved.end()));
    EXPECT_EQ(std::set<std::uint64_t>(saved.begin(), saved.end()).size(), saved.size());
    // What follows the first hole has a new place.
    std::uint64_t in_place = 0;
    while (in_place < saved.size() && saved[in_place] == in_place) ++in_place;
    EXPECT_EQ(report->chained_anew, saved.size() - in_place);
    expect_whole();
    // One page holds some thirty entries of this size.
    EXPECT_LE(report->lost, 40U);
    ++(report->lost == 0 ? without_loss : with_loss);
  }
  EXPECT_GT(with_loss, 3);
  EXPECT_GT(without_loss, 0);
}

TEST_F(RecoveryTest, ADamagedEndCostsOnlyTheEnd) {
  fill(200);
  fill(300);
  std::string damaged = bytes();
  const std::size_t page = damaged.rfind("entry 000499") / kPage;
  damaged.replace(page * kPage, kPage, kPage, '\xa5');
  tree_.write("registry.db", damaged);
  {
    auto store = Store::open(path(), Store::Mode::kRead);
    const auto defect = store->verify_chain();
    ASSERT_TRUE(defect.ok() && *defect);
    EXPECT_GT((*defect)->id, 400) << "the first entry that is bad, and not the first of all";
  }
  const auto report = recover(path(), now_);
  ASSERT_TRUE(report.ok()) << report.error().message;
  EXPECT_EQ(report->from_damaged + report->lost, 500U);
  EXPECT_GT(report->from_damaged, 400U);
  expect_whole();
}

TEST_F(RecoveryTest, TakesTheSnapshotFirst) {
  fill(200);
  const auto snapshot = make_snapshot(path(), at_second(10), 3);
  ASSERT_TRUE(snapshot.ok()) << snapshot.error().message;
  fill(100);
  fill(5);
  // Two entries on a page each, one before and one after the snapshot was made.
  edit(path(), "UPDATE event SET evidence = 'x' WHERE id IN (7, 250)");
  const auto report = recover(path(), now_);
  ASSERT_TRUE(report.ok()) << report.error().message;
  EXPECT_EQ(report->snapshot, *snapshot);
  EXPECT_EQ(report->from_snapshot, 200U);
  EXPECT_EQ(report->from_damaged, 105U);
  EXPECT_EQ(report->lost, 0U);
  EXPECT_EQ(report->chained_anew, 0U);
  // What the snapshot knew comes from it.
  auto store = Store::open(path(), Store::Mode::kRead);
  EXPECT_EQ((*store->event(7).value()).event.evidence.substr(0, 12), "entry 000006");
  expect_whole();
}

// Put back from elsewhere, with the snapshots of the one before still beside it: all that it had
// was taken for entries that the snapshot has.
TEST_F(RecoveryTest, ASnapshotOfAnotherLogIsLeftAlone) {
  for (const bool has_checkpoint : {true, false}) {
    SCOPED_TRACE(has_checkpoint);
    const TempTree other;
    fill(20);
    const auto of_before = make_snapshot(path(), at_second(10), 3);
    ASSERT_TRUE(of_before.ok()) << of_before.error().message;
    for (const char* part : {"", ".head"}) std::filesystem::remove(path() + part);
    fill(30);
    const std::set<std::uint64_t> wanted = [&] {
      const auto all = entries();
      return std::set<std::uint64_t>(all.begin(), all.end());
    }();
    edit(path(), "UPDATE event SET evidence = 'entry 999999' WHERE id = 25");
    if (!has_checkpoint) std::filesystem::remove(path() + ".head");
    const auto report = recover(path(), now_ + std::chrono::seconds(has_checkpoint ? 1 : 0));
    ASSERT_TRUE(report.ok()) << report.error().message;
    EXPECT_EQ(report->of_other_logs, std::vector<std::string>{*of_before});
    EXPECT_FALSE(report->snapshot);
    EXPECT_EQ(report->from_damaged, 30U);
    std::set<std::uint64_t> kept;
    for (const std::uint64_t entry : entries())
      kept.insert(entry == 999999 ? *wanted.begin() + 24 : entry);
    EXPECT_EQ(kept, wanted);
    for (const char* part : {"", ".head"}) std::filesystem::remove(path() + part);
  }
}

TEST_F(RecoveryTest, WithASnapshotEvenAFileOfNothingIsRecovered) {
  fill(20);
  ASSERT_TRUE(make_snapshot(path(), at_second(10), 3).ok());
  fill(7);
  for (const std::string& content :
       {std::string(), std::string(100000, '\0'), bytes().substr(0, 700)}) {
    const std::string head = tree_.content("registry.db.head");
    const std::string sound = bytes();
    tree_.write("registry.db", content);
    const auto report = recover(path(), now_);
    ASSERT_TRUE(report.ok()) << report.error().message;
    EXPECT_EQ(report->from_snapshot, 20U);
    EXPECT_EQ(report->from_damaged, 0U);
    EXPECT_EQ(report->lost, 7U);
    EXPECT_EQ(tree_.content("registry.db.damaged-20260102T000000Z"), content);
    expect_whole();
    std::filesystem::remove(path() + ".damaged-20260102T000000Z");
    std::filesystem::remove(path() + ".damaged-20260102T000000Z.head");
    tree_.write("registry.db", sound);
    tree_.write("registry.db.head", head);
  }
}

TEST_F(RecoveryTest, ADamagedSnapshotIsPassedOver) {
  fill(20);
  const auto good = make_snapshot(path(), at_second(10), 3);
  fill(10);
  const auto bad = make_snapshot(path(), at_second(20), 3);
  ASSERT_TRUE(good.ok() && bad.ok());
  edit(*bad, "UPDATE event SET label = 'forged' WHERE id = 3");
  tree_.write("registry.db", "nothing");
  const auto report = recover(path(), now_);
  ASSERT_TRUE(report.ok()) << report.error().message;
  EXPECT_EQ(report->snapshot, *good);
  EXPECT_EQ(report->from_snapshot, 20U);
  EXPECT_EQ(report->lost, 10U);
}

TEST_F(RecoveryTest, WithNothingToBeHadEverythingStaysAsItIs) {
  fill(20);
  const std::string head = tree_.content("registry.db.head");
  const std::string damaged(100000, '\xff');
  tree_.write("registry.db", damaged);
  const auto before = files();
  const auto report = recover(path(), now_);
  ASSERT_FALSE(report.ok());
  EXPECT_EQ(report.error().code, ErrorCode::kBadData);
  EXPECT_EQ(files(), before);
  EXPECT_EQ(bytes(), damaged);
  EXPECT_EQ(tree_.content("registry.db.head"), head);
}

TEST_F(RecoveryTest, WhenNoEntryIsLostNoHashChanges) {
  fill(20);
  fill(20);
  // Whoever imports a state that is still so stores nothing; who saves a log stores what it has.
  const std::vector<Event> state = {outcome_of(Retirement::kEffective, frame_at(3), "poisoned"),
                                    event_of(kPoisoned, frame_at(3))};
  for (const int second : {50, 60}) {
    append_at(path(), provenance_of("kernel", "boot-1", at_second(second)), state,
              Store::Repeats::kKeep);
  }
  const auto head_of = [&] {
    auto store = Store::open(path(), Store::Mode::kRead);
    return to_hex_text(as_bytes(store->head().value().hash));
  };
  const std::string head = head_of();
  std::string damaged = bytes();
  damaged.replace((root_page("record") - 1) * kPage, kPage, kPage, '\0');
  tree_.write("registry.db", damaged);
  const auto report = recover(path(), now_);
  ASSERT_TRUE(report.ok()) << report.error().message;
  EXPECT_TRUE(report->was_needed);
  EXPECT_EQ(report->from_damaged, 44U);
  EXPECT_EQ(report->lost, 0U);
  EXPECT_EQ(head_of(), head);
  expect_whole();
}

TEST_F(RecoveryTest, NothingThatWasSetAsideIsOverwritten) {
  fill(100);
  const std::string sound = bytes();
  std::set<std::string> kept;
  for (int round = 0; round < 3; ++round) {
    const std::string damaged = sound + std::string(static_cast<std::size_t>(round) + 1, 'x');
    std::string content = damaged;
    content.replace((root_page("record") - 1) * kPage, kPage, kPage, '\0');
    tree_.write("registry.db", content);
    kept.insert(content);
    // All in the same second.
    const auto report = recover(path(), now_);
    if (!report) {
      EXPECT_EQ(report.error().code, ErrorCode::kCannotWrite) << report.error().message;
    }
    std::set<std::string> there;
    for (const std::string& name : files()) there.insert(tree_.content(name));
    for (const std::string& one : kept) EXPECT_TRUE(there.count(one) == 1) << round;
    kept.clear();
    for (const std::string& name : files()) {
      if (name.find(".damaged-") != std::string::npos) kept.insert(tree_.content(name));
    }
    if (!report) tree_.write("registry.db", sound);
  }
}

TEST_F(RecoveryTest, KeepsTheNewestSnapshots) {
  fill(5);
  tree_.write("registry.db.snapshots-are-great", "not one");
  tree_.write("registry.db.snapshot-20990101T000000Z.new", "cut short");
  tree_.write("other.db.snapshot-20200101T000000Z", "of another");
  for (int hour = 1; hour <= 5; ++hour) {
    const auto made = make_snapshot(path(), at_second(3600 * hour), 2);
    ASSERT_TRUE(made.ok()) << made.error().message;
    EXPECT_EQ(*made, path() + fmt::format(".snapshot-20260101T{:02}0000Z", hour));
  }
  EXPECT_EQ(files(),
            (std::set<std::string>{
                "registry.db", "registry.db.head", "registry.db.key",
                "registry.db.snapshot-20990101T000000Z.new", "registry.db.snapshots-are-great",
                "other.db.snapshot-20200101T000000Z", "registry.db.snapshot-20260101T040000Z",
                "registry.db.snapshot-20260101T050000Z"}));
  // One at least.
  ASSERT_TRUE(make_snapshot(path(), at_second(3600 * 6), 0).ok());
  EXPECT_TRUE(std::filesystem::exists(path() + ".snapshot-20260101T060000Z"));
  // The one that was made is one of them, whatever times a clock gave the others.
  for (const std::size_t kept : {2U, 1U}) {
    ASSERT_TRUE(make_snapshot(path(), at_second(3600), kept).ok());
    EXPECT_TRUE(std::filesystem::exists(path() + ".snapshot-20260101T010000Z"));
    EXPECT_EQ(std::filesystem::exists(path() + ".snapshot-20260101T060000Z"), kept == 2);
  }
}

TEST_F(RecoveryTest, ASnapshotIsAWholeRegistryForNoMoreEyesThanItself) {
  fill(50);
  const mode_t before = ::umask(0);
  const auto made = make_snapshot(path(), at_second(10), 3);
  ::umask(before);
  ASSERT_TRUE(made.ok());
  auto store = Store::open(*made, Store::Mode::kRead);
  ASSERT_TRUE(store.ok()) << store.error().message;
  EXPECT_EQ(events_of(*store).size(), 50U);
  EXPECT_FALSE(store->verify_chain().value().has_value());
  struct stat status {};
  ASSERT_EQ(::stat(made->c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777U, 0640U);
}

TEST_F(RecoveryTest, OfADamagedRegistryNoSnapshotIsMadeAndNoneIsRemoved) {
  fill(5);
  ASSERT_TRUE(make_snapshot(path(), at_second(10), 1).ok());
  edit(path(), "UPDATE event SET evidence = 'x' WHERE id = 2");
  const auto before = files();
  const auto made = make_snapshot(path(), at_second(20), 1);
  ASSERT_FALSE(made.ok());
  EXPECT_EQ(made.error().code, ErrorCode::kBadData);
  EXPECT_NE(made.error().message.find("entry 2"), std::string::npos) << made.error().message;
  EXPECT_EQ(files(), before);
}

// The name for the damaged file is taken: that is found before anything moves.
TEST_F(RecoveryTest, ANameThatIsTakenChangesNothing) {
  fill(20);
  std::string damaged = bytes();
  damaged.replace((root_page("record") - 1) * kPage, kPage, kPage, '\0');
  tree_.write("registry.db", damaged);
  std::filesystem::remove(path() + ".head");
  tree_.write("registry.db.damaged-20260102T000000Z", "of another day");
  const auto report = recover(path(), now_);
  ASSERT_FALSE(report.ok());
  EXPECT_EQ(report.error().code, ErrorCode::kCannotWrite) << report.error().message;
  EXPECT_TRUE(bytes() == damaged);
  EXPECT_EQ(tree_.content("registry.db.damaged-20260102T000000Z"), "of another day");
}

// Damage is what can be read and is wrong. A file that nobody may look at now is none.
TEST_F(RecoveryTest, WhatCannotBeLookedAtIsNotSetAside) {
  fill(20);
  ASSERT_TRUE(make_snapshot(path(), at_second(10), 3).ok());
  fill(7);
  const std::string before = bytes();
  const auto names = files();
  ASSERT_EQ(::chmod(path().c_str(), 0), 0);
  ASSERT_EQ(::chmod(tree_.path().c_str(), 0777), 0);
  {
    const Unprivileged nobody;
    const auto report = recover(path(), now_);
    ASSERT_FALSE(report.ok());
    EXPECT_EQ(report.error().code, ErrorCode::kNoPrivilege) << report.error().message;
  }
  ASSERT_EQ(::chmod(path().c_str(), 0640), 0);
  EXPECT_EQ(files(), names);
  EXPECT_TRUE(bytes() == before);
}

// The copies from before the end was cut off are all that is left of it.
TEST_F(RecoveryTest, OfALogWhoseEndWasCutOffNoSnapshotIsMade) {
  fill(20);
  ASSERT_TRUE(make_snapshot(path(), at_second(10), 1).ok());
  edit(path(), "DELETE FROM event WHERE id > 10");
  const auto before = files();
  const auto made = make_snapshot(path(), at_second(20), 1);
  ASSERT_FALSE(made.ok());
  EXPECT_EQ(made.error().code, ErrorCode::kBadData);
  EXPECT_EQ(files(), before);
}

// Forged, and about more entries than anybody can look for.
TEST_F(RecoveryTest, ACheckpointOfAnotherKeyKeepsNobodyBusy) {
  fill(5);
  const auto forger = SigningKey::load_or_make(tree_.path("forger"));
  const std::string text = fmt::format(
      "poisonctl-checkpoint-v1\nevents 9223372036854775807\nhash {}\ntime "
      "2026-01-01T00:00:02Z\npublic-key {}\n",
      std::string(64, 'a'), to_hex_text(forger->public_key()));
  tree_.write("registry.db.head",
              text + "signature " + to_hex_text(forger->sign(text).value()) + "\n");
  EXPECT_EXIT(
      {
        ::alarm(20);
        const auto report = recover(path(), now_);
        ::_exit(report.ok() || report.error().code == ErrorCode::kBadData ? 0 : 1);
      },
      ::testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace poisonctl
