// A thin skin over the SQLite C interface: every return code is looked at, and becomes an Error
// that names the file. sqlite.cc is the only file that includes sqlite3.h.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "registry/result.h"

struct sqlite3;
struct sqlite3_stmt;

namespace poisonctl::sqlite {

// A prepared statement. Text that is bound must live until the next reset().
class Statement {
 public:
  Statement() = default;

  // Parameters and columns count from 1 and from 0, as in SQLite itself.
  Statement& bind(int index, std::int64_t value);
  Statement& bind(int index, std::string_view value);
  Statement& bind_blob(int index, std::string_view bytes);
  Statement& bind_null(int index);

  // True when a row is there to read, false at the end.
  Result<bool> step();
  // For statements without rows: runs to the end and resets.
  Result<void> run();
  // Ready to bind and step again.
  void reset();

  [[nodiscard]] int columns() const;
  [[nodiscard]] std::string_view column_name(int column) const;
  [[nodiscard]] bool is_null(int column) const;
  [[nodiscard]] bool is_integer(int column) const;
  [[nodiscard]] std::int64_t integer(int column) const;
  // Text or blob; valid until the next step() or reset(). Empty for NULL.
  [[nodiscard]] std::string_view text(int column) const;

 private:
  friend class Database;
  struct Finalize {
    void operator()(sqlite3_stmt* statement) const;
  };
  std::unique_ptr<sqlite3_stmt, Finalize> statement_;
  std::string path_;
  int bind_status_ = 0;
};

enum class OpenMode {
  kRead,  // nothing is written but the undoing of what a writer that died left half done
  kWrite,
  kImmutable,  // read-only, without any lock: for a private copy or read-only media
};

// One connection, opened with the settings of sqlite.org/security.html for files that somebody else
// may have written: defensive, schema not trusted, no triggers, no views, cell sizes checked, no
// memory-mapped reads, no temporary files.
class Database {
 public:
  Database() = default;
  // `lock_wait_ms`: how long a statement waits for another process. Errors: kIo, kBadData, ...
  static Result<Database> open(const std::string& path, OpenMode mode, int lock_wait_ms);

  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] Result<Statement> prepare(std::string_view sql) const;
  [[nodiscard]] Result<void> execute(const char* sql) const;
  // The first column of the first row, or 0 without a row.
  [[nodiscard]] Result<std::int64_t> scalar(std::string_view sql) const;
  [[nodiscard]] std::int64_t last_rowid() const;
  // Copies all of it into a new file at `path`, page by page, consistently. Errors: kCannotWrite.
  [[nodiscard]] Result<void> copy_to(const std::string& path) const;

 private:
  struct Close {
    void operator()(sqlite3* db) const;
  };
  std::unique_ptr<sqlite3, Close> db_;
  std::string path_;
};

// A write transaction that is undone unless it is committed. The database must outlive it.
class Transaction {
 public:
  // BEGIN IMMEDIATE: the lock is taken now or not at all. Errors: kLocked, kCannotWrite, ...
  static Result<Transaction> begin(const Database& database);
  Transaction(Transaction&& other) noexcept;
  Transaction& operator=(Transaction&&) = delete;
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;
  ~Transaction();
  Result<void> commit();

 private:
  explicit Transaction(const Database& database) : database_(&database) {}
  const Database* database_;
};

}  // namespace poisonctl::sqlite
