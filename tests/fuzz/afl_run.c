/* What happens before main() of each run of a program that AFL++ fuzzes as a whole; for LD_PRELOAD
 * (AFL_PRELOAD), in the sandbox that tests/fuzz/afl makes and nowhere else.
 *
 * AFL++ hands the input over as standard input. Each run begins in /fuzz/work, emptied of what the
 * run before has left there and filled with a copy of /fuzz/template. Then
 * - with FUZZ_INPUT=NAME, the input becomes that file, and the arguments are those of the command;
 * - without it, each line of the input up to its first NUL is an argument, and what follows the NUL
 *   becomes the file "input" and standard input. So an argument is empty or holds any byte but two.
 *
 * The constructor of afl-clang-fast's runtime is where the fork server waits. glibc runs
 * constructors in __libc_start_main() before main(), so what stands in for main() here runs once
 * for each input, in a process that is its own.
 *
 * When this file cannot do its part it ends the run with abort(): that is a crash, so that nobody
 * takes runs for tests that were none. */
#define _GNU_SOURCE /* nftw, on_exit */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define TEMPLATE "/fuzz/template"
#define WORK "/fuzz/work"

enum {
  MOST_INPUT = 1 << 20, /* MAX_FILE of AFL++ */
  MOST_ARGUMENTS = 256,
  MOST_FOLDERS_OPEN = 16,
  WATCH_MILLISECONDS = 200,
};

typedef int (*Main)(int, char**, char**);

static Main real_main;

static void must(int holds, const char* what) {
  if (holds) return;
  fprintf(stderr, "afl_run: %s: %s\n", what, strerror(errno));
  abort();
}

static int remove_entry(const char* path, const struct stat* status, int type, struct FTW* where) {
  (void)status;
  (void)type;
  if (where->level > 0) must(remove(path) == 0, path);
  return 0;
}

static void write_file(const char* path, const char* bytes, size_t size) {
  const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  must(fd >= 0 && write(fd, bytes, size) == (ssize_t)size && close(fd) == 0, path);
}

static int copy_entry(const char* path, const struct stat* status, int type, struct FTW* where) {
  static char bytes[MOST_INPUT];
  if (where->level == 0) return 0;
  const char* name = path + sizeof(TEMPLATE);
  if (type == FTW_D) {
    must(mkdir(name, 0700) == 0, name);
    return 0;
  }
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  must(fd >= 0, path);
  const ssize_t size = read(fd, bytes, sizeof(bytes));
  must(size == status->st_size, path);
  must(close(fd) == 0, path);
  write_file(name, bytes, (size_t)size);
  return 0;
}

/* Standard input, with a NUL behind it. It may be read again. */
static char* read_input(size_t* size) {
  static char bytes[MOST_INPUT + 2];
  *size = 0;
  for (;;) {
    const ssize_t got = pread(STDIN_FILENO, bytes + *size, MOST_INPUT - *size, (off_t)*size);
    must(got >= 0, "standard input");
    if (got == 0) return bytes;
    *size += (size_t)got;
  }
}

static void end_quietly(int signal_number) {
  (void)signal_number;
  _exit(0);
}

/* 'watch' runs until SIGTERM. It gets one, so that its way out is run too, and that it waits is no
 * hang. Where it has no handler of its own yet, the run is over. */
static void end_watch_soon(void) {
  struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGTERM};
  const struct itimerspec soon = {.it_value = {.tv_nsec = WATCH_MILLISECONDS * 1000000L}};
  timer_t timer;
  must(signal(SIGTERM, end_quietly) != SIG_ERR, "signal");
  must(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0, "timer_create");
  must(timer_settime(timer, 0, &soon, NULL) == 0, "timer_settime");
}

/* The lines of the input up to its first NUL, behind the name of the program; then NULL. */
static int split_arguments(char* text, char** arguments) {
  int count = 1;
  while (*text != '\0' && count < MOST_ARGUMENTS) {
    arguments[count++] = text;
    text += strcspn(text, "\n");
    if (*text == '\n') *text++ = '\0';
  }
  arguments[count] = NULL;
  return count;
}

/* Registered first, this comes last of what the program registers. What is left out of exit(3) is
 * that AddressSanitizer forgets each global, which costs a short run more than the program does. */
static void end_here(int status, void* unused) {
  (void)unused;
  fflush(NULL);
  _exit(status);
}

static int run_once(int argc, char** argv, char** environment) {
  static char* arguments[MOST_ARGUMENTS + 1];
  size_t size;
  char* input = read_input(&size);
  must(on_exit(end_here, NULL) == 0, "on_exit");
  must(nftw(WORK, remove_entry, MOST_FOLDERS_OPEN, FTW_DEPTH | FTW_PHYS) == 0, WORK);
  must(chdir(WORK) == 0, WORK);
  must(nftw(TEMPLATE, copy_entry, MOST_FOLDERS_OPEN, FTW_PHYS) == 0, TEMPLATE);
  const char* name = getenv("FUZZ_INPUT");
  if (name != NULL) {
    write_file(name, input, size);
    return real_main(argc, argv, environment);
  }
  const size_t words = strlen(input);
  const size_t behind = words < size ? words + 1 : size;
  write_file("input", input + behind, size - behind);
  must(lseek(STDIN_FILENO, (off_t)behind, SEEK_SET) >= 0, "standard input");
  arguments[0] = argv[0];
  argc = split_arguments(input, arguments);
  for (int i = 1; i < argc; ++i) {
    if (strcmp(arguments[i], "watch") == 0) end_watch_soon();
  }
  return real_main(argc, arguments, environment);
}

int __libc_start_main(Main program, int argc, char** argv, void (*init)(void), void (*fini)(void),
                      void (*loader_fini)(void), void* stack_end) {
  typedef int (*Start)(Main, int, char**, void (*)(void), void (*)(void), void (*)(void), void*);
  /* ISO C knows no way from a data pointer to one to a function. */
  Start start;
  void* found = dlsym(RTLD_NEXT, "__libc_start_main");
  must(found != NULL, "__libc_start_main");
  memcpy(&start, &found, sizeof(start));
  real_main = program;
  return start(run_once, argc, argv, init, fini, loader_fini, stack_end);
}
