// The lines of a bundle: one JSON object each, with the values of the log as they are stored, so
// that its hashes can be computed again from them (registry/README.md, "The bundle"). Only ASCII:
// what a log has of control characters or of writing that runs the other way is escaped.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "registry/chain.h"
#include "registry/event.h"
#include "registry/record.h"
#include "registry/result.h"

namespace poisonctl {

// An import, before the first of its events.
struct ImportLine {
  std::int64_t id = 0;
  Provenance provenance;                 // without the text of the topology
  std::optional<std::int64_t> topology;  // the number of its member; nothing: not known
  // The digest that the chain has. Nothing where it is withheld: it is then what nobody can guess
  // the texts of the events without.
  std::optional<Digest> digest;
  bool redacted = false;  // what names the host was replaced
};

struct EventLine {
  std::int64_t id = 0;
  std::int64_t import = 0;
  Event event;
  Digest hash{};
  bool redacted = false;  // the hash cannot be computed from what is here
};

// Entries that a filter left out, from `first` to `last`.
struct OmittedLine {
  std::int64_t first = 0;
  std::int64_t last = 0;
  Digest hash{};  // of the last
};

using LogLine = std::variant<ImportLine, EventLine, OmittedLine>;

// With its line end. to_text(parse_log_line(line)) is the line.
std::string to_text(const LogLine& line);
// `text` is without its line end. Errors: kBadData, beginning with `place`, for what to_text does
// not write, to the byte: nothing can be said in two ways.
Result<LogLine> parse_log_line(std::string_view text, const std::string& place);

// A record, with the numbers of the members of its topologies.
std::string record_line(const Record& record, const std::vector<std::int64_t>& topologies);

// Whether a time is written and read back the same: from 1970 to 2261.
bool has_text(Time time);

// Longest line: each text of an event can take six times its bytes.
inline constexpr std::size_t kLongestLogLine = 256U << 10U;

}  // namespace poisonctl
