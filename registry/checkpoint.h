// The signed checkpoint beside a registry: how long the log was and what its newest hash was. A log
// whose tail was cut still is a chain; only something outside it can tell.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "registry/chain.h"
#include "registry/event.h"
#include "registry/result.h"
#include "registry/store.h"

namespace poisonctl {

struct Checkpoint {
  ChainHead head;
  Time time;
  std::string public_key;  // 32 bytes: whose signature it carries
};

// Where the two files of the registry at `registry` are: PATH.head and PATH.key.
std::string checkpoint_path(const std::string& registry);
std::string key_path(const std::string& registry);

// The hash of an entry of the log, if it is there.
using HashLookup = std::function<Result<std::optional<Digest>>(std::int64_t id)>;

// Writes the checkpoint for `head`, unless the one that is there is already about a newer event.
// Makes the key on first use. A checkpoint that does not fit the log, or that another key signed,
// is evidence: it stays, and that is an error (kRefused). Other errors: those of SigningKey,
// kCannotWrite.
Result<void> update_checkpoint(const std::string& registry, const ChainHead& head,
                               const HashLookup& hash_of, Time time);

// Reads it and checks its own signature. Nothing when there is none. Errors: kBadData for one that
// is malformed or that its signature does not cover.
Result<std::optional<Checkpoint>> read_checkpoint(const std::string& registry);

// The text of a checkpoint file; public for its fuzz target. Errors: kBadData.
Result<Checkpoint> parse_checkpoint(std::string_view text, const std::string& shown);

// What an audit of the log found.
struct AuditResult {
  ChainHead head;                        // of the log as it is
  std::optional<ChainDefect> defect;     // the first bad entry
  std::vector<std::string> findings;     // all that is wrong or cannot be told, for people
  std::optional<Checkpoint> checkpoint;  // if there is a good one
};

// Recomputes the whole chain and compares it with the checkpoint. Errors: only what keeps it from
// looking; what it finds is in the result.
Result<AuditResult> audit(Store& store, const std::string& registry);

}  // namespace poisonctl
