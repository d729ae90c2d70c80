/* Poisons memory in a guest, the ways that a program can.
 *
 *   poison_memory anon|file|thp|hugetlb|soft   a page of that kind, by madvise(2); prints its frame
 *   poison_memory hold anon|file|thp           has such a page until it is killed; prints its frame
 *   poison_memory storm COUNT PFN...           unpoison-pfn and corrupt-pfn, COUNT times; the
 * frames are poisoned before and after
 *   poison_memory checks RATE SECONDS PFN...   corrected machine checks, in turns; prints how many,
 * and in how many milliseconds
 *
 * Exit status 0, or 1 with a message. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#ifndef MADV_SOFT_OFFLINE
#define MADV_SOFT_OFFLINE 101 /* include/uapi/asm-generic/mman-common.h */
#endif

enum { kHuge = 2 << 20 };

static int fail(const char *what) {
  fprintf(stderr, "poison_memory: %s: %s\n", what, strerror(errno));
  return 1;
}

/* Documentation/admin-guide/mm/pagemap.rst: bits 0 to 54 are the frame. 0 when it is not there. */
static uint64_t frame_of(const char *address) {
  uint64_t entry = 0;
  const int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
  const off_t at = (off_t)((uintptr_t)address / (uintptr_t)getpagesize() * sizeof entry);
  if (pagemap < 0 || pread(pagemap, &entry, sizeof entry, at) != (ssize_t)sizeof entry) entry = 0;
  if (pagemap >= 0) close(pagemap);
  return entry & ((UINT64_C(1) << 55) - 1);
}

static char *map(const char *kind) {
  const int shared = MAP_PRIVATE | MAP_ANONYMOUS;
  if (strcmp(kind, "file") == 0) {
    const int file = open("/disk/poisoned-file", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (file < 0 || ftruncate(file, getpagesize()) != 0) return MAP_FAILED;
    return mmap(NULL, (size_t)getpagesize(), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  }
  if (strcmp(kind, "hugetlb") == 0) {
    return mmap(NULL, kHuge, PROT_READ | PROT_WRITE, shared | MAP_HUGETLB, -1, 0);
  }
  char *memory = mmap(NULL, 2 * (size_t)kHuge, PROT_READ | PROT_WRITE, shared, -1, 0);
  if (memory == MAP_FAILED || strcmp(kind, "thp") != 0) return memory;
  memory += (kHuge - (uintptr_t)memory % kHuge) % kHuge;
  return madvise(memory, kHuge, MADV_HUGEPAGE) == 0 ? memory : MAP_FAILED;
}

/* Newer kernels tell the one who poisons a page, as if it had been used. */
static void bus_error(int number) {
  (void)number;
  _exit(0);
}

/* A page of that kind, with its frame on stdout; MAP_FAILED when there is none. */
static char *show_page(const char *kind) {
  char *memory = map(kind);
  if (memory == MAP_FAILED) return memory;
  *memory = 1;
  const uint64_t frame = frame_of(memory);
  if (frame == 0) return MAP_FAILED;
  printf("%#llx\n", (unsigned long long)frame);
  fflush(stdout);
  return memory;
}

static int hold(const char *kind) {
  if (show_page(kind) == MAP_FAILED) return fail(kind);
  for (;;) pause();
}

static int poison(const char *kind) {
  const int advice = strcmp(kind, "soft") == 0 ? MADV_SOFT_OFFLINE : MADV_HWPOISON;
  char *memory = show_page(kind);
  if (memory == MAP_FAILED) return fail(kind);
  const size_t size = strcmp(kind, "hugetlb") == 0 ? (size_t)kHuge : (size_t)getpagesize();
  signal(SIGBUS, bus_error);
  return madvise(memory, size, advice) == 0 ? 0 : fail("madvise");
}

static int put(int file, const char *text) {
  return write(file, text, strlen(text)) == (ssize_t)strlen(text) ? 0 : 1;
}

static int use_cpu(long number) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET((size_t)number, &set);
  return sched_setaffinity(0, sizeof set, &set) == 0;
}

/* A frame is free for a moment, on the free list of this CPU: nobody else may run here then. */
static int keep_cpu(void) {
  const struct sched_param first = {.sched_priority = 1};
  return use_cpu(sysconf(_SC_NPROCESSORS_ONLN) - 1) &&
         sched_setscheduler(0, SCHED_FIFO, &first) == 0;
}

static int storm(long count, char **frames, int frame_count) {
  const int corrupt = open("/sys/kernel/debug/hwpoison/corrupt-pfn", O_WRONLY | O_CLOEXEC);
  const int mend = open("/sys/kernel/debug/hwpoison/unpoison-pfn", O_WRONLY | O_CLOEXEC);
  if (corrupt < 0 || mend < 0) return fail("/sys/kernel/debug/hwpoison");
  if (!keep_cpu()) return fail("SCHED_FIFO");
  for (long i = 0; i < count; ++i) {
    const char *frame = frames[i % frame_count];
    if (put(mend, frame) != 0) return fail("unpoison-pfn");
    if (put(corrupt, frame) != 0) return fail("corrupt-pfn");
  }
  return 0;
}

static uint64_t now_us(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

/* As a memory controller reports them (Intel SDM volume 3, chapter 17: corrected, count 1, channel
 * 0), by the kernel's own injector, which logs and raises nothing ("sw": arch/x86/kernel/cpu/mce).
 * Each write to `bank` logs one, and forgets the other values. */
static int check_at(const int *file, const char *address) {
  return put(file[0], "0x8c00004000010090") || put(file[1], "0x8c") || put(file[2], address) ||
         put(file[3], "1");
}

/* In small bursts: the kernel has room for 80 that it has not traced yet (mce/genpool.c). */
static int checks(long rate, long seconds, char **frames, int frame_count) {
  static const char *const kFiles[] = {"status", "misc", "addr", "bank", "flags"};
  enum { kFlags = 4, kBurst = 20 };
  int file[kFlags + 1];
  for (int i = 0; i <= kFlags; ++i) {
    char path[64];
    snprintf(path, sizeof path, "/sys/kernel/debug/mce-inject/%s", kFiles[i]);
    file[i] = open(path, O_WRONLY | O_CLOEXEC);
    if (file[i] < 0) return fail(path);
  }
  /* The injector looks at registers of CPU 0 each time, which takes an interrupt from elsewhere. */
  if (!use_cpu(0) || put(file[kFlags], "sw\n") != 0) return fail("mce-inject");
  const uint64_t start = now_us();
  long done = 0;
  for (; done < rate * seconds; ++done) {
    char address[32];
    snprintf(address, sizeof address, "0x%llx",
             strtoull(frames[done % frame_count], NULL, 0) * (unsigned long long)getpagesize());
    if (check_at(file, address) != 0) return fail("mce-inject");
    if (done % kBurst != 0) continue;
    const uint64_t due = start + (uint64_t)done * 1000000 / (uint64_t)rate;
    const uint64_t now = now_us();
    usleep(due > now ? (useconds_t)(due - now) : 0);
  }
  printf("%ld %llu\n", done, (unsigned long long)(now_us() - start) / 1000);
  return 0;
}

int main(int argc, char **argv) {
  if (argc > 4 && strcmp(argv[1], "checks") == 0) {
    return checks(atol(argv[2]), atol(argv[3]), argv + 4, argc - 4);
  }
  if (argc == 3 && strcmp(argv[1], "hold") == 0) return hold(argv[2]);
  if (argc == 2) return poison(argv[1]);
  if (argc > 3 && strcmp(argv[1], "storm") == 0) return storm(atol(argv[2]), argv + 3, argc - 3);
  fprintf(
      stderr,
      "usage: poison_memory KIND | hold KIND | storm COUNT PFN... | checks RATE SECONDS PFN...\n");
  return 1;
}
