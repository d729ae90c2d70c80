#include "registry/sqlite_snapshot.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <climits>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <string_view>
#include <thread>
#include <vector>

#include "registry/posix_file.h"
#include "registry/text.h"

namespace poisonctl::sqlite {

namespace {

// rasdaemon never deletes a row, so its database can be large; what is larger than this is no log
// of memory errors, or a sparse file that would fill the disk.
constexpr off_t kLargest = off_t{8} << 30;
constexpr std::string_view kCopyName = "copy.db";

// File formats: sqlite.org/fileformat2.html, sections 1.3 (header), 3 (rollback journal) and 4.1
// (write-ahead log).
constexpr std::string_view kDatabaseMagic("SQLite format 3\0", 16);
constexpr std::string_view kJournalMagic("\xd9\xd5\x05\xf9\x20\xa1\x63\xd7", 8);
constexpr std::size_t kDatabaseHeader = 100;
constexpr std::size_t kJournalHeader = 28;
constexpr std::size_t kLogHeader = 32;
// The bytes that a writer locks exclusively before it changes the database (os.h, SHARED_FIRST and
// SHARED_SIZE).
constexpr off_t kSharedFirst = 0x40000002;
constexpr off_t kSharedSize = 510;

// What tells one state of a file from another.
struct FileState {
  bool present = false;
  dev_t device = 0;
  ino_t inode = 0;
  off_t size = 0;
  timespec changed{};
  std::string head;     // its first bytes, kDatabaseHeader at most
  bool locked = false;  // a writer changes it now

  [[nodiscard]] std::string_view bytes(std::size_t at, std::size_t count) const {
    return head.size() < at + count ? std::string_view() : std::string_view(head).substr(at, count);
  }
  [[nodiscard]] bool same_file(const FileState& other) const {
    return present && other.present && device == other.device && inode == other.inode;
  }
};

// The database with the files that SQLite keeps beside it.
struct Files {
  FileState database;
  FileState journal;
  FileState log;
};

bool is_locked_for_writing(int fd) {
  struct flock probe {};
  probe.l_type = F_RDLCK;
  probe.l_whence = SEEK_SET;
  probe.l_start = kSharedFirst;
  probe.l_len = kSharedSize;
  // It only asks. A file system without locks has no writer to fear.
  return ::fcntl(fd, F_OFD_GETLK, &probe) == 0 && probe.l_type != F_UNLCK;
}

// An open file, or an invalid descriptor when there is none.
Result<UniqueFd> open_to_read(const std::string& path) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!fd.valid() && errno != ENOENT) return os_error(path, errno, ErrorCode::kIo);
  return fd;
}

Result<FileState> state_of(const std::string& path) {
  const auto fd = open_to_read(path);
  if (!fd) return fd.error();
  FileState state;
  if (!fd->valid()) return state;
  struct stat info {};
  if (::fstat(fd->get(), &info) != 0) return os_error(path, errno, ErrorCode::kIo);
  if (!S_ISREG(info.st_mode)) {
    return Error{ErrorCode::kBadData, fmt::format("{}: not a regular file", path)};
  }
  if (info.st_size > kLargest) {
    return Error{ErrorCode::kBadData, fmt::format("{}: larger than {}, the most that is read", path,
                                                  to_human_size(std::uint64_t{kLargest}))};
  }
  state.present = true;
  state.device = info.st_dev;
  state.inode = info.st_ino;
  state.size = info.st_size;
  state.changed = info.st_mtim;
  state.head.resize(kDatabaseHeader);
  const ssize_t got = ::pread(fd->get(), state.head.data(), state.head.size(), 0);
  if (got < 0) return os_error(path, errno, ErrorCode::kIo);
  state.head.resize(static_cast<std::size_t>(got));
  state.locked = is_locked_for_writing(fd->get());
  return state;
}

Result<Files> states_of(const std::string& path) {
  auto database = state_of(path);
  if (!database) return database.error();
  if (!database->present) return os_error(path, ENOENT, ErrorCode::kIo);
  if (database->bytes(0, kDatabaseMagic.size()) != kDatabaseMagic) {
    return Error{ErrorCode::kBadData,
                 fmt::format("{}: {}", path,
                             database->size == 0 ? "empty, not an SQLite database"
                                                 : "not an SQLite database")};
  }
  auto journal = state_of(path + "-journal");
  if (!journal) return journal.error();
  auto log = state_of(path + "-wal");
  if (!log) return log.error();
  return Files{*std::move(database), *std::move(journal), *std::move(log)};
}

// A journal that a writer has yet to finish with, or left when it died. An ended one is removed,
// cut to nothing or has its header zeroed.
bool is_hot(const FileState& journal) {
  return journal.bytes(0, kJournalMagic.size()) == kJournalMagic &&
         journal.head.size() >= kJournalHeader;
}

// The same transaction: the same file with the same random number in its header.
bool same_journal(const FileState& one, const FileState& other) {
  return one.same_file(other) && one.bytes(12, 4) == other.bytes(12, 4);
}

bool unchanged(const FileState& one, const FileState& other) {
  return one.same_file(other) && one.size == other.size && one.head == other.head &&
         one.changed.tv_sec == other.changed.tv_sec && one.changed.tv_nsec == other.changed.tv_nsec;
}

// The time of a file moves in steps of the kernel's clock tick: a file that was changed just now
// can change again and keep its time.
bool settled(const FileState& state) {
  constexpr auto kSeveralTicks = std::chrono::milliseconds(100);
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  const auto age = std::chrono::seconds(now.tv_sec - state.changed.tv_sec) +
                   std::chrono::nanoseconds(now.tv_nsec - state.changed.tv_nsec);
  return age < std::chrono::seconds(0) || age > kSeveralTicks;
}

// Write-ahead log: what is committed is in the log, or in the database once the log was started
// anew, which changes the salts in its header. The log is copied last, so it has every page that a
// checkpoint changed in the database meanwhile, and those of the log are the ones that are read.
bool log_agrees(const Files& before, const Files& after) {
  if (before.log.size >= static_cast<off_t>(kLogHeader)) {
    return before.log.same_file(after.log) && after.log.size >= before.log.size &&
           before.log.bytes(0, kLogHeader) == after.log.bytes(0, kLogHeader);
  }
  // A log without a whole header is none, once nobody is writing it.
  const bool no_log =
      after.log.size == 0 || (unchanged(before.log, after.log) && settled(before.log));
  return no_log && unchanged(before.database, after.database) && settled(before.database);
}

// Rollback journal: it has the old content of every page before that changes in the database, and
// is copied last. So one and the same journal before and after takes the copy back to the
// transaction before it. Without a journal, every commit changes the counter at byte 24; the lock
// tells of writers that keep their journal in memory.
bool journal_agrees(const Files& before, const Files& after) {
  if (is_hot(before.journal)) {
    return is_hot(after.journal) && same_journal(before.journal, after.journal);
  }
  return !is_hot(after.journal) && !before.database.locked && !after.database.locked &&
         before.database.size == after.database.size && before.database.head == after.database.head;
}

bool has_log(const FileState& database) { return database.bytes(19, 1) == "\x02"; }

bool agree(const Files& before, const Files& after) {
  // Bytes 16 to 19 are the page size and the journal mode.
  if (!before.database.same_file(after.database) ||
      before.database.bytes(16, 4) != after.database.bytes(16, 4)) {
    return false;
  }
  if (has_log(before.database) && !is_hot(before.journal) && !is_hot(after.journal))
    return log_agrees(before, after);
  return journal_agrees(before, after);
}

// Copies what is there; a file that has gone away by now becomes an empty one.
Result<void> copy_file(const std::string& from, const std::string& to) {
  const auto in = open_to_read(from);
  if (!in) return in.error();
  const UniqueFd out(
      ::open(to.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!out.valid()) return os_error(to, errno, ErrorCode::kCannotWrite);
  if (!in->valid()) return {};
  constexpr std::size_t kStep = std::size_t{1} << 20U;
  std::vector<char> buffer(kStep);
  for (off_t done = 0; done <= kLargest;) {
    const ssize_t got = ::pread(in->get(), buffer.data(), buffer.size(), done);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return os_error(from, errno, ErrorCode::kIo);
    if (got == 0) return {};
    const std::string_view bytes(buffer.data(), static_cast<std::size_t>(got));
    if (const int failed = write_fully(out.get(), bytes); failed != 0) {
      return os_error(fmt::format("{}, a copy of {}", to, from), failed, ErrorCode::kCannotWrite);
    }
    done += got;
  }
  return Error{ErrorCode::kBadData, fmt::format("{}: grows without end", from)};
}

// A journal of a transaction over several databases names another file, which SQLite would look for
// and remove after the rollback: no copied file may make it do that.
Result<void> refuse_super_journal(const std::string& copy, const std::string& shown) {
  const auto fd = open_to_read(copy);
  if (!fd) return fd.error();
  std::array<char, kJournalMagic.size()> tail{};
  const off_t size = ::lseek(fd->get(), 0, SEEK_END);
  if (size < static_cast<off_t>(tail.size())) return {};
  const off_t at = size - static_cast<off_t>(tail.size());
  if (::pread(fd->get(), tail.data(), tail.size(), at) != static_cast<ssize_t>(tail.size())) {
    return os_error(copy, EIO, ErrorCode::kIo);
  }
  if (std::string_view(tail.data(), tail.size()) != kJournalMagic) return {};
  return Error{
      ErrorCode::kBadData,
      fmt::format("{}: the journal of a change to several databases at once, which rasdaemon "
                  "never makes; open the database with sqlite3 to mend it",
                  shown)};
}

// One try. False when the original changed meanwhile.
Result<bool> try_copy(const std::string& from, const std::string& to) {
  const auto before = states_of(from);
  if (!before) return before.error();
  if (auto copied = copy_file(from, to); !copied) return copied.error();
  if (auto copied = copy_file(from + "-wal", to + "-wal"); !copied) return copied.error();
  if (auto copied = copy_file(from + "-journal", to + "-journal"); !copied) return copied.error();
  const auto after = states_of(from);
  if (!after) return after.error();
  if (!agree(*before, *after)) return false;
  // SQLite takes up a log that lies there whatever the journal mode.
  if (!has_log(before->database) || before->log.size == 0) ::unlink((to + "-wal").c_str());
  if (!is_hot(before->journal)) {
    ::unlink((to + "-journal").c_str());
    return true;
  }
  if (auto fit = refuse_super_journal(to + "-journal", from + "-journal"); !fit) return fit.error();
  return true;
}

// SQLite keeps its other files beside the database itself, not beside a link to it.
Result<std::string> resolved(const std::string& path) {
  std::array<char, PATH_MAX> real{};
  if (::realpath(path.c_str(), real.data()) == nullptr)
    return os_error(path, errno, ErrorCode::kIo);
  return std::string(real.data());
}

}  // namespace

Result<Snapshot> Snapshot::take(const std::string& path, const std::string& scratch) {
  const auto from = resolved(path);
  if (!from) return from.error();
  std::string folder = scratch + "/poisonctl-snapshot-XXXXXX";
  if (::mkdtemp(folder.data()) == nullptr) {
    return os_error(fmt::format("{}: no folder can be made in it", scratch), errno,
                    ErrorCode::kCannotWrite);
  }
  Snapshot snapshot(std::move(folder));
  constexpr int kAttempts = 300;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    const auto done = try_copy(*from, snapshot.path());
    if (!done) return done.error();
    if (*done) return snapshot;
    std::this_thread::sleep_for(std::chrono::milliseconds(std::min(attempt / 8, 25)));
  }
  return Error{
      ErrorCode::kLocked,
      fmt::format("{}: changed during each of {} copies; try again when fewer errors come in", path,
                  kAttempts)};
}

Snapshot::Snapshot(std::string folder) : folder_(std::move(folder)) {
  const std::string copy = fmt::format("{}/{}", folder_, kCopyName);
  files_ = {copy, copy + "-journal", copy + "-wal", copy + "-shm"};
}

Snapshot::Snapshot(Snapshot&& other) noexcept
    : folder_(std::exchange(other.folder_, {})), files_(std::move(other.files_)) {}

Snapshot::~Snapshot() {
  if (folder_.empty()) return;
  for (const std::string& file : files_) ::unlink(file.c_str());
  ::rmdir(folder_.c_str());
}

std::string Snapshot::path() const { return files_.front(); }

}  // namespace poisonctl::sqlite
