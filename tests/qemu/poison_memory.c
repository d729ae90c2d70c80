/* Poisons memory in a guest, the ways that a program can.
 *
 *   poison_memory anon|file|thp|hugetlb|soft   a page of that kind, by madvise(2); prints its frame
 *   poison_memory storm COUNT PFN...           unpoison-pfn and corrupt-pfn, COUNT times; the
 * frames are poisoned before and after
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

static int poison(const char *kind) {
  const int advice = strcmp(kind, "soft") == 0 ? MADV_SOFT_OFFLINE : MADV_HWPOISON;
  char *memory = map(kind);
  if (memory == MAP_FAILED) return fail(kind);
  *memory = 1;
  const uint64_t frame = frame_of(memory);
  if (frame == 0) return fail("pagemap");
  const size_t size = strcmp(kind, "hugetlb") == 0 ? (size_t)kHuge : (size_t)getpagesize();
  printf("%#llx\n", (unsigned long long)frame);
  fflush(stdout);
  signal(SIGBUS, bus_error);
  return madvise(memory, size, advice) == 0 ? 0 : fail("madvise");
}

static int put(int file, const char *text) {
  return write(file, text, strlen(text)) == (ssize_t)strlen(text) ? 0 : 1;
}

/* A frame is free for a moment, on the free list of this CPU: nobody else may run here then. */
static int keep_cpu(void) {
  cpu_set_t last;
  const struct sched_param first = {.sched_priority = 1};
  CPU_ZERO(&last);
  CPU_SET((size_t)sysconf(_SC_NPROCESSORS_ONLN) - 1, &last);
  return sched_setaffinity(0, sizeof last, &last) == 0 &&
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

int main(int argc, char **argv) {
  if (argc == 2) return poison(argv[1]);
  if (argc > 3 && strcmp(argv[1], "storm") == 0) return storm(atol(argv[2]), argv + 3, argc - 3);
  fprintf(stderr, "usage: poison_memory KIND | storm COUNT PFN...\n");
  return 1;
}
