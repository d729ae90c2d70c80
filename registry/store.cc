#include "registry/store.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <limits>
#include <utility>

#include "registry/adoption.h"
#include "registry/checkpoint.h"
#include "registry/known_events.h"
#include "registry/known_states.h"
#include "registry/posix_file.h"
#include "registry/range_text.h"
#include "registry/sqlite.h"
#include "registry/store_derive.h"
#include "registry/store_schema.h"
#include "registry/text.h"

namespace poisonctl {

namespace {

using sqlite::Database;
using sqlite::Statement;
using sqlite::Transaction;

constexpr const char* kImportColumns =
    "time_ns, monotonic_ns, source, source_version, origin, tool, uid, boot_id, kernel_release, "
    "host_id, product_uuid, product_serial, page_size, topology";
constexpr const char* kEventColumns =
    "kind, address, size, granularity, count, observed_ns, foreign_host, label, dram, result, "
    "state, "
    "evidence, hash";

std::int64_t to_ns(Time time) { return time.time_since_epoch().count(); }
Time from_ns(std::int64_t ns) { return Time(std::chrono::nanoseconds(ns)); }
std::int64_t to_signed(std::uint64_t value) { return static_cast<std::int64_t>(value); }
std::uint64_t to_unsigned(std::int64_t value) { return static_cast<std::uint64_t>(value); }

Error damaged(const std::string& path, std::string_view what) {
  return {
      ErrorCode::kBadData,
      fmt::format("{}: the log is damaged: {}; 'poisonctl audit verify' finds the first bad entry, "
                  "'poisonctl recover' saves what can be read",
                  path, what)};
}

// Columns of kImportColumns from `first` on, and the text of the topology after them.
Result<Provenance> provenance_in(const Statement& row, int first, const std::string& path) {
  const auto shift = PageShift::from_page_size(to_unsigned(row.integer(first + 12)));
  if (!shift) return damaged(path, fmt::format("{} is no page size", row.integer(first + 12)));
  const std::int64_t uid = row.integer(first + 6);
  if (uid < 0 || uid > std::numeric_limits<std::uint32_t>::max()) {
    return damaged(path, fmt::format("{} is no user id", uid));
  }
  const auto text = [&](int column) { return std::string(row.text(first + column)); };
  if (row.is_null(first + 13) != row.is_null(first + 14)) {
    return damaged(path, "an import points to a topology that is not there");
  }
  return Provenance{.time = from_ns(row.integer(first)),
                    .monotonic_ns = to_unsigned(row.integer(first + 1)),
                    .source = text(2),
                    .source_version = text(3),
                    .origin = text(4),
                    .tool = text(5),
                    .uid = static_cast<std::uint32_t>(uid),
                    .boot_id = text(7),
                    .kernel_release = text(8),
                    .host_id = text(9),
                    .product_uuid = text(10),
                    .product_serial = text(11),
                    .page_shift = *shift,
                    .topology = text(14)};
}

// Columns of kEventColumns from `first` on.
Result<Event> event_in(const Statement& row, int first, const std::string& path) {
  Event event;
  const auto kind = event_kind_from(row.text(first));
  const auto dram = dram_coordinates_from(row.text(first + 8));
  if (!kind || !dram) return damaged(path, "an event has a word that this program does not know");
  // What is hashed is made from the event again: what can be written in two ways would go unseen.
  if (to_text(*dram) != row.text(first + 8)) {
    return damaged(path, "an event has DRAM coordinates that are not written as we write them");
  }
  event.kind = *kind;
  event.dram = *dram;
  if (row.is_null(first + 1) != row.is_null(first + 2)) {
    return damaged(path, "an event has half a range");
  }
  if (!row.is_null(first + 1)) {
    event.range = ByteRange::from_size(PhysAddr(to_unsigned(row.integer(first + 1))),
                                       to_unsigned(row.integer(first + 2)));
    if (!event.range) return damaged(path, "an event has a range outside the address space");
  }
  event.granularity = to_unsigned(row.integer(first + 3));
  event.count = to_unsigned(row.integer(first + 4));
  if (!row.is_null(first + 5)) event.observed = from_ns(row.integer(first + 5));
  event.foreign_host = row.text(first + 6);
  event.label = row.text(first + 7);
  event.result = row.text(first + 9);
  event.evidence = row.text(first + 11);
  const std::string_view state = row.text(first + 10);
  const auto retirement = retirement_from(state);
  const auto resolution = resolution_from(state);
  const bool fits = event.kind == EventKind::kOutcome      ? retirement.has_value()
                    : event.kind == EventKind::kResolution ? resolution.has_value()
                                                           : state.empty();
  if (!fits) return damaged(path, "an event has a state that does not belong to its kind");
  event.retirement = retirement.value_or(Retirement::kUnknown);
  event.resolution = resolution.value_or(Resolution::kAcquitted);
  return event;
}

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

// SQLite answers one code for "not there", "not allowed" and "a folder"; ask the kernel first.
Result<void> look_at_file(const std::string& path) {
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
  return {};
}

// 0 when it is not there.
ino_t inode_of(const std::string& path) {
  struct stat status {};
  return ::lstat(path.c_str(), &status) == 0 ? status.st_ino : 0;
}

// The id after `id`; no id is larger than the largest.
std::int64_t id_after(std::int64_t id) {
  return id == std::numeric_limits<std::int64_t>::max() ? id : id + 1;
}

// Reads the log in order with each import's provenance and digest at hand. A batch at a time: a
// reader that takes long, such as one whose output a pager holds up, keeps no writer waiting. It
// sees the log as it was when it began all the same, as entries are only ever appended.
class LogReader {
 public:
  // An entry that somebody put before the first one is seen too.
  static constexpr std::int64_t kLowest = std::numeric_limits<std::int64_t>::min();

  // `where`: a condition of SQL on an event, with parameters from ?1 to ?7.
  explicit LogReader(const Database& database, std::string where = "true")
      : database_(database), where_(std::move(where)) {}

  // Calls `visit(stored, import digest, stored hash)` for the entries from `from` on, until it
  // returns false. Returns the id of the newest entry of the log, whatever `where` says.
  template <typename Visit>
  Result<std::int64_t> run(const std::function<void(Statement&)>& bind, const Visit& visit,
                           std::int64_t from = kLowest) {
    const auto end = newest_entry();
    if (!end) return end.error();
    const std::int64_t newest = *end;
    auto events = database_.prepare(
        fmt::format("SELECT id, import, {} FROM event WHERE id >= ?8 AND id <= ?9 AND ({}) "
                    "ORDER BY id",
                    kEventColumns, where_));
    if (!events) return events.error();
    auto imports =
        database_.prepare(fmt::format("SELECT {}, (SELECT text FROM topology WHERE topology.id = "
                                      "import.topology) FROM import WHERE id = ?",
                                      kImportColumns));
    if (!imports) return imports.error();
    imports_ = *std::move(imports);
    bind(*events);
    StoredEvent stored;
    for (bool more = true; more;) {
      const auto filled = fill_batch(*events, from, newest);
      // What came before an entry that cannot be read is still told.
      for (Entry& entry : batch_) {
        stored.id = entry.id;
        stored.event = std::move(entry.event);
        const Import& import = imports_read_[entry.import];
        if (import.number != visited_import_) stored.provenance = import.provenance;
        visited_import_ = import.number;
        if (!visit(stored, import.digest, entry.hash)) return newest;
      }
      if (!filled) return filled.error();
      more = *filled && stored.id < newest;
      from = id_after(stored.id);
    }
    return newest;
  }

  Hasher& hasher() { return hasher_; }
  // The number of the import of the entry that is visited.
  [[nodiscard]] std::int64_t visited_import() const { return visited_import_.value_or(0); }

 private:
  struct Import {
    std::int64_t number = 0;
    Provenance provenance;
    Digest digest{};
  };
  struct Entry {
    std::int64_t id = 0;
    std::size_t import = 0;  // in imports_read_
    Event event;
    std::string hash;
  };

  // When only the end of the log is damaged, all that is before it can still be read: then there is
  // no bound, and the reading itself finds the place.
  Result<std::int64_t> newest_entry() {
    auto newest = database_.scalar("SELECT max(id) FROM event");
    if (newest || newest.error().code != ErrorCode::kBadData) return newest;
    return std::numeric_limits<std::int64_t>::max();
  }

  // Whether there may be more after it.
  Result<bool> fill_batch(Statement& events, std::int64_t from, std::int64_t newest) {
    constexpr std::size_t kEntries = 512;
    constexpr std::size_t kEvidence = 256U << 10U;  // in bytes
    batch_.clear();
    if (imports_read_.size() > 1)
      imports_read_.erase(imports_read_.begin(), imports_read_.end() - 1);
    std::size_t evidence = 0;
    events.bind(8, from).bind(9, newest);
    Result<bool> row = true;
    while (batch_.size() < kEntries && evidence < kEvidence) {
      row = events.step();
      if (!row || !*row) break;
      auto entry = entry_in(events);
      if (!entry) {
        row = entry.error();
        break;
      }
      evidence += entry->event.evidence.size();
      batch_.push_back(*std::move(entry));
    }
    // Both statements let go of the file.
    events.reset();
    imports_.reset();
    return row;
  }

  Result<Entry> entry_in(const Statement& row) {
    auto event = event_in(row, 2, database_.path());
    if (!event) return event.error();
    Entry entry{.id = row.integer(0),
                .import = 0,
                .event = *std::move(event),
                .hash = std::string(row.text(14))};
    const std::int64_t number = row.integer(1);
    if (imports_read_.empty() || imports_read_.back().number != number) {
      imports_.reset();
      const auto found = imports_.bind(1, number).step();
      if (!found) return found.error();
      if (!*found)
        return damaged(database_.path(), fmt::format("event {} has no import", entry.id));
      auto provenance = provenance_in(imports_, 0, database_.path());
      if (!provenance) return provenance.error();
      const Digest digest = hasher_.of_import(number, *provenance);
      imports_read_.push_back({number, *std::move(provenance), digest});
    }
    entry.import = imports_read_.size() - 1;
    return entry;
  }

  const Database& database_;
  std::string where_;
  Hasher hasher_;
  Statement imports_;
  std::optional<std::int64_t> visited_import_;
  std::vector<Import> imports_read_;  // those of the batch, after the last of the one before
  std::vector<Entry> batch_;
};

Result<std::optional<Digest>> stored_hash(const Database& db, std::int64_t id) {
  auto statement = db.prepare("SELECT hash FROM event WHERE id = ?");
  if (!statement) return statement.error();
  const auto row = statement->bind(1, id).step();
  if (!row) return row.error();
  return *row ? digest_from(statement->text(0)) : std::nullopt;
}

bool has_place_here(const Event& event) { return event.range && event.foreign_host.empty(); }

}  // namespace

struct Store::Connection {
  Database db;
  std::optional<std::int64_t> upgraded_from;
  ino_t file = 0;
};

struct Store::WriteLock::State {
  Database db;
  std::optional<Transaction> transaction;
};

struct Store::Import::State {
  Database* db;
  Transaction transaction;
  Deriver deriver;
  Provenance provenance;
  Repeats repeats;
  Statement insert_import;
  Statement insert_event;
  KnownEvents before;
  KnownStates states;
  Hasher hasher;
  ChainHead head;
  std::int64_t import_id = 0;  // 0 until the first event that is really stored
  Digest import_digest{};
  ImportSummary summary;

  Result<bool> is_known(const Event& event);
  Result<std::optional<std::int64_t>> topology_row();
  Result<void> insert_import_row();
  Result<void> insert_event_row(const Event& event);
};

// ---- open

namespace {

// Folds the log of `from`, from entry `first` on, into the derived tables of `into`, which have
// what comes before. May be the same. Returns the newest entry of the log.
Result<std::int64_t> derive_records(const Database& from, const Database& into,
                                    std::int64_t first = LogReader::kLowest) {
  auto deriver = Deriver::prepare(into);
  if (!deriver) return deriver.error();
  Result<void> status;
  const auto newest = LogReader(from).run(
      [](Statement&) {},
      [&](const StoredEvent& stored, const Digest&, std::string_view) {
        if (!has_place_here(stored.event)) return true;
        const auto folded = deriver->fold(stored.id, stored.event, stored.provenance);
        if (!folded) status = folded.error();
        return status.ok();
      },
      first);
  if (!newest) return newest.error();
  if (status) status = deriver->flush();
  if (!status) return status.error();
  return *newest;
}

// Gives every event the hash that version 1 had not.
Result<void> fill_hashes(const Database& db) {
  auto set_hash = db.prepare("UPDATE event SET hash = ? WHERE id = ?");
  if (!set_hash) return set_hash.error();
  Digest previous{};
  Result<void> status;
  LogReader log(db);
  const auto read =
      log.run([](Statement&) {},
              [&](const StoredEvent& stored, const Digest& import, std::string_view /*hash*/) {
                previous = log.hasher().of_event(previous, import, stored.id, stored.event);
                status = set_hash->bind_blob(1, as_bytes(previous)).bind(2, stored.id).run();
                return status.ok();
              });
  return read ? status : Result<void>(read.error());
}

Result<Database> open_database(const std::string& path, Store::Mode mode) {
  auto db = Database::open(
      path, mode == Store::Mode::kRead ? sqlite::OpenMode::kRead : sqlite::OpenMode::kWrite,
      Store::kLockWaitMs);
  if (!db) return db.error();
  // A rollback journal, not WAL: the registry is then one file that can be copied, moved and read
  // from read-only media. EXTRA also syncs the folder after the journal is deleted, which is the
  // moment of commit (packaging/doc/decisions/0001).
  if (auto set = db->execute("PRAGMA synchronous = EXTRA; PRAGMA foreign_keys = ON;"); !set) {
    return set.error();
  }
  return db;
}

// Under another name first: a copy that a crash cut short is never taken for one.
Result<void> copy_database(const Database& db, const std::string& path) {
  const std::string half_made = path + ".new";
  if (::unlink(half_made.c_str()) != 0 && errno != ENOENT) {
    return os_error("cannot remove " + half_made, errno, ErrorCode::kCannotWrite);
  }
  if (auto made = create_file(half_made); !made) return made;
  if (auto copied = db.copy_to(half_made); !copied) {
    ::unlink(half_made.c_str());
    return copied;
  }
  return rename_durably(half_made, path);
}

// Called with the write lock held: a copy made before it could be of a registry that another
// process has upgraded meanwhile. By a connection of its own, as SQLite copies from none that is
// writing.
Result<void> keep_copy(const std::string& path, std::int64_t version) {
  const auto reader = open_database(path, Store::Mode::kRead);
  if (!reader) return reader.error();
  return copy_database(*reader, fmt::format("{}.schema-{}", path, version));
}

Result<void> upgrade(const Database& db, std::int64_t from) {
  auto transaction = Transaction::begin(db);
  if (!transaction) return transaction.error();
  // Another process may have been faster between the look and the lock.
  const auto now = read_schema_state(db);
  if (!now) return now.error();
  if (now->version != from) return {};
  if (auto kept = keep_copy(db.path(), from); !kept) return kept;
  if (from == 1) {
    if (auto done = upgrade_schema_from_1(db); !done) return done;
    if (auto filled = fill_hashes(db); !filled) return filled;
    if (auto derived = derive_records(db, db); !derived) return derived.error();
  } else {
    if (auto done = upgrade_schema_from_2(db); !done) return done;
  }
  return transaction->commit();
}

Result<void> create(const Database& db) {
  auto transaction = Transaction::begin(db);
  if (!transaction) return transaction.error();
  const auto now = read_schema_state(db);
  if (!now) return now.error();
  if (!now->empty) return {};
  if (auto made = create_schema(db); !made) return made;
  return transaction->commit();
}

// Returns the version that it was of before, when it was an older one.
Result<std::optional<std::int64_t>> bring_to_newest_schema(const Database& db, Store::Mode mode) {
  const auto state = read_schema_state(db);
  if (!state) return state.error();
  if (state->empty) {
    if (mode == Store::Mode::kCreate) {
      if (auto made = create(db); !made) return made.error();
      return std::optional<std::int64_t>();
    }
    return Error{ErrorCode::kBadData, db.path() + ": is empty; expected a registry of poisonctl"};
  }
  if (state->version == kSchemaVersion) return std::optional<std::int64_t>();
  if (mode == Store::Mode::kRead) {
    return Error{
        ErrorCode::kUnknownForm,
        fmt::format("{}: is of the older schema version {}; 'poisonctl upgrade' brings it to "
                    "version {} and keeps a copy",
                    db.path(), state->version, kSchemaVersion)};
  }
  if (auto done = upgrade(db, state->version); !done) return done.error();
  return std::optional(state->version);
}

}  // namespace

Store::Store(std::unique_ptr<Connection> connection) : connection_(std::move(connection)) {}
Store::Store(Store&&) noexcept = default;
Store& Store::operator=(Store&&) noexcept = default;
Store::~Store() = default;

Result<Store> Store::open(const std::string& path, Mode mode) {
  if (mode == Mode::kCreate) {
    if (auto made = create_file(path); !made) return made.error();
  }
  if (auto looked = look_at_file(path); !looked) return looked.error();
  auto db = open_database(path, mode);
  if (!db) return db.error();
  const auto before = bring_to_newest_schema(*db, mode);
  if (!before) return before.error();
  return Store(std::make_unique<Connection>(Connection{*std::move(db), *before, inode_of(path)}));
}

Store::WriteLock::WriteLock(std::unique_ptr<State> state) : state_(std::move(state)) {}
Store::WriteLock::WriteLock(WriteLock&&) noexcept = default;
Store::WriteLock::~WriteLock() = default;

Result<Store::WriteLock> Store::lock(const std::string& path) {
  if (auto looked = look_at_file(path); !looked) return looked.error();
  auto db = open_database(path, Mode::kWrite);
  if (!db) return db.error();
  auto state = std::make_unique<WriteLock::State>(WriteLock::State{*std::move(db), std::nullopt});
  auto begun = Transaction::begin(state->db);
  if (!begun) return begun.error();
  state->transaction.emplace(*std::move(begun));
  return WriteLock(std::move(state));
}

std::optional<std::int64_t> Store::upgraded_from() const { return connection_->upgraded_from; }

// ---- import

Store::Import::Import(std::unique_ptr<State> state) : state_(std::move(state)) {}
Store::Import::Import(Import&&) noexcept = default;
Store::Import::~Import() = default;

Result<Store::Import> Store::begin_import(const Provenance& provenance, Repeats repeats) {
  Database& db = connection_->db;
  auto transaction = Transaction::begin(db);
  if (!transaction) return transaction.error();
  // 'recover' puts another file in its place, with this lock held on the old one.
  if (inode_of(db.path()) != connection_->file) {
    return Error{ErrorCode::kLocked,
                 db.path() + ": was replaced by another file since it was opened; try again"};
  }
  const auto newest = head();
  if (!newest) return newest.error();
  auto deriver = Deriver::prepare(db);
  if (!deriver) return deriver.error();
  auto insert_import = db.prepare(
      fmt::format("INSERT INTO import ({}) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?)", kImportColumns));
  if (!insert_import) return insert_import.error();
  auto insert_event = db.prepare(fmt::format(
      "INSERT INTO event (id, import, {}) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)", kEventColumns));
  if (!insert_event) return insert_event.error();
  auto before = KnownEvents::prepare(db, newest->id, provenance.source);
  if (!before) return before.error();
  auto states = KnownStates::prepare(db, provenance.source, provenance.boot_id);
  if (!states) return states.error();
  return Import(
      std::make_unique<Import::State>(Import::State{.db = &db,
                                                    .transaction = *std::move(transaction),
                                                    .deriver = *std::move(deriver),
                                                    .provenance = provenance,
                                                    .repeats = repeats,
                                                    .insert_import = *std::move(insert_import),
                                                    .insert_event = *std::move(insert_event),
                                                    .before = *std::move(before),
                                                    .states = *std::move(states),
                                                    .hasher = {},
                                                    .head = *newest,
                                                    .summary = {}}));
}

// A state that is still so, or a line of a file that was read before, is no new observation.
Result<bool> Store::Import::State::is_known(const Event& event) {
  if (repeats == Repeats::kKeep) return false;
  if (event.kind == EventKind::kOutcome) {
    const auto record = deriver.find(record_range(*event.range));
    if (!record) return record.error();
    return *record != nullptr && (*record)->outcome_boot_id == provenance.boot_id &&
           (*record)->last_outcome == event.retirement && (*record)->outcome_how == event.evidence;
  }
  const bool is_state = event.kind == EventKind::kPoisoned || event.kind == EventKind::kUnpoisoned;
  if (is_state && event.range && !event.observed) return states.has(event);
  if (repeats == Repeats::kCount) return false;
  return before.has(event);
}

// The row of the topology of this import, made if it is a new one; NULL without one.
Result<std::optional<std::int64_t>> Store::Import::State::topology_row() {
  if (provenance.topology.empty()) return std::optional<std::int64_t>();
  auto put = db->prepare("INSERT OR IGNORE INTO topology (text) VALUES (?)");
  if (!put) return put.error();
  if (auto done = put->bind(1, provenance.topology).run(); !done) return done.error();
  auto find = db->prepare("SELECT id FROM topology WHERE text = ?");
  if (!find) return find.error();
  const auto row = find->bind(1, provenance.topology).step();
  if (!row) return row.error();
  return std::optional(find->integer(0));
}

Result<void> Store::Import::State::insert_import_row() {
  const auto topology = topology_row();
  if (!topology) return topology.error();
  if (*topology) {
    insert_import.bind(14, **topology);
  } else {
    insert_import.bind_null(14);
  }
  auto inserted = insert_import.bind(1, to_ns(provenance.time))
                      .bind(2, to_signed(provenance.monotonic_ns))
                      .bind(3, provenance.source)
                      .bind(4, provenance.source_version)
                      .bind(5, provenance.origin)
                      .bind(6, provenance.tool)
                      .bind(7, std::int64_t{provenance.uid})
                      .bind(8, provenance.boot_id)
                      .bind(9, provenance.kernel_release)
                      .bind(10, provenance.host_id)
                      .bind(11, provenance.product_uuid)
                      .bind(12, provenance.product_serial)
                      .bind(13, to_signed(provenance.page_shift.page_size()))
                      .run();
  if (!inserted) return inserted;
  import_id = db->last_rowid();
  import_digest = hasher.of_import(import_id, provenance);
  return {};
}

Result<void> Store::Import::State::insert_event_row(const Event& event) {
  const std::string dram = to_text(event.dram);
  const std::int64_t id = head.id + 1;
  const Digest hash = hasher.of_event(head.hash, import_digest, id, event);
  insert_event.bind(1, id).bind(2, import_id).bind(3, to_word(event.kind));
  if (event.range) {
    insert_event.bind(4, to_signed(event.range->begin().value()))
        .bind(5, to_signed(event.range->size()));
  } else {
    insert_event.bind_null(4).bind_null(5);
  }
  insert_event.bind(6, to_signed(event.granularity)).bind(7, to_signed(event.count));
  if (event.observed) {
    insert_event.bind(8, to_ns(*event.observed));
  } else {
    insert_event.bind_null(8);
  }
  auto inserted = insert_event.bind(9, event.foreign_host)
                      .bind(10, event.label)
                      .bind(11, dram)
                      .bind(12, event.result)
                      .bind(13, state_word(event))
                      .bind(14, event.evidence)
                      .bind_blob(15, as_bytes(hash))
                      .run();
  if (!inserted) return inserted;
  head = {id, hash};
  return {};
}

Result<void> Store::Import::add(Event event) {
  State& state = *state_;
  limit_texts(event);
  if (!is_observation(event.kind)) {
    const auto record = event.range ? state.deriver.find(record_range(*event.range))
                                    : Result<const Record*>(nullptr);
    if (!record) return record.error();
    if (*record == nullptr) {
      return Error{ErrorCode::kUsage,
                   fmt::format("{}: has no record that an {} could be about",
                               event.range ? to_text(*event.range) : "an event without a place",
                               to_word(event.kind))};
    }
  }
  if (event.foreign_host == state.provenance.host_id) event.foreign_host.clear();
  const auto known = state.is_known(event);
  if (!known) return known.error();
  if (*known) {
    ++state.summary.known;
    return {};
  }
  if (state.import_id == 0) {
    if (auto inserted = state.insert_import_row(); !inserted) return inserted;
  }
  if (auto inserted = state.insert_event_row(event); !inserted) return inserted;
  ++state.summary.added;
  if (!has_place_here(event)) {
    ++state.summary.without_place;
    return {};
  }
  const auto change = state.deriver.fold(state.head.id, event, state.provenance);
  if (!change) return change.error();
  if (change->new_record) ++state.summary.new_records;
  if (change->reopened) state.summary.reopened.push_back(record_range(*event.range));
  return {};
}

Result<ImportSummary> Store::Import::commit() {
  // Nothing new: the file stays as it is, to the byte.
  if (state_->summary.added == 0) return state_->summary;
  if (auto flushed = state_->deriver.flush(); !flushed) return flushed.error();
  const std::string& path = state_->db->path();
  const auto checkpoint =
      CheckpointUpdate::begin(path, [&](std::int64_t id) { return stored_hash(*state_->db, id); });
  if (auto committed = state_->transaction.commit(); !committed) return committed.error();
  const auto pinned = checkpoint ? checkpoint->finish(state_->head, state_->provenance.time)
                                 : Result<void>(checkpoint.error());
  if (!pinned) state_->summary.checkpoint_problem = pinned.error().message;
  return state_->summary;
}

// ---- reading

namespace {

// What of the record table is read in one go.
struct RecordPage {
  std::optional<ByteRange> about;  // only records that overlap it
  std::optional<ByteRange> after;  // of the last record before this page
  std::int64_t limit;              // negative: all of them
};

Result<std::vector<Record>> read_records(const Database& db, const RecordPage& page) {
  // Without a bound that is not asked for: SQLite would look at every row for it.
  const std::string query =
      fmt::format("SELECT {} FROM record WHERE {} AND {} ORDER BY address, size LIMIT ?5",
                  kRecordColumns, page.about ? "address < ?1 AND address + size > ?2" : "TRUE",
                  page.after ? "(address, size) > (?3, ?4)" : "TRUE");
  auto statement = db.prepare(query);
  if (!statement) return statement.error();
  if (page.about) {
    statement->bind(1, to_signed(page.about->end().value()))
        .bind(2, to_signed(page.about->begin().value()));
  }
  if (page.after) {
    statement->bind(3, to_signed(page.after->begin().value()))
        .bind(4, to_signed(page.after->size()));
  }
  statement->bind(5, page.limit);
  std::vector<Record> records;
  for (;;) {
    const auto row = statement->step();
    if (!row) return row.error();
    if (!*row) return records;
    auto record = record_in(*statement, db.path());
    if (!record) return record.error();
    records.push_back(*std::move(record));
  }
}

Result<void> visit_records(const Database& db, const std::optional<ByteRange>& about,
                           const std::function<bool(const Record&)>& visit) {
  constexpr std::int64_t kPage = 1024;
  RecordPage next{.about = about, .after = {}, .limit = kPage};
  for (;;) {
    const auto page = read_records(db, next);
    if (!page) return page.error();
    for (const Record& record : *page) {
      if (!visit(record)) return {};
    }
    if (page->size() < kPage) return {};
    next.after = page->back().range;
  }
}

}  // namespace

Result<std::vector<Record>> Store::records() {
  return read_records(connection_->db, {.about = {}, .after = {}, .limit = -1});
}

Result<void> Store::for_each_record(const std::function<bool(const Record&)>& visit) {
  return visit_records(connection_->db, std::nullopt, visit);
}

Result<void> Store::for_each_record_about(const ByteRange& range,
                                          const std::function<bool(const Record&)>& visit) {
  return visit_records(connection_->db, range, visit);
}

namespace {

using EventVisitor = std::function<bool(const StoredEvent&)>;

Result<void> visit_events(const Database& db, const std::string& where,
                          const std::function<void(Statement&)>& bind, const EventVisitor& visit) {
  const auto read = LogReader(db, where).run(bind, [&](const StoredEvent& stored, const Digest&,
                                                       std::string_view) { return visit(stored); });
  return read ? Result<void>() : read.error();
}

}  // namespace

Result<void> Store::for_each_event(const EventVisitor& visit) {
  return visit_events(
      connection_->db, "true", [](Statement&) {}, visit);
}

Result<void> Store::for_each_event_about(const ByteRange& range, const EventVisitor& visit) {
  const auto bind = [&](Statement& statement) {
    statement.bind(1, to_signed(range.end().value())).bind(2, to_signed(range.begin().value()));
  };
  return visit_events(connection_->db, "address < ?1 AND address + size > ?2", bind, visit);
}

Result<void> Store::for_each_event_after(std::int64_t id, const EventVisitor& visit) {
  return visit_events(
      connection_->db, "id > ?1", [&](Statement& statement) { statement.bind(1, id); }, visit);
}

Result<void> Store::for_each_event_without_place(const EventVisitor& visit) {
  return visit_events(
      connection_->db, "address IS NULL OR foreign_host <> ''", [](Statement&) {}, visit);
}

Result<void> Store::for_each_chained(std::int64_t last,
                                     const std::function<bool(const ChainedEvent&)>& visit) {
  ChainedEvent entry;
  Digest previous{};
  Result<void> status;
  LogReader log(connection_->db, "id <= ?1");
  const auto read = log.run(
      [&](Statement& statement) { statement.bind(1, last); },
      [&](const StoredEvent& stored, const Digest& import, std::string_view hash) {
        const bool follows = stored.id == entry.stored.id + 1;
        const Digest expected = log.hasher().of_event(previous, import, stored.id, stored.event);
        if (!follows || as_bytes(expected) != hash) {
          status = damaged(connection_->db.path(),
                           fmt::format("entry {} does not fit", entry.stored.id + 1));
          return false;
        }
        entry = {stored, log.visited_import(), import, expected};
        previous = expected;
        return visit(entry);
      });
  return read ? status : Result<void>(read.error());
}

namespace {

// The first column of all rows.
Result<std::vector<std::string>> texts_of(const Database& db, std::string_view sql) {
  auto statement = db.prepare(sql);
  if (!statement) return statement.error();
  std::vector<std::string> texts;
  for (;;) {
    const auto row = statement->step();
    if (!row) return row.error();
    if (!*row) return texts;
    texts.emplace_back(statement->text(0));
  }
}

}  // namespace

Result<std::vector<std::string>> Store::snapshots() {
  return texts_of(connection_->db, "SELECT text FROM topology ORDER BY id");
}

Result<std::vector<std::string>> Store::host_names() {
  return texts_of(connection_->db,
                  "SELECT host_id FROM import UNION SELECT product_uuid FROM import UNION "
                  "SELECT product_serial FROM import");
}

Result<std::optional<StoredEvent>> Store::event(std::int64_t id) {
  std::optional<StoredEvent> found;
  const auto read = visit_events(
      connection_->db, "id = ?1", [&](Statement& statement) { statement.bind(1, id); },
      [&](const StoredEvent& stored) {
        found = stored;
        return false;
      });
  if (!read) return read.error();
  return found;
}

Result<bool> Store::is_sound() {
  auto statement = connection_->db.prepare("PRAGMA integrity_check(1)");
  if (!statement) return statement.error();
  const auto row = statement->step();
  if (!row) {
    if (row.error().code == ErrorCode::kBadData) return false;
    return row.error();
  }
  return *row && statement->text(0) == "ok";
}

Result<std::vector<ByteRange>> Store::poisoned_in(const std::string& source,
                                                  const std::string& boot_id) {
  return read_poisoned(connection_->db, source, boot_id);
}

Result<std::uint64_t> Store::newest_change() {
  const auto id = connection_->db.scalar(
      "SELECT id FROM event WHERE kind NOT IN ('outcome', 'unpoisoned') "
      "ORDER BY id DESC LIMIT 1");
  if (!id) return id.error();
  return to_unsigned(*id);
}

Result<std::uint64_t> Store::generation() {
  const auto newest = newest_change();
  if (!newest) return newest.error();
  auto statement =
      connection_->db.prepare("SELECT DISTINCT source_version FROM import WHERE source = ?1");
  if (!statement) return statement.error();
  statement->bind(1, kHandoverSource);
  std::uint64_t base = 0;
  for (;;) {
    const auto row = statement->step();
    if (!row) return row.error();
    if (!*row) break;
    base = std::max(base, std::min(adopted_generation(statement->text(0)), kMostGeneration));
  }
  return base + *newest;
}

Result<ChainHead> Store::head() {
  auto statement = connection_->db.prepare("SELECT id, hash FROM event ORDER BY id DESC LIMIT 1");
  if (!statement) return statement.error();
  const auto row = statement->step();
  if (!row) return row.error();
  if (!*row) return ChainHead{};
  const auto hash = digest_from(statement->text(1));
  if (!hash) {
    return damaged(connection_->db.path(),
                   fmt::format("event {} has no hash of 32 bytes", statement->integer(0)));
  }
  return ChainHead{statement->integer(0), *hash};
}

Result<std::optional<Digest>> Store::hash_of(std::int64_t id) {
  return stored_hash(connection_->db, id);
}

Result<std::optional<ChainDefect>> Store::verify_chain() {
  std::optional<ChainDefect> defect;
  Digest previous{};
  std::int64_t next = 1;
  LogReader log(connection_->db);
  const auto read = log.run(
      [](Statement&) {},
      [&](const StoredEvent& stored, const Digest& import, std::string_view hash) {
        if (stored.id != next) {
          defect = {next, fmt::format("is missing; the next one there is {}", stored.id)};
          return false;
        }
        const Digest expected = log.hasher().of_event(previous, import, stored.id, stored.event);
        if (as_bytes(expected) != hash) {
          defect = {
              stored.id,
              fmt::format(
                  "does not fit: its hash is {}, its content and what comes before it give {}",
                  to_hex_text(hash).substr(0, 16), to_hex_text(as_bytes(expected)).substr(0, 16))};
          return false;
        }
        previous = expected;
        ++next;
        return true;
      });
  if (read && !defect) {
    const auto unused = connection_->db.scalar(
        "SELECT id FROM import WHERE id NOT IN (SELECT import FROM event) LIMIT 1");
    if (!unused) return unused.error();
    if (*unused != 0) {
      defect = {next, fmt::format("is missing: import {} has no entry", *unused)};
    }
  }
  // An entry that cannot even be read is the first bad one.
  if (!read && read.error().code == ErrorCode::kBadData) {
    return std::optional(ChainDefect{next, "cannot be read: " + read.error().message});
  }
  if (!read) return read.error();
  return defect;
}

// ---- rebuild and copy

namespace {

// Which of two rows of a derived table comes first by its key: below, at or above 0.
using KeyOrder = int (*)(const Statement& a, const Statement& b);

int order_records(const Statement& a, const Statement& b) {
  const auto key = [](const Statement& row) { return std::pair(row.integer(0), row.integer(1)); };
  return key(a) < key(b) ? -1 : static_cast<int>(key(b) < key(a));
}
int order_rows(const Statement& a, const Statement& b) { return a.text(0).compare(b.text(0)); }

// How many keys have a row on one side only, or two that differ.
Result<std::uint64_t> count_differences(const Database& stored, const Database& fresh,
                                        const char* sql, KeyOrder order) {
  auto left = stored.prepare(sql);
  if (!left) return left.error();
  auto right = fresh.prepare(sql);
  if (!right) return right.error();
  auto has_left = left->step();
  auto has_right = right->step();
  std::uint64_t different = 0;
  while (has_left && has_right && (*has_left || *has_right)) {
    const int which = !*has_left ? 1 : !*has_right ? -1 : order(*left, *right);
    bool same = which == 0;
    for (int column = 0; same && column < left->columns(); ++column) {
      same = left->text(column) == right->text(column);
    }
    if (!same) ++different;
    if (which <= 0) has_left = left->step();
    if (which >= 0) has_right = right->step();
  }
  if (!has_left) return has_left.error();
  if (!has_right) return has_right.error();
  return different;
}

}  // namespace

Result<std::uint64_t> Store::count_wrong_records() {
  const Database& db = connection_->db;
  const auto fresh = Database::open(":memory:", sqlite::OpenMode::kWrite, 0);
  if (!fresh) return fresh.error();
  if (auto made = create_derived_tables(*fresh); !made) return made.error();
  // Many rows in one transaction are fast.
  if (auto begun = fresh->execute("BEGIN"); !begun) return begun.error();
  const auto before = derive_records(db, *fresh);
  if (!before) return before.error();
  // One state of the file for all that is compared; writers wait from here on only.
  if (auto begun = db.execute("BEGIN"); !begun) return begun.error();
  const auto rest = derive_records(db, *fresh, id_after(*before));
  Result<void> derived = rest ? Result<void>() : rest.error();
  std::uint64_t different = 0;
  for (const auto& [sql, order] :
       {std::pair<const char*, KeyOrder>("SELECT * FROM record ORDER BY address, size",
                                         order_records),
        std::pair<const char*, KeyOrder>("SELECT * FROM dram_row ORDER BY key", order_rows)}) {
    if (!derived) break;
    const auto count = count_differences(db, *fresh, sql, order);
    if (!count) {
      derived = count.error();
    } else {
      different += *count;
    }
  }
  auto ended = db.execute("COMMIT");
  if (!derived) return derived.error();
  if (!ended) return ended.error();
  return different;
}

Result<void> Store::rebuild() {
  const Database& db = connection_->db;
  auto transaction = Transaction::begin(db);
  if (!transaction) return transaction.error();
  if (auto emptied = db.execute("DELETE FROM record; DELETE FROM dram_row;"); !emptied) {
    return emptied;
  }
  if (auto derived = derive_records(db, db); !derived) return derived.error();
  return transaction->commit();
}

Result<void> Store::copy_to(const std::string& path) {
  return copy_database(connection_->db, path);
}

}  // namespace poisonctl
