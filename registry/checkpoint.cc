#include "registry/checkpoint.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <thread>

#include "registry/text.h"

namespace poisonctl {

namespace {

constexpr std::string_view kFirstLine = "poisonctl-checkpoint-v1";

// What is signed: all lines but the last.
std::string signed_text(const Checkpoint& checkpoint) {
  return fmt::format("{}\nevents {}\nhash {}\ntime {}\npublic-key {}\n", kFirstLine,
                     checkpoint.head.id, to_hex_text(as_bytes(checkpoint.head.hash)),
                     to_rfc3339(checkpoint.time), to_hex_text(checkpoint.public_key));
}

std::string signature_line(std::string_view signature) {
  return fmt::format("signature {}\n", to_hex_text(signature));
}

Result<std::optional<std::string>> read_file(const std::string& path) {
  const auto fd = open_own_file(path, "checkpoint");
  if (!fd) {
    if (fd.error().code == ErrorCode::kNoInput) return std::optional<std::string>();
    return fd.error();
  }
  constexpr std::size_t kLargest = 4096;
  auto text = read_up_to(*fd, kLargest, path);
  if (!text) return text.error();
  return std::optional(*std::move(text));
}

}  // namespace

std::string checkpoint_path(const std::string& registry) { return registry + ".head"; }
std::string key_path(const std::string& registry) { return registry + ".key"; }

Result<Checkpoint> parse_checkpoint(std::string_view text, const std::string& shown) {
  constexpr std::array<std::string_view, 6> kNames = {kFirstLine, "events",     "hash",
                                                      "time",     "public-key", "signature"};
  const auto lines = split_lines(text);
  const auto bad = [&](std::size_t line) {
    return Error{ErrorCode::kBadData,
                 fmt::format("{}:{}: expected '{}'; the checkpoint is damaged or forged", shown,
                             line + 1, kNames.at(line))};
  };
  std::array<std::string_view, kNames.size()> values;
  for (std::size_t i = 0; i < kNames.size(); ++i) {
    if (i >= lines.size() || !lines[i].starts_with(kNames.at(i))) return bad(i);
    values.at(i) = trim(lines[i].substr(kNames.at(i).size()));
  }
  Checkpoint checkpoint;
  const auto id = parse_unsigned(values[1], 10);
  if (!id || *id > static_cast<std::uint64_t>(INT64_MAX)) return bad(1);
  checkpoint.head.id = static_cast<std::int64_t>(*id);
  const auto hash = bytes_from_hex(values[2]);
  const auto digest = hash ? digest_from(*hash) : std::nullopt;
  if (!digest) return bad(2);
  checkpoint.head.hash = *digest;
  const auto time = time_from_rfc3339(values[3]);
  if (!time) return bad(3);
  checkpoint.time = *time;
  const auto key = bytes_from_hex(values[4]);
  if (!key) return bad(4);
  checkpoint.public_key = *key;
  const auto signature = bytes_from_hex(values[5]);
  // The text is made again from what was read: anything else in the file is not what was signed.
  const std::string covered = signed_text(checkpoint);
  if (!signature || text != covered + signature_line(*signature) ||
      !is_signed_by(checkpoint.public_key, covered, *signature)) {
    return Error{
        ErrorCode::kBadData,
        shown + ": its signature does not fit its content; it was changed after it was made"};
  }
  return checkpoint;
}

Result<std::optional<Checkpoint>> read_checkpoint(const std::string& registry) {
  const std::string path = checkpoint_path(registry);
  const auto text = read_file(path);
  if (!text) return text.error();
  if (!*text) return std::optional<Checkpoint>();
  auto checkpoint = parse_checkpoint(**text, path);
  if (!checkpoint) return checkpoint.error();
  return std::optional(*std::move(checkpoint));
}

namespace {

// The key of the registry. A missing one is only made where nothing was ever signed: a new key on
// an old checkpoint would cover up that somebody took the old one away.
Result<SigningKey> key_for(const std::string& registry) {
  auto key = SigningKey::load(key_path(registry));
  if (key || key.error().code != ErrorCode::kNoInput) return key;
  const auto present = read_checkpoint(registry);
  if (!present) return present.error();
  if (*present) {
    return Error{ErrorCode::kRefused,
                 fmt::format("{} is gone, and {} was signed with it; put it back, or move both "
                             "away to begin anew from here",
                             key_path(registry), checkpoint_path(registry))};
  }
  return SigningKey::load_or_make(key_path(registry));
}

// Whether `present` may be followed by a newer one.
Result<void> check_fits(const std::string& registry, const Checkpoint& present,
                        const SigningKey& key, const HashLookup& hash_of) {
  if (present.public_key != key.public_key()) {
    return Error{ErrorCode::kRefused,
                 fmt::format("{} was signed by another key than {}; 'poisonctl audit verify' says "
                             "what can be told",
                             checkpoint_path(registry), key_path(registry))};
  }
  if (present.head.id == 0) return {};
  const auto hash = hash_of(present.head.id);
  if (!hash) return hash.error();
  if (*hash != present.head.hash) {
    return Error{ErrorCode::kRefused,
                 fmt::format("{} pins entry {}, and the log has another or none there: it was cut "
                             "or written again. 'poisonctl audit verify' says what can be told",
                             checkpoint_path(registry), present.head.id)};
  }
  return {};
}

// Waits for a process that writes its checkpoint, which takes it a few milliseconds; not for ever
// for one that was stopped there.
Result<UniqueFd> lock_key(const std::string& registry) {
  auto lock = open_own_file(key_path(registry), "key");
  if (!lock) return lock.error();
  constexpr std::chrono::milliseconds kPause{5};
  for (std::chrono::milliseconds left{Store::kLockWaitMs}; left.count() > 0; left -= kPause) {
    if (::flock(lock->get(), LOCK_EX | LOCK_NB) == 0) return lock;
    if (errno != EWOULDBLOCK && errno != EINTR) {
      return os_error("cannot lock " + key_path(registry), errno, ErrorCode::kIo);
    }
    std::this_thread::sleep_for(kPause);
  }
  return Error{ErrorCode::kLocked,
               key_path(registry) + ": another process keeps it locked; try again"};
}

}  // namespace

Result<CheckpointUpdate> CheckpointUpdate::begin(const std::string& registry,
                                                 const HashLookup& hash_of) {
  auto key = key_for(registry);
  if (!key) return key.error();
  auto lock = lock_key(registry);
  if (!lock) return lock.error();
  const auto present = read_checkpoint(registry);
  if (!present) return present.error();
  if (*present) {
    if (auto fits = check_fits(registry, **present, *key, hash_of); !fits) return fits.error();
  }
  return CheckpointUpdate(checkpoint_path(registry), *std::move(key), *std::move(lock),
                          *present ? (*present)->head.id : 0);
}

Result<void> CheckpointUpdate::finish(const ChainHead& head, Time time) const {
  if (present_ >= head.id) return {};
  const Checkpoint checkpoint{head, time, key_.public_key()};
  const std::string text = signed_text(checkpoint);
  const auto signature = key_.sign(text);
  if (!signature) return signature.error();
  constexpr mode_t kMode = 0640;
  return replace_file_at(AT_FDCWD, path_, text + signature_line(*signature), kMode, path_);
}

Result<void> pin_head(Store& store, const std::string& registry, Time time) {
  const auto update =
      CheckpointUpdate::begin(registry, [&](std::int64_t id) { return store.hash_of(id); });
  if (!update) return update.error();
  const auto head = store.head();
  if (!head) return head.error();
  return update->finish(*head, time);
}

namespace {

void compare_with_checkpoint(Store& store, const std::string& registry, AuditResult& result) {
  auto checkpoint = read_checkpoint(registry);
  if (!checkpoint) {
    result.findings.push_back(checkpoint.error().message);
    return;
  }
  if (!*checkpoint) {
    if (result.head.id != 0) {
      result.findings.push_back(checkpoint_path(registry) +
                                " is not there: whether the end of the log was cut cannot be told");
    }
    return;
  }
  result.checkpoint = *std::move(checkpoint);
  const ChainHead& pinned = result.checkpoint->head;
  if (pinned.id > result.head.id) {
    result.findings.push_back(fmt::format(
        "the log ends at entry {}, but the signed checkpoint of {} knew {}: the last {} "
        "were cut off",
        result.head.id, to_rfc3339(result.checkpoint->time), pinned.id,
        pinned.id - result.head.id));
    return;
  }
  const auto hash = store.hash_of(pinned.id);
  if (pinned.id != 0 && (!hash || *hash != pinned.hash)) {
    result.findings.push_back(fmt::format(
        "entry {} is not the one that the signed checkpoint of {} knew: the log was written again",
        pinned.id, to_rfc3339(result.checkpoint->time)));
  }
}

void compare_with_key(const std::string& registry, AuditResult& result) {
  if (!result.checkpoint) return;
  const auto key = SigningKey::load(key_path(registry));
  if (!key) {
    result.findings.push_back("whose signature the checkpoint carries cannot be told: " +
                              key.error().message);
  } else if (key->public_key() != result.checkpoint->public_key) {
    result.findings.push_back(
        fmt::format("the checkpoint is signed by another key than {}", key_path(registry)));
  }
}

}  // namespace

Result<AuditResult> audit(Store& store, const std::string& registry) {
  AuditResult result;
  const auto defect = store.verify_chain();
  if (!defect) return defect.error();
  result.defect = *defect;
  if (result.defect) {
    result.findings.push_back(fmt::format("entry {} {}", result.defect->id, result.defect->what));
  }
  const auto head = store.head();
  if (head) {
    result.head = *head;
  } else if (!result.defect) {
    return head.error();
  }
  if (head) compare_with_checkpoint(store, registry, result);
  compare_with_key(registry, result);
  return result;
}

}  // namespace poisonctl
