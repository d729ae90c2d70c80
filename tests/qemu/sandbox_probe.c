/* Tries what a service of ours must not do, and what some of them need; runs in the place of one,
 * in its sandbox.
 *
 *   sandbox_probe   prints a line for each: its name, and "done", the name of an error, or "signal
 * N"
 *
 * Each try is a process of its own, for a filter of system calls may kill it. Whoever runs this
 * says which of them have to fail. Nothing that is done outlives the probe, but files named probe.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/netlink.h>
#include <linux/reboot.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* These return 0 for what was done, and an errno otherwise. */
static int result(long value) { return value < 0 ? errno : 0; }

static int create(const char *path) {
  return result(open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
}

static int open_to_write(const char *path) { return result(open(path, O_WRONLY | O_CLOEXEC)); }

static int write_etc(void) { return create("/etc/probe"); }
static int write_usr(void) { return create("/usr/probe"); }
static int write_boot(void) { return create("/boot/probe"); }
static int write_state(void) { return create("/var/lib/poisonctl/probe"); }
static int write_run(void) { return create("/run/poisonctl/probe"); }
static int write_units(void) { return create("/run/systemd/system/probe"); }
static int write_exporter(void) { return create("/var/lib/prometheus/node-exporter/probe"); }
static int write_sysctl(void) { return open_to_write("/proc/sys/kernel/core_pattern"); }
static int write_trace(void) {
  return open_to_write("/sys/kernel/tracing/events/ras/mc_event/enable");
}
static int write_memory(void) { return open_to_write("/dev/mem"); }
static int write_disk(void) { return open_to_write("/dev/vda"); }
static int read_home(void) { return result(open("/home/secret", O_RDONLY | O_CLOEXEC)); }

/* No machine of the tests has memory there. The capability is asked for first
 * (drivers/base/memory.c, hard_offline_page_store); then memory_failure() has its own answers, by
 * version ENXIO or EBUSY. */
static int retire(void) {
  static const char address[] = "0xffffffff000\n";
  const int file = open("/sys/devices/system/memory/hard_offline_page", O_WRONLY | O_CLOEXEC);
  if (file < 0) {
    return errno;
  }
  return write(file, address, sizeof address - 1) < 0 && errno == EPERM ? errno : 0;
}

static int read_page_flags(void) {
  unsigned char flags[8];
  const int file = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC);
  return file < 0 ? errno : result(read(file, flags, sizeof flags));
}

static int unix_socket(void) { return result(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)); }
static int inet_socket(void) { return result(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)); }
static int netlink_socket(void) {
  return result(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
}
static int packet_socket(void) { return result(socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0)); }

/* Allowed to load, the kernel looks at the file, which there is not. */
static int load_module(void) {
  return syscall(SYS_finit_module, -1, "", 0) < 0 && errno != EBADF ? errno : 0;
}

static int load_kernel(void) { return result(syscall(SYS_kexec_load, 0UL, 0UL, NULL, 0UL)); }

static int load_bpf(void) {
  union bpf_attr map = {
      .map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 4, .max_entries = 1};
  return result(syscall(SYS_bpf, BPF_MAP_CREATE, &map, sizeof map));
}

static int new_user_namespace(void) { return result(unshare(CLONE_NEWUSER)); }
static int new_mount_namespace(void) { return result(unshare(CLONE_NEWNS)); }
static int new_network(void) { return result(unshare(CLONE_NEWNET)); }

static int trace_process(void) { return result(ptrace(PTRACE_SEIZE, getppid(), NULL, NULL)); }

static int make_device(void) {
  return result(mknod("/var/lib/poisonctl/probe-device", S_IFCHR | 0600, makedev(1, 3)));
}

static int mount_something(void) {
  if (mount("probe", "/mnt", "tmpfs", MS_NOSUID, NULL) != 0) {
    return errno;
  }
  return result(umount2("/mnt", MNT_DETACH));
}

static int change_personality(void) { return result(personality(PER_LINUX32)); }

static int write_and_execute(void) {
  return mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) ==
                 MAP_FAILED
             ? errno
             : 0;
}

static int run_in_real_time(void) {
  const struct sched_param priority = {.sched_priority = 1};
  return result(sched_setscheduler(0, SCHED_FIFO, &priority));
}

static int make_setuid(void) { return result(fchmod(memfd_create("probe", MFD_CLOEXEC), 04755)); }

static int set_clock(void) {
  struct timespec now;
  return clock_gettime(CLOCK_REALTIME, &now) != 0 ? errno
                                                  : result(clock_settime(CLOCK_REALTIME, &now));
}

static int set_hostname(void) {
  struct utsname names;
  return uname(&names) != 0 ? errno : result(sethostname(names.nodename, strlen(names.nodename)));
}

/* The mildest of its orders: what Ctrl-Alt-Del does. */
static int reboot_machine(void) {
  return result(syscall(SYS_reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2,
                        LINUX_REBOOT_CMD_CAD_OFF, NULL));
}

static const struct {
  const char *name;
  int (*attempt)(void);
} ATTEMPTS[] = {
    {"write-etc", write_etc},
    {"write-usr", write_usr},
    {"write-boot", write_boot},
    {"write-state", write_state},
    {"write-run", write_run},
    {"write-units", write_units},
    {"write-exporter", write_exporter},
    {"write-sysctl", write_sysctl},
    {"write-trace", write_trace},
    {"write-memory", write_memory},
    {"write-disk", write_disk},
    {"read-home", read_home},
    {"retire", retire},
    {"read-page-flags", read_page_flags},
    {"unix-socket", unix_socket},
    {"inet-socket", inet_socket},
    {"netlink-socket", netlink_socket},
    {"packet-socket", packet_socket},
    {"load-module", load_module},
    {"load-kernel", load_kernel},
    {"load-bpf", load_bpf},
    {"new-user-namespace", new_user_namespace},
    {"new-mount-namespace", new_mount_namespace},
    {"new-network", new_network},
    {"ptrace", trace_process},
    {"mknod", make_device},
    {"mount", mount_something},
    {"personality", change_personality},
    {"write-and-execute", write_and_execute},
    {"real-time", run_in_real_time},
    {"setuid", make_setuid},
    {"clock", set_clock},
    {"hostname", set_hostname},
    {"reboot", reboot_machine},
};

int main(void) {
  for (size_t i = 0; i < sizeof ATTEMPTS / sizeof *ATTEMPTS; ++i) {
    const pid_t child = fork();
    if (child == 0) {
      _exit(ATTEMPTS[i].attempt());
    }
    int status = 0;
    if (child < 0 || waitpid(child, &status, 0) != child) {
      perror(ATTEMPTS[i].name);
      return 1;
    }
    if (WIFSIGNALED(status)) {
      printf("%s signal %d\n", ATTEMPTS[i].name, WTERMSIG(status));
    } else {
      const char *error = strerrorname_np(WEXITSTATUS(status));
      printf("%s %s\n", ATTEMPTS[i].name, WEXITSTATUS(status) == 0 ? "done" : error);
    }
  }
  return fflush(stdout) == 0 ? 0 : 1;
}
