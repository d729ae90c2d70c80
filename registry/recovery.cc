#include "registry/recovery.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>

#include "registry/checkpoint.h"
#include "registry/posix_file.h"
#include "registry/store.h"

namespace poisonctl {

namespace {

namespace fs = std::filesystem;

// 20260301T120000Z: sorts by time, and is a name on every file system.
constexpr std::size_t kStampSize = 16;
std::string stamp(Time now) {
  std::string text = to_rfc3339(std::chrono::floor<std::chrono::seconds>(now));
  std::erase_if(text, [](char c) { return c == '-' || c == ':'; });
  return text;
}

// Copies of a registry beside it, newest first. The names carry the time, so they sort by it.
std::vector<std::string> snapshots_of(const std::string& registry) {
  std::vector<std::string> found;
  const fs::path path(registry);
  const std::string prefix = path.filename().string() + ".snapshot-";
  std::error_code error;
  const fs::path folder = path.has_parent_path() ? path.parent_path() : fs::path(".");
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    // Not what a copy that was cut short left behind.
    if (name.starts_with(prefix) && name.size() == prefix.size() + kStampSize) {
      found.push_back(entry->path().string());
    }
  }
  std::sort(found.rbegin(), found.rend());
  return found;
}

// Whether it is sound and its chain holds up to entry `known_end` at least.
bool is_whole(const std::string& path, std::int64_t known_end) {
  auto store = Store::open(path, Store::Mode::kRead);
  if (!store) return false;
  const auto sound = store->is_sound();
  if (!sound || !*sound) return false;
  const auto defect = store->verify_chain();
  if (!defect || *defect) return false;
  const auto head = store->head();
  return head && head->id >= known_end;
}

Result<void> move_aside(const std::string& from, const std::string& to) {
  // Never over something that is there (RENAME_NOREPLACE needs no support of the file system's
  // own).
  if (::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_NOREPLACE) != 0 &&
      errno != ENOENT) {
    return os_error(fmt::format("cannot move {} to {}", from, to), errno, ErrorCode::kCannotWrite);
  }
  return {};
}

// The registry in the making, which goes away unless it has become the one.
class HalfMade {
 public:
  explicit HalfMade(std::string path) : path_(std::move(path)) {}
  HalfMade(const HalfMade&) = delete;
  HalfMade& operator=(const HalfMade&) = delete;
  ~HalfMade() {
    if (!in_place_) remove();
  }
  // From here on its name is that of the damaged file, which nobody removes.
  void set_in_place() { in_place_ = true; }
  void remove() const {
    for (const char* part : {"", ".head", ".key", "-journal"}) std::remove((path_ + part).c_str());
  }

 private:
  std::string path_;
  bool in_place_ = false;
};

// Adds events of an older registry to a new one, import by import, each with its own provenance. An
// event that has the same place and predecessors gets the same hash again.
class Replayer {
 public:
  explicit Replayer(Store& target) : target_(target) {}

  Result<void> add(const StoredEvent& stored) {
    if (!import_ || !same_import(stored.provenance)) {
      if (auto ended = end_import(); !ended) return ended;
      auto begun = target_.begin_import(stored.provenance, Store::Repeats::kCount);
      if (!begun) return begun.error();
      import_.emplace(*std::move(begun));
      provenance_ = stored.provenance;
    }
    auto added = import_->add(stored.event);
    if (added) last_id_ = stored.id;
    return added;
  }

  Result<void> end_import() {
    if (!import_) return {};
    const auto done = import_->commit();
    import_.reset();
    if (!done) return done.error();
    return {};
  }

  // The id, in its old registry, of the last event added.
  [[nodiscard]] std::int64_t last_id() const { return last_id_; }

 private:
  [[nodiscard]] bool same_import(const Provenance& other) const {
    return provenance_.time == other.time && provenance_.source == other.source &&
           provenance_.boot_id == other.boot_id && provenance_.origin == other.origin &&
           provenance_.tool == other.tool && provenance_.uid == other.uid;
  }

  Store& target_;
  std::optional<Store::Import> import_;
  Provenance provenance_;
  std::int64_t last_id_ = 0;
};

// All events of a good snapshot.
Result<std::uint64_t> replay_snapshot(const std::string& path, Replayer& replayer) {
  auto store = Store::open(path, Store::Mode::kRead);
  if (!store) return store.error();
  std::uint64_t events = 0;
  Result<void> status;
  auto read = store->for_each_event([&](const StoredEvent& stored) {
    status = replayer.add(stored);
    ++events;
    return status.ok();
  });
  if (!read) return read.error();
  if (!status) return status.error();
  return events;
}

// What can be read of a damaged registry after entry `after`, one entry at a time: a bad page then
// costs only the entries on it.
Result<void> salvage(const std::string& path, std::int64_t after, std::int64_t known_end,
                     Replayer& replayer, RecoveryReport& report) {
  auto store = Store::open(path, Store::Mode::kRead);
  if (!store) {
    // Not even its first page can be read: all after the snapshot is lost.
    report.lost += static_cast<std::uint64_t>(std::max<std::int64_t>(0, known_end - after));
    return {};
  }
  // Beyond the last entry that the checkpoint knew of, a long run of nothing is the end.
  constexpr std::int64_t kLongestGap = 4096;
  std::int64_t missing = 0;
  for (std::int64_t id = after + 1; id <= known_end || missing < kLongestGap; ++id) {
    const auto stored = store->event(id);
    if (!stored || !*stored) {
      ++missing;
      continue;
    }
    report.lost += static_cast<std::uint64_t>(missing);
    missing = 0;
    const auto added = replayer.add(**stored);
    // An outcome or a resolution of a record whose every observation is lost.
    if (!added && added.error().code == ErrorCode::kUsage) {
      ++missing;
      continue;
    }
    if (!added) return added;
    if (report.lost != 0) ++report.chained_anew;
    ++report.from_damaged;
  }
  if (replayer.last_id() < known_end) {
    report.lost += static_cast<std::uint64_t>(known_end - std::max(replayer.last_id(), after));
  }
  return {};
}

}  // namespace

Result<std::string> make_snapshot(const std::string& registry, Time now, std::size_t kept) {
  auto store = Store::open(registry, Store::Mode::kRead);
  if (!store) return store.error();
  const auto defect = store->verify_chain();
  if (!defect) return defect.error();
  if (*defect) {
    return Error{ErrorCode::kBadData, fmt::format("{}: entry {} {}; no snapshot was made of it",
                                                  registry, (*defect)->id, (*defect)->what)};
  }
  const std::string path = fmt::format("{}.snapshot-{}", registry, stamp(now));
  if (auto copied = store->copy_to(path); !copied) return copied.error();
  const auto all = snapshots_of(registry);
  for (std::size_t i = std::max<std::size_t>(kept, 1); i < all.size(); ++i) {
    if (std::remove(all[i].c_str()) != 0) {
      return os_error("cannot remove " + all[i], errno, ErrorCode::kCannotWrite);
    }
  }
  return path;
}

Result<RecoveryReport> recover(const std::string& registry, Time now) {
  RecoveryReport report;
  if (!fs::exists(registry)) {
    return Error{ErrorCode::kNoInput, "no registry at " + registry};
  }
  const std::string suffix = ".damaged-" + stamp(now);
  const std::string made = registry + ".recovering";
  const auto checkpoint = read_checkpoint(registry);
  const std::int64_t known_end = checkpoint && *checkpoint ? (*checkpoint)->head.id : 0;
  if (is_whole(registry, known_end)) return report;
  report.was_needed = true;

  // A half-made one of an earlier attempt holds nothing that is not elsewhere.
  HalfMade half_made(made);
  half_made.remove();
  {
    auto target = Store::open(made, Store::Mode::kCreate);
    if (!target) return target.error();
    Replayer replayer(*target);
    for (const std::string& snapshot : snapshots_of(registry)) {
      if (!is_whole(snapshot, 0)) continue;
      const auto events = replay_snapshot(snapshot, replayer);
      if (!events) return events.error();
      report.snapshot = snapshot;
      report.from_snapshot = *events;
      break;
    }
    if (auto done = salvage(registry, replayer.last_id(), known_end, replayer, report); !done) {
      return done.error();
    }
    if (auto done = replayer.end_import(); !done) return done.error();
  }
  for (const char* part : {".head", ".key"}) std::remove((made + part).c_str());
  if (report.from_snapshot + report.from_damaged == 0) {
    return Error{ErrorCode::kBadData,
                 registry +
                     ": not one entry can be read, and there is no good snapshot beside it; "
                     "everything was left as it is"};
  }
  report.set_aside = registry + suffix;
  // The checkpoint pins entries that may be lost, and a journal belongs to the damaged file alone.
  for (const char* part : {".head", "-journal"}) {
    if (auto moved = move_aside(registry + part, report.set_aside + part); !moved) {
      return moved.error();
    }
  }
  // Both names change places at once: at no moment is there no registry, which somebody would make
  // anew.
  if (::renameat2(AT_FDCWD, made.c_str(), AT_FDCWD, registry.c_str(), RENAME_EXCHANGE) != 0) {
    return os_error(fmt::format("cannot exchange {} and {}", made, registry), errno,
                    ErrorCode::kCannotWrite);
  }
  half_made.set_in_place();
  if (auto moved = move_aside(made, report.set_aside); !moved) return moved.error();
  auto store = Store::open(registry, Store::Mode::kRead);
  if (!store) return store.error();
  const auto head = store->head();
  if (!head) return head.error();
  if (auto pinned = update_checkpoint(
          registry, *head, [&](std::int64_t id) { return store->hash_of(id); }, now);
      !pinned)
    return pinned.error();
  return report;
}

}  // namespace poisonctl
