/* Makes one allocation of a program fail: an LD_PRELOAD library.
 *
 *   ALLOC_COUNT   file that receives the number of allocations at exit
 *   ALLOC_AT      which one fails: 1 is the first
 *   ALLOC_EVER    if set, all after it fail as well
 *   ALLOC_WHEN    in place of ALLOC_AT: the first one fails when this file is there
 *
 * malloc, calloc, realloc, aligned_alloc and posix_memalign are counted, from main() to exit() and
 * over all threads; operator new of libstdc++ calls them. Those that libc makes for itself inside
 * (stdio, iconv, getline) call them too. mmap(2) is call_faults' business.
 *
 * libcrypto 3.0 takes a lock that it could not make (CRYPTO_THREAD_read_lock), and dies of the null
 * pointer. Where a segmentation fault is its own, by the first caller that is not libc, the program
 * ends with 98. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);

static atomic_ulong calls;
static atomic_bool counting;
static unsigned long at;
static bool ever;
static const char *when;
static atomic_flag failed_when = ATOMIC_FLAG_INIT;
static const char *count_path; /* the program may drop its environment */

static bool fails(void) {
  if (!atomic_load(&counting)) return false;
  const unsigned long number = atomic_fetch_add(&calls, 1) + 1;
  if (when != NULL && access(when, F_OK) == 0 && !atomic_flag_test_and_set(&failed_when)) {
    errno = ENOMEM;
    return true;
  }
  if (at == 0 || (number != at && !(ever && number > at))) return false;
  errno = ENOMEM;
  return true;
}

void *malloc(size_t size) { return fails() ? NULL : __libc_malloc(size); }
void *calloc(size_t count, size_t size) { return fails() ? NULL : __libc_calloc(count, size); }
void *realloc(void *block, size_t size) { return fails() ? NULL : __libc_realloc(block, size); }
void *memalign(size_t alignment, size_t size) {
  return fails() ? NULL : __libc_memalign(alignment, size);
}
void *aligned_alloc(size_t alignment, size_t size) { return memalign(alignment, size); }
int posix_memalign(void **block, size_t alignment, size_t size) {
  void *const made = memalign(alignment, size);
  if (made == NULL) return ENOMEM;
  *block = made;
  return 0;
}

__attribute__((destructor)) static void finish(void) {
  atomic_store(&counting, false);
  if (count_path == NULL) return;
  const int fd = open(count_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0 || dprintf(fd, "%lu\n", atomic_load(&calls)) < 0) abort();
  close(fd);
}

enum { kMostFrames = 32, kDiedInLibcrypto = 98 };

static void tell_libcrypto(int number) {
  void *frames[kMostFrames];
  const int count = backtrace(frames, kMostFrames);
  /* The first is this function. */
  for (int i = 1; i < count; ++i) {
    Dl_info where;
    if (dladdr(frames[i], &where) == 0 || where.dli_fname == NULL) continue;
    if (strstr(where.dli_fname, "/libc.so") != NULL ||
        strstr(where.dli_fname, "alloc_faults") != NULL)
      continue;
    if (strstr(where.dli_fname, "/libcrypto.so") != NULL) _exit(kDiedInLibcrypto);
    break;
  }
  signal(number, SIG_DFL);
  raise(number);
}

typedef int main_function(int, char **, char **);
static main_function *real_main;

static int counted_main(int argc, char **argv, char **environment) {
  void *frame;
  (void)backtrace(&frame, 1); /* the first time it allocates */
  signal(SIGSEGV, tell_libcrypto);
  atomic_store(&counting, true);
  return real_main(argc, argv, environment);
}

/* glibc calls main through this: csu/libc-start.c. */
int __libc_start_main(main_function *main, int argc, char **argv, void (*init)(void),
                      void (*fini)(void), void (*rtld_fini)(void), void *stack_end) {
  typedef int start_function(main_function *, int, char **, void (*)(void), void (*)(void),
                             void (*)(void), void *);
  start_function *start = NULL;
  *(void **)&start = dlsym(RTLD_NEXT, "__libc_start_main");
  if (start == NULL) abort();
  const char *which = getenv("ALLOC_AT");
  at = which == NULL ? 0 : strtoul(which, NULL, 10);
  ever = getenv("ALLOC_EVER") != NULL;
  count_path = getenv("ALLOC_COUNT");
  when = getenv("ALLOC_WHEN");
  real_main = main;
  return start(counted_main, argc, argv, init, fini, rtld_fini, stack_end);
}
