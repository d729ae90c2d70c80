// What to do with a registry that is damaged: nothing is overwritten. The file is set aside, and a
// new one is made from the newest good snapshot and all that can still be read.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "registry/event.h"
#include "registry/result.h"

namespace poisonctl {

struct RecoveryReport {
  bool was_needed = false;              // false: the registry is whole, and nothing was done
  std::string set_aside;                // where the damaged file is now
  std::optional<std::string> snapshot;  // the copy that events were taken from first
  std::vector<std::string>
      of_other_logs;                // snapshots that were left alone, since they are no copies
  std::uint64_t from_snapshot = 0;  // events
  std::uint64_t from_damaged = 0;   // events read from the damaged file after those
  std::uint64_t lost = 0;           // entries that are known to have been there and cannot be read
  // Entries after a lost one: kept, with a new place in the chain, since what came before is not
  // there.
  std::uint64_t chained_anew = 0;
};

// Makes a snapshot of a registry that is whole: PATH.snapshot-TIME, of which the newest `kept`
// stay. Returns its path. Errors: kBadData when the chain does not verify, those of Store.
Result<std::string> make_snapshot(const std::string& registry, Time now, std::size_t kept);

// Errors: kNoInput, kCannotWrite, kLocked, and kBadData when not one event can be had; then
// everything is as it was.
Result<RecoveryReport> recover(const std::string& registry, Time now);

}  // namespace poisonctl
