// Short ways to fill a registry and to read all of it. An error of the store fails the test.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "registry/sqlite.h"
#include "registry/store.h"
#include "tests/unit/test_ranges.h"

namespace poisonctl {

// One import of all of `events`.
inline Result<ImportSummary> append(Store& store, const Provenance& by,
                                    std::span<const Event> events,
                                    Store::Repeats repeats = Store::Repeats::kCount) {
  auto import = store.begin_import(by, repeats);
  if (!import) return import.error();
  for (const Event& event : events) {
    if (auto added = import->add(event); !added) return added.error();
  }
  return import->commit();
}

// Opens it, or makes it, for one import. Returns what the import did.
inline ImportSummary append_at(const std::string& path, const Provenance& by,
                               const std::vector<Event>& events,
                               Store::Repeats repeats = Store::Repeats::kCount) {
  auto store = Store::open(path, Store::Mode::kCreate);
  if (!store) {
    ADD_FAILURE() << store.error().message;
    return {};
  }
  auto summary = append(*store, by, events, repeats);
  if (!summary) {
    ADD_FAILURE() << summary.error().message;
    return {};
  }
  EXPECT_EQ(summary->checkpoint_problem, std::nullopt);
  return *summary;
}

using EventVisitor = std::function<bool(const StoredEvent&)>;

// What `read` visits.
inline std::vector<StoredEvent> visited(
    const std::function<Result<void>(const EventVisitor&)>& read) {
  std::vector<StoredEvent> events;
  const auto done = read([&](const StoredEvent& event) {
    events.push_back(event);
    return true;
  });
  EXPECT_TRUE(done.ok()) << done.error().message;
  return events;
}

inline std::vector<StoredEvent> events_of(Store& store) {
  return visited([&](const EventVisitor& visit) { return store.for_each_event(visit); });
}

inline std::vector<StoredEvent> events_about(Store& store, const ByteRange& where) {
  return visited(
      [&](const EventVisitor& visit) { return store.for_each_event_about(where, visit); });
}

inline std::vector<Record> records_of(Store& store) {
  std::vector<Record> records;
  const auto read = store.for_each_record([&](const Record& record) {
    records.push_back(record);
    return true;
  });
  EXPECT_TRUE(read.ok()) << read.error().message;
  return records;
}

inline std::vector<Record> records_at(const std::string& path) {
  auto store = Store::open(path, Store::Mode::kRead);
  if (!store) {
    ADD_FAILURE() << store.error().message;
    return {};
  }
  return records_of(*store);
}

// Changes the file behind the back of the store, as somebody with the sqlite3 program can.
inline void edit(const std::string& path, const std::string& sql) {
  const auto database = sqlite::Database::open(path, sqlite::OpenMode::kWrite, 0);
  ASSERT_TRUE(database.ok()) << database.error().message;
  const auto done =
      database->execute(("PRAGMA ignore_check_constraints = ON; PRAGMA synchronous = OFF; BEGIN; " +
                         sql + "; COMMIT;")
                            .c_str());
  ASSERT_TRUE(done.ok()) << sql << ": " << done.error().message;
}

}  // namespace poisonctl
