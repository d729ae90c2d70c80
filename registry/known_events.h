// What the log had before an import, for files that are read again.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>

#include "registry/chain.h"
#include "registry/event.h"
#include "registry/sqlite.h"

namespace poisonctl {

class KnownEvents {
 public:
  // Looks at the entries up to `newest` that came from `source`. The database must outlive it.
  static Result<KnownEvents> prepare(const sqlite::Database& database, std::int64_t newest,
                                     std::string source);

  // Whether one of them says the same: range, kind, time, count, texts and host. However many there
  // are of one place and time, each question takes the same time; for that, they are kept in
  // memory, some 100 bytes each. Errors: those of the database.
  Result<bool> has(const Event& event);

 private:
  // Begin of the range and time, as in the index; nothing where the event has none.
  using Moment = std::pair<std::optional<std::int64_t>, std::optional<std::int64_t>>;
  using Digests = std::unordered_set<std::string>;

  KnownEvents(sqlite::Statement at_moment, std::int64_t newest, std::string source)
      : at_moment_(std::move(at_moment)), newest_(newest), source_(std::move(source)) {}
  Result<std::optional<bool>> look_at_few(const Moment& moment, std::string_view wanted);
  Result<Digests> read_all(const Moment& moment);
  void ask_for(const Moment& moment);
  [[nodiscard]] bool is_from_source() const;

  sqlite::Statement at_moment_;
  std::int64_t newest_;
  std::string source_;
  Hasher hasher_;
  std::map<Moment, Digests> crowded_;
};

}  // namespace poisonctl
