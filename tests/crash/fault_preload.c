/* What a process does to the files under one folder, counted, written down, cut short or refused.
 *
 * An LD_PRELOAD library for tests of crash safety. It is told what to do by the environment:
 *
 *   FAULT_ROOT    absolute path of the folder; calls on files elsewhere pass untouched
 *   FAULT_COUNT   file that receives, at exit, the number of calls and then of writes among them
 *   FAULT_TRACE   file to which each call that succeeded is appended (struct trace_head below)
 *   FAULT_AT      which call is hit: 1 is the first
 *   FAULT_DO      what happens to it:
 *                   before  SIGKILL instead of the call
 *                   after   SIGKILL as soon as the call has returned
 *                   half    SIGKILL once the first half of the bytes of a write are there
 *                   fail    it returns -1 with errno FAULT_ERRNO and does nothing
 *                   fail-on the same for it and all after it: a disk that stays full or broken
 *                   short   a write takes half of its bytes and says so
 *                   stop    SIGSTOP before the call, until somebody sends SIGCONT
 *   FAULT_ERRNO   an errno value as a number
 *
 * Counted are the calls that change something, not those that might have: an open() with O_CREAT of
 * a file that is there already is none. Not seen are calls that libc makes for itself (stdio),
 * io_uring and memory maps; a user of the trace proves that none were missed by comparing what it
 * adds up to with the folder.
 *
 * A sync is counted and written down but not passed on: only a power loss would tell the
 * difference, and the tests simulate theirs from the trace.
 *
 * Every call goes to the kernel directly, so the library needs nothing of the libc that it shadows
 * and works below the sanitizers too. 64-bit Linux only. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

_Static_assert(sizeof(long) == 8, "offsets are passed to the kernel in one register");

enum kind {
  kCreate = 1,   /* inode, value = mode, path */
  kWrite = 2,    /* inode, value = offset, data */
  kTruncate = 3, /* inode, value = size */
  kSync = 4,     /* inode, path when it is a folder */
  kRename = 5,   /* path, data = new path */
  kUnlink = 6,   /* path */
  kMkdir = 7,    /* path, value = mode */
  kLink = 8,     /* path, data = new path */
  kChmod = 9,    /* inode, value = mode */
};

/* One entry of the trace: this, in the byte order of the machine, then `path_size` bytes of path
 * relative to the root ("" is the root itself) and `data_size` bytes of data. */
struct trace_head {
  uint64_t kind;
  uint64_t inode;
  uint64_t value;
  uint64_t path_size;
  uint64_t data_size;
};

enum action { kNothing, kBefore, kAfter, kHalf, kFail, kFailOn, kShort, kStop };

static struct {
  char root[PATH_MAX];
  size_t root_size;
  enum action action;
  unsigned long at;
  int error;
  int trace_fd;
  const char *count; /* kept: the program may drop its environment */
  unsigned long calls;
  unsigned long writes;
} state = {.trace_fd = -1};

static void put_fully(int fd, const void *bytes, size_t size) {
  const char *next = bytes;
  while (size > 0) {
    const long put = syscall(SYS_write, fd, next, size);
    if (put <= 0) {
      if (put < 0 && errno == EINTR) continue;
      abort(); /* a trace with a hole would prove nothing */
    }
    next += put;
    size -= (size_t)put;
  }
}

static enum action action_named(const char *name) {
  static const struct {
    const char *name;
    enum action action;
  } kNames[] = {{"before", kBefore},  {"after", kAfter}, {"half", kHalf}, {"fail", kFail},
                {"fail-on", kFailOn}, {"short", kShort}, {"stop", kStop}};
  if (name == NULL) return kNothing;
  for (size_t i = 0; i < sizeof kNames / sizeof kNames[0]; ++i) {
    if (strcmp(name, kNames[i].name) == 0) return kNames[i].action;
  }
  abort(); /* a misspelt test must not pass */
}

__attribute__((constructor)) static void start(void) {
  const char *root = getenv("FAULT_ROOT");
  if (root == NULL) return;
  const size_t size = strlen(root);
  if (size == 0 || size >= sizeof state.root || root[0] != '/') abort();
  memcpy(state.root, root, size + 1);
  state.root_size = size;
  state.action = action_named(getenv("FAULT_DO"));
  const char *at = getenv("FAULT_AT");
  const char *error = getenv("FAULT_ERRNO");
  state.at = at == NULL ? 0 : strtoul(at, NULL, 10);
  state.error = error == NULL ? EIO : atoi(error);
  state.count = getenv("FAULT_COUNT");
  const char *trace = getenv("FAULT_TRACE");
  if (trace == NULL) return;
  state.trace_fd =
      (int)syscall(SYS_openat, AT_FDCWD, trace, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (state.trace_fd < 0) abort();
}

__attribute__((destructor)) static void finish(void) {
  if (state.root_size == 0 || state.count == NULL) return;
  char text[64];
  const int size = snprintf(text, sizeof text, "%lu %lu\n", state.calls, state.writes);
  const int fd = (int)syscall(SYS_openat, AT_FDCWD, state.count,
                              O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) abort();
  put_fully(fd, text, (size_t)size);
  syscall(SYS_close, fd);
}

/* ---- which file a call is about */

/* The part of an absolute path below the root; NULL when it is elsewhere. */
static const char *below_root(const char *path) {
  if (state.root_size == 0 || strncmp(path, state.root, state.root_size) != 0) return NULL;
  if (path[state.root_size] == '\0') return path + state.root_size;
  return path[state.root_size] == '/' ? path + state.root_size + 1 : NULL;
}

/* The path of an open file, as the kernel shows it. */
static bool path_of_fd(int fd, char path[PATH_MAX]) {
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  const long size = syscall(SYS_readlinkat, AT_FDCWD, link, path, PATH_MAX - 1);
  if (size <= 0) return false;
  path[size] = '\0';
  return true;
}

/* `name` relative to `dir_fd` as an absolute path; NULL when it is not below the root. */
static const char *resolve(int dir_fd, const char *name, char path[PATH_MAX]) {
  if (state.root_size == 0 || name == NULL) return NULL;
  if (name[0] == '/') {
    if (strlen(name) >= PATH_MAX) return NULL;
    strcpy(path, name);
    return below_root(path);
  }
  char folder[PATH_MAX];
  if (dir_fd == AT_FDCWD) {
    if (syscall(SYS_getcwd, folder, sizeof folder) <= 0) return NULL;
  } else if (!path_of_fd(dir_fd, folder)) {
    return NULL;
  }
  const int size = snprintf(path, PATH_MAX, "%s/%s", folder, name);
  return size > 0 && size < PATH_MAX ? below_root(path) : NULL;
}

/* Whether the open file is below the root, and what it is. */
static bool is_ours(int fd, struct stat *status, char path[PATH_MAX], const char **below) {
  if (state.root_size == 0) return false;
  const int kept = errno;
  *below = path_of_fd(fd, path) ? below_root(path) : NULL;
  const bool ours = *below != NULL && fstat(fd, status) == 0;
  errno = kept;
  return ours;
}

/* ---- what happens to a call */

static void die(void) {
  syscall(SYS_kill, syscall(SYS_getpid), SIGKILL);
  for (;;) syscall(SYS_pause);
}

static bool is_hit(enum action action) {
  return state.action == action &&
         (action == kFailOn ? state.calls >= state.at : state.calls == state.at);
}

/* Counts a call; true when it must fail now, with errno set. */
static bool refuse(bool is_write) {
  ++state.calls;
  if (is_write) ++state.writes;
  if (is_hit(kBefore)) die();
  if (is_hit(kStop)) syscall(SYS_kill, syscall(SYS_getpid), SIGSTOP);
  if (is_hit(kFail) || is_hit(kFailOn)) {
    errno = state.error;
    return true;
  }
  return false;
}

static void record(enum kind kind, uint64_t inode, uint64_t value, const char *path,
                   const void *data, size_t data_size) {
  if (state.trace_fd < 0) return;
  const struct trace_head head = {.kind = kind,
                                  .inode = inode,
                                  .value = value,
                                  .path_size = path == NULL ? 0 : strlen(path),
                                  .data_size = data_size};
  put_fully(state.trace_fd, &head, sizeof head);
  put_fully(state.trace_fd, path, head.path_size);
  put_fully(state.trace_fd, data, data_size);
}

/* After a call: its result, as the caller sees it. */
static long done(long result) {
  const int kept = errno;
  if (is_hit(kAfter)) die();
  errno = kept;
  return result;
}

static uint64_t inode_at(const char *path) {
  struct stat status;
  return fstatat(AT_FDCWD, path, &status, AT_SYMLINK_NOFOLLOW) == 0 ? status.st_ino : 0;
}

/* ---- writes */

/* `offset` is where it goes; -1: where the file stands. */
static long write_ours(int fd, const struct stat *status, const void *bytes, size_t size,
                       int64_t offset) {
  if (refuse(true)) return -1;
  const bool half = is_hit(kHalf);
  if (half || is_hit(kShort)) size = (size + 1) / 2;
  int64_t start = offset;
  if (offset < 0) {
    const bool append = (syscall(SYS_fcntl, fd, F_GETFL) & O_APPEND) != 0;
    start = append ? status->st_size : syscall(SYS_lseek, fd, 0, SEEK_CUR);
  }
  const long put = offset < 0 ? syscall(SYS_write, fd, bytes, size)
                              : syscall(SYS_pwrite64, fd, bytes, size, offset);
  if (half) die();
  if (put > 0) record(kWrite, status->st_ino, (uint64_t)start, NULL, bytes, (size_t)put);
  return done(put);
}

ssize_t write(int fd, const void *bytes, size_t size) {
  char path[PATH_MAX];
  const char *below;
  struct stat status;
  if (!is_ours(fd, &status, path, &below)) return syscall(SYS_write, fd, bytes, size);
  return write_ours(fd, &status, bytes, size, -1);
}

ssize_t pwrite64(int fd, const void *bytes, size_t size, off64_t offset) {
  char path[PATH_MAX];
  const char *below;
  struct stat status;
  if (!is_ours(fd, &status, path, &below)) return syscall(SYS_pwrite64, fd, bytes, size, offset);
  return write_ours(fd, &status, bytes, size, offset);
}

ssize_t pwrite(int fd, const void *bytes, size_t size, off_t offset) {
  return pwrite64(fd, bytes, size, offset);
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
  char path[PATH_MAX];
  const char *below;
  struct stat status;
  if (!is_ours(fd, &status, path, &below)) return syscall(SYS_writev, fd, parts, count);
  size_t size = 0;
  for (int i = 0; i < count; ++i) size += parts[i].iov_len;
  char *bytes = malloc(size == 0 ? 1 : size);
  if (bytes == NULL) abort();
  size_t at = 0;
  for (int i = 0; i < count; ++i) {
    memcpy(bytes + at, parts[i].iov_base, parts[i].iov_len);
    at += parts[i].iov_len;
  }
  const long put = write_ours(fd, &status, bytes, size, -1);
  const int kept = errno;
  free(bytes);
  errno = kept;
  return put;
}

/* ---- size, mode, sync */

int ftruncate64(int fd, off64_t size) {
  char path[PATH_MAX];
  const char *below;
  struct stat status;
  if (!is_ours(fd, &status, path, &below)) return (int)syscall(SYS_ftruncate, fd, size);
  if (refuse(false)) return -1;
  const long result = syscall(SYS_ftruncate, fd, size);
  if (result == 0) record(kTruncate, status.st_ino, (uint64_t)size, NULL, NULL, 0);
  return (int)done(result);
}

int ftruncate(int fd, off_t size) { return ftruncate64(fd, size); }

int fchmod(int fd, mode_t mode) {
  char path[PATH_MAX];
  const char *below;
  struct stat status;
  if (!is_ours(fd, &status, path, &below)) return (int)syscall(SYS_fchmod, fd, mode);
  if (refuse(false)) return -1;
  const long result = syscall(SYS_fchmod, fd, mode);
  if (result == 0) record(kChmod, status.st_ino, mode, NULL, NULL, 0);
  return (int)done(result);
}

static int sync_file(int fd, long number) {
  char path[PATH_MAX];
  const char *below;
  struct stat status;
  if (!is_ours(fd, &status, path, &below)) return (int)syscall(number, fd);
  if (refuse(false)) return -1;
  /* A folder is told from a file by a path; that of the root is written as ".". */
  const char *folder = S_ISDIR(status.st_mode) ? (below[0] == '\0' ? "." : below) : NULL;
  record(kSync, status.st_ino, 0, folder, NULL, 0);
  return (int)done(0);
}

int fsync(int fd) { return sync_file(fd, SYS_fsync); }
int fdatasync(int fd) { return sync_file(fd, SYS_fdatasync); }

/* ---- names */

static int open_ours(int dir_fd, const char *name, int flags, mode_t mode) {
  char path[PATH_MAX];
  const int kept = errno;
  const char *below = (flags & (O_CREAT | O_TRUNC)) != 0 ? resolve(dir_fd, name, path) : NULL;
  struct stat status = {0};
  const bool there = below != NULL && fstatat(AT_FDCWD, path, &status, AT_SYMLINK_NOFOLLOW) == 0;
  const bool creates = below != NULL && !there && (flags & O_CREAT) != 0;
  const bool empties = there && (flags & O_TRUNC) != 0 && status.st_size != 0;
  errno = kept;
  if (!creates && !empties) return (int)syscall(SYS_openat, dir_fd, name, flags, mode);
  if (refuse(false)) return -1;
  const long fd = syscall(SYS_openat, dir_fd, name, flags, mode);
  if (fd >= 0 && fstat((int)fd, &status) == 0) {
    if (creates) record(kCreate, status.st_ino, status.st_mode & 07777U, below, NULL, 0);
    if (empties) record(kTruncate, status.st_ino, 0, NULL, NULL, 0);
  }
  return (int)done(fd);
}

static mode_t mode_in(int flags, va_list arguments) {
  return (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(arguments, mode_t) : 0;
}

#define DEFINE_OPEN(NAME)                          \
  int NAME(const char *name, int flags, ...) {     \
    va_list arguments;                             \
    va_start(arguments, flags);                    \
    const mode_t mode = mode_in(flags, arguments); \
    va_end(arguments);                             \
    return open_ours(AT_FDCWD, name, flags, mode); \
  }
#define DEFINE_OPENAT(NAME)                                \
  int NAME(int dir_fd, const char *name, int flags, ...) { \
    va_list arguments;                                     \
    va_start(arguments, flags);                            \
    const mode_t mode = mode_in(flags, arguments);         \
    va_end(arguments);                                     \
    return open_ours(dir_fd, name, flags, mode);           \
  }
DEFINE_OPEN(open)
DEFINE_OPEN(open64)
DEFINE_OPENAT(openat)
DEFINE_OPENAT(openat64)

int renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned flags) {
  char from_path[PATH_MAX];
  char to_path[PATH_MAX];
  const char *from_below = resolve(from_fd, from, from_path);
  const char *to_below = resolve(to_fd, to, to_path);
  if (from_below == NULL || to_below == NULL) {
    return (int)syscall(SYS_renameat2, from_fd, from, to_fd, to, flags);
  }
  if (refuse(false)) return -1;
  const uint64_t inode = inode_at(from_path);
  const long result = syscall(SYS_renameat2, from_fd, from, to_fd, to, flags);
  if (result == 0) record(kRename, inode, flags, from_below, to_below, strlen(to_below));
  return (int)done(result);
}

int renameat(int from_fd, const char *from, int to_fd, const char *to) {
  return renameat2(from_fd, from, to_fd, to, 0);
}
int rename(const char *from, const char *to) { return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0); }

int linkat(int from_fd, const char *from, int to_fd, const char *to, int flags) {
  char from_path[PATH_MAX];
  char to_path[PATH_MAX];
  const char *from_below = resolve(from_fd, from, from_path);
  const char *to_below = resolve(to_fd, to, to_path);
  if (from_below == NULL || to_below == NULL) {
    return (int)syscall(SYS_linkat, from_fd, from, to_fd, to, flags);
  }
  if (refuse(false)) return -1;
  const long result = syscall(SYS_linkat, from_fd, from, to_fd, to, flags);
  if (result == 0) {
    record(kLink, inode_at(to_path), 0, from_below, to_below, strlen(to_below));
  }
  return (int)done(result);
}

int link(const char *from, const char *to) { return linkat(AT_FDCWD, from, AT_FDCWD, to, 0); }

int unlinkat(int dir_fd, const char *name, int flags) {
  char path[PATH_MAX];
  const char *below = resolve(dir_fd, name, path);
  /* Removing what is not there changes nothing. */
  if (below == NULL || inode_at(path) == 0) {
    return (int)syscall(SYS_unlinkat, dir_fd, name, flags);
  }
  if (refuse(false)) return -1;
  const long result = syscall(SYS_unlinkat, dir_fd, name, flags);
  if (result == 0) record(kUnlink, 0, 0, below, NULL, 0);
  return (int)done(result);
}

int unlink(const char *name) { return unlinkat(AT_FDCWD, name, 0); }

int mkdirat(int dir_fd, const char *name, mode_t mode) {
  char path[PATH_MAX];
  const char *below = resolve(dir_fd, name, path);
  if (below == NULL) return (int)syscall(SYS_mkdirat, dir_fd, name, mode);
  if (refuse(false)) return -1;
  const long result = syscall(SYS_mkdirat, dir_fd, name, mode);
  if (result == 0) record(kMkdir, inode_at(path), mode, below, NULL, 0);
  return (int)done(result);
}

int mkdir(const char *name, mode_t mode) { return mkdirat(AT_FDCWD, name, mode); }
