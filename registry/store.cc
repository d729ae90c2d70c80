#include "registry/store.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <cerrno>
#include <map>
#include <utility>

#include "registry/posix_file.h"
#include "registry/store_sqlite.h"
#include "registry/text.h"

namespace poisonctl {

namespace {

using sqlite::Statement;

// "pois" in ASCII; tells a registry from any other SQLite file (sqlite.org/fileformat.html, 1.3).
constexpr std::int64_t kApplicationId = 0x706f6973;
constexpr std::int64_t kSchemaVersion = 1;

// Append-only tables `import` and `event` hold what was said; `record` is derived from them and can
// be made again. Addresses are below 2^56 and sizes above 0: see registry/address.h.
constexpr const char* kSchema = R"sql(
CREATE TABLE import (
  id             INTEGER PRIMARY KEY,
  time_ns        INTEGER NOT NULL,  -- UTC, since 1970
  source         TEXT NOT NULL,
  tool           TEXT NOT NULL,
  uid            INTEGER NOT NULL,
  boot_id        TEXT NOT NULL,
  kernel_release TEXT NOT NULL,
  host_id        TEXT NOT NULL,
  product_uuid   TEXT NOT NULL,
  page_size      INTEGER NOT NULL
) STRICT;
CREATE TABLE event (
  id         INTEGER PRIMARY KEY,
  import     INTEGER NOT NULL REFERENCES import (id),
  kind       TEXT NOT NULL,
  address    INTEGER NOT NULL CHECK (address >= 0 AND address < 72057594037927936),
  size       INTEGER NOT NULL CHECK (size > 0 AND address + size <= 72057594037927936),
  exact      INTEGER NOT NULL CHECK (exact IN (0, 1)),
  retirement TEXT NOT NULL,         -- of an outcome, else empty
  evidence   TEXT NOT NULL
) STRICT;
CREATE INDEX event_by_address ON event (address, size);
CREATE TABLE record (
  address         INTEGER NOT NULL,
  size            INTEGER NOT NULL,
  id              INTEGER NOT NULL,
  exact           INTEGER NOT NULL,
  condition       TEXT NOT NULL,
  severity        TEXT NOT NULL,
  sources         TEXT NOT NULL,    -- names, sorted, with commas between
  first_seen_ns   INTEGER NOT NULL,
  last_seen_ns    INTEGER NOT NULL,
  events          INTEGER NOT NULL,
  retirement      TEXT NOT NULL,
  outcome_boot_id TEXT NOT NULL,
  outcome_how     TEXT NOT NULL,
  PRIMARY KEY (address, size)
) STRICT, WITHOUT ROWID;
)sql";

constexpr std::string_view kRecordColumns =
    "address, size, id, exact, condition, severity, sources, first_seen_ns, last_seen_ns, events, "
    "retirement, outcome_boot_id, outcome_how";

std::int64_t to_ns(Time time) { return time.time_since_epoch().count(); }
Time from_ns(std::int64_t ns) { return Time(std::chrono::nanoseconds(ns)); }
std::int64_t to_signed(std::uint64_t value) { return static_cast<std::int64_t>(value); }

std::string join_sources(const std::vector<std::string>& sources) {
  return fmt::format("{}", fmt::join(sources, ","));
}

std::vector<std::string> split_sources(std::string_view text) {
  std::vector<std::string> sources;
  while (!text.empty()) {
    const auto comma = text.find(',');
    sources.emplace_back(text.substr(0, comma));
    if (comma == std::string_view::npos) break;
    text.remove_prefix(comma + 1);
  }
  return sources;
}

Error damaged(const std::string& path, std::string_view what) {
  return {ErrorCode::kBadData, fmt::format("{}: the database is damaged: {}", path, what)};
}

Result<ByteRange> range_in(const Statement& row, const std::string& path, int address, int size) {
  const auto range =
      ByteRange::from_size(PhysAddr(static_cast<std::uint64_t>(row.integer(address))),
                           static_cast<std::uint64_t>(row.integer(size)));
  if (!range) {
    return damaged(path, fmt::format("range {:#x}+{:#x} is no physical range", row.integer(address),
                                     row.integer(size)));
  }
  return *range;
}

Result<Record> record_in(const Statement& row, const std::string& path) {
  const auto range = range_in(row, path, 0, 1);
  if (!range) return range.error();
  const auto condition = condition_from(row.text(4));
  const auto severity = event_kind_from(row.text(5));
  const auto outcome = retirement_from(row.text(10));
  if (!condition || !severity || !outcome) {
    return damaged(path,
                   fmt::format("record {} has a word this program does not know", row.integer(2)));
  }
  return Record{.id = row.integer(2),
                .range = *range,
                .exact = row.integer(3) != 0,
                .condition = *condition,
                .severity = *severity,
                .sources = split_sources(row.text(6)),
                .first_seen = from_ns(row.integer(7)),
                .last_seen = from_ns(row.integer(8)),
                .events = static_cast<std::uint64_t>(row.integer(9)),
                .last_outcome = *outcome,
                .outcome_boot_id = std::string(row.text(11)),
                .outcome_how = std::string(row.text(12))};
}

}  // namespace

struct Store::Connection {
  std::string path;
  sqlite::Database db;

  Result<Statement> prepare(std::string_view sql) const {
    return Statement::prepare(db.get(), path, sql);
  }
  Result<std::int64_t> scalar(std::string_view sql) const {
    auto statement = prepare(sql);
    if (!statement) return statement.error();
    const auto row = statement->step();
    if (!row) return row.error();
    return *row ? statement->integer(0) : 0;
  }
  Result<void> check_or_create_schema(bool may_create) const;
};

namespace {

// A write transaction that is undone unless it is committed.
class Transaction {
 public:
  static Result<Transaction> begin(sqlite3* db, const std::string& path) {
    // IMMEDIATE: the lock is taken now or not at all, so no later statement can fail half-way on
    // it.
    if (auto begun = sqlite::execute(db, path, "BEGIN IMMEDIATE"); !begun) return begun.error();
    return Transaction(db, path);
  }
  Transaction(Transaction&& other) noexcept
      : db_(std::exchange(other.db_, nullptr)), path_(std::move(other.path_)) {}
  Transaction& operator=(Transaction&&) = delete;
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;
  ~Transaction() {
    if (db_ != nullptr) static_cast<void>(sqlite3_exec(db_, "ROLLBACK", nullptr, nullptr, nullptr));
  }
  Result<void> commit() {
    auto done = sqlite::execute(db_, path_, "COMMIT");
    if (done) db_ = nullptr;
    return done;
  }

 private:
  Transaction(sqlite3* db, std::string path) : db_(db), path_(std::move(path)) {}
  sqlite3* db_;
  std::string path_;
};

// Makes an empty file with the right mode before SQLite would make one with its own (0644).
Result<void> create_file(const std::string& path) {
  const UniqueFd fd(
      ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, S_IRUSR | S_IWUSR));
  if (!fd.valid()) {
    if (errno == EEXIST) return {};
    return os_error("cannot make the registry " + path, errno, ErrorCode::kCannotWrite);
  }
  if (::fchmod(fd.get(), S_IRUSR | S_IWUSR | S_IRGRP) != 0) {
    return os_error("cannot set the mode of " + path, errno, ErrorCode::kCannotWrite);
  }
  return {};
}

// The settings of sqlite.org/security.html for files that somebody else may have written, and the
// durability that a registry of evidence needs.
Result<void> configure(sqlite3* db, const std::string& path, Store::Mode mode) {
  sqlite3_busy_timeout(db, Store::kLockWait);
  sqlite3_db_config(db, SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr);
  sqlite3_db_config(db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, nullptr);
  sqlite3_db_config(db, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, nullptr);
  sqlite3_db_config(db, SQLITE_DBCONFIG_ENABLE_VIEW, 0, nullptr);
  // A rollback journal, not WAL: the registry is then one file that can be copied, moved and read
  // from read-only media. EXTRA also syncs the folder after the journal is deleted, which is the
  // moment of commit. temp_store: no temporary file, so no environment variable chooses its folder.
  if (mode == Store::Mode::kRead) {
    if (auto set = sqlite::execute(db, path, "PRAGMA query_only = ON"); !set) return set;
  }
  return sqlite::execute(db, path,
                         "PRAGMA cell_size_check = ON; PRAGMA mmap_size = 0;"
                         "PRAGMA temp_store = MEMORY; PRAGMA synchronous = EXTRA;"
                         "PRAGMA foreign_keys = ON;");
}

}  // namespace

Result<void> Store::Connection::check_or_create_schema(bool may_create) const {
  const auto version = scalar("PRAGMA user_version");
  if (!version) return version.error();
  const auto application = scalar("PRAGMA application_id");
  if (!application) return application.error();
  const auto tables = scalar("SELECT count(*) FROM sqlite_schema");
  if (!tables) return tables.error();

  if (*application == kApplicationId) {
    if (*version == kSchemaVersion) return {};
    return Error{
        ErrorCode::kBadData,
        fmt::format("{}: is of schema version {}, this program knows {}; use the version of "
                    "poisonctl that wrote it, or a newer one. It was left as it is",
                    path, *version, kSchemaVersion)};
  }
  if (*application != 0 || *version != 0 || *tables != 0) {
    return Error{ErrorCode::kBadData,
                 path +
                     ": is an SQLite database, but not a registry of poisonctl; it was left as it "
                     "is"};
  }
  if (!may_create) {
    return Error{ErrorCode::kBadData, path + ": is empty; expected a registry of poisonctl"};
  }
  auto transaction = Transaction::begin(db.get(), path);
  if (!transaction) return transaction.error();
  // Another process may have been faster between the look above and the lock.
  const auto now = scalar("PRAGMA application_id");
  if (!now) return now.error();
  if (*now == kApplicationId) return {};
  if (auto made = sqlite::execute(db.get(), path, kSchema); !made) return made.error();
  const std::string marks = fmt::format("PRAGMA application_id = {}; PRAGMA user_version = {};",
                                        kApplicationId, kSchemaVersion);
  if (auto made = sqlite::execute(db.get(), path, marks.c_str()); !made) return made.error();
  return transaction->commit();
}

Store::Store(std::unique_ptr<Connection> connection) : connection_(std::move(connection)) {}
Store::Store(Store&&) noexcept = default;
Store& Store::operator=(Store&&) noexcept = default;
Store::~Store() = default;

Result<Store> Store::open(const std::string& path, Mode mode) {
  if (mode == Mode::kCreate) {
    if (auto made = create_file(path); !made) return made.error();
  }
  // SQLite answers one code for "not there", "not allowed" and "a folder"; ask the kernel first.
  struct stat status {};
  if (::lstat(path.c_str(), &status) != 0) {
    return os_error("registry " + path, errno, ErrorCode::kIo);
  }
  if (S_ISLNK(status.st_mode)) {
    return Error{ErrorCode::kBadData,
                 path + ": is a symbolic link, which could lead anywhere; name the file itself"};
  }
  if (!S_ISREG(status.st_mode)) {
    return Error{ErrorCode::kBadData, path + ": is not a regular file; expected a registry"};
  }
  if (::access(path.c_str(), R_OK) != 0) {
    return os_error("registry " + path, errno, ErrorCode::kIo);
  }
  // A reader asks to write too, where it may: only so can it undo what a writer that died left half
  // done. query_only (configure) keeps it from writing anything else.
  const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX;
  sqlite3* raw = nullptr;
  const int opened = sqlite3_open_v2(path.c_str(), &raw, flags, nullptr);
  auto connection = std::make_unique<Connection>(Connection{path, sqlite::Database(raw)});
  if (opened != SQLITE_OK) return sqlite::last_error(raw, path, "cannot be opened");
  if (auto configured = configure(raw, path, mode); !configured) return configured.error();
  if (auto checked = connection->check_or_create_schema(mode == Mode::kCreate); !checked) {
    return checked.error();
  }
  return Store(std::move(connection));
}

namespace {

// The statements of one import, prepared once.
class Importer {
 public:
  static Result<Importer> prepare(sqlite3* db, const std::string& path) {
    Importer importer(db, path);
    const auto into = [&](Statement& target, std::string_view sql) -> Result<void> {
      auto prepared = Statement::prepare(db, path, sql);
      if (!prepared) return prepared.error();
      target = *std::move(prepared);
      return {};
    };
    if (auto ok = into(importer.insert_import_,
                       "INSERT INTO import (time_ns, source, tool, uid, boot_id, kernel_release, "
                       "host_id, product_uuid, page_size) VALUES (?,?,?,?,?,?,?,?,?)");
        !ok) {
      return ok.error();
    }
    if (auto ok =
            into(importer.insert_event_,
                 "INSERT INTO event (import, kind, address, size, exact, retirement, evidence)"
                 " VALUES (?,?,?,?,?,?,?)");
        !ok) {
      return ok.error();
    }
    if (auto ok = into(
            importer.find_record_,
            fmt::format("SELECT {} FROM record WHERE address = ? AND size = ?", kRecordColumns));
        !ok) {
      return ok.error();
    }
    if (auto ok = into(importer.put_record_, fmt::format("INSERT OR REPLACE INTO record ({}) "
                                                         "VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)",
                                                         kRecordColumns));
        !ok) {
      return ok.error();
    }
    if (auto ok = into(importer.find_state_,
                       "SELECT 1 FROM event JOIN import ON import.id = event.import "
                       "WHERE event.address = ? AND event.size = ? AND event.kind = ? "
                       "AND import.source = ? AND import.boot_id = ? LIMIT 1");
        !ok) {
      return ok.error();
    }
    return importer;
  }

  Result<ImportSummary> run(const Provenance& provenance, std::span<const Event> events) {
    for (const Event& event : events) {
      if (auto added = add(provenance, event); !added) return added.error();
    }
    // Nothing new: the file stays as it is, to the byte.
    if (summary_.added == 0) return summary_;
    for (const auto& [range, record] : touched_) {
      if (auto put = put_record(record); !put) return put.error();
    }
    return summary_;
  }

 private:
  Importer(sqlite3* db, std::string path) : db_(db), path_(std::move(path)) {}

  Result<void> add(const Provenance& provenance, const Event& event) {
    auto record = find_record(event.range);
    if (!record) return record.error();
    const auto known = is_known_state(*record, provenance, event);
    if (!known) return known.error();
    if (*known) {
      ++summary_.unchanged;
      return {};
    }
    const auto id = insert_event(provenance, event);
    if (!id) return id.error();
    ++summary_.added;
    if (*record == nullptr) {
      if (event.kind == EventKind::kOutcome) {
        return Error{ErrorCode::kBug, "an outcome for a range without a record"};
      }
      touched_.emplace(event.range, new_record(*id, event, provenance));
      ++summary_.new_records;
    } else {
      fold_event(**record, event, provenance);
    }
    return {};
  }

  // The record of `range` as this import has left it so far, or null.
  Result<Record*> find_record(const ByteRange& range) {
    if (const auto known = touched_.find(range); known != touched_.end()) return &known->second;
    find_record_.reset();
    const auto row = find_record_.bind(1, to_signed(range.begin().value()))
                         .bind(2, to_signed(range.size()))
                         .step();
    if (!row) return row.error();
    if (!*row) return static_cast<Record*>(nullptr);
    auto record = record_in(find_record_, path_);
    if (!record) return record.error();
    return &touched_.emplace(range, *std::move(record)).first->second;
  }

  // A flag that is still set, or an outcome that is still the same, is no new observation.
  Result<bool> is_known_state(const Record* record, const Provenance& provenance,
                              const Event& event) {
    if (record == nullptr) return false;
    if (event.kind == EventKind::kOutcome) {
      return record->retirement_in(provenance.boot_id) == event.retirement &&
             record->outcome_how == event.evidence && record->outcome_boot_id == provenance.boot_id;
    }
    if (event.kind != EventKind::kPoisoned) return false;
    find_state_.reset();
    return find_state_.bind(1, to_signed(event.range.begin().value()))
        .bind(2, to_signed(event.range.size()))
        .bind(3, to_word(event.kind))
        .bind(4, provenance.source)
        .bind(5, provenance.boot_id)
        .step();
  }

  Result<std::int64_t> insert_event(const Provenance& provenance, const Event& event) {
    if (import_id_ == 0) {
      auto inserted = insert_import_.bind(1, to_ns(provenance.time))
                          .bind(2, provenance.source)
                          .bind(3, provenance.tool)
                          .bind(4, std::int64_t{provenance.uid})
                          .bind(5, provenance.boot_id)
                          .bind(6, provenance.kernel_release)
                          .bind(7, provenance.host_id)
                          .bind(8, provenance.product_uuid)
                          .bind(9, to_signed(provenance.page_shift.page_size()))
                          .run();
      if (!inserted) return inserted.error();
      import_id_ = sqlite3_last_insert_rowid(db_);
    }
    const std::string_view retirement =
        event.kind == EventKind::kOutcome ? to_word(event.retirement) : std::string_view();
    const std::string_view evidence =
        std::string_view(event.evidence).substr(0, Event::kEvidenceLimit);
    auto inserted = insert_event_.bind(1, import_id_)
                        .bind(2, to_word(event.kind))
                        .bind(3, to_signed(event.range.begin().value()))
                        .bind(4, to_signed(event.range.size()))
                        .bind(5, std::int64_t{event.exact ? 1 : 0})
                        .bind(6, retirement)
                        .bind(7, evidence)
                        .run();
    if (!inserted) return inserted.error();
    return sqlite3_last_insert_rowid(db_);
  }

  Result<void> put_record(const Record& record) {
    const std::string sources = join_sources(record.sources);
    return put_record_.bind(1, to_signed(record.range.begin().value()))
        .bind(2, to_signed(record.range.size()))
        .bind(3, record.id)
        .bind(4, std::int64_t{record.exact ? 1 : 0})
        .bind(5, to_word(record.condition))
        .bind(6, to_word(record.severity))
        .bind(7, sources)
        .bind(8, to_ns(record.first_seen))
        .bind(9, to_ns(record.last_seen))
        .bind(10, to_signed(record.events))
        .bind(11, to_word(record.last_outcome))
        .bind(12, record.outcome_boot_id)
        .bind(13, record.outcome_how)
        .run();
  }

  sqlite3* db_;
  std::string path_;
  Statement insert_import_;
  Statement insert_event_;
  Statement find_record_;
  Statement put_record_;
  Statement find_state_;
  std::int64_t import_id_ = 0;  // 0 until the first event that is really stored
  std::map<ByteRange, Record> touched_;
  ImportSummary summary_;
};

}  // namespace

Result<ImportSummary> Store::append(const Provenance& provenance, std::span<const Event> events) {
  sqlite3* const db = connection_->db.get();
  auto transaction = Transaction::begin(db, connection_->path);
  if (!transaction) return transaction.error();
  auto summary = [&]() -> Result<ImportSummary> {
    auto importer = Importer::prepare(db, connection_->path);
    if (!importer) return importer.error();
    return importer->run(provenance, events);
  }();
  if (!summary) return summary;
  if (auto committed = transaction->commit(); !committed) return committed.error();
  return summary;
}

Result<void> Store::for_each_record(const std::function<bool(const Record&)>& visit) {
  auto statement = connection_->prepare(
      fmt::format("SELECT {} FROM record ORDER BY address, size", kRecordColumns));
  if (!statement) return statement.error();
  for (;;) {
    const auto row = statement->step();
    if (!row) return row.error();
    if (!*row) return {};
    const auto record = record_in(*statement, connection_->path);
    if (!record) return record.error();
    if (!visit(*record)) return {};
  }
}

Result<std::vector<StoredEvent>> Store::events_about(const ByteRange& range) {
  auto statement = connection_->prepare(
      "SELECT event.id, kind, address, size, exact, retirement, evidence, time_ns, source, tool, "
      "uid,"
      " boot_id, kernel_release, host_id, product_uuid, page_size"
      " FROM event JOIN import ON import.id = event.import"
      " WHERE address < ? AND address + size > ? ORDER BY event.id");
  if (!statement) return statement.error();
  statement->bind(1, to_signed(range.end().value())).bind(2, to_signed(range.begin().value()));
  std::vector<StoredEvent> events;
  for (;;) {
    const auto row = statement->step();
    if (!row) return row.error();
    if (!*row) return events;
    const auto about = range_in(*statement, connection_->path, 2, 3);
    if (!about) return about.error();
    const auto kind = event_kind_from(statement->text(1));
    const auto shift =
        PageShift::from_page_size(static_cast<std::uint64_t>(statement->integer(15)));
    if (!kind || !shift) {
      return damaged(connection_->path, fmt::format("event {} has a word or page size this program "
                                                    "does not know",
                                                    statement->integer(0)));
    }
    events.push_back(
        {.id = statement->integer(0),
         .event = {.kind = *kind,
                   .range = *about,
                   .exact = statement->integer(4) != 0,
                   .retirement = retirement_from(statement->text(5)).value_or(Retirement::kUnknown),
                   .evidence = std::string(statement->text(6))},
         .provenance = {.time = from_ns(statement->integer(7)),
                        .source = std::string(statement->text(8)),
                        .tool = std::string(statement->text(9)),
                        .uid = static_cast<std::uint32_t>(statement->integer(10)),
                        .boot_id = std::string(statement->text(11)),
                        .kernel_release = std::string(statement->text(12)),
                        .host_id = std::string(statement->text(13)),
                        .product_uuid = std::string(statement->text(14)),
                        .page_shift = *shift}});
  }
}

Result<std::uint64_t> Store::generation() {
  const auto id =
      connection_->scalar("SELECT id FROM event WHERE kind <> 'outcome' ORDER BY id DESC LIMIT 1");
  if (!id) return id.error();
  return static_cast<std::uint64_t>(*id);
}

}  // namespace poisonctl
