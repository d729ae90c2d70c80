// The registry on disk: one SQLite file, the only truth there is. This is the only part that knows
// SQLite. The schema is in store.cc and explained in registry/README.md.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "registry/event.h"
#include "registry/record.h"
#include "registry/result.h"

namespace poisonctl {

// What an import did.
struct ImportSummary {
  std::uint64_t added = 0;        // events stored
  std::uint64_t unchanged = 0;    // observations of a state that was already known in this boot
  std::uint64_t new_records = 0;  // ranges that no event had named before
};

// An event as it is stored.
struct StoredEvent {
  std::int64_t id = 0;  // grows by at least 1 with every event
  Event event;
  Provenance provenance;
};

// One connection. Not for use by two threads at once; any number of processes may each have one.
class Store {
 public:
  enum class Mode {
    kRead,    // must exist; nothing is ever written, so read-only media will do
    kWrite,   // must exist
    kCreate,  // made when it does not exist, readable by its owner and group only (0640)
  };

  // Opens the registry at `path`. Errors: kNoInput (does not exist), kNoPrivilege, kCannotWrite,
  // kBadData (no database, another program's database, or a schema newer than this program knows),
  // kLocked (another process kept it locked for `kLockWait`).
  static Result<Store> open(const std::string& path, Mode mode);

  Store(Store&&) noexcept;
  Store& operator=(Store&&) noexcept;
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;
  ~Store();

  // Stores `events` in one transaction: when this returns an error, nothing was stored. An event
  // that only repeats a known state of the same boot (the HWPOISON flag, the same outcome) is
  // counted as unchanged. When it returns a value, the events are on the disk. Errors: kLocked,
  // kCannotWrite (read-only, disk full), kIo, kBadData (a damaged file).
  Result<ImportSummary> append(const Provenance& provenance, std::span<const Event> events);

  // Calls `visit` for each record in the order of its address, then size, until it returns false.
  Result<void> for_each_record(const std::function<bool(const Record&)>& visit);

  // The events about ranges that overlap `range`, in the order of their ids.
  Result<std::vector<StoredEvent>> events_about(const ByteRange& range);

  // The id of the newest event that can change what must be kept out; 0 in an empty registry.
  // Grows, never shrinks, and so serves as the generation of the retire list.
  Result<std::uint64_t> generation();

  // Longest wait for a lock that another process holds, in milliseconds.
  static constexpr int kLockWait = 5000;

 private:
  struct Connection;
  explicit Store(std::unique_ptr<Connection> connection);
  std::unique_ptr<Connection> connection_;
};

}  // namespace poisonctl
