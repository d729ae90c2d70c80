#include "registry/store_schema.h"

#include <fmt/format.h>

namespace poisonctl {

namespace {

// Append-only: what was said. Addresses are below 2^56 and sizes above 0 (registry/address.h); both
// are NULL for evidence without a place.
constexpr const char* kLogTables = R"sql(
CREATE TABLE topology (
  id             INTEGER PRIMARY KEY,
  text           TEXT NOT NULL UNIQUE  -- a snapshot: README.md
) STRICT;
CREATE TABLE import (
  id             INTEGER PRIMARY KEY,
  time_ns        INTEGER NOT NULL,  -- UTC, since 1970
  monotonic_ns   INTEGER NOT NULL,  -- CLOCK_BOOTTIME, or 0
  source         TEXT NOT NULL,
  source_version TEXT NOT NULL,
  origin         TEXT NOT NULL,
  tool           TEXT NOT NULL,
  uid            INTEGER NOT NULL,
  boot_id        TEXT NOT NULL,
  kernel_release TEXT NOT NULL,
  host_id        TEXT NOT NULL,
  product_uuid   TEXT NOT NULL,
  product_serial TEXT NOT NULL,
  page_size      INTEGER NOT NULL,
  topology       INTEGER REFERENCES topology (id)  -- NULL: not known
) STRICT;
CREATE TABLE event (
  id           INTEGER PRIMARY KEY,
  import       INTEGER NOT NULL REFERENCES import (id),
  kind         TEXT NOT NULL,
  address      INTEGER CHECK (address >= 0 AND address < 72057594037927936),
  size         INTEGER CHECK (size > 0 AND address + size <= 72057594037927936),
  granularity  INTEGER NOT NULL,
  count        INTEGER NOT NULL CHECK (count > 0),
  observed_ns  INTEGER,             -- UTC by the source's clock, or NULL
  foreign_host TEXT NOT NULL,
  label        TEXT NOT NULL,
  dram         TEXT NOT NULL,
  result       TEXT NOT NULL,
  state        TEXT NOT NULL,       -- of an outcome or a resolution, else empty
  evidence     TEXT NOT NULL,
  hash         BLOB NOT NULL,       -- the chain: README.md
  CHECK ((address IS NULL) = (size IS NULL))
) STRICT;
CREATE INDEX event_by_address ON event (address, observed_ns);
)sql";

constexpr const char* kDerivedTables = R"sql(
CREATE TABLE record (
  address           INTEGER NOT NULL,
  size              INTEGER NOT NULL,
  id                INTEGER NOT NULL,
  granularity       INTEGER NOT NULL,
  condition         TEXT NOT NULL,
  severity          TEXT NOT NULL,
  sources           TEXT NOT NULL,  -- names, sorted, with commas between
  first_seen_ns     INTEGER NOT NULL,
  last_seen_ns      INTEGER NOT NULL,
  events            INTEGER NOT NULL,
  ce_level          INTEGER NOT NULL,
  ce_filled_ns      INTEGER NOT NULL,
  label             TEXT NOT NULL,
  dram              TEXT NOT NULL,
  reopened          INTEGER NOT NULL,
  outcome           TEXT NOT NULL,
  outcome_boot_id   TEXT NOT NULL,
  outcome_how       TEXT NOT NULL,
  resolution        TEXT NOT NULL,
  resolution_reason TEXT NOT NULL,
  resolved_ns       INTEGER NOT NULL,
  topologies        TEXT NOT NULL,  -- names of snapshots, sorted, with commas between
  PRIMARY KEY (address, size)
) STRICT, WITHOUT ROWID;
-- Corrected errors by DRAM row.
CREATE TABLE dram_row (
  key       TEXT PRIMARY KEY,
  level     INTEGER NOT NULL,
  filled_ns INTEGER NOT NULL,
  faulty    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
)sql";

std::string marks() {
  return fmt::format("PRAGMA application_id = {}; PRAGMA user_version = {};", kApplicationId,
                     kSchemaVersion);
}

}  // namespace

Result<void> create_derived_tables(const sqlite::Database& database) {
  return database.execute(kDerivedTables);
}

Result<SchemaState> read_schema_state(const sqlite::Database& database) {
  // In one statement, and so of one state of the file: another process may be making the schema.
  auto statement = database.prepare(
      "SELECT (SELECT count(*) FROM sqlite_schema), (SELECT user_version FROM pragma_user_version),"
      " (SELECT application_id FROM pragma_application_id)");
  if (!statement) return statement.error();
  if (const auto row = statement->step(); !row) return row.error();
  const std::int64_t tables = statement->integer(0);
  const std::int64_t version = statement->integer(1);
  const std::int64_t application = statement->integer(2);

  if (application == kApplicationId) {
    if (version >= 1 && version <= kSchemaVersion) return SchemaState{false, version};
    return Error{
        ErrorCode::kUnknownForm,
        fmt::format("{}: is of schema version {}, this program knows 1 to {}; use the version "
                    "of poisonctl that wrote it, or a newer one. It was left as it is",
                    database.path(), version, kSchemaVersion)};
  }
  if (application == 0 && version == 0 && tables == 0) return SchemaState{true, 0};
  return Error{ErrorCode::kUnknownForm,
               database.path() +
                   ": is an SQLite database, but not a registry of poisonctl; it was "
                   "left as it is"};
}

Result<void> create_schema(const sqlite::Database& database) {
  return database.execute((std::string(kLogTables) + kDerivedTables + marks()).c_str());
}

Result<void> upgrade_schema_from_1(const sqlite::Database& database) {
  const std::string script =
      "DROP INDEX event_by_address; DROP TABLE record;"
      "ALTER TABLE import RENAME TO import_1; ALTER TABLE event RENAME TO event_1;" +
      std::string(kLogTables) +
      "INSERT INTO import SELECT id, time_ns, 0, source, '', '', tool, uid, boot_id, "
      "kernel_release,"
      "  host_id, product_uuid, '', page_size, NULL FROM import_1 ORDER BY id;"
      // Version 1 marked a range of which not all is bad; its size is all that is known of how
      // exact.
      "INSERT INTO event SELECT id, import, kind, address, size,"
      "  CASE exact WHEN 1 THEN 0 ELSE size END, 1, NULL, '', '', '', '', retirement, evidence, x''"
      "  FROM event_1 ORDER BY id;"
      "DROP TABLE event_1; DROP TABLE import_1;" +
      kDerivedTables + marks();
  return database.execute(script.c_str());
}

Result<void> upgrade_schema_from_2(const sqlite::Database& database) {
  const std::string script =
      "CREATE TABLE topology (id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE) STRICT;"
      "ALTER TABLE import ADD COLUMN topology INTEGER REFERENCES topology (id);"
      // Nobody knows what the machine was when these records were made.
      "ALTER TABLE record ADD COLUMN topologies TEXT NOT NULL DEFAULT '';" +
      marks();
  return database.execute(script.c_str());
}

}  // namespace poisonctl
