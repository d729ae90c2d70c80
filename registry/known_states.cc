#include "registry/known_states.h"

#include <fmt/format.h>

#include <limits>
#include <set>
#include <utility>

namespace poisonctl {

namespace {

// As many entries are read again for each question; those of an address with more are kept.
constexpr std::uint64_t kFew = 64;

// What tells the states at one address apart.
std::string text_of(std::int64_t size, std::string_view foreign_host) {
  return fmt::format("{} {}", size, foreign_host);
}

}  // namespace

Result<KnownStates> KnownStates::prepare(const sqlite::Database& database, std::string source,
                                         std::string boot_id) {
  // Source and boot are looked at here and not in the query, which would pass by any number of
  // others in one step. event_by_address has all three conditions, and the order.
  auto at_address = database.prepare(
      "SELECT event.id, size, kind, foreign_host, import.source, import.boot_id FROM event "
      "JOIN import ON import.id = event.import WHERE address = ?1 AND observed_ns IS NULL "
      "AND event.id > ?2 ORDER BY event.id");
  if (!at_address) return at_address.error();
  return KnownStates(*std::move(at_address), std::move(source), std::move(boot_id));
}

Result<bool> KnownStates::has(const Event& event) {
  const auto address = static_cast<std::int64_t>(event.range->begin().value());
  const auto crowd = crowded_.find(address);
  Place few;
  Place& place = crowd != crowded_.end() ? crowd->second : few;
  if (auto read = read_on(address, place); !read) return read.error();
  const bool poisoned = place.poisoned.contains(
      text_of(static_cast<std::int64_t>(event.range->size()), event.foreign_host));
  if (crowd == crowded_.end() && few.entries > kFew) crowded_.emplace(address, std::move(few));
  return poisoned == (event.kind == EventKind::kPoisoned);
}

Result<void> KnownStates::read_on(std::int64_t address, Place& place) {
  at_address_.reset();
  at_address_.bind(1, address).bind(2, place.newest);
  for (;;) {
    const auto row = at_address_.step();
    if (!row) return row.error();
    if (!*row) break;
    place.newest = at_address_.integer(0);
    ++place.entries;
    if (at_address_.text(4) != source_ || at_address_.text(5) != boot_id_) continue;
    const auto kind = event_kind_from(at_address_.text(2));
    const std::string state = text_of(at_address_.integer(1), at_address_.text(3));
    if (kind == EventKind::kPoisoned) place.poisoned.insert(state);
    if (kind == EventKind::kUnpoisoned) place.poisoned.erase(state);
  }
  at_address_.reset();
  return {};
}

Result<std::vector<ByteRange>> read_poisoned(const sqlite::Database& database,
                                             const std::string& source,
                                             const std::string& boot_id) {
  // In pieces: while a statement runs nobody can write. So all is asked here and not in the query,
  // which would pass by any number of entries in one step.
  constexpr std::uint64_t kPiece = 16384;
  auto piece = database.prepare(
      "SELECT event.id, address, size, kind, observed_ns, foreign_host, import.source, "
      "import.boot_id FROM event JOIN import ON import.id = event.import WHERE event.id > ?1 "
      "ORDER BY event.id LIMIT ?2");
  if (!piece) return piece.error();
  std::set<std::pair<std::int64_t, std::int64_t>> poisoned;
  std::int64_t last = std::numeric_limits<std::int64_t>::min();
  for (std::uint64_t rows = kPiece; rows == kPiece;) {
    piece->reset();
    piece->bind(1, last).bind(2, std::int64_t{kPiece});
    for (rows = 0;; ++rows) {
      const auto row = piece->step();
      if (!row) return row.error();
      if (!*row) break;
      last = piece->integer(0);
      const auto kind = event_kind_from(piece->text(3));
      const bool is_state = !piece->is_null(1) && piece->is_null(4) && piece->text(5).empty();
      if (!is_state || piece->text(6) != source || piece->text(7) != boot_id) continue;
      const std::pair place(piece->integer(1), piece->integer(2));
      if (kind == EventKind::kPoisoned) poisoned.insert(place);
      if (kind == EventKind::kUnpoisoned) poisoned.erase(place);
    }
  }
  std::vector<ByteRange> ranges;
  ranges.reserve(poisoned.size());
  for (const auto& [address, size] : poisoned) {
    const auto range = ByteRange::from_size(PhysAddr(static_cast<std::uint64_t>(address)),
                                            static_cast<std::uint64_t>(size));
    if (!range) {
      return Error{ErrorCode::kBadData,
                   database.path() + ": an event has a range outside the address space"};
    }
    ranges.push_back(*range);
  }
  return ranges;
}

}  // namespace poisonctl
