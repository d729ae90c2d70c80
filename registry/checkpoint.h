// The signed checkpoint beside a registry: how long the log was and what its newest hash was. A log
// whose tail was cut still is a chain; only something outside it can tell.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "registry/chain.h"
#include "registry/event.h"
#include "registry/posix_file.h"
#include "registry/result.h"
#include "registry/signing.h"
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

// A checkpoint that is about to follow the log. While it lives, no other process writes one.
class CheckpointUpdate {
 public:
  // To be called with the write lock of the registry held, before the commit: the checkpoints then
  // follow each other as the commits do, and nothing is read from the log after the commit, when
  // others may keep it locked. Makes the key on first use. A checkpoint that does not fit the log,
  // or that another key signed, is evidence: it stays, and that is an error (kRefused). Other
  // errors: those of SigningKey and of `hash_of`, kLocked (a process that writes one does not come
  // to its end), kCannotWrite.
  static Result<CheckpointUpdate> begin(const std::string& registry, const HashLookup& hash_of);

  // Writes the one for `head`, unless that which is there is already about a newer event. To be
  // called when `head` is on the disk. Errors: kCannotWrite.
  [[nodiscard]] Result<void> finish(const ChainHead& head, Time time) const;

 private:
  CheckpointUpdate(std::string path, SigningKey key, UniqueFd lock, std::int64_t present)
      : path_(std::move(path)), key_(std::move(key)), lock_(std::move(lock)), present_(present) {}
  std::string path_;
  SigningKey key_;
  UniqueFd lock_;
  std::int64_t present_;  // the event that the present one is about; 0 without one
};

// Pins the end of the log as it is now. Errors: those of both steps above and of reading the log.
Result<void> pin_head(Store& store, const std::string& registry, Time time);

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
