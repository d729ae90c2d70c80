#include "registry/known_events.h"

#include <fmt/format.h>

namespace poisonctl {

namespace {

// As many rows are compared one by one; with more of one place and time their digests are kept, or
// a file of n lines about one place would take n * n comparisons.
constexpr int kFew = 64;

// What makes two events the same, but for place and time, as one text: a length before each part,
// so that no two lists of parts have the same.
std::string text_of(std::int64_t size, std::string_view kind, std::int64_t count,
                    std::string_view label, std::string_view result, std::string_view evidence,
                    std::string_view foreign_host) {
  return fmt::format("{} {} {}:{} {}:{} {}:{} {}:{} {}", size, count, kind.size(), kind,
                     label.size(), label, result.size(), result, evidence.size(), evidence,
                     foreign_host);
}

std::string text_of(const Event& event) {
  const std::int64_t size = event.range ? static_cast<std::int64_t>(event.range->size()) : 0;
  return text_of(size, to_word(event.kind), static_cast<std::int64_t>(event.count), event.label,
                 event.result, event.evidence, event.foreign_host);
}

// The first columns of at_moment_. A range has at least one byte, so that a size of 0 is none.
std::string text_of(const sqlite::Statement& row) {
  return text_of(row.integer(0), row.text(1), row.integer(2), row.text(3), row.text(4), row.text(5),
                 row.text(6));
}

}  // namespace

Result<KnownEvents> KnownEvents::prepare(const sqlite::Database& database, std::int64_t newest,
                                         std::string source) {
  // event_by_address has all three of the first conditions: an entry's id is in every index.
  auto at_moment = database.prepare(
      "SELECT size, kind, count, label, result, evidence, foreign_host, import.source FROM event "
      "JOIN import ON import.id = event.import WHERE address IS ?1 AND observed_ns IS ?2 "
      "AND event.id <= ?3");
  if (!at_moment) return at_moment.error();
  return KnownEvents(*std::move(at_moment), newest, std::move(source));
}

Result<bool> KnownEvents::has(const Event& event) {
  Moment moment;
  if (event.range) moment.first = static_cast<std::int64_t>(event.range->begin().value());
  if (event.observed) moment.second = event.observed->time_since_epoch().count();
  const std::string wanted = text_of(event);
  auto crowd = crowded_.find(moment);
  if (crowd == crowded_.end()) {
    const auto found = look_at_few(moment, wanted);
    if (!found) return found.error();
    if (*found) return **found;
    auto digests = read_all(moment);
    if (!digests) return digests.error();
    crowd = crowded_.emplace(moment, *std::move(digests)).first;
  }
  return crowd->second.contains(std::string(as_bytes(hasher_.digest(wanted))));
}

void KnownEvents::ask_for(const Moment& moment) {
  at_moment_.reset();
  if (moment.first) {
    at_moment_.bind(1, *moment.first);
  } else {
    at_moment_.bind_null(1);
  }
  if (moment.second) {
    at_moment_.bind(2, *moment.second);
  } else {
    at_moment_.bind_null(2);
  }
  at_moment_.bind(3, newest_);
}

// Asked here and not in the query, which would pass by any number of others in one step.
bool KnownEvents::is_from_source() const { return at_moment_.text(7) == source_; }

// Nothing when there are more than a few, and it was not among those.
Result<std::optional<bool>> KnownEvents::look_at_few(const Moment& moment,
                                                     std::string_view wanted) {
  ask_for(moment);
  for (int looked_at = 0; looked_at < kFew; ++looked_at) {
    const auto row = at_moment_.step();
    if (!row) return row.error();
    const bool same = *row && is_from_source() && text_of(at_moment_) == wanted;
    if (!*row || same) {
      at_moment_.reset();
      return std::optional(same);
    }
  }
  at_moment_.reset();
  return std::optional<bool>();
}

Result<KnownEvents::Digests> KnownEvents::read_all(const Moment& moment) {
  ask_for(moment);
  Digests digests;
  for (;;) {
    const auto row = at_moment_.step();
    if (!row) return row.error();
    if (!*row) break;
    if (is_from_source()) digests.emplace(as_bytes(hasher_.digest(text_of(at_moment_))));
  }
  at_moment_.reset();
  return digests;
}

}  // namespace poisonctl
