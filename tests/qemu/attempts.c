/* What a service may do: attempts things inside its sandbox, and tells how each ended.
 *
 *   attempts FOLDER
 *       FOLDER is one that the service writes; there is a file /root/attempts. One line each: a word, and "allowed" or the name of
 *       the errno. What was made is removed again. Ends with status 0.
 *
 * The modules, kernels and programs that are loaded are nonsense: where the attempt is allowed it
 * fails for that reason, and that errno is told. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/bpf.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/ptrace.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

static void tell(const char *word, int failed) {
  printf("%s %s\n", word, failed == 0 ? "allowed" : strerrorname_np(failed));
}

static int result(long returned) { return returned < 0 ? errno : 0; }

static int make_file(const char *folder, mode_t mode) {
  char path[PATH_MAX];
  snprintf(path, sizeof path, "%s/attempts.%d", folder, (int)getpid());
  const int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0) return errno;
  const int failed = mode == 0 ? 0 : result(fchmod(fd, mode));
  close(fd);
  unlink(path);
  return failed;
}

static int make_device(const char *folder) {
  char path[PATH_MAX];
  snprintf(path, sizeof path, "%s/attempts.%d", folder, (int)getpid());
  const int failed = result(mknod(path, S_IFBLK | 0600, makedev(7, 0)));
  if (failed == 0) unlink(path);
  return failed;
}

static int open_only(const char *path, int flags) {
  const int fd = open(path, flags | O_CLOEXEC);
  if (fd < 0) return errno;
  close(fd);
  return 0;
}

static int make_socket(int family, int type) {
  const int fd = socket(family, type | SOCK_CLOEXEC, 0);
  if (fd < 0) return errno;
  close(fd);
  return 0;
}

static int map_code(void) {
  void *const at =
      mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (at == MAP_FAILED) return errno;
  munmap(at, 4096);
  return 0;
}

int main(int argc, char **argv) {
  if (argc != 2) {
    fprintf(stderr, "usage: attempts FOLDER\n");
    return 64;
  }
  /* What services are for. */
  tell("state", make_file(argv[1], 0));
  tell("flags", open_only("/proc/kpageflags", O_RDONLY));
  tell("retire", open_only("/sys/devices/system/memory/hard_offline_page", O_WRONLY));
  tell("boot", make_file("/boot", 0));
  tell("etc", make_file("/etc", 0));
  tell("inet", make_socket(AF_INET, SOCK_STREAM));

  /* What none of them is for. */
  tell("usr", make_file("/usr", 0));
  tell("home", open_only("/root/attempts", O_RDONLY));
  tell("packet", make_socket(AF_PACKET, SOCK_RAW));
  tell("namespace", result(unshare(CLONE_NEWUSER)));
  tell("mount", result(mount("none", argv[1], "tmpfs", 0, NULL)));
  tell("device", make_device(argv[1]));
  tell("setuid", make_file(argv[1], 04755));
  tell("code", map_code());
  tell("personality", result(personality(ADDR_NO_RANDOMIZE)));
  tell("trace", result(ptrace(PTRACE_ATTACH, 1, NULL, NULL)));
  tell("module", result(syscall(SYS_init_module, "", 0UL, "")));
  tell("kexec", result(syscall(SYS_kexec_load, 0UL, 0UL, NULL, 0UL)));
  union bpf_attr program;
  memset(&program, 0, sizeof program);
  tell("bpf", result(syscall(SYS_bpf, BPF_PROG_LOAD, &program, sizeof program)));
  struct timespec present;
  clock_gettime(CLOCK_REALTIME, &present);
  tell("clock", result(clock_settime(CLOCK_REALTIME, &present)));
  tell("hostname", result(sethostname("other", 5)));
  tell("reboot", result(reboot(RB_DISABLE_CAD)));
  return 0;
}
