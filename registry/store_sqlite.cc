#include "registry/store_sqlite.h"

#include <fmt/format.h>

#include "registry/text.h"

namespace poisonctl::sqlite {

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
    case SQLITE_IOERR:
      // SQLite calls only ENOSPC "full"; a quota and a file size limit end here.
      if (sqlite3_extended_errcode(db) == SQLITE_IOERR_WRITE) {
        return error(ErrorCode::kCannotWrite,
                     "the write failed; the disk, a quota or a file size limit may be full, or the "
                     "disk fails. Nothing was changed");
      }
      return error(ErrorCode::kIo, printable(sqlite3_errmsg(db)));
    case SQLITE_ERROR:
      // Our statements are right for our schema: a table or a column is missing.
      return error(ErrorCode::kBadData, printable(sqlite3_errmsg(db)));
    case SQLITE_CANTOPEN:
      return error(ErrorCode::kIo, "cannot be opened; see that its folder exists and may be read");
    case SQLITE_PERM:
    case SQLITE_AUTH:
      return error(ErrorCode::kNoPrivilege, "permission denied");
    case SQLITE_MISUSE:
    case SQLITE_RANGE:
    case SQLITE_MISMATCH:
    case SQLITE_CONSTRAINT:
      return error(ErrorCode::kBug, printable(sqlite3_errmsg(db)));
    default:
      return error(ErrorCode::kIo, printable(sqlite3_errmsg(db)));
  }
}

Result<Statement> Statement::prepare(sqlite3* db, const std::string& path, std::string_view sql) {
  sqlite3_stmt* raw = nullptr;
  if (sqlite3_prepare_v3(db, sql.data(), static_cast<int>(sql.size()), 0, &raw, nullptr) !=
      SQLITE_OK) {
    return last_error(db, path, "cannot be read as a registry");
  }
  Statement statement;
  statement.statement_.reset(raw);
  statement.path_ = path;
  return statement;
}

Statement& Statement::bind(int index, std::int64_t value) {
  const int status = sqlite3_bind_int64(statement_.get(), index, value);
  if (status != SQLITE_OK) bind_status_ = status;
  return *this;
}

Statement& Statement::bind(int index, std::string_view value) {
  const char* const bytes = value.data() == nullptr ? "" : value.data();
  const int status =
      sqlite3_bind_text64(statement_.get(), index, bytes, value.size(), SQLITE_STATIC, SQLITE_UTF8);
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

std::int64_t Statement::integer(int column) const {
  return sqlite3_column_int64(statement_.get(), column);
}

std::string_view Statement::text(int column) const {
  const auto* const bytes = sqlite3_column_text(statement_.get(), column);
  if (bytes == nullptr) return {};
  const int size = sqlite3_column_bytes(statement_.get(), column);
  return {reinterpret_cast<const char*>(bytes), static_cast<std::size_t>(size)};
}

Result<void> execute(sqlite3* db, const std::string& path, const char* sql) {
  if (sqlite3_exec(db, sql, nullptr, nullptr, nullptr) != SQLITE_OK) {
    return last_error(db, path, "cannot be written");
  }
  return {};
}

}  // namespace poisonctl::sqlite
