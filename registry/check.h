// The checks that stand between a list of ranges and a machine that acts on it: one pure function
// over a table of rules. A wrong list takes memory from a healthy machine or leaves a bad frame in.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "registry/address.h"
#include "registry/memory_map.h"
#include "registry/range_set.h"
#include "registry/record.h"

namespace poisonctl {

enum class FindingSeverity { kError, kWarning, kNote };
std::string_view to_word(FindingSeverity severity);

// One rule. The table is rules(); each has a line in poisonctl(8).
struct Rule {
  std::string_view id;
  FindingSeverity severity;
  // Whether the bytes it finds are kept off the retire list, because no kernel can act on them.
  bool refuses;
  // What is wrong and what to do, for the message.
  std::string_view text;
};
std::span<const Rule> rules();

// What one rule says about one range.
struct Finding {
  const Rule* rule = nullptr;  // in rules(), never null
  ByteRange range;             // the bytes that the rule is about
  // The record that it contradicts, for a rule about two.
  std::optional<ByteRange> other = std::nullopt;
};

// A range that is not acted on, and why.
struct Refusal {
  ByteRange range;
  std::string reason;
};

// `accepted` and `refused` are disjoint, and their union is the faulty records' ranges widened to
// frames: no byte is lost between them.
struct CheckResult {
  RangeSet accepted;             // of faulty records, what passed
  std::vector<Refusal> refused;  // of faulty records, what did not, sorted by address
  // About all records but resolved ones: first those about one record, in their order, then those
  // about two.
  std::vector<Finding> findings;
};

// Checks `records` against the machine. Linear in the number of records times the logarithm of the
// number of resources.
CheckResult check_records(std::span<const Record> records, const MemoryMap& map, PageShift shift);

}  // namespace poisonctl
