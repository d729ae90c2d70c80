#include "registry/recovery.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <limits>

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

// The last entry that the checkpoint knew of.
std::int64_t known_end_of(const std::string& registry) {
  const auto checkpoint = read_checkpoint(registry);
  return checkpoint && *checkpoint ? (*checkpoint)->head.id : 0;
}

// What is wrong with the registry at `path`, if anything: it has to be sound, and its chain has to
// hold up to entry `known_end` at least. Errors: what keeps it from looking, and is no damage (it
// is locked, or not ours to read).
Result<std::optional<std::string>> damage_of(const std::string& path, std::int64_t known_end) {
  using Damage = std::optional<std::string>;
  const auto told = [](const Error& error) -> Result<Damage> {
    if (error.code != ErrorCode::kBadData && error.code != ErrorCode::kIo) return error;
    return Damage(error.message);
  };
  auto store = Store::open(path, Store::Mode::kRead);
  if (!store) return told(store.error());
  const auto sound = store->is_sound();
  if (!sound) return told(sound.error());
  if (!*sound) return Damage(path + ": SQLite finds it damaged");
  const auto defect = store->verify_chain();
  if (!defect) return told(defect.error());
  if (*defect) return Damage(fmt::format("{}: entry {} {}", path, (*defect)->id, (*defect)->what));
  const auto head = store->head();
  if (!head) return told(head.error());
  if (head->id >= known_end) return Damage();
  return Damage(
      fmt::format("{}: ends at entry {}, but its checkpoint knew {}", path, head->id, known_end));
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
  explicit HalfMade(const std::string& path)
      : paths_{path, path + ".head", path + ".key", path + "-journal"} {}
  HalfMade(const HalfMade&) = delete;
  HalfMade& operator=(const HalfMade&) = delete;
  ~HalfMade() { remove(); }
  void remove() const {
    for (const std::string& path : paths_) std::remove(path.c_str());
  }

 private:
  // All made beforehand: they are removed for want of memory too.
  std::array<std::string, 4> paths_;
};

// Adds events of an older registry to a new one, import by import, each with its own provenance. An
// event that has the same place and predecessors gets the same hash again.
class Replayer {
 public:
  explicit Replayer(Store& target) : target_(target) {}

  Result<void> add(const StoredEvent& stored) {
    if (!import_ || provenance_ != stored.provenance) {
      if (auto ended = end_import(); !ended) return ended;
      auto begun = target_.begin_import(stored.provenance, Store::Repeats::kKeep);
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
  Store& target_;
  std::optional<Store::Import> import_;
  Provenance provenance_;
  std::int64_t last_id_ = 0;
};

// The last entry of a damaged log up to which all fits together; 0 when not even the first does.
std::int64_t fits_up_to(const std::string& registry) {
  auto store = Store::open(registry, Store::Mode::kRead);
  if (!store) return 0;
  std::int64_t last = 0;
  constexpr auto kAll = std::numeric_limits<std::int64_t>::max();
  // Ends with an error at the first entry that does not fit, or cannot be read.
  static_cast<void>(store->for_each_chained(kAll, [&](const ChainedEvent& entry) {
    last = entry.stored.id;
    return true;
  }));
  return last;
}

// Whether a good snapshot is one of the damaged log, as far as anything of that is known: a
// registry that was put in the place of another has the other's snapshots beside it. `fits`:
// fits_up_to().
Result<bool> is_of_this_log(const std::string& snapshot, const std::string& registry,
                            std::int64_t fits) {
  auto copy = Store::open(snapshot, Store::Mode::kRead);
  if (!copy) return copy.error();
  const auto head = copy->head();
  if (!head) return head.error();
  const auto has = [&](std::int64_t id, const Digest& hash) -> Result<bool> {
    const auto there = copy->hash_of(id);
    if (!there) return there.error();
    return *there == hash;
  };
  const auto checkpoint = read_checkpoint(registry);
  if (checkpoint && *checkpoint && (*checkpoint)->head.id <= head->id) {
    const ChainHead& end = (*checkpoint)->head;
    if (end.id != 0) return has(end.id, end.hash);
  }
  const std::int64_t common = std::min(fits, head->id);
  if (common == 0) return true;
  auto damaged = Store::open(registry, Store::Mode::kRead);
  if (!damaged) return damaged.error();
  const auto hash = damaged->hash_of(common);
  if (!hash) return hash.error();
  return *hash ? has(common, **hash) : Result<bool>(true);
}

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
  // No file has more entries than room for their hashes, whatever a checkpoint says.
  constexpr std::uintmax_t kLeastEntry = sizeof(Digest);
  std::error_code ignored;
  const auto room = static_cast<std::int64_t>(fs::file_size(path, ignored) / kLeastEntry);
  const std::int64_t last = std::min(known_end, room);
  std::int64_t missing = 0;
  std::int64_t last_seen = 0;
  for (std::int64_t id = after + 1; id <= last || missing < kLongestGap; ++id) {
    const auto stored = store->event(id);
    if (!stored || !*stored) {
      ++missing;
      continue;
    }
    report.lost += static_cast<std::uint64_t>(missing);
    missing = 0;
    last_seen = id;
    auto added = replayer.add(**stored);
    // An outcome or a resolution of a record whose every observation is lost.
    if (!added && added.error().code == ErrorCode::kUsage) {
      ++missing;
      continue;
    }
    if (!added) return added;
    if (report.lost != 0) ++report.chained_anew;
    ++report.from_damaged;
  }
  // What is beyond the end was never there; what lies between the last one and the end is lost.
  const std::int64_t end = std::max(known_end, last_seen);
  if (replayer.last_id() < end) {
    report.lost += static_cast<std::uint64_t>(end - std::max(replayer.last_id(), after));
  }
  return {};
}

}  // namespace

Result<std::string> make_snapshot(const std::string& registry, Time now, std::size_t kept) {
  auto store = Store::open(registry, Store::Mode::kRead);
  if (!store) return store.error();
  // One of a log whose end was cut off would push out the last that has the end.
  const auto damage = damage_of(registry, known_end_of(registry));
  if (!damage) return damage.error();
  if (*damage) return Error{ErrorCode::kBadData, **damage + "; no snapshot was made of it"};
  const std::string path = fmt::format("{}.snapshot-{}", registry, stamp(now));
  if (auto copied = store->copy_to(path); !copied) return copied.error();
  const auto all = snapshots_of(registry);
  std::size_t others = 1;  // this one stays, whatever time the others say that they are of
  for (const std::string& snapshot : all) {
    if (snapshot == path || others++ < std::max<std::size_t>(kept, 1)) continue;
    if (std::remove(snapshot.c_str()) != 0) {
      return os_error("cannot remove " + snapshot, errno, ErrorCode::kCannotWrite);
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
  const std::int64_t known_end = known_end_of(registry);
  const auto damage = damage_of(registry, known_end);
  if (!damage) return damage.error();
  if (!*damage) return report;
  report.was_needed = true;
  // What is committed from here on would go into the file that is set aside. Where the damage is
  // such that it cannot be locked, nobody can commit either.
  const auto lock = Store::lock(registry);
  if (!lock && lock.error().code != ErrorCode::kBadData && lock.error().code != ErrorCode::kIo) {
    return lock.error();
  }

  const std::int64_t fits = fits_up_to(registry);
  // A half-made one of an earlier attempt holds nothing that is not elsewhere.
  HalfMade half_made(made);
  half_made.remove();
  {
    auto target = Store::open(made, Store::Mode::kCreate);
    if (!target) return target.error();
    Replayer replayer(*target);
    for (const std::string& snapshot : snapshots_of(registry)) {
      const auto bad = damage_of(snapshot, 0);
      if (!bad || *bad) continue;
      const auto ours = is_of_this_log(snapshot, registry, fits);
      if (!ours) return ours.error();
      if (!*ours) {
        report.of_other_logs.push_back(snapshot);
        continue;
      }
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
  // A second name for the damaged file, which cannot take the place of another one; then the new
  // one takes the first name. At no moment is there no registry, which somebody would make anew,
  // and whenever this ends, the damaged file still has a name that nobody removes.
  if (::link(registry.c_str(), report.set_aside.c_str()) != 0) {
    return os_error(fmt::format("cannot call {} {} too", registry, report.set_aside), errno,
                    ErrorCode::kCannotWrite);
  }
  // The checkpoint pins entries that may be lost. It stays until the new file is in its place: when
  // this ends before, it still says that the end of the log is missing.
  const std::string head = registry + ".head";
  if (::link(head.c_str(), (report.set_aside + ".head").c_str()) != 0 && errno != ENOENT) {
    const int error = errno;
    ::unlink(report.set_aside.c_str());
    return os_error("cannot keep " + head, error, ErrorCode::kCannotWrite);
  }
  // A journal belongs to the damaged file alone.
  constexpr const char* kJournal = "-journal";
  if (auto moved = move_aside(registry + kJournal, report.set_aside + kJournal); !moved) {
    for (const char* part : {".head", ""}) ::unlink((report.set_aside + part).c_str());
    return moved.error();
  }
  if (auto renamed = rename_durably(made, registry); !renamed) return renamed.error();
  if (::unlink(head.c_str()) != 0 && errno != ENOENT) {
    return os_error("cannot remove " + head, errno, ErrorCode::kCannotWrite);
  }
  auto store = Store::open(registry, Store::Mode::kRead);
  if (!store) return store.error();
  if (auto pinned = pin_head(*store, registry, now); !pinned) return pinned.error();
  return report;
}

}  // namespace poisonctl
