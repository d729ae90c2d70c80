// A consistent private copy of an SQLite database that another process may be writing, taken
// without any lock: a reader's SHARED lock would fail the commit of a writer that does not wait,
// and rasdaemon does not wait; the event would be lost.
#pragma once

#include <array>
#include <string>

#include "registry/result.h"

namespace poisonctl::sqlite {

// The copy, in a folder of mode 0700 that goes away with the object.
class Snapshot {
 public:
  // Copies `path` with its rollback journal or write-ahead log into a new folder in the folder
  // `scratch`, again and again until nothing of it changed meanwhile, a bounded number of times.
  // The original is only read, and never locked. Errors: kNoInput, kNoPrivilege, kIo; kBadData (no
  // SQLite database, too large, a journal of several databases); kCannotWrite (`scratch`); kLocked
  // (it changes too fast).
  static Result<Snapshot> take(const std::string& path, const std::string& scratch);

  Snapshot(Snapshot&& other) noexcept;
  Snapshot& operator=(Snapshot&&) = delete;
  Snapshot(const Snapshot&) = delete;
  Snapshot& operator=(const Snapshot&) = delete;
  ~Snapshot();

  // Of the copy. It must be opened for writing: SQLite then rolls back, or reads the log.
  [[nodiscard]] std::string path() const;

 private:
  explicit Snapshot(std::string folder);
  std::string folder_;  // empty when moved away
  // The copy, and what SQLite puts beside it. Made beforehand: it is removed for want of memory
  // too.
  std::array<std::string, 4> files_;
};

}  // namespace poisonctl::sqlite
