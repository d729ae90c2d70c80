// Keeps the derived tables: reads and writes records and rows while events are folded into them.
// Used for imports, on the registry, and for rebuilds, on a database in memory. For store*.cc only.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "registry/chain.h"
#include "registry/record.h"
#include "registry/result.h"
#include "registry/sqlite.h"

namespace poisonctl {

// The columns of a record table, in the order that record_in reads.
extern const char* const kRecordColumns;

// The record in the current row of a statement that selects kRecordColumns. Errors: kBadData.
Result<Record> record_in(const sqlite::Statement& row, const std::string& path);

class Deriver {
 public:
  // The database must outlive it.
  static Result<Deriver> prepare(const sqlite::Database& database);

  // What folding one event did.
  struct Change {
    bool new_record = false;
    bool reopened = false;
  };
  // Folds an event that has a place on this host into its record. An outcome or a resolution of a
  // range without a record changes nothing.
  Result<Change> fold(std::int64_t id, const Event& event, const Provenance& provenance);

  // The record of exactly this range, or null; valid until the next call.
  Result<const Record*> find(const ByteRange& range);

  // Writes what was folded. To be called at the end; also bounds memory when called in between.
  Result<void> flush();

 private:
  explicit Deriver(const sqlite::Database& database) : database_(&database) {}
  struct Row {
    ErrorBucket bucket;
    bool faulty = false;
  };
  Result<Record*> load(const ByteRange& range);
  // Counts a corrected error in its row; true when the row is faulty.
  Result<bool> add_to_row(const Event& event, const Provenance& provenance);
  // Forgets the errors of the row of a record whose memory was replaced or repaired.
  Result<void> renew_row(const Record& record, Resolution resolution);
  // Makes the suspect records of the rows that have become faulty since the last time faulty too.
  // One look at all suspects for all of these rows.
  Result<void> condemn_rows();
  [[nodiscard]] bool is_condemned(const Record& record) const;
  Result<Row*> load_row(const std::string& key);
  // Of the provenance's topology; the events of one import have one, so it is computed once.
  const std::string& snapshot_name(const Provenance& provenance);
  Result<void> store(const Record& record);

  const sqlite::Database* database_;
  CorrectedErrorPolicy policy_;
  sqlite::Statement find_;
  sqlite::Statement put_;
  sqlite::Statement find_row_;
  sqlite::Statement put_row_;
  Hasher hasher_;
  std::string snapshot_;
  std::string snapshot_name_;
  std::map<ByteRange, Record> records_;
  std::map<std::string, Row> rows_;
  std::set<std::string> condemned_;  // rows whose suspects are still to be made faulty
};

}  // namespace poisonctl
