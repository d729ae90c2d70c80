// The registry on disk: one SQLite file, the only truth there is. The schema is in store_schema.cc
// and explained, with the hash chain, in registry/README.md.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "registry/chain.h"
#include "registry/event.h"
#include "registry/record.h"
#include "registry/result.h"

namespace poisonctl {

// What an import did.
struct ImportSummary {
  std::uint64_t added = 0;          // events stored
  std::uint64_t known = 0;          // not stored again: see Store::Repeats
  std::uint64_t new_records = 0;    // ranges that no event had named before
  std::uint64_t without_place = 0;  // events stored that name no physical range
  std::vector<ByteRange> reopened;  // resolved records that an error opened again
  // Why the signed checkpoint could not follow, if so. The events are stored all the same.
  std::optional<std::string> checkpoint_problem;
};

// An event as it is stored.
struct StoredEvent {
  std::int64_t id = 0;  // 1, 2, 3, ... without gaps
  Event event;
  Provenance provenance;
};

// An event with what the chain says of it.
struct ChainedEvent {
  StoredEvent stored;
  std::int64_t import = 0;  // 1, 2, 3, ...; the events of one follow each other
  Digest import_digest{};
  Digest hash{};
};

// The end of the chain.
struct ChainHead {
  std::int64_t id = 0;  // of the newest event; 0 in an empty registry
  Digest hash{};        // of that event; zeros in an empty registry
};

// What is wrong with the log: the first entry that does not fit, and how.
struct ChainDefect {
  std::int64_t id = 0;
  std::string what;
};

// One connection. Not for use by two threads at once; any number of processes may each have one.
class Store {
 public:
  enum class Mode {
    kRead,    // must exist; nothing is ever written, so read-only media will do
    kWrite,   // must exist
    kCreate,  // made when it does not exist, readable by its owner and group only (0640)
  };

  // Opens the registry at `path`. For writing, an older schema is brought to the newest, with a
  // copy of the file kept beside it (PATH.schema-N). Errors: kNoInput (does not exist),
  // kNoPrivilege, kCannotWrite, kUnknownForm (another program's database, a newer schema; an older
  // one in kRead), kBadData (no database), kLocked (another process kept it locked for
  // kLockWaitMs).
  static Result<Store> open(const std::string& path, Mode mode);

  Store(Store&&) noexcept;
  Store& operator=(Store&&) noexcept;
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;
  ~Store();

  // What to do with an event that says no more than one that is stored: same source, range, kind,
  // time, count and evidence. Page flags and outcomes are states, and known in a boot for as long
  // as nothing else was seen.
  enum class Repeats {
    kCount,  // somebody says it again: store it
    kSkip,   // the same file is read again: count it as known
    kKeep,   // a log is copied: store every event, states too
  };

  // One import: events are added one by one and become visible all at once with commit(), or not at
  // all. Holds the write lock of the registry. The Store must outlive it.
  class Import {
   public:
    Import(Import&&) noexcept;
    Import& operator=(Import&&) = delete;
    Import(const Import&) = delete;
    Import& operator=(const Import&) = delete;
    ~Import();
    // Memory use does not grow with the number of events, but for those that are known of one place
    // and time when a file is read again (known_events.h). Errors: kCannotWrite, kIo, kBadData,
    // kUsage (a resolution or an outcome for a range that has no record).
    Result<void> add(Event event);
    // When it returns a value, the events are on the disk.
    Result<ImportSummary> commit();

   private:
    friend class Store;
    struct State;
    explicit Import(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
  };
  // Errors: kLocked (also when the file was replaced since it was opened), kCannotWrite, kIo.
  Result<Import> begin_import(const Provenance& provenance, Repeats repeats);

  // Keeps all writers out until the object goes away, without writing anything.
  class WriteLock {
   public:
    WriteLock(WriteLock&&) noexcept;
    WriteLock& operator=(WriteLock&&) = delete;
    WriteLock(const WriteLock&) = delete;
    WriteLock& operator=(const WriteLock&) = delete;
    ~WriteLock();

   private:
    friend class Store;
    struct State;
    explicit WriteLock(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
  };
  // Of the registry at `path`, even if it is damaged, as long as SQLite can lock it. Errors:
  // kLocked, kCannotWrite, kNoPrivilege, kBadData (damaged so far that nobody can write it).
  static Result<WriteLock> lock(const std::string& path);

  // All records as they are at one time, in the order of their address, then size.
  Result<std::vector<Record>> records();
  // No visit of those below keeps another process from writing, however long it takes.
  // Calls `visit` for each record in the same order until it returns false. In little memory; what
  // others write meanwhile can be among those that are still to come.
  Result<void> for_each_record(const std::function<bool(const Record&)>& visit);
  // Only those whose ranges overlap `range`.
  Result<void> for_each_record_about(const ByteRange& range,
                                     const std::function<bool(const Record&)>& visit);
  // The same for events in the order of their ids, of those that are there now; for those about
  // ranges that overlap `range`; and for those that name no place on this host: evidence without a
  // range, and events of other hosts.
  Result<void> for_each_event(const std::function<bool(const StoredEvent&)>& visit);
  Result<void> for_each_event_about(const ByteRange& range,
                                    const std::function<bool(const StoredEvent&)>& visit);
  Result<void> for_each_event_without_place(const std::function<bool(const StoredEvent&)>& visit);
  // The events that came after entry `id`.
  Result<void> for_each_event_after(std::int64_t id,
                                    const std::function<bool(const StoredEvent&)>& visit);

  // The log with its hashes, up to entry `last`. Errors: also kBadData at the first entry that does
  // not fit.
  Result<void> for_each_chained(std::int64_t last,
                                const std::function<bool(const ChainedEvent&)>& visit);

  // The topology snapshots that events point to, in the order in which they were first seen.
  Result<std::vector<std::string>> snapshots();

  // What names the hosts that were looked at: machine ids, UUIDs and serial numbers, each once.
  Result<std::vector<std::string>> host_names();

  // One event, if it is there.
  Result<std::optional<StoredEvent>> event(std::int64_t id);

  // What `source` has seen poisoned, without a time, in the boot `boot_id`, and not gone since;
  // sorted.
  Result<std::vector<ByteRange>> poisoned_in(const std::string& source, const std::string& boot_id);

  // The id of the newest event that can change what must be kept out; 0 in an empty registry.
  Result<std::uint64_t> newest_change();
  // The generation of the retire list: that id, counted on from the newest handover that was
  // imported. Grows, never shrinks, also where a new registry goes on from the list of an old one.
  Result<std::uint64_t> generation();

  Result<ChainHead> head();
  // The hash of one event, if it is there.
  Result<std::optional<Digest>> hash_of(std::int64_t id);
  // Walks the whole log and recomputes every hash. Nothing when all fits.
  Result<std::optional<ChainDefect>> verify_chain();

  // Whether SQLite finds the file sound (PRAGMA integrity_check).
  Result<bool> is_sound();

  // Derives all records from the events again, in memory, and compares: how many of the stored ones
  // differ, are missing or are too many.
  Result<std::uint64_t> count_wrong_records();
  // Derives them again in place.
  Result<void> rebuild();

  // A consistent copy, complete or not there at all, of mode 0640. Replaces what is at `path`.
  // Errors: kCannotWrite.
  Result<void> copy_to(const std::string& path);

  // The schema that opening it found, when that was an older one and is the newest now.
  [[nodiscard]] std::optional<std::int64_t> upgraded_from() const;

  // Longest wait for a lock that another process holds, in milliseconds.
  static constexpr int kLockWaitMs = 5000;

 private:
  struct Connection;
  explicit Store(std::unique_ptr<Connection> connection);
  std::unique_ptr<Connection> connection_;
};

}  // namespace poisonctl
