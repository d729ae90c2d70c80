// The checks that stand between a list of ranges and a machine that acts on it: one pure function
// over a table of rules. A wrong list takes memory from a healthy machine or leaves a bad frame in.
// They run before a list leaves the registry, and again before a list that came from elsewhere is
// acted on.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "registry/address.h"
#include "registry/memory_map.h"
#include "registry/placement.h"
#include "registry/range_set.h"
#include "registry/record.h"

namespace poisonctl {

enum class FindingSeverity { kError, kWarning, kNote };
std::string_view to_word(FindingSeverity severity);

// One rule. The table is rules(); each has a line in poisonctl-check(8).
struct Rule {
  std::string_view id;
  FindingSeverity severity;
  // Whether the bytes it finds are kept off the retire list.
  bool refuses;
  std::string_view reason;  // what is so; follows the range in the message
  std::string_view advice;  // what to do about it
};
std::span<const Rule> rules();

// The rule of this id, which must be in the table.
const Rule* rule_of(std::string_view id);

// What one rule says about one range.
struct Finding {
  const Rule* rule = nullptr;  // in rules(), never null
  ByteRange range;             // the bytes that the rule is about
  // The range that it contradicts or repeats, for a rule about two.
  std::optional<ByteRange> other = std::nullopt;
  // What more there is to say of this very range; often empty.
  std::string detail = {};
};

// "REASON (DETAIL); ADVICE", as a refusal and a message say it after the range.
std::string reason_of(const Finding& finding);

// A range that is not acted on, and why.
struct Refusal {
  ByteRange range;
  std::string reason;
};

// What somebody claims of a range: all that the checks and the bounds go by, whether it comes from
// a record of the registry or from a list of another kernel.
struct Claim {
  ByteRange range;
  std::uint64_t granularity = 0;  // as Record::granularity
  Condition condition = Condition::kFaulty;
  EventKind kind = EventKind::kUncorrected;  // the worst that was seen
  Time last_seen{};
  // Of a quarantined claim: what has changed; must outlive the claim.
  std::string_view quarantine_reason = {};
};
Claim claim_of(const Record& record);

// What is known of the machine that is to act. The references must outlive it.
struct CheckedMachine {
  const MemoryMap& map;
  const Placement& placement;
  const std::vector<NodeRange>& nodes;  // sorted by address
  PageShift shift;
};

struct CheckOptions {
  bool include_injected = false;  // keep out what a test put there, too
  // Of records: also where sources may have decoded an address wrongly. That can be several
  // findings for each record, and changes nothing about the list.
  bool disagreements = false;
};

// `accepted` and `refused` are disjoint, and their union is the ranges of the faulty and the
// quarantined claims widened to frames: no byte is lost between them.
struct CheckResult {
  RangeSet accepted;             // of faulty claims, what passed
  std::vector<Refusal> refused;  // of faulty claims, what did not, sorted by address
  // About all claims but resolved ones: first those about one claim, in their order, then those
  // about two, then those about all.
  std::vector<Finding> findings;
};

// Checks `claims`, in any order, against the machine. Linear in claims and resources, and a sort
// where the claims are not sorted by range.
CheckResult check_claims(std::span<const Claim> claims, const CheckedMachine& machine,
                         const CheckOptions& options);

// The same for records, and where asked for, whether their sources contradict one another.
CheckResult check_records(std::span<const Record> records, const CheckedMachine& machine,
                          const CheckOptions& options);

}  // namespace poisonctl
