/* A kexec tool that makes the memory map of the next kernel itself, as a VMM or a boot loader
 * would: by hand, so that nothing of poisonctl but the map decides what that kernel takes for RAM.
 *
 *   load_kernel KERNEL INITRAMFS COMMAND_LINE table FILE       struct boot_e820_entry[], the whole
 * map load_kernel KERNEL INITRAMFS COMMAND_LINE setup-data FILE  struct setup_data; the firmware's
 * own map goes into the zero page
 *
 * Loads with kexec_load(2); `kexec -e` starts it. x86-64, entered at its 64-bit entry point
 * (Documentation/arch/x86/boot.rst, "64-bit Boot Protocol"; offsets of the zero page:
 * Documentation/arch/x86/zero-page.rst). The kernel sets its own GDT up before it uses one
 * (arch/x86/boot/compressed/head_64.S).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/kexec.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
  kPage = 4096,
  /* In the zero page, from which on setup_header is copied, and its fields. */
  kE820Count = 0x1e8,
  kHeader = 0x1f1,
  kHeaderEnd = 0x201, /* the byte that says how far it goes, from 0x202 on */
  kLoaderType = 0x210,
  kRamdiskImage = 0x218,
  kRamdiskSize = 0x21c,
  kCommandLine = 0x228,
  kSetupData = 0x250,
  kPreferredAddress = 0x258,
  kInitSize = 0x260,
  kE820Table = 0x2d0,
  kE820Most = 128,
  kE820Size = 20,
  kEntry64 = 0x200,
  kUnknownLoader = 0xff,
};

/* All of it in conventional memory; the guests of the tests have RAM from 512 MiB on. */
static const uint64_t kStart = 0x10000; /* what the CPU runs first */
static const uint64_t kZeroPage = 0x11000;
static const uint64_t kLine = 0x12000;
static const uint64_t kExtra = 0x20000; /* setup_data */
static const uint64_t kRamdisk = 0x20000000;

struct text {
  unsigned char *data;
  size_t size;
};

static void fail(const char *what) {
  fprintf(stderr, "load_kernel: %s: %s\n", what, strerror(errno));
  exit(1);
}

static struct text read_file(const char *path) {
  struct text read_so_far = {NULL, 0};
  const int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) fail(path);
  for (;;) {
    enum { kPiece = 1 << 20 };
    read_so_far.data = realloc(read_so_far.data, read_so_far.size + kPiece);
    if (read_so_far.data == NULL) fail(path);
    const ssize_t got = read(file, read_so_far.data + read_so_far.size, kPiece);
    if (got < 0) fail(path);
    if (got == 0) break;
    read_so_far.size += (size_t)got;
  }
  close(file);
  return read_so_far;
}

static void put(unsigned char *at, uint64_t value, size_t size) { memcpy(at, &value, size); }
static uint64_t get(const unsigned char *at, size_t size) {
  uint64_t value = 0;
  memcpy(&value, at, size);
  return value;
}

static void line_of(unsigned number, const char *name, char *line, int size) {
  char path[128];
  snprintf(path, sizeof path, "/sys/firmware/memmap/%u/%s", number, name);
  FILE *const file = fopen(path, "re");
  if (file == NULL || fgets(line, size, file) == NULL) fail(path);
  fclose(file);
}

/* What the firmware told the kernel that runs. */
static size_t firmware_map(unsigned char *entries) {
  size_t count = 0;
  for (;; ++count) {
    char folder[64];
    struct stat there;
    snprintf(folder, sizeof folder, "/sys/firmware/memmap/%zu", count);
    if (stat(folder, &there) != 0) return count;
    if (count == kE820Most) break;
    char start[64], end[64], type[64];
    line_of((unsigned)count, "start", start, sizeof start);
    line_of((unsigned)count, "end", end, sizeof end);
    line_of((unsigned)count, "type", type, sizeof type);
    const uint64_t from = strtoull(start, NULL, 0);
    const uint64_t to = strtoull(end, NULL, 0);
    const int ram = strcmp(type, "System RAM\n") == 0;
    put(entries + count * kE820Size, from, 8);
    put(entries + count * kE820Size + 8, to - from + 1, 8);
    put(entries + count * kE820Size + 16, ram ? 1 : 2, 4);
  }
  fprintf(stderr, "load_kernel: the firmware's map has more than %d entries\n", kE820Most);
  exit(1);
}

static size_t whole_pages(size_t size) { return (size + kPage - 1) / kPage * kPage; }

int main(int argc, char **argv) {
  if (argc != 6) {
    fprintf(stderr, "load_kernel: expected KERNEL INITRAMFS COMMAND_LINE table|setup-data FILE\n");
    return 1;
  }
  const struct text kernel = read_file(argv[1]);
  const struct text ramdisk = read_file(argv[2]);
  const struct text map = read_file(argv[5]);
  const int is_table = strcmp(argv[4], "table") == 0;
  static unsigned char zero_page[kPage], line[kPage], start[kPage];

  if (kernel.size < kPage || strlen(argv[3]) >= sizeof line) {
    fprintf(stderr, "load_kernel: no kernel image, or a command line that is too long\n");
    return 1;
  }
  const size_t sectors = kernel.data[kHeader] == 0 ? 4 : kernel.data[kHeader];
  const size_t setup_size = (sectors + 1) * 512;
  memcpy(line, argv[3], strlen(argv[3]));

  const size_t header_end = 0x202 + (size_t)kernel.data[kHeaderEnd];
  memcpy(zero_page + kHeader, kernel.data + kHeader, header_end - kHeader);
  zero_page[kLoaderType] = kUnknownLoader;
  put(zero_page + kRamdiskImage, kRamdisk, 4);
  put(zero_page + kRamdiskSize, ramdisk.size, 4);
  put(zero_page + kCommandLine, kLine, 4);
  size_t entries = 0;
  if (is_table) {
    entries = map.size / kE820Size;
    if (entries > kE820Most || map.size % kE820Size != 0) {
      fprintf(stderr, "load_kernel: %s: %zu bytes are no table for the zero page\n", argv[5],
              map.size);
      return 1;
    }
    memcpy(zero_page + kE820Table, map.data, map.size);
  } else {
    entries = firmware_map(zero_page + kE820Table);
    put(zero_page + kSetupData, kExtra, 8);
  }
  zero_page[kE820Count] = (unsigned char)entries;

  const uint64_t place = get(kernel.data + kPreferredAddress, 8);
  /* mov rsi, ZERO_PAGE; mov rax, ENTRY; jmp rax */
  memcpy(start, "\x48\xbe", 2);
  put(start + 2, kZeroPage, 8);
  memcpy(start + 10, "\x48\xb8", 2);
  put(start + 12, place + kEntry64, 8);
  memcpy(start + 20, "\xff\xe0", 2);

  const struct kexec_segment segments[] = {
      {start, sizeof start, (void *)kStart, kPage},
      {zero_page, sizeof zero_page, (void *)kZeroPage, kPage},
      {line, sizeof line, (void *)kLine, kPage},
      /* Room to unpack itself in. */
      {kernel.data + setup_size, kernel.size - setup_size, (void *)place,
       whole_pages(get(kernel.data + kInitSize, 4))},
      {ramdisk.data, ramdisk.size, (void *)kRamdisk, whole_pages(ramdisk.size)},
      {map.data, map.size, (void *)kExtra, whole_pages(map.size)},
  };
  const size_t count = sizeof segments / sizeof segments[0] - (is_table ? 1 : 0);
  if (syscall(SYS_kexec_load, kStart, count, segments, KEXEC_ARCH_X86_64) != 0) fail("kexec_load");
  return 0;
}
