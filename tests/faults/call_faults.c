/* Runs a program and makes one of its system calls fail.
 *
 *   call_faults --list FILE PROGRAM [ARGUMENT...]
 *       Writes one line for each call: its position (1 is the first), its number, and for what it
 *       is about a path, or "-".
 *   call_faults --at N --do ACTION PROGRAM [ARGUMENT...]
 *       ACTION is an errno value (the call returns it, negated, and does nothing), "short" (a read
 *       or write gets half of its bytes to do), "after:ERRNO" (the call is made, and then fails, as
 *       close(2) does) or "kill" (SIGKILL in place of the call). With --ever the calls after N that
 *       have the same number meet the same.
 *   --number NR
 *       Only if call N has this number: threads may come in another order than when they were
 *       listed.
 *   --about PATH
 *       N counts the calls about this path alone (with --number, those that have that number).
 *   --term-at-wait K
 *       SIGTERM in place of the K-th ppoll or poll that waits: for programs that run until then.
 *
 * Calls are counted from the entry point of the program, so the dynamic loader is left alone, and
 * over all threads. Nothing is shadowed: calls that libc, SQLite, OpenSSL and libstdc++ make for
 * themselves are counted like ours. Programs that the program starts are not followed.
 *
 * Exit status: that of the program; 128 + N when signal N ended it, which no documented status
 * reaches; 125 when this program failed. x86-64 Linux 5.3 or newer only. */
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef __x86_64__
#error "the registers of a system call are known for x86-64 only"
#endif

typedef struct __ptrace_syscall_info call_info; /* glibc's name for that of the kernel */

enum { kFailed = 125, kSignalled = 128, kMostThreads = 64 };
enum action { kNone, kError, kAfter, kShort, kKill };

static struct {
  FILE *list;
  unsigned long at;
  enum action action;
  int error;
  bool ever;
  unsigned long term_at_wait;
  long number; /* -1: any */
  const char *about;
  /* What has happened so far. */
  unsigned long calls;
  unsigned long about_it;
  unsigned long waits;
  long hit_number;
} state = {.hit_number = -1, .number = -1};

/* What is to be put right when a thread comes out of its call: the result, and the arguments, which
 * the kernel leaves alone and compilers count on. */
static struct {
  pid_t thread;
  bool replace;
  bool restore;
  long long result;
  unsigned long long rdi;
  unsigned long long rdx;
} threads[kMostThreads];

static _Noreturn void fail(const char *what) {
  fprintf(stderr, "call_faults: %s: %s\n", what, strerror(errno));
  exit(kFailed);
}

static size_t slot_of(pid_t thread) {
  for (size_t i = 0; i < kMostThreads; ++i) {
    if (threads[i].thread == thread) return i;
  }
  for (size_t i = 0; i < kMostThreads; ++i) {
    if (threads[i].thread != 0) continue;
    threads[i].thread = thread;
    threads[i].replace = false;
    threads[i].restore = false;
    return i;
  }
  errno = EAGAIN;
  fail("threads");
}

/* The address at which the program begins, once the dynamic loader is done. */
static unsigned long entry_point(pid_t process) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/auxv", (int)process);
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) fail(path);
  Elf64_auxv_t entry;
  while (read(fd, &entry, sizeof entry) == (ssize_t)sizeof entry && entry.a_type != AT_NULL) {
    if (entry.a_type != AT_ENTRY) continue;
    close(fd);
    return entry.a_un.a_val;
  }
  errno = ENODATA;
  fail(path);
}

/* Lets the process run up to its entry point: a breakpoint there, taken away again. */
static void run_to_entry(pid_t process) {
  const unsigned long entry = entry_point(process);
  errno = 0;
  const long code = ptrace(PTRACE_PEEKTEXT, process, entry, NULL);
  if (errno != 0) fail("PTRACE_PEEKTEXT");
  const long breakpoint = (code & ~0xffL) | 0xcc; /* INT3 */
  if (ptrace(PTRACE_POKETEXT, process, entry, breakpoint) != 0) fail("PTRACE_POKETEXT");
  int status = 0;
  if (ptrace(PTRACE_CONT, process, NULL, 0) != 0 || waitpid(process, &status, 0) != process) {
    fail("PTRACE_CONT");
  }
  if (!WIFSTOPPED(status) || WSTOPSIG(status) != SIGTRAP) {
    fprintf(stderr, "call_faults: the program ended before its entry point\n");
    exit(kFailed);
  }
  struct user_regs_struct registers;
  if (ptrace(PTRACE_POKETEXT, process, entry, code) != 0 ||
      ptrace(PTRACE_GETREGS, process, NULL, &registers) != 0) {
    fail("PTRACE_GETREGS");
  }
  registers.rip = entry;
  if (ptrace(PTRACE_SETREGS, process, NULL, &registers) != 0) fail("PTRACE_SETREGS");
}

/* ---- what a call is about */

static bool takes_path_at(long number, int *position) {
  switch (number) {
    case SYS_open:
    case SYS_access:
    case SYS_stat:
    case SYS_lstat:
    case SYS_readlink:
    case SYS_unlink:
    case SYS_mkdir:
    case SYS_rmdir:
    case SYS_rename:
    case SYS_statfs:
      *position = 0;
      return true;
    case SYS_openat:
    case SYS_openat2:
    case SYS_newfstatat:
    case SYS_statx:
    case SYS_unlinkat:
    case SYS_mkdirat:
    case SYS_renameat2:
    case SYS_faccessat:
    case SYS_faccessat2:
    case SYS_readlinkat:
      *position = 1;
      return true;
    default:
      return false;
  }
}

static void read_path(pid_t process, unsigned long address, char text[PATH_MAX]) {
  memset(text, 0, PATH_MAX);
  struct iovec to = {text, PATH_MAX - 1};
  struct iovec from = {(void *)address, PATH_MAX - 1};
  if (process_vm_readv(process, &to, 1, &from, 1, 0) <= 0) {
    /* The path ends before the mapping does; what is behind it cannot be read. */
    to.iov_len = from.iov_len = 4096 - address % 4096;
    if (process_vm_readv(process, &to, 1, &from, 1, 0) <= 0) text[0] = '\0';
  }
}

/* The path that a call is about, or "-". */
static void describe(pid_t process, const call_info *info, char text[PATH_MAX]) {
  const long number = (long)info->entry.nr;
  int position = 0;
  if (takes_path_at(number, &position)) {
    read_path(process, info->entry.args[position], text);
  } else {
    char link[64];
    snprintf(link, sizeof link, "/proc/%d/fd/%d", (int)process, (int)info->entry.args[0]);
    const bool has_fd = number == SYS_read || number == SYS_write || number == SYS_pread64 ||
                        number == SYS_pwrite64 || number == SYS_fsync || number == SYS_fdatasync ||
                        number == SYS_fstat || number == SYS_close || number == SYS_fcntl ||
                        number == SYS_ftruncate || number == SYS_fchmod || number == SYS_ioctl ||
                        number == SYS_lseek || number == SYS_getdents64;
    const ssize_t size = has_fd ? readlink(link, text, PATH_MAX - 1) : 0;
    text[size > 0 ? size : 0] = '\0';
  }
  if (text[0] == '\0') strcpy(text, "-");
  for (char *at = text; (at = strchr(at, '\n')) != NULL;) *at = '?';
}

/* ---- what happens to it */

static void set_call(pid_t thread, size_t slot, long long number, int position,
                     long long argument) {
  struct user_regs_struct registers;
  if (ptrace(PTRACE_GETREGS, thread, NULL, &registers) != 0) fail("PTRACE_GETREGS");
  threads[slot].restore = true;
  threads[slot].rdi = registers.rdi;
  threads[slot].rdx = registers.rdx;
  registers.orig_rax = (unsigned long long)number;
  if (position == 0) registers.rdi = (unsigned long long)argument;
  if (position == 2) registers.rdx = (unsigned long long)argument;
  if (ptrace(PTRACE_SETREGS, thread, NULL, &registers) != 0) fail("PTRACE_SETREGS");
}

/* After a call. */
static void put_right(pid_t thread, size_t slot) {
  struct user_regs_struct registers;
  if (ptrace(PTRACE_GETREGS, thread, NULL, &registers) != 0) fail("PTRACE_GETREGS");
  if (threads[slot].replace) registers.rax = (unsigned long long)threads[slot].result;
  if (threads[slot].restore) {
    registers.rdi = threads[slot].rdi;
    registers.rdx = threads[slot].rdx;
  }
  threads[slot].replace = false;
  threads[slot].restore = false;
  if (ptrace(PTRACE_SETREGS, thread, NULL, &registers) != 0) fail("PTRACE_SETREGS");
}

static bool is_transfer(long number) {
  return number == SYS_read || number == SYS_write || number == SYS_pread64 ||
         number == SYS_pwrite64;
}

static void hit(pid_t process, pid_t thread, size_t slot, const call_info *info) {
  const long number = (long)info->entry.nr;
  state.hit_number = number;
  switch (state.action) {
    case kKill:
      if (kill(process, SIGKILL) != 0) fail("kill");
      return;
    case kShort:
      if (is_transfer(number)) {
        const uint64_t bytes = info->entry.args[2];
        set_call(thread, slot, number, 2, (long long)(bytes > 1 ? bytes / 2 : bytes));
      }
      return;
    case kError:
      if (number == SYS_brk) {
        /* brk(2) fails by leaving the break where it is, which brk(0) returns. */
        set_call(thread, slot, number, 0, 0);
        return;
      }
      set_call(thread, slot, -1, -1, 0);
      break;
    case kAfter:
    case kNone:
      break;
  }
  threads[slot].replace = true;
  threads[slot].result = -state.error;
}

static void on_entry(pid_t process, pid_t thread, size_t slot, const call_info *info) {
  const long number = (long)info->entry.nr;
  ++state.calls;
  bool counts = state.number < 0 || state.number == number;
  unsigned long position = state.calls;
  if (state.list != NULL || (state.about != NULL && counts)) {
    char text[PATH_MAX];
    describe(process, info, text);
    if (state.list != NULL) fprintf(state.list, "%lu %ld %s\n", state.calls, number, text);
    if (state.about != NULL) {
      counts = counts && strcmp(text, state.about) == 0;
      if (counts) ++state.about_it;
      position = state.about_it;
    }
  }
  if ((number == SYS_poll || number == SYS_ppoll) && ++state.waits == state.term_at_wait) {
    if (kill(process, SIGTERM) != 0) fail("kill");
  }
  if (state.action == kNone) return;
  const bool again = state.ever && counts && number == state.hit_number;
  if ((counts && position == state.at) || again) hit(process, thread, slot, info);
}

static void on_call(pid_t process, pid_t thread) {
  const size_t slot = slot_of(thread);
  call_info info;
  if (ptrace(PTRACE_GET_SYSCALL_INFO, thread, sizeof info, &info) <= 0) return; /* it was killed */
  if (info.op == PTRACE_SYSCALL_INFO_ENTRY) {
    on_entry(process, thread, slot, &info);
  } else if (info.op == PTRACE_SYSCALL_INFO_EXIT &&
             (threads[slot].replace || threads[slot].restore)) {
    put_right(thread, slot);
  }
}

/* The exit status of the program. */
static int follow(pid_t process) {
  const int options = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_EXITKILL;
  if (ptrace(PTRACE_SETOPTIONS, process, NULL, options) != 0) fail("PTRACE_SETOPTIONS");
  if (ptrace(PTRACE_SYSCALL, process, NULL, 0) != 0) fail("PTRACE_SYSCALL");
  for (;;) {
    int status = 0;
    const pid_t thread = waitpid(-1, &status, __WALL);
    if (thread < 0) fail("waitpid");
    if (WIFEXITED(status) || WIFSIGNALED(status)) {
      if (thread != process) {
        threads[slot_of(thread)].thread = 0;
        continue;
      }
      return WIFEXITED(status) ? WEXITSTATUS(status) : kSignalled + WTERMSIG(status);
    }
    int signal_number = WSTOPSIG(status);
    if (signal_number == (SIGTRAP | 0x80)) {
      on_call(process, thread);
      signal_number = 0;
    } else if (status >> 16 != 0 || (signal_number == SIGSTOP && thread != process)) {
      signal_number = 0; /* a new thread, which begins stopped */
    }
    ptrace(PTRACE_SYSCALL, thread, NULL, signal_number); /* fails for one that was killed */
  }
}

static void start(char **command) {
  /* Addresses that are the same in every run: the same calls in the same order. */
  if (personality(ADDR_NO_RANDOMIZE) < 0 || ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0) {
    fail("PTRACE_TRACEME");
  }
  execv(command[0], command);
  fail(command[0]);
}

static void read_action(const char *text) {
  if (strcmp(text, "short") == 0) {
    state.action = kShort;
  } else if (strcmp(text, "kill") == 0) {
    state.action = kKill;
  } else if (strncmp(text, "after:", 6) == 0) {
    state.action = kAfter;
    state.error = atoi(text + 6);
  } else {
    state.action = kError;
    state.error = atoi(text);
  }
  if ((state.action == kError || state.action == kAfter) && state.error <= 0) {
    errno = EINVAL;
    fail(text);
  }
}

int main(int argc, char **argv) {
  int next = 1;
  for (; next + 1 < argc && argv[next][0] == '-'; ++next) {
    if (strcmp(argv[next], "--ever") == 0) {
      state.ever = true;
      continue;
    }
    const char *const option = argv[next];
    const char *const value = argv[++next];
    if (strcmp(option, "--list") == 0) {
      state.list = fopen(value, "we");
      if (state.list == NULL) fail(value);
    } else if (strcmp(option, "--at") == 0) {
      state.at = strtoul(value, NULL, 10);
    } else if (strcmp(option, "--do") == 0) {
      read_action(value);
    } else if (strcmp(option, "--number") == 0) {
      state.number = atol(value);
    } else if (strcmp(option, "--about") == 0) {
      state.about = value;
    } else if (strcmp(option, "--term-at-wait") == 0) {
      state.term_at_wait = strtoul(value, NULL, 10);
    } else {
      errno = EINVAL;
      fail(option);
    }
  }
  if (next >= argc) {
    fprintf(stderr,
            "call_faults: expected a program; the first comment of call_faults.c has the usage\n");
    return kFailed;
  }
  const pid_t process = fork();
  if (process < 0) fail("fork");
  if (process == 0) start(argv + next);
  int status = 0;
  if (waitpid(process, &status, 0) != process || !WIFSTOPPED(status)) {
    fprintf(stderr, "call_faults: the program did not start\n");
    return kFailed;
  }
  run_to_entry(process);
  const int ended = follow(process);
  if (state.list != NULL && fclose(state.list) != 0) fail("the list");
  if (state.action != kNone && state.hit_number < 0) {
    fprintf(stderr, "call_faults: of %lu calls, number %lu was not this one\n", state.calls,
            state.at);
    return kFailed;
  }
  return ended;
}
