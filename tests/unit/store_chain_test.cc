// verify_chain names the first entry that is not as it was written, whatever was done to the file.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sqlite3.h>

#include <random>

#include "registry/sqlite.h"
#include "registry/store.h"
#include "tests/unit/sample_events.h"
#include "tests/unit/temp_tree.h"
#include "tests/unit/test_store.h"

namespace poisonctl {
namespace {

using enum EventKind;

// Two imports: entries 1 to 3, and 4 to 6. Together they have something in every column.
class StoreChainTest : public ::testing::Test {
 protected:
  void SetUp() override {
    Provenance by = provenance_of("kernel", "boot-1", at_second(1));
    by.monotonic_ns = 77;
    by.source_version = "2";
    by.origin = "/log";
    by.product_uuid = "uuid";
    by.product_serial = "serial";
    Event full = event_of(kCorrected, frame_at(2), "read so");
    full.granularity = 64;
    full.count = 3;
    full.observed = at_second(0);
    full.label = "DIMM";
    full.dram.channel = 1;
    full.dram.row = 10;
    full.result = "Recovered";
    Event foreign = event_of(kUncorrected, frame_at(1), "elsewhere");
    foreign.foreign_host = "other";
    append_at(path(), by, {event_of(kUncorrected, frame_at(1), "a"), full, foreign});
    by.time = at_second(5);
    Event nowhere = event_of(kDeferred, frame_at(1), "no place");
    nowhere.range.reset();
    append_at(path(), by,
              {nowhere, outcome_of(Retirement::kEffective, frame_at(1), "free"),
               resolution_of(Resolution::kCleared, frame_at(1), "wiped")});
    sound_ = tree_.content("registry.db");
    ASSERT_EQ(first_bad(), 0);
  }

  [[nodiscard]] std::string path() const { return tree_.path("registry.db"); }

  // The first bad entry, or 0.
  [[nodiscard]] std::int64_t first_bad() const {
    auto store = Store::open(path(), Store::Mode::kRead);
    if (!store) {
      ADD_FAILURE() << store.error().message;
      return -1;
    }
    const auto defect = store->verify_chain();
    if (!defect) {
      ADD_FAILURE() << defect.error().message;
      return -1;
    }
    if (*defect) {
      EXPECT_FALSE((*defect)->what.empty());
    }
    return *defect ? (*defect)->id : 0;
  }

  // What is found after `sql` was done to the file as it was.
  [[nodiscard]] std::int64_t first_bad_after(const std::string& sql) const {
    tree_.write("registry.db", sound_);
    edit(path(), sql);
    return first_bad();
  }

  TempTree tree_;
  std::string sound_;
};

// A column of one row, and every way to flip one bit of its value, as SQL.
struct Cell {
  std::string column;
  std::vector<std::string> flipped;
};

std::vector<std::string> flips_of_bytes(std::string_view bytes, bool is_text) {
  std::vector<std::string> flips;
  // An empty text has no bit; that it is empty is worth a look all the same.
  if (bytes.empty()) flips.emplace_back("'x'");
  for (std::size_t i = 0; i < bytes.size() * 8; ++i) {
    std::string changed(bytes);
    changed[i / 8] = static_cast<char>(static_cast<unsigned char>(changed[i / 8]) ^ (1U << i % 8));
    const std::string literal = fmt::format("x'{}'", to_hex_text(changed));
    flips.push_back(is_text ? fmt::format("CAST({} AS TEXT)", literal) : literal);
  }
  return flips;
}

std::vector<Cell> cells_of(const std::string& path, std::string_view table, std::int64_t id) {
  std::vector<Cell> cells;
  const auto database = sqlite::Database::open(path, sqlite::OpenMode::kWrite, 0);
  auto row = database->prepare(fmt::format("SELECT * FROM {} WHERE id = ?", table));
  EXPECT_TRUE(row->bind(1, id).step().value());
  for (int i = 0; i < row->columns(); ++i) {
    Cell cell{std::string(row->column_name(i)), {}};
    if (row->is_null(i)) {
      cell.flipped = {"1"};
    } else if (row->is_integer(i)) {
      for (unsigned bit = 0; bit < 64; ++bit) {
        const auto changed =
            static_cast<std::uint64_t>(row->integer(i)) ^ (std::uint64_t{1} << bit);
        cell.flipped.push_back(fmt::format("{}", static_cast<std::int64_t>(changed)));
      }
    } else {
      cell.flipped = flips_of_bytes(row->text(i), cell.column != "hash");
    }
    cells.push_back(std::move(cell));
  }
  return cells;
}

TEST_F(StoreChainTest, NamesTheEntryOfAFlippedBitInAnyColumn) {
  struct Case {
    std::string_view table;
    std::int64_t id;
    std::int64_t first_bad;
  };
  const Case cases[] = {{"import", 1, 1}, {"import", 2, 4}, {"event", 1, 1}, {"event", 2, 2},
                        {"event", 3, 3},  {"event", 4, 4},  {"event", 5, 5}, {"event", 6, 6}};
  std::size_t flips = 0;
  for (const Case& c : cases) {
    for (const Cell& cell : cells_of(path(), c.table, c.id)) {
      if (cell.column == "id") continue;  // below
      // Every bit of the rows that have something in each column, some of all others.
      const bool every = c.table == "import" ? c.id == 1 : c.id == 2;
      for (std::size_t i = 0; i < cell.flipped.size(); i += every ? 1 : 13) {
        const std::string& value = cell.flipped[i];
        const std::string sql =
            fmt::format("UPDATE {} SET {} = {} WHERE id = {}", c.table, cell.column, value, c.id);
        EXPECT_EQ(first_bad_after(sql), c.first_bad) << sql;
        ++flips;
      }
    }
  }
  EXPECT_GT(flips, 1500U);
}

TEST_F(StoreChainTest, NamesTheFirstEntryThatIsNotAtItsPlace) {
  struct Case {
    std::string_view what;
    std::string sql;
    std::int64_t first_bad;
  };
  const std::string columns =
      "kind, address, size, granularity, count, observed_ns, foreign_host, label, dram, result, "
      "state, evidence, hash";
  const Case cases[] = {
      {"the first removed", "DELETE FROM event WHERE id = 1", 1},
      {"one in the middle removed", "DELETE FROM event WHERE id = 3", 3},
      {"removed and closed up",
       "DELETE FROM event WHERE id = 3; UPDATE event SET id = 3 WHERE id = 4;"
       "UPDATE event SET id = 4 WHERE id = 5; UPDATE event SET id = 5 WHERE id = 6",
       3},
      {"a number changed", "UPDATE event SET id = 66 WHERE id = 6", 6},
      {"a number below all", "UPDATE event SET id = -1 WHERE id = 2", 1},
      {"number 0", "UPDATE event SET id = 0 WHERE id = 6", 1},
      {"two changed places",
       "UPDATE event SET id = 22 WHERE id = 2; UPDATE event SET id = 2 WHERE id = 3;"
       "UPDATE event SET id = 3 WHERE id = 22",
       2},
      {"one inserted at the end",
       "INSERT INTO event (id, import, " + columns + ") SELECT 7, import, " + columns +
           " FROM event WHERE id = 6",
       7},
      {"one inserted in the middle",
       "UPDATE event SET id = 7 WHERE id = 6; UPDATE event SET id = 6 WHERE id = 5;"
       "UPDATE event SET id = 5 WHERE id = 4;"
       "INSERT INTO event (id, import, " +
           columns + ") SELECT 4, import, " + columns + " FROM event WHERE id = 3",
       4},
      {"an import removed", "DELETE FROM import WHERE id = 2", 4},
      {"an import with another number", "UPDATE import SET id = 9 WHERE id = 2", 4},
      {"the same under another import",
       "INSERT INTO import SELECT 3, time_ns, monotonic_ns, source, source_version, origin, tool, "
       "uid, boot_id, kernel_release, host_id, product_uuid, product_serial, page_size FROM import "
       "WHERE id = 2; UPDATE event SET import = 3 WHERE import = 2",
       4},
      {"the imports changed places",
       "UPDATE import SET id = 9 WHERE id = 1; UPDATE import SET id = 1 WHERE id = 2;"
       "UPDATE import SET id = 2 WHERE id = 9",
       1},
      {"a hash that is too short", "UPDATE event SET hash = substr(hash, 1, 31) WHERE id = 5", 5},
      {"the hash of another",
       "UPDATE event SET hash = (SELECT hash FROM event WHERE id = 4) WHERE id = 5", 5},
      {"coordinates in other words", "UPDATE event SET dram = 'channel=01 row=10' WHERE id = 2", 2},
      {"a size without an address", "UPDATE event SET size = 4096 WHERE id = 4", 4},
  };
  for (const Case& c : cases) EXPECT_EQ(first_bad_after(c.sql), c.first_bad) << c.what;
}

// No memory is allocated by the length that a row says, and the entry is named all the same.
TEST_F(StoreChainTest, NamesAnEntryThatIsTooLargeToBeRead) {
  sqlite3* database = nullptr;
  ASSERT_EQ(sqlite3_open(path().c_str(), &database), SQLITE_OK);
  EXPECT_EQ(
      sqlite3_exec(database, "UPDATE event SET evidence = printf('%.2000000c', 'x') WHERE id = 5",
                   nullptr, nullptr, nullptr),
      SQLITE_OK);
  sqlite3_close(database);
  EXPECT_EQ(first_bad(), 5);
}

// A chain whose end was cut off is a chain: this is what the checkpoint is for.
TEST_F(StoreChainTest, ACutEndAloneCannotBeSeen) {
  EXPECT_EQ(first_bad_after("DELETE FROM event WHERE id > 3;"
                            "DELETE FROM import WHERE id NOT IN (SELECT import FROM event)"),
            0);
  EXPECT_EQ(first_bad_after("DELETE FROM event; DELETE FROM import"), 0);
}

TEST_F(StoreChainTest, AnImportWithoutAnEntryIsSeen) {
  EXPECT_EQ(first_bad_after("DELETE FROM event WHERE id > 3"), 4);
  EXPECT_NE(first_bad_after("INSERT INTO import SELECT id + 100, time_ns, monotonic_ns, source, "
                            "source_version, origin, tool, uid, boot_id, kernel_release, host_id, "
                            "product_uuid, product_serial, page_size FROM import WHERE id = 1"),
            0);
}

TEST_F(StoreChainTest, DerivedTablesAreNotInTheChain) {
  EXPECT_EQ(first_bad_after("UPDATE record SET condition = 'suspect'"), 0);
}

// Not through SQL but in the file: a chain that verifies holds what was stored.
TEST_F(StoreChainTest, WhatVerifiesIsWhatWasStoredWhateverByteChanged) {
  const auto told = [&]() -> std::optional<std::string> {
    auto store = Store::open(path(), Store::Mode::kRead);
    if (!store) return std::nullopt;
    const auto defect = store->verify_chain();
    if (!defect || *defect) return std::nullopt;
    std::string all;
    const auto read = store->for_each_event([&](const StoredEvent& stored) {
      all += fmt::format("{}|{}|{}|{}\n", stored.id, stored.event.label, stored.event.evidence,
                         stored.provenance.tool);
      return true;
    });
    return read ? std::optional(all) : std::nullopt;
  };
  const auto before = told();
  ASSERT_TRUE(before);
  constexpr std::size_t kPage = 4096;
  std::mt19937_64 random(20260302);
  int seen = 0;
  // Page 1 has the schema; the tables of the log follow.
  for (std::size_t at = kPage; at < 4 * kPage; at += 7) {
    std::string changed = sound_;
    changed[at] = static_cast<char>(static_cast<unsigned char>(changed[at]) ^ (1U << random() % 8));
    tree_.write("registry.db", changed);
    const auto after = told();
    if (!after) {
      ++seen;
      continue;
    }
    // Cut at the end, as a page that says it has fewer cells is, it is a shorter log.
    EXPECT_TRUE(before->starts_with(*after)) << at;
  }
  EXPECT_GT(seen, 70);
}

TEST_F(StoreChainTest, TheHeadIsTheLastEntryAndItsHash) {
  auto store = Store::open(path(), Store::Mode::kRead);
  ASSERT_TRUE(store.ok());
  const auto head = store->head();
  ASSERT_TRUE(head.ok());
  EXPECT_EQ(head->id, 6);
  EXPECT_EQ(store->hash_of(6).value(), head->hash);
  EXPECT_NE(store->hash_of(5).value(), head->hash);
  EXPECT_EQ(store->hash_of(7).value(), std::nullopt);
  // As the next process computes it from what it reads.
  Hasher hasher;
  const auto last = store->event(6);
  ASSERT_TRUE(last.ok() && last->has_value());
  EXPECT_EQ(hasher.of_event(*store->hash_of(5).value(), hasher.of_import(2, (*last)->provenance), 6,
                            (*last)->event),
            head->hash);
}

TEST_F(StoreChainTest, AnEmptyRegistryHasAnEmptyChain) {
  auto store = Store::open(tree_.path("new.db"), Store::Mode::kCreate);
  ASSERT_TRUE(store.ok());
  EXPECT_FALSE(store->verify_chain().value().has_value());
  EXPECT_EQ(store->head().value().id, 0);
  EXPECT_EQ(store->head().value().hash, Digest{});
}

}  // namespace
}  // namespace poisonctl
