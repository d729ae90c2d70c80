// The JSON forms of the design page: integers are numbers, times RFC 3339, arrays always present.
#pragma once

#include <span>

#include "cli/output.h"
#include "registry/check.h"
#include "registry/record.h"

namespace poisonctl {

// {"address", "size"}, both in bytes.
Json to_json(const ByteRange& range);
Json to_json(const RangeSet& set);
// Adds "reason".
Json to_json(std::span<const Refusal> refusals);

}  // namespace poisonctl
