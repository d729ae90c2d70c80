// The schema of the registry and how older ones become it. For store.cc only.
#pragma once

#include <cstdint>
#include <string>

#include "registry/result.h"
#include "registry/sqlite.h"

namespace poisonctl {

// "pois" in ASCII; tells a registry from any other SQLite file (sqlite.org/fileformat.html, 1.3).
inline constexpr std::int64_t kApplicationId = 0x706f6973;
inline constexpr std::int64_t kSchemaVersion = 2;

// What a file is.
struct SchemaState {
  bool empty = false;        // no table at all: a registry can be made in it
  std::int64_t version = 0;  // of a registry
};
// Errors: kUnknownForm for another program's database and for a version newer than kSchemaVersion.
Result<SchemaState> read_schema_state(const sqlite::Database& database);

// Makes the tables of the newest version. Inside the caller's transaction.
Result<void> create_schema(const sqlite::Database& database);

// Only those that are derived from the log: what a rebuild makes to compare with.
Result<void> create_derived_tables(const sqlite::Database& database);

// Brings the tables of version 1 to version 2, except for the derived tables and the hashes, which
// the caller fills. Inside the caller's transaction.
Result<void> upgrade_schema_from_1(const sqlite::Database& database);

}  // namespace poisonctl
