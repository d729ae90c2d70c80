// A thin skin over the SQLite C interface: every return code is looked at, and becomes an Error
// that names the file. For store.cc only.
#pragma once

#include <sqlite3.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "registry/result.h"

namespace poisonctl::sqlite {

// What went wrong on `db`, in words, with the class that callers branch on.
Error last_error(sqlite3* db, const std::string& path, std::string_view doing);

// A prepared statement. Text that is bound must live until the next reset().
class Statement {
 public:
  Statement() = default;
  static Result<Statement> prepare(sqlite3* db, const std::string& path, std::string_view sql);

  // Parameters and columns count from 1 and from 0, as in SQLite itself.
  Statement& bind(int index, std::int64_t value);
  Statement& bind(int index, std::string_view value);

  // True when a row is there to read, false at the end.
  Result<bool> step();
  // For statements without rows: runs to the end and resets.
  Result<void> run();
  // Ready to bind and step again.
  void reset();

  [[nodiscard]] std::int64_t integer(int column) const;
  // Valid until the next step() or reset().
  [[nodiscard]] std::string_view text(int column) const;

 private:
  struct Finalize {
    void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
  };
  std::unique_ptr<sqlite3_stmt, Finalize> statement_;
  std::string path_;
  int bind_status_ = SQLITE_OK;
};

struct Close {
  void operator()(sqlite3* db) const { sqlite3_close_v2(db); }
};
using Database = std::unique_ptr<sqlite3, Close>;

Result<void> execute(sqlite3* db, const std::string& path, const char* sql);

}  // namespace poisonctl::sqlite
