// A registry of the first schema becomes one of the newest, and nothing that it said is lost.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>
#include <iterator>

#include "registry/checkpoint.h"
#include "registry/store.h"
#include "tests/unit/sample_events.h"
#include "tests/unit/temp_tree.h"
#include "tests/unit/test_files.h"
#include "tests/unit/test_store.h"

namespace poisonctl {
namespace {

using Mode = Store::Mode;

// 42 entries in 3 imports, as the first schema wrote them.
class StoreUpgradeTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::ifstream file(checkout_path("tests/crash/registry-schema-1.db"), std::ios::binary);
    old_ = {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
    ASSERT_GT(old_.size(), 4096U);
    tree_.write("registry.db", old_);
  }
  [[nodiscard]] std::string path() const { return tree_.path("registry.db"); }
  [[nodiscard]] std::string bytes() const { return tree_.content("registry.db"); }
  [[nodiscard]] std::string copy() const { return tree_.content("registry.db.schema-1"); }

  // A database of the columns of the first schema, for what the fixture has not.
  void make_old(const std::string& rows) const {
    edit(path(), "DELETE FROM event; DELETE FROM import; DELETE FROM record;" + rows);
  }

  TempTree tree_;
  std::string old_;
};

TEST_F(StoreUpgradeTest, KeepsEveryEntryAndDerivesTheSameRecords) {
  auto store = Store::open(path(), Mode::kWrite);
  ASSERT_TRUE(store.ok()) << store.error().message;
  EXPECT_EQ(bytes().substr(60, 4), std::string("\0\0\0\3", 4));
  const auto events = events_of(*store);
  ASSERT_EQ(events.size(), 42U);
  for (std::size_t i = 0; i < events.size(); ++i) {
    EXPECT_EQ(events[i].id, static_cast<std::int64_t>(i + 1));
    EXPECT_EQ(events[i].event.count, 1U);
    EXPECT_FALSE(events[i].event.observed);
    EXPECT_EQ(events[i].event.foreign_host, "");
  }
  EXPECT_EQ(events[0].event.kind, EventKind::kUncorrected);
  EXPECT_EQ(events[0].event.range, range(0x1000000, 0x1000fff));
  EXPECT_EQ(events[0].event.granularity, 0U);
  EXPECT_EQ(events[0].event.evidence, "schema 1");
  EXPECT_EQ(events[0].provenance.time.time_since_epoch().count(), 1795260653853179629);
  EXPECT_EQ(events[0].provenance.source, "operator");
  EXPECT_EQ(events[0].provenance.tool, "poisonctl 0.1.0");
  EXPECT_EQ(events[0].provenance.boot_id, "27c9f88a-5099-446d-8a69-66bbd971e018");
  EXPECT_EQ(events[0].provenance.product_uuid, "3c1d8a52-5f0e-4b0a-9d6e-6f1b0c7a2e11");
  EXPECT_EQ(events[41].provenance.source, "bmc");
  // Each row of the old table of records, as the new program tells it.
  const auto database =
      sqlite::Database::open(tree_.path("registry.db.schema-1"), sqlite::OpenMode::kWrite, 0);
  ASSERT_TRUE(database.ok()) << database.error().message;
  auto rows = database->prepare(
      "SELECT address, size, id, condition, events FROM record "
      "ORDER BY address, size");
  ASSERT_TRUE(rows.ok()) << rows.error().message;
  for (const Record& record : records_of(*store)) {
    ASSERT_TRUE(rows->step().value());
    EXPECT_EQ(static_cast<std::int64_t>(record.range.begin().value()), rows->integer(0));
    EXPECT_EQ(static_cast<std::int64_t>(record.range.size()), rows->integer(1));
    EXPECT_EQ(record.id, rows->integer(2));
    EXPECT_EQ(to_word(record.condition), rows->text(3));
    EXPECT_EQ(static_cast<std::int64_t>(record.events), rows->integer(4));
  }
  EXPECT_FALSE(rows->step().value());
}

TEST_F(StoreUpgradeTest, TheChainIsWholeAndGoesOn) {
  append_at(path(), provenance_of("kernel", "boot-9", at_second(1)),
            {event_of(EventKind::kUncorrected, frame_at(1))});
  auto store = Store::open(path(), Mode::kWrite);
  ASSERT_TRUE(store.ok());
  const auto audited = audit(*store, path());
  ASSERT_TRUE(audited.ok());
  EXPECT_EQ(audited->findings, std::vector<std::string>());
  EXPECT_EQ(audited->head.id, 43);
  EXPECT_EQ(store->count_wrong_records().value(), 0U);
  EXPECT_TRUE(store->is_sound().value());
}

// A registry but for the counters in its header, of which SQLite keeps its own in each copy
// (sqlite.org/fileformat.html, 1.3: change counter, schema cookie, version valid for).
std::string without_counters(std::string file) {
  for (const std::size_t at : {24U, 40U, 92U}) file.replace(at, 4, 4, '\0');
  return file;
}

TEST_F(StoreUpgradeTest, KeepsACopyThatIsTheOldRegistry) {
  ASSERT_TRUE(Store::open(path(), Mode::kWrite).ok());
  EXPECT_TRUE(without_counters(copy()) == without_counters(old_));
  struct stat status {};
  ASSERT_EQ(::stat(tree_.path("registry.db.schema-1").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777U, 0640U);
  // Opened again it is new already, and the copy stays.
  const std::string upgraded = bytes();
  ASSERT_TRUE(Store::open(path(), Mode::kWrite).ok());
  EXPECT_EQ(bytes(), upgraded);
  EXPECT_TRUE(without_counters(copy()) == without_counters(old_));
}

TEST_F(StoreUpgradeTest, AReaderIsToldAndNothingChanges) {
  const auto store = Store::open(path(), Mode::kRead);
  ASSERT_FALSE(store.ok());
  EXPECT_EQ(store.error().code, ErrorCode::kUnknownForm);
  for (const std::string_view told : {"version 1", "version 3", "poisonctl upgrade"}) {
    EXPECT_NE(store.error().message.find(told), std::string::npos) << store.error().message;
  }
  EXPECT_TRUE(bytes() == old_);
  EXPECT_FALSE(std::filesystem::exists(tree_.path("registry.db.schema-1")));
}

TEST_F(StoreUpgradeTest, ANewerSchemaIsRefusedByItsNumber) {
  for (const char version : {'\x04', '\x09', '\x7f'}) {
    std::string newer = old_;
    newer[63] = version;
    tree_.write("registry.db", newer);
    for (const Mode mode : {Mode::kRead, Mode::kWrite, Mode::kCreate}) {
      const auto store = Store::open(path(), mode);
      ASSERT_FALSE(store.ok());
      EXPECT_EQ(store.error().code, ErrorCode::kUnknownForm);
      EXPECT_NE(store.error().message.find(fmt::format("version {},", int{version})),
                std::string::npos)
          << store.error().message;
      EXPECT_TRUE(bytes() == newer);
    }
  }
}

TEST_F(StoreUpgradeTest, ARangeThatWasNotExactStaysAsVagueAsItWas) {
  make_old(
      "INSERT INTO import VALUES (1, 5, 'kernel', 'poisonctl 0.1.0', 0, 'b', 'r', 'h', '', 4096);"
      "INSERT INTO event VALUES (1, 1, 'poisoned', 2097152, 2097152, 0, '', 'huge');"
      "INSERT INTO event VALUES (2, 1, 'ce', 8192, 4096, 1, '', 'weak');"
      "INSERT INTO event VALUES (3, 1, 'outcome', 8192, 4096, 1, 'effective', 'free')");
  auto store = Store::open(path(), Mode::kWrite);
  ASSERT_TRUE(store.ok()) << store.error().message;
  const auto records = records_of(*store);
  ASSERT_EQ(records.size(), 2U);
  EXPECT_EQ(records[0].condition, Condition::kSuspect);
  EXPECT_EQ(records[0].retirement_in("b"), Retirement::kEffective);
  EXPECT_EQ(records[1].granularity, 2097152U);
  EXPECT_FALSE(records[1].is_exact(shift_of(4096)));
  EXPECT_FALSE(store->verify_chain().value().has_value());
}

TEST_F(StoreUpgradeTest, WhatCannotBeReadIsNotUpgraded) {
  make_old(
      "INSERT INTO import VALUES (1, 5, 'kernel', 'poisonctl 0.1.0', 0, 'b', 'r', 'h', '', 4096);"
      "INSERT INTO event VALUES (1, 1, 'ue', 8192, 4096, 1, '', 'good');"
      "INSERT INTO event VALUES (2, 1, 'strange', 8192, 4096, 1, '', 'bad')");
  const std::string before = bytes();
  const auto store = Store::open(path(), Mode::kWrite);
  ASSERT_FALSE(store.ok());
  EXPECT_EQ(store.error().code, ErrorCode::kBadData) << store.error().message;
  EXPECT_TRUE(bytes() == before);
}

}  // namespace
}  // namespace poisonctl
