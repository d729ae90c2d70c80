#!/usr/bin/env python3
"""Makes each system call and each allocation of poisonctl fail once, and looks at what is left.

    fault_matrix.py --poisonctl PATH --poison-replay PATH --calls PATH --alloc PATH
                    [--all] [--only STEP,...] [--part calls,memory] [--jobs N] [--folder DIR]

Closes with the line `N passed, N failed`; exit status 1 when anything failed. README.md says what is
checked, the first comments of call_faults.c and alloc_faults.c how calls and allocations fail.
"""

import argparse
import concurrent.futures
import errno
import hashlib
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass

HERE = os.path.dirname(os.path.abspath(__file__))
DOCUMENTED = {0, 1, 65, 66, 69, 71, 73, 74, 75, 77}  # 64: we ask for nothing wrong; 70: a defect
HARNESS_FAILED = 125
SIGNALLED = 128
MOST_SHOWN = 25

# What may go wrong with a call: the errors that its manual page names, as far as they are about the
# machine and not about a mistake of ours. The first one is taken where only one is. Numbers are those
# of x86-64 (arch/x86/entry/syscalls/syscall_64.tbl). "short": half of the bytes; "after:": it was done,
# and fails all the same.
_PATH = ("EACCES", "EIO", "ENOMEM")
CALLS = {
    0: ("read", ("EIO", "EINTR", "short", "ENOMEM")),
    1: ("write", ("ENOSPC", "EIO", "EINTR", "short")),
    3: ("close", ("after:EIO", "after:EINTR")),
    4: ("stat", _PATH),
    5: ("fstat", ("EIO", "ENOMEM")),
    6: ("lstat", _PATH),
    7: ("poll", ("EINTR", "ENOMEM")),
    8: ("lseek", ("EIO",)),
    9: ("mmap", ("ENOMEM",)),
    10: ("mprotect", ("ENOMEM",)),
    11: ("munmap", ("ENOMEM",)),
    12: ("brk", ("ENOMEM",)),
    16: ("ioctl", ("EIO", "EINTR")),
    17: ("pread64", ("EIO", "EINTR", "short", "ENOMEM")),
    18: ("pwrite64", ("ENOSPC", "EIO", "EINTR", "short")),
    21: ("access", _PATH),
    25: ("mremap", ("ENOMEM",)),
    28: ("madvise", ("ENOMEM",)),
    41: ("socket", ("EMFILE", "EACCES")),
    42: ("connect", ("ECONNREFUSED", "EACCES")),
    44: ("sendto", ("EIO", "ENOMEM")),
    46: ("sendmsg", ("EIO", "ENOMEM")),
    56: ("clone", ("EAGAIN", "ENOMEM")),
    72: ("fcntl", ("EIO", "EINTR", "ENOLCK")),
    73: ("flock", ("EIO", "EINTR", "ENOLCK")),
    74: ("fsync", ("EIO", "ENOSPC", "EINTR")),
    75: ("fdatasync", ("EIO", "ENOSPC", "EINTR")),
    77: ("ftruncate", ("ENOSPC", "EIO", "EINTR")),
    79: ("getcwd", ("ENOMEM", "EACCES")),
    80: ("chdir", _PATH),
    82: ("rename", ("EIO", "ENOSPC", "EACCES")),
    83: ("mkdir", ("ENOSPC", "EACCES", "EIO")),
    84: ("rmdir", ("EACCES", "EIO")),
    87: ("unlink", ("EIO", "EACCES")),
    89: ("readlink", _PATH),
    90: ("chmod", ("EIO", "EPERM")),
    91: ("fchmod", ("EIO", "EPERM")),
    92: ("chown", ("EIO", "EPERM")),
    93: ("fchown", ("EIO", "EPERM")),
    95: ("umask", ()),
    137: ("statfs", _PATH),
    138: ("fstatfs", ("EIO",)),
    165: ("mount", ("EPERM", "ENODEV", "ENOMEM")),
    202: ("futex", ()),
    204: ("sched_getaffinity", ("ENOMEM",)),
    217: ("getdents64", ("EIO", "EINTR", "ENOMEM")),
    257: ("openat", ("EACCES", "EMFILE", "EIO", "ENOMEM", "EINTR", "ENOSPC")),
    258: ("mkdirat", ("ENOSPC", "EACCES", "EIO")),
    262: ("newfstatat", _PATH),
    263: ("unlinkat", ("EIO", "EACCES")),
    264: ("renameat", ("EIO", "ENOSPC", "EACCES")),
    265: ("linkat", ("EIO", "ENOSPC")),
    269: ("faccessat", _PATH),
    271: ("ppoll", ("EINTR", "ENOMEM")),
    285: ("fallocate", ("ENOSPC", "EIO", "EINTR")),
    289: ("signalfd4", ("EMFILE", "ENOMEM")),
    316: ("renameat2", ("EIO", "ENOSPC", "EACCES")),
    318: ("getrandom", ("EINTR", "EAGAIN")),
    319: ("memfd_create", ("EMFILE", "ENOMEM")),
    332: ("statx", _PATH),
    435: ("clone3", ("EAGAIN", "ENOMEM")),
    437: ("openat2", ("EACCES", "EMFILE", "EIO", "ENOMEM", "EINTR")),
    439: ("faccessat2", _PATH),
}
# Cannot fail, or only for a mistake of ours: rt_sigaction, rt_sigprocmask, sched_yield, getpid, exit,
# uname, getuid, geteuid, gettid, time, arch_prctl, set_tid_address, clock_gettime, exit_group, tgkill,
# set_robust_list, prlimit64, rseq, getsockname, rt_sigreturn, prctl, nanosleep, clock_nanosleep, membarrier.
CANNOT_FAIL = {13, 14, 15, 24, 35, 39, 60, 63, 102, 107, 157, 158, 186, 201, 218, 228, 230, 231, 234,
               273, 302, 324, 334, 51, 104, 108}

# ---- steps


@dataclass(frozen=True)
class Step:
    """A command, what it starts from, and how it ends undisturbed."""

    name: str
    arguments: tuple
    starts_from: str = ""  # a step
    status: int = 0
    program: str = "poisonctl"
    on_this_machine: bool = False  # without --sysroot: nothing is written but the registry
    options: tuple = ()  # of call_faults
    pauses: bool = False  # it waits between tries: few cases, if not --all
    between: int = 0  # events of the first of two transactions
    whole: bool = False  # of its answer a part is worse than nothing


STEPS = (
    Step("create", ("record", "0x3400000", "0x1000000", "--note", "slot A1")),
    Step("collect-kernel", ("collect", "kernel", "--threads", "1"), "create", between=4),
    Step("collect-threads", ("collect", "kernel", "--full", "--threads", "3"), "create", between=4),
    Step("collect-log", ("collect", "kernel-log", "{files}/kernel.log"), "create"),
    Step("collect-rasdaemon", ("collect", "rasdaemon", "{files}/ras-mc_event.db"), "create"),
    Step("plan", ("plan",), "collect-kernel"),
    Step("plan-shell", ("plan", "--shell"), "collect-kernel", whole=True),
    Step("emit", ("emit", "e820"), "collect-kernel"),
    Step("emit-initrd", ("emit", "initrd", "-o", "{out}/list.cpio"), "collect-kernel"),
    Step("apply", ("apply", "e820"), "create"),
    Step("apply-undo", ("apply", "e820", "--undo"), "apply"),
    Step("handover", ("handover", "make", "-o", "{out}/handover"), "create"),
    Step("replay", ("replay",), "create", status=1, pauses=True),
    Step("replay-early", (), "carried", status=1, program="poison-replay", pauses=True),
    Step("verify", ("verify",), "collect-kernel", status=1),
    Step("export", ("audit", "export", "-o", "{out}/bundle"), "collect-kernel"),
    Step("export-csv", ("audit", "export", "--format", "csv", "-o", "{out}/log.csv"), "collect-kernel"),
    Step("watch", ("watch",), "create", on_this_machine=True, options=("--term-at-wait", "1"), between=4,
         pauses=True),
)

BOOT_FILES = {
    "etc/default/grub": b'GRUB_DEFAULT=0\nGRUB_CMDLINE_LINUX="console=ttyS0"\n',
    "etc/default/grub.d/10-other.cfg": b'GRUB_TIMEOUT=3\n',
    "etc/default/kexec.d/10-other": b"# theirs\n",
    "etc/kernel/cmdline": b"root=/dev/sda1 ro  quiet\n",
    "boot/loader/entries/a.conf": b"title A\nlinux /vmlinuz\noptions root=/dev/sda1 ro\n",
    "boot/loader/entries/b.conf": b"title B\noptions\troot=/dev/sda1 -- single",
}
# What boot loaders and kexec-tools read in these folders.
CONFIGURATION = (
    (re.compile(r"machine/etc/default/grub\.d/.*\.cfg"), "grub-mkconfig"),
    (re.compile(r"machine/etc/default/kexec\.d/[A-Za-z0-9_-]+"), "run-parts"),
    (re.compile(r"machine/boot/loader/entries/.*\.conf"), "the boot loader"),
    (re.compile(r"machine/etc/kernel/cmdline"), "kernel-install"),
)
TEMPORARY = re.compile(r".*\.[0-9a-f]{16}\.tmp|registry/poisonctl-snapshot-.*/.*")


KERNEL_LOG = (b"[  100.000000] Memory failure: 0x3500: recovery action for free buddy page: Recovered\n"
              b"[  101.000000] Memory failure: 0x3501: recovery action for dirty LRU page: Recovered\n")


class Broken(Exception):
    """Something that must not be."""


@dataclass
class Ran:
    status: int
    out: str
    err: str

    def __str__(self):
        return f"exit {self.status}: {(self.err or self.out).strip()[:400]}"


class World:
    """A machine, a registry and a place for output, which are put back after each case."""

    def __init__(self, options, folder):
        self.options, self.folder = options, folder
        self.places = {"out": f"{folder}/out", "files": f"{folder}/files"}
        os.makedirs(f"{folder}/registry")

    # ---- content

    def read(self):
        """Relative path -> (mode, content) of every file that is no kernel's; folders end with a slash."""
        state = {}
        self._read("", state)
        return state

    def _read(self, below, state):
        with os.scandir(f"{self.folder}/{below}") as entries:
            for entry in entries:
                name = below + entry.name
                if name in ("machine/proc", "machine/sys"):
                    continue
                if entry.is_symlink():
                    raise Broken(f"a link was made: {name}")
                if entry.is_dir():
                    state[f"{name}/"] = (0, b"")
                    self._read(f"{name}/", state)
                    continue
                with open(entry.path, "rb") as file:
                    state[name] = (entry.stat().st_mode & 0o7777, file.read())

    def restore(self, wanted):
        there = self.read()
        for name in sorted(there.keys() - wanted.keys(), reverse=True):
            path = os.path.join(self.folder, name)
            os.rmdir(path) if name.endswith("/") else os.unlink(path)
        for name in sorted(wanted):
            if there.get(name) == wanted[name]:
                continue
            path = os.path.join(self.folder, name)
            if name.endswith("/"):
                os.makedirs(path, exist_ok=True)
                continue
            with open(path, "wb") as file:
                file.write(wanted[name][1])
            os.chmod(path, wanted[name][0])

    # ---- running

    def command(self, step):
        words = [word.format(**self.places) for word in step.arguments]
        if step.program == "poison-replay":
            return [self.options.poison_replay, "--sysroot", f"{self.folder}/machine", *words]
        where = [] if step.on_this_machine else ["--sysroot", f"{self.folder}/machine"]
        return [self.options.poisonctl, "--registry", f"{self.folder}/registry/r.db", *where, *words]

    def run(self, step, before=(), environment=None):
        # By env(1): what makes the mounts is no part of the step, and has to have its memory.
        before = ["env", *(f"{name}={value}" for name, value in (environment or {}).items()), *before]
        if step.on_this_machine:
            before = [*self.in_place_of_this_machine(), *before]
        process = subprocess.run(
            [*before, *self.command(step)], stdin=subprocess.DEVNULL, capture_output=True, timeout=60,
            env={"LC_ALL": "C", "PATH": "/usr/bin:/bin"}, check=False)
        out, err = (text.decode(errors="replace").replace(self.folder, "")
                    for text in (process.stdout, process.stderr))
        return Ran(process.returncode, out, err)

    def in_place_of_this_machine(self):
        """Mounts of its own, in which the files of the machine are those of the world's.

        Without CAP_SYS_ADMIN, so that tracefs cannot be mounted, whatever the kernel below has: the calls
        are the same on every machine.
        """
        script = ("set -e; machine=$1; shift\n"
                  "for place in /sys/kernel/debug /sys/kernel/tracing; do mount -t tmpfs none $place; done\n"
                  "for file in meminfo iomem kpageflags cmdline; do mount --bind $machine/proc/$file /proc/$file; done\n"
                  'exec setpriv --bounding-set=-sys_admin "$@"\n')
        user = [] if os.geteuid() == 0 else ["--map-root-user"]
        return ["unshare", "--mount", *user, "sh", "-c", script, "sh", f"{self.folder}/machine"]

    def poisonctl(self, *arguments):
        return self.run(Step("", arguments))


_TIMES = re.compile(r"\d{4}-\d\d-\d\d[T ][0-9:.]+Z?|\b[0-9a-f]{16,64}\b|\b\d+(\.\d+)? (ms|s)\b|in \d+ us")


_REASONS = re.compile(
    "Input/output error|Permission denied|Cannot allocate memory|Too many open files|No space left|"
    "Interrupted system call|disk I/O error|cannot be opened|out of memory|std::bad_alloc|"
    "No locks available|the database is damaged|"
    # OpenSSL does not tell want of memory from a key that is none.
    "the list cannot be signed")


# Nobody changed anything: memory was wanting.
_FALSE_REASONS = re.compile("changed after it was made")


def masked(text):
    """Without what differs from run to run."""
    return _TIMES.sub("*", text)


def make_rasdaemon(path):
    """As rasdaemon 0.6.8 makes it (ras-record.c), with one corrected error."""
    database = sqlite3.connect(path)
    database.execute(
        "CREATE TABLE mc_event (id INTEGER PRIMARY KEY, timestamp TEXT, err_count INTEGER, err_type TEXT,"
        " err_msg TEXT, label TEXT, mc INTEGER, top_layer INTEGER, middle_layer INTEGER,"
        " lower_layer INTEGER, address INTEGER, grain INTEGER, syndrome INTEGER, driver_detail TEXT)")
    database.execute(
        "INSERT INTO mc_event VALUES (1, '2026-03-01 10:11:12 +0000', 1, 'Corrected', 'memory read',"
        " 'DIMM_A1', 0, 0, 0, -1, ?, 7, 0, '')", (0x3600000,))
    database.commit()
    database.close()


# ---- what must hold


@dataclass(frozen=True)
class End:
    """An undisturbed run: what was there before and after it."""

    state: dict
    after: dict
    ran: Ran
    events: tuple  # before, after


def events_in(path):
    if not os.path.exists(path) or os.path.getsize(path) == 0:
        return 0
    database = sqlite3.connect(path)
    try:
        sound = database.execute("PRAGMA integrity_check").fetchone()[0]
        if sound != "ok":
            raise Broken(f"PRAGMA integrity_check: {sound}")
        return database.execute("SELECT count(*) FROM event").fetchone()[0]
    except sqlite3.Error as problem:
        raise Broken(f"the registry: {problem}") from problem
    finally:
        database.close()


class Checker:
    """Looks at one case: how it ended and what it left."""

    def __init__(self, world, step, end):
        self.world, self.step, self.end = world, step, end

    def check(self, ran, fault):
        self.check_ending(ran, self.world.read())
        if self.step.whole and fault == "malloc" and ran.out and ran.status != self.end.ran.status:
            raise Broken(f"a part of the answer is printed: {ran.out[:200]}")
        self.check_what_is_left(ran, fault)

    def check_what_is_left(self, ran, fault):
        left = self.world.read()
        self.check_files(left, fault)
        if self.registry_of(left) != self.registry_of(self.end.state):
            self.check_registry(ran)
        self.check_next_run(left)

    def check_ending(self, ran, left):
        if ran.status == HARNESS_FAILED or ran.status >= SIGNALLED or ran.status < 0:
            raise Broken(f"it crashed: {ran}")
        if "terminate called" in ran.err:
            raise Broken(f"it crashed: {ran.err[:2000]}")
        if ran.status not in DOCUMENTED:
            raise Broken(f"a status that is not documented: {ran}")
        if ran.status == self.end.ran.status:
            self.check_success(ran, left)
        elif not re.search(r"^poison(ctl|-replay): \S.{8,}", ran.err, re.MULTILINE):
            raise Broken(f"no message: {ran}")

    def has_warned(self, ran):
        """watch warns undisturbed, too: that there is no tracefs."""
        return len(ran.err.splitlines()) > len(self.end.ran.err.splitlines())

    def check_success(self, ran, left):
        """What says that it is done has done all of it, or says what it has not."""
        warned = self.has_warned(ran)
        told = warned or re.search(_REASONS, ran.out)  # a plan says in its output what it cannot do, and why
        if masked(ran.out) != masked(self.end.ran.out) and not told and ran.status == 0:
            usual = set(masked(self.end.ran.out).splitlines())
            other = [line for line in masked(ran.out).splitlines() if line not in usual]
            raise Broken(f"silently other output: {other[:3]} {ran.out[:100]!r}")
        seen = self.end.events[0] + self.step.between
        if self.step.between and events_in(f"{self.world.folder}/registry/r.db") < seen:
            raise Broken(f"it says that all is done, but what it saw is not in the registry: {ran}")
        if warned or self.step.on_this_machine or self.step.name.startswith("replay"):
            return
        lacking = {name for name in self.end.after if name not in left}
        if lacking:
            raise Broken(f"it says that all is done, but {sorted(lacking)} is not there")

    def check_files(self, left, fault):
        known = self.end.state.keys() | self.end.after.keys()
        for name in left.keys() - known:
            if name == "registry/r.db-journal":
                continue  # the next command plays it back; looked at below
            for pattern, reader in CONFIGURATION:
                if pattern.fullmatch(name):
                    raise Broken(f"{name} was left behind, and {reader} reads it")
            if TEMPORARY.fullmatch(name) and fault.startswith(("unlink", "malloc")):
                continue  # it could not be removed, and nobody reads it
            if name.endswith("/"):
                continue
            raise Broken(f"{name} was left behind")
        for name, found in left.items():
            if name.startswith("registry/") or name.endswith("/") or name not in known:
                continue
            possible = [state[name] for state in (self.end.state, self.end.after) if name in state]
            if name in self.end.state and name not in self.end.after and found in possible:
                continue
            if found not in possible and not self.is_as_new(name, found):
                raise Broken(f"{name} is neither as before nor as after")
        for name in self.end.state.keys() & self.end.after.keys():
            if name not in left and not name.startswith("registry/"):
                raise Broken(f"{name} is gone")

    def is_as_new(self, name, found):
        """Files with times and signatures: as long as the new one, or told apart by their reader."""
        wanted = self.end.after.get(name)
        if wanted is None or found[0] != wanted[0]:
            return False
        if name.endswith("/run/poisonctl/replay.json") or name.endswith("hard_offline_page"):
            return found[1].endswith((b"}\n", b"")) and b"\0" not in found[1]
        if name.endswith("run/poisonctl/replay.lock") or "/run/poisonctl/" in name:
            return True
        if name == "out/bundle":
            return self.world.poisonctl("audit", "verify", f"{self.world.folder}/out/bundle").status == 0
        return abs(len(found[1]) - len(wanted[1])) <= 64

    @staticmethod
    def registry_of(state):
        return {name: content for name, content in state.items() if name.startswith("registry/")}

    def check_registry(self, ran):
        path = f"{self.world.folder}/registry/r.db"
        # The first command after it plays back what there is to play back.
        if os.path.exists(path):
            listed = self.world.poisonctl("list", "-q")
            if listed.status not in (0, 65, 66):
                raise Broken(f"list after it: {listed}")
        events = events_in(path)
        done = ran.status == self.end.ran.status
        possible = {*self.end.events, self.end.events[0] + self.step.between}
        if events not in possible:
            raise Broken(f"{events} events, expected one of {sorted(possible)}")
        if done and events != self.end.events[1] and not self.has_warned(ran):
            raise Broken(f"it says that all is done, with {events} of {self.end.events[1]} events: {ran}")
        if events == 0:
            return
        audit = self.world.poisonctl("audit", "verify")
        # Before the first import is reported as done there may be no checkpoint yet.
        if audit.status != 0 and not (self.end.events[0] == 0 and "r.db.head is not there" in audit.out):
            raise Broken(f"audit verify: {audit.out} {audit.err}")

    def check_next_run(self, left):
        """The same again, with nothing in its way, gets all of it done."""
        if left == self.end.state or left == self.end.after or self.step.on_this_machine:
            return
        ran = self.world.run(self.step)
        if ran.status != self.end.ran.status:
            raise Broken(f"the next run: {ran}")
        after = self.world.read()
        for name in left.keys() - self.end.state.keys() - self.end.after.keys():
            if name in after and not TEMPORARY.fullmatch(name) and not name.endswith("/"):
                raise Broken(f"the next run leaves {name}")
        for name in self.end.after:
            if name not in after:
                raise Broken(f"the next run does not make {name}")


# ---- all of it


class Matrix:
    def __init__(self, options, work):
        self.options, self.work = options, work
        self.ends, self.lock = {}, threading.Lock()
        self.passed = self.failed = self.died_in_libcrypto = 0
        self.local = threading.local()
        self.worlds = 0
        self.figures = []

    def world(self):
        """One for each thread."""
        if not hasattr(self.local, "world"):
            with self.lock:
                self.worlds += 1
                folder = f"{self.work}/{self.worlds:03}"
            os.makedirs(folder)
            self.local.world = World(self.options, folder)
            self.prepare_machine(self.local.world)
        return self.local.world

    @staticmethod
    def prepare_machine(world):
        subprocess.run([sys.executable, "-B", f"{HERE}/../cli/machine.py", f"{world.folder}/machine"], check=True)
        for name, content in BOOT_FILES.items():
            path = f"{world.folder}/machine/{name}"
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as file:
                file.write(content)
        os.makedirs(world.places["out"])
        os.makedirs(world.places["files"])
        with open(f"{world.folder}/files/kernel.log", "wb") as file:
            file.write(KERNEL_LOG)
        make_rasdaemon(f"{world.folder}/files/ras-mc_event.db")

    def state_before(self, step, world, pristine):
        if step.starts_from == "carried":
            # As the hook of the initramfs does.
            world.restore(self.ends["create"].after)
            os.makedirs(f"{world.folder}/machine/poisonctl")
            os.makedirs(f"{world.folder}/machine/etc/poisonctl", exist_ok=True)
            made = world.poisonctl("handover", "make", "-o", f"{world.folder}/machine/poisonctl/handover")
            key = world.poisonctl("handover", "key")
            if made.status != 0 or key.status != 0:
                raise Broken(f"{made} {key}")
            with open(f"{world.folder}/machine/etc/poisonctl/trusted-keys", "w", encoding="ascii") as file:
                file.write(key.out)
            return world.read()
        if step.starts_from == "":
            return pristine
        return self.ends[step.starts_from].after

    def prepare(self):
        world = self.world()
        pristine = world.read()
        for step in STEPS:
            state = self.state_before(step, world, pristine)
            world.restore(state)
            path = f"{world.folder}/registry/r.db"
            before = events_in(path)
            listing = f"{self.work}/list-of-{step.name}"
            ran = world.run(step, [self.options.calls, *step.options, "--list", listing])
            if ran.status != step.status:
                print(f"fault_matrix.py: {step.name}, undisturbed: expected exit {step.status}, got {ran}")
            self.ends[step.name] = End(state, world.read(), ran, (before, events_in(path)))

    # ---- system calls

    def cases_of(self, step):
        """(position, what to do, its description) of each case of a step."""
        calls = []
        with open(f"{self.work}/list-of-{step.name}", encoding="utf-8", errors="replace") as file:
            for line in file:
                position, number, about = line.rstrip("\n").split(" ", 2)
                number = int(number)
                if number in CANNOT_FAIL:
                    continue
                if number not in CALLS:
                    raise SystemExit(f"fault_matrix.py: {step.name}: call {number} is in no table: add it to CALLS")
                name, errors = CALLS[number]
                if not errors:
                    continue
                calls.append((int(position), number, errors, f"{name} {about}"))
        if self.options.all:  # every call of all, with every error
            return [(at, number, error, about) for at, number, errors, about in calls for error in errors]
        # The first and the last time that a call is made about a file, with one error each: the next one of
        # its table each time that such a call is met.
        first, last = {}, {}
        for call in calls:
            first.setdefault(call[3], call)
            last[call[3]] = call
        cases, turn = [], {}
        for at, number, errors, about in sorted({*first.values(), *last.values()}):
            turn[number] = turn.get(number, -1) + 1
            cases.append((at, number, errors[turn[number] % len(errors)], about))
        most = 40 if step.pauses else len(cases)
        return cases[:: max(1, len(cases) // most)]

    def call_case(self, step, position, number, error, about):
        world, end = self.world(), self.ends[step.name]
        world.restore(end.state)
        harness = [self.options.calls, *step.options, "--at", str(position), "--number", str(number),
                   "--do", action_of(error)]
        ran = world.run(step, harness)
        checker = Checker(world, step, end)
        if ran.status == HARNESS_FAILED and "was not this one" in ran.err:
            return  # of several threads, one came later this time
        checker.check(ran, about)

    def calls(self):
        self.run_all("system calls", self.cases_of, lambda step, case: self.call_case(step, *case),
                     lambda case: f"{case[2]} at call {case[0]}: {case[3]}")

    # ---- allocations

    PER_STEP = 40

    def allocations_of(self, step):
        world, end = self.world(), self.ends[step.name]
        world.restore(end.state)
        count = f"{self.work}/allocations-{threading.get_ident()}"
        world.run(step, self.driven(step), {"LD_PRELOAD": self.options.alloc, "ALLOC_COUNT": count})
        with open(count, encoding="ascii") as file:
            total = int(file.read())
        few = self.PER_STEP // 4 if step.pauses else self.PER_STEP
        pace = 1 if self.options.all else max(1, total // few)
        turns = ((position, ever) for position in range(1, total + 1, pace) for ever in (False, True))
        if self.options.all:
            return list(turns)
        # One of the two, in turn.
        return [(position, (position // pace) % 2 == 1) for position in range(1, total + 1, pace)]

    def driven(self, step):
        """What a step needs of call_faults to end. That is a static program: the preload is not in it."""
        return [self.options.calls, *step.options] if step.options else []

    DIED_IN_LIBCRYPTO = 98  # alloc_faults.c

    def allocation_case(self, step, position, ever):
        world, end = self.world(), self.ends[step.name]
        world.restore(end.state)
        environment = {"LD_PRELOAD": self.options.alloc, "ALLOC_AT": str(position)}
        if ever:
            environment["ALLOC_EVER"] = "1"
        ran = world.run(step, self.driven(step), environment)
        if _FALSE_REASONS.search(ran.err):
            raise Broken(f"a false reason: {ran}")
        checker = Checker(world, step, end)
        if ran.status == self.DIED_IN_LIBCRYPTO:
            self.died_in_libcrypto += 1
            checker.check_what_is_left(ran, "malloc")  # as after a kill
            return
        checker.check(ran, "malloc")

    def memory(self):
        self.run_all("allocations", self.allocations_of, lambda step, case: self.allocation_case(step, *case),
                     lambda case: f"allocation {case[0]}{' and all after it' if case[1] else ''}")

    # ---- running them

    def run_all(self, what, cases_of, run, label):
        wanted = self.options.only.split(",") if self.options.only else None
        for step in STEPS:
            if wanted and step.name not in wanted:
                continue
            started, failed = time.monotonic(), self.failed
            cases = cases_of(step)
            with concurrent.futures.ThreadPoolExecutor(self.options.jobs) as pool:
                for case, problem in pool.map(lambda case: (case, self.problem_of(run, step, case)), cases):
                    self.count(f"{step.name}, {label(case)}", problem)
            print(f"{what} of {step.name}: {len(cases)} cases, {self.failed - failed} failed, "
                  f"{time.monotonic() - started:.1f} s", flush=True)

    @staticmethod
    def problem_of(run, step, case):
        try:
            run(step, case)
        except (Broken, subprocess.TimeoutExpired, OSError) as problem:
            return f"{type(problem).__name__}: {problem}"
        return None

    def count(self, label, problem):
        if problem is None:
            self.passed += 1
            return
        self.failed += 1
        if self.failed <= self.options.shown:
            print(f"FAILED {label}\n       {problem}", flush=True)

    def run(self):
        self.prepare()
        for part in self.options.part.split(","):
            {"calls": self.calls, "memory": self.memory}[part]()
        if self.failed > self.options.shown:
            print(f"{self.failed - self.options.shown} more failures were not shown")
        if self.died_in_libcrypto:
            print(f"{self.died_in_libcrypto} of those that passed died in libcrypto")
        print(f"{self.passed} passed, {self.failed} failed")
        return 1 if self.failed else 0


def action_of(error):
    if error == "short":
        return error
    prefix, _, name = error.rpartition(":")
    number = str(getattr(errno, name))
    return f"{prefix}:{number}" if prefix else number


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("--poisonctl", "--poison-replay", "--calls", "--alloc"):
        parser.add_argument(name, required=True, type=os.path.abspath)
    parser.add_argument("--all", action="store_true", help="every error at every call, every allocation")
    parser.add_argument("--only", help="steps, with commas between")
    parser.add_argument("--part", default="calls,memory")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--shown", type=int, default=MOST_SHOWN, help="how many failures to print")
    parser.add_argument("--folder", help="where to work; better in memory than on a disk")
    options = parser.parse_args()
    os.umask(0o022)
    memory = "/dev/shm"
    parent = options.folder or (memory if os.access(memory, os.W_OK) else None)
    work = os.path.realpath(tempfile.mkdtemp(prefix="poisonctl-faults.", dir=parent))
    try:
        return Matrix(options, work).run()
    finally:
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
