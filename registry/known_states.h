// What the log says of frames' states in this boot: a state that is still so is no new observation.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <unordered_set>
#include <vector>

#include "registry/event.h"
#include "registry/sqlite.h"

namespace poisonctl {

class KnownStates {
 public:
  // Of what `source` has seen in the boot `boot_id`. The database must outlive it.
  static Result<KnownStates> prepare(const sqlite::Database& database, std::string source,
                                     std::string boot_id);

  // Of an event without a time that says "poisoned" or "unpoisoned" of a range: whether the log
  // says the same, that of an import under way included. Poison is known until it was seen to be
  // gone; that it is gone is known unless it was there. However many sizes there are at one
  // address, the questions of one import together read each entry once; for that, those of an
  // address with many are kept in memory. Errors: those of the database.
  Result<bool> has(const Event& event);

 private:
  // What is poisoned at one address, up to an entry of the log.
  struct Place {
    std::unordered_set<std::string> poisoned;  // by size and host
    std::int64_t newest = 0;
    std::uint64_t entries = 0;
  };

  KnownStates(sqlite::Statement at_address, std::string source, std::string boot_id)
      : at_address_(std::move(at_address)),
        source_(std::move(source)),
        boot_id_(std::move(boot_id)) {}
  Result<void> read_on(std::int64_t address, Place& place);

  sqlite::Statement at_address_;
  std::string source_;
  std::string boot_id_;
  std::map<std::int64_t, Place> crowded_;
};

// The ranges of this host that `source` has seen poisoned in the boot `boot_id`, without a time,
// and not gone since; sorted. Reads the whole log. Errors: those of the database.
Result<std::vector<ByteRange>> read_poisoned(const sqlite::Database& database,
                                             const std::string& source, const std::string& boot_id);

}  // namespace poisonctl
