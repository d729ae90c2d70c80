#include "registry/sqlite.h"

#include <fmt/format.h>
#include <sqlite3.h>

#include <new>
#include <utility>

#include "registry/text.h"

namespace poisonctl::sqlite {

namespace {

// What went wrong last on `db`, in words, with the class that callers branch on.
Error last_error(sqlite3* db, const std::string& path, std::string_view doing) {
  const int status = sqlite3_errcode(db);
  const int os_error = sqlite3_system_errno(db);
  const auto error = [&](ErrorCode code, std::string_view why) {
    return Error{code, fmt::format("{}: {}: {}", path, doing, why), os_error};
  };
  switch (status) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return error(ErrorCode::kLocked, "another process keeps it locked; try again");
    case SQLITE_FULL:
      return error(ErrorCode::kCannotWrite, "no space left; nothing was changed");
    case SQLITE_READONLY:
      return error(ErrorCode::kCannotWrite,
                   "it is read-only for this user or on this file system; nothing was changed");
    case SQLITE_NOTADB:
      return error(ErrorCode::kBadData, "not an SQLite database");
    case SQLITE_CORRUPT:
      return error(ErrorCode::kBadData,
                   fmt::format("the database is damaged ({}); it was left as it is",
                               printable(sqlite3_errmsg(db))));
    case SQLITE_TOOBIG:
      return error(ErrorCode::kBadData, "a row is larger than any that is worth reading");
    case SQLITE_IOERR:
      // SQLite calls only ENOSPC "full"; a quota and a file size limit end here.
      if (sqlite3_extended_errcode(db) == SQLITE_IOERR_WRITE) {
        return error(ErrorCode::kCannotWrite,
                     "the write failed; the disk, a quota or a file size limit may be full, or the "
                     "disk fails. Nothing was changed");
      }
      return error(ErrorCode::kIo, printable(sqlite3_errmsg(db), 200));
    case SQLITE_ERROR:
      // Our statements are right for our schema: a table or a column is missing.
      return error(ErrorCode::kBadData, printable(sqlite3_errmsg(db), 200));
    case SQLITE_CANTOPEN:
      return error(ErrorCode::kIo, "cannot be opened; see that its folder exists and may be read");
    case SQLITE_PERM:
    case SQLITE_AUTH:
      return error(ErrorCode::kNoPrivilege, "permission denied");
    case SQLITE_MISUSE:
    case SQLITE_RANGE:
    case SQLITE_MISMATCH:
    case SQLITE_CONSTRAINT:
      return error(ErrorCode::kBug, printable(sqlite3_errmsg(db), 200));
    default:
      return error(ErrorCode::kIo, printable(sqlite3_errmsg(db), 200));
  }
}

// SQLite takes a null pointer for NULL; an empty string_view may have one.
const char* bytes_of(std::string_view text) { return text.data() == nullptr ? "" : text.data(); }

}  // namespace

void Statement::Finalize::operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
void Database::Close::operator()(sqlite3* db) const { sqlite3_close_v2(db); }

Statement& Statement::bind(int index, std::int64_t value) {
  const int status = sqlite3_bind_int64(statement_.get(), index, value);
  if (status != SQLITE_OK) bind_status_ = status;
  return *this;
}

Statement& Statement::bind(int index, std::string_view value) {
  const int status = sqlite3_bind_text64(statement_.get(), index, bytes_of(value), value.size(),
                                         SQLITE_STATIC, SQLITE_UTF8);
  if (status != SQLITE_OK) bind_status_ = status;
  return *this;
}

Statement& Statement::bind_blob(int index, std::string_view bytes) {
  const int status =
      sqlite3_bind_blob64(statement_.get(), index, bytes_of(bytes), bytes.size(), SQLITE_STATIC);
  if (status != SQLITE_OK) bind_status_ = status;
  return *this;
}

Statement& Statement::bind_null(int index) {
  const int status = sqlite3_bind_null(statement_.get(), index);
  if (status != SQLITE_OK) bind_status_ = status;
  return *this;
}

Result<bool> Statement::step() {
  if (bind_status_ != SQLITE_OK) {
    return Error{ErrorCode::kBug,
                 fmt::format("{}: cannot bind a value to '{}': {}", path_,
                             sqlite3_sql(statement_.get()), sqlite3_errstr(bind_status_))};
  }
  const int status = sqlite3_step(statement_.get());
  if (status == SQLITE_ROW) return true;
  if (status == SQLITE_DONE) return false;
  const bool writes = sqlite3_stmt_readonly(statement_.get()) == 0;
  return last_error(sqlite3_db_handle(statement_.get()), path_,
                    writes ? "cannot be written" : "cannot be read");
}

Result<void> Statement::run() {
  auto row = step();
  while (row && *row) row = step();
  reset();
  if (!row) return row.error();
  return {};
}

void Statement::reset() {
  // The return value repeats the error of the last step, which was looked at there.
  static_cast<void>(sqlite3_reset(statement_.get()));
  bind_status_ = SQLITE_OK;
}

int Statement::columns() const { return sqlite3_column_count(statement_.get()); }

std::string_view Statement::column_name(int column) const {
  const char* const name = sqlite3_column_name(statement_.get(), column);
  return name == nullptr ? std::string_view() : name;
}

bool Statement::is_null(int column) const {
  return sqlite3_column_type(statement_.get(), column) == SQLITE_NULL;
}

bool Statement::is_integer(int column) const {
  return sqlite3_column_type(statement_.get(), column) == SQLITE_INTEGER;
}

std::int64_t Statement::integer(int column) const {
  return sqlite3_column_int64(statement_.get(), column);
}

std::string_view Statement::text(int column) const {
  const auto* const bytes = static_cast<const char*>(sqlite3_column_blob(statement_.get(), column));
  if (bytes == nullptr) return {};
  return {bytes, static_cast<std::size_t>(sqlite3_column_bytes(statement_.get(), column))};
}

Result<Database> Database::open(const std::string& path, OpenMode mode, int lock_wait_ms) {
  // A reader asks to write too, where it may (SQLite falls back by itself): only so can it undo
  // what a writer that died left half done. query_only keeps it from writing anything else.
  const int access = mode == OpenMode::kImmutable ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE;
  int flags = access | SQLITE_OPEN_NOMUTEX;
  std::string name = path;
  if (mode == OpenMode::kImmutable) {
    // Characters that have a meaning in a URI are escaped (sqlite.org/uri.html).
    name = "file:";
    for (const char c : path) {
      const bool special = c == '?' || c == '#' || c == '%';
      name += special ? fmt::format("%{:02x}", static_cast<unsigned char>(c)) : std::string(1, c);
    }
    name += "?immutable=1";
    flags |= SQLITE_OPEN_URI;
  }
  sqlite3* raw = nullptr;
  const int opened = sqlite3_open_v2(name.c_str(), &raw, flags, nullptr);
  Database database;
  database.db_.reset(raw);
  database.path_ = path;
  if (opened != SQLITE_OK) return last_error(raw, path, "cannot be opened");
  sqlite3_busy_timeout(raw, lock_wait_ms);
  // A crafted file must not make us allocate its say: no row of ours or rasdaemon's comes near.
  constexpr int kLongestRow = 1 << 20;
  sqlite3_limit(raw, SQLITE_LIMIT_LENGTH, kLongestRow);
  sqlite3_db_config(raw, SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr);
  sqlite3_db_config(raw, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, nullptr);
  sqlite3_db_config(raw, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, nullptr);
  sqlite3_db_config(raw, SQLITE_DBCONFIG_ENABLE_VIEW, 0, nullptr);
  if (mode == OpenMode::kRead) {
    if (auto set = database.execute("PRAGMA query_only = ON;"); !set) return set.error();
  }
  if (auto set = database.execute("PRAGMA cell_size_check = ON; PRAGMA mmap_size = 0;"
                                  "PRAGMA temp_store = MEMORY;");
      !set) {
    return set.error();
  }
  return database;
}

Result<Statement> Database::prepare(std::string_view sql) const {
  sqlite3_stmt* raw = nullptr;
  if (sqlite3_prepare_v3(db_.get(), sql.data(), static_cast<int>(sql.size()), 0, &raw, nullptr) !=
      SQLITE_OK) {
    return last_error(db_.get(), path_, "cannot be read");
  }
  Statement statement;
  statement.statement_.reset(raw);
  statement.path_ = path_;
  return statement;
}

Result<void> Database::execute(const char* sql) const {
  if (sqlite3_exec(db_.get(), sql, nullptr, nullptr, nullptr) != SQLITE_OK) {
    return last_error(db_.get(), path_, "cannot be used");
  }
  return {};
}

Result<std::int64_t> Database::scalar(std::string_view sql) const {
  auto statement = prepare(sql);
  if (!statement) return statement.error();
  const auto row = statement->step();
  if (!row) return row.error();
  return *row ? statement->integer(0) : 0;
}

std::int64_t Database::last_rowid() const { return sqlite3_last_insert_rowid(db_.get()); }

Result<void> Database::copy_to(const std::string& path) const {
  sqlite3* raw = nullptr;
  const int opened =
      sqlite3_open_v2(path.c_str(), &raw, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, nullptr);
  Database target;
  target.db_.reset(raw);
  target.path_ = path;
  if (opened != SQLITE_OK) return last_error(raw, path, "cannot be made");
  if (auto set = target.execute("PRAGMA synchronous = EXTRA; PRAGMA temp_store = MEMORY;"); !set)
    return set;
  sqlite3_backup* const backup = sqlite3_backup_init(raw, "main", db_.get(), "main");
  if (backup == nullptr) return last_error(raw, path, "cannot be written");
  const int stepped = sqlite3_backup_step(backup, -1);
  const int finished = sqlite3_backup_finish(backup);
  if (stepped != SQLITE_DONE || finished != SQLITE_OK) {
    return last_error(raw, path, "cannot be written");
  }
  return {};
}

Result<Transaction> Transaction::begin(const Database& database) {
  if (auto begun = database.execute("BEGIN IMMEDIATE"); !begun) return begun.error();
  return Transaction(database);
}

Transaction::Transaction(Transaction&& other) noexcept
    : database_(std::exchange(other.database_, nullptr)) {}

Transaction::~Transaction() {
  if (database_ == nullptr) return;
  // After a failed statement SQLite may have rolled back already; then this is an error to ignore.
  try {
    static_cast<void>(database_->execute("ROLLBACK"));
  } catch (const std::bad_alloc&) {
    return;  // it was tried, and there is no memory for the message; closing rolls back as well
  }
}

Result<void> Transaction::commit() {
  auto done = database_->execute("COMMIT");
  if (done) database_ = nullptr;
  return done;
}

}  // namespace poisonctl::sqlite
