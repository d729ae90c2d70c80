/*
 * Takes nearly all free memory of a test guest and tells which frames it got.
 *
 * usage: alloc_sweep [PFN...]      PFNs in decimal, or hexadecimal with 0x
 *
 * Prints one JSON line:
 *   free      frames that were free before (BUDDY in /proc/kpageflags)
 *   taken     how many of these frames this program was given
 *   coverage  taken / free
 *   frames    frames it was given in all, those included that were not free before
 *   passes    how often memory was taken; the numbers above are for all passes together
 *   huge      whether it was given transparent huge pages
 *   locked    whether the memory could be locked
 *   got       those of the PFNs given as arguments that it was given
 *
 * A frame that is kept out of the allocator is never in "got"; a frame that the allocator hands out
 * is there with the probability "coverage".
 *
 * The memory is taken by a child process that volunteers for the OOM killer, so that a guest that
 * runs out of memory loses the child and nothing else; then a new child leaves more.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>
#include <sys/wait.h>
#include <unistd.h>

/* include/uapi/linux/kernel-page-flags.h, Documentation/admin-guide/mm/pagemap.rst */
#define KPF_BUDDY 10
#define KPF_THP 22
#define PAGEMAP_PRESENT (1ULL << 63)
#define PAGEMAP_PFN_MASK ((1ULL << 55) - 1)

#define BATCH 4096 /* entries of 8 bytes read at once */
#define PASSES 2
#define ATTEMPTS 4

/*
 * What is left free, so that the OOM killer is not called: a little for the rest of the guest, and
 * the share of low memory that the kernel does not give to programs (vm.lowmem_reserve_ratio: one
 * in 256). What the kernel keeps for itself, vm.min_free_kbytes, is much more than this once huge
 * pages are on; it is lowered meanwhile.
 */
#define RESERVE_BYTES (4UL << 20)
#define RESERVE_SHARE 256
#define MIN_FREE_KBYTES 1024UL
#define MIN_FREE_FILE "/proc/sys/vm/min_free_kbytes"

struct shared {
  unsigned long reserve_frames;
  bool locked;
  bool huge;
};

static size_t page_size;
static unsigned long restore_min_free; /* 0: was not changed */
static uint64_t end_pfn;               /* one more than the highest frame */
static uint8_t *got_map;               /* one bit for each frame, shared with the children */
static uint8_t *free_map;
static struct shared *shared;

static bool test_bit(const uint8_t *map, uint64_t pfn) { return (map[pfn / 8] >> (pfn % 8)) & 1; }

static void set_bit(uint8_t *map, uint64_t pfn) { map[pfn / 8] |= (uint8_t)(1U << (pfn % 8)); }

static unsigned long swap_min_free(unsigned long kbytes) {
  unsigned long before = 0;
  FILE *file = fopen(MIN_FREE_FILE, "r+");
  if (!file) return 0;
  if (fscanf(file, "%lu", &before) == 1) {
    rewind(file);
    fprintf(file, "%lu\n", kbytes);
  }
  fclose(file);
  return before;
}

static void __attribute__((format(printf, 1, 2), noreturn)) die(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  fputs("alloc_sweep: ", stderr);
  vfprintf(stderr, format, arguments);
  fputs("\n", stderr);
  va_end(arguments);
  if (restore_min_free) swap_min_free(restore_min_free);
  exit(1);
}

static void *map_shared(size_t size) {
  void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) die("cannot map %zu bytes: %s", size, strerror(errno));
  return memory;
}

static unsigned long free_frames_now(void) {
  struct sysinfo info;
  if (sysinfo(&info)) die("sysinfo: %s", strerror(errno));
  return (unsigned long)((uint64_t)info.freeram * info.mem_unit / page_size);
}

/* Calls back for each frame in /proc/kpageflags, which ends with the highest; returns the count. */
static uint64_t each_frame_flags(void (*take)(uint64_t pfn, uint64_t flags)) {
  static uint64_t entries[BATCH];
  int file = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC);
  if (file < 0) die("/proc/kpageflags: %s; expected to run as root", strerror(errno));
  uint64_t pfn = 0;
  ssize_t count;
  while ((count = read(file, entries, sizeof entries)) > 0) {
    for (size_t i = 0; i < (size_t)count / sizeof *entries; i++) take(pfn++, entries[i]);
  }
  if (pfn == 0) die("/proc/kpageflags: nothing could be read");
  close(file);
  return pfn;
}

static void note_nothing(uint64_t pfn, uint64_t flags) {
  (void)pfn;
  (void)flags;
}

static void note_free(uint64_t pfn, uint64_t flags) {
  if (flags >> KPF_BUDDY & 1) set_bit(free_map, pfn);
}

static void note_huge(uint64_t pfn, uint64_t flags) {
  if ((flags >> KPF_THP & 1) && test_bit(got_map, pfn)) shared->huge = true;
}

static void look_up_frames(const char *memory, size_t frames) {
  static uint64_t entries[BATCH];
  int file = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
  if (file < 0) die("/proc/self/pagemap: %s", strerror(errno));
  for (size_t first = 0; first < frames; first += BATCH) {
    size_t count = frames - first < BATCH ? frames - first : BATCH;
    off_t offset = (off_t)(((uintptr_t)memory / page_size + first) * sizeof *entries);
    ssize_t length = pread(file, entries, count * sizeof *entries, offset);
    if (length != (ssize_t)(count * sizeof *entries))
      die("/proc/self/pagemap: expected %zu entries: %s", count, strerror(errno));
    for (size_t i = 0; i < count; i++) {
      if (!(entries[i] & PAGEMAP_PRESENT)) continue;
      uint64_t pfn = entries[i] & PAGEMAP_PFN_MASK;
      if (pfn == 0) die("/proc/self/pagemap shows no frame numbers; expected CAP_SYS_ADMIN");
      if (pfn < end_pfn) set_bit(got_map, pfn);
    }
  }
  close(file);
}

static void volunteer_for_oom_killer(void) {
  FILE *file = fopen("/proc/self/oom_score_adj", "w");
  if (!file) return;
  fputs("1000\n", file);
  fclose(file);
}

/* The child: touches memory until only the reserve is free, then notes the frames behind it. */
static int take_memory(size_t most_frames) {
  volunteer_for_oom_killer();
  size_t size = most_frames * page_size;
  char *memory =
      mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) die("cannot map %zu bytes: %s", size, strerror(errno));
  /* Locked memory does not change its frames behind our back; without, the result still is true
   * for the moment at which it is read. */
  shared->locked = mlock2(memory, size, MLOCK_ONFAULT) == 0;
  size_t touched = 0;
  while (touched < most_frames) {
    unsigned long left = free_frames_now();
    if (left <= shared->reserve_frames) break;
    /* One touch may take a huge page: go on in steps of which even that is a small part, and
     * without huge pages when little is left. */
    size_t step = (left - shared->reserve_frames) / 4 + 1;
    if (left < 8 * shared->reserve_frames)
      madvise(memory + touched * page_size, size - touched * page_size, MADV_NOHUGEPAGE);
    for (size_t i = 0; i < step && touched < most_frames; i++) memory[touched++ * page_size] = 1;
  }
  look_up_frames(memory, touched);
  each_frame_flags(note_huge);
  return 0;
}

static void run_pass(size_t most_frames) {
  for (int attempt = 1; attempt <= ATTEMPTS; attempt++) {
    pid_t child = fork();
    if (child < 0) die("fork: %s", strerror(errno));
    if (child == 0) {
      restore_min_free = 0; /* the parent does it */
      _exit(take_memory(most_frames));
    }
    int status = 0;
    if (waitpid(child, &status, 0) < 0) die("waitpid: %s", strerror(errno));
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return;
    if (!WIFSIGNALED(status)) die("the process that takes the memory failed");
    shared->reserve_frames *= 2; /* the OOM killer got it */
  }
  die("the process that takes the memory was killed %d times; too little memory is free", ATTEMPTS);
}

static void print_result(int count, char **words) {
  uint64_t free_frames = 0, taken = 0, frames = 0;
  for (size_t byte = 0; byte < end_pfn / 8 + 1; byte++) {
    frames += (uint64_t)__builtin_popcount(got_map[byte]);
    free_frames += (uint64_t)__builtin_popcount(free_map[byte]);
    taken += (uint64_t)__builtin_popcount(got_map[byte] & free_map[byte]);
  }
  printf("{\"free\":%" PRIu64 ",\"taken\":%" PRIu64 ",\"coverage\":%.4f,\"frames\":%" PRIu64
         ",\"passes\":%d,\"huge\":%s,\"locked\":%s,\"got\":[",
         free_frames, taken, free_frames ? (double)taken / (double)free_frames : 0.0, frames,
         PASSES, shared->huge ? "true" : "false", shared->locked ? "true" : "false");
  const char *comma = "";
  for (int i = 0; i < count; i++) {
    uint64_t pfn = strtoull(words[i], NULL, 0);
    if (pfn >= end_pfn || !test_bit(got_map, pfn)) continue;
    printf("%s%" PRIu64, comma, pfn);
    comma = ",";
  }
  puts("]}");
}

int main(int argc, char **argv) {
  for (int i = 1; i < argc; i++) {
    char *end;
    errno = 0;
    strtoull(argv[i], &end, 0);
    if (errno || end == argv[i] || *end) die("'%s': expected a frame number", argv[i]);
  }
  page_size = (size_t)sysconf(_SC_PAGESIZE);
  end_pfn = each_frame_flags(note_nothing);
  got_map = map_shared(end_pfn / 8 + 1);
  free_map = map_shared(end_pfn / 8 + 1);
  shared = map_shared(sizeof *shared);

  struct sysinfo info;
  if (sysinfo(&info)) die("sysinfo: %s", strerror(errno));
  size_t most_frames = (size_t)((uint64_t)info.totalram * info.mem_unit / page_size);
  shared->reserve_frames = RESERVE_BYTES / page_size + most_frames / RESERVE_SHARE;

  each_frame_flags(note_free);
  restore_min_free = swap_min_free(MIN_FREE_KBYTES);
  for (int pass = 0; pass < PASSES; pass++) run_pass(most_frames);
  if (restore_min_free) swap_min_free(restore_min_free);
  print_result(argc - 1, argv + 1);
  return fflush(stdout) ? 1 : 0;
}
