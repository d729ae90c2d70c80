"""What the scenarios do with a guest: frames, errors, poisonctl, the next kernel, and the checks.

A scenario is a function that takes a Bench. It reads like a story because the steps are here; a
check that does not hold raises ScenarioFailure with what was expected and what was seen.
"""

from __future__ import annotations

import array
import gzip
import json
import random
import re
import shlex
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Iterable, Sequence

import rig
from kernels import Kernel, MissingPrerequisite, Program, find_kernel, find_libraries, find_program

# Enough for the kernel to turn on transparent huge pages (it does so above 512 MiB), so that the
# sweep takes huge and small pages.
MACHINE = rig.Machine(memory_mib=640)
DISK_MIB = 128
FRAME = 4096
MIB = 1 << 20

# Where scenarios choose their bad frames. kexec puts the next kernel and its initramfs at the top
# of memory, a cold boot at the bottom (16 MiB): an error there would hit the test, not the tool.
FRAMES_FROM = 128 * MIB
FRAMES_BELOW = 320 * MIB
# For kernels that are to retire listed frames: one that places itself by chance (KASLR) may sit on
# some of them and has them named, not retired. Where a list is on the command line, it keeps off.
STAYS_IN_PLACE = "nokaslr"

# x86's COMMAND_LINE_SIZE is 2048 with the final zero, of which kernel images announce 2047
# (cmdline_size); kexec_file_load wants room for "elfcorehdr=0x..." (30) besides, and the zero,
# whether it loads a crash kernel or not (arch/x86/kernel/kexec-bzimage64.c).
COMMAND_LINE_MAX = 2047 - 30 - 1

FOLDER = Path(__file__).resolve().parent
PACKAGING = FOLDER.parents[1] / "packaging"
REGISTRY = "/disk/registry.db"
VMLINUZ, INITRAMFS = "/disk/boot/vmlinuz", "/disk/boot/initramfs"

# What the kernel has to hand out of its free memory, and how often that is asked for: now and then
# it holds more back for itself (caches of each processor, what it frees only later).
LEAST_COVERAGE = 0.95
SWEEPS = 3

# include/uapi/linux/kernel-page-flags.h and, from 32 on, fs/proc/page.c
BUDDY, HWPOISON, NOPAGE, RESERVED = 10, 19, 20, 32


class ScenarioFailure(Exception):
    """Something that the scenario checks is not so."""


Range = tuple[int, int]  # first byte, byte after the last


def merge(ranges: Iterable[Range]) -> list[Range]:
    """Sorted, with overlapping and adjacent ranges made one."""
    merged: list[Range] = []
    for start, end in sorted(ranges):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def subtract(ranges: Iterable[Range], holes: Iterable[Range]) -> list[Range]:
    left = []
    holes = merge(holes)
    first = 0  # the first hole that does not end before the range
    for start, end in merge(ranges):
        while first < len(holes) and holes[first][1] <= start:
            first += 1
        at = first
        while at < len(holes) and holes[at][0] < end:
            if start < holes[at][0]:
                left.append((start, holes[at][0]))
            start = max(start, holes[at][1])
            at += 1
        if start < end:
            left.append((start, end))
    return left


def as_ranges(frames: Iterable[int]) -> list[Range]:
    """Frames are named by the address of their first byte throughout."""
    return merge((frame, frame + FRAME) for frame in frames)


def frames_in(ranges: Iterable[Range]) -> list[int]:
    return [frame for start, end in merge(ranges) for frame in range(start, end, FRAME)]


def show(ranges: Sequence[Range], most: int = 8) -> str:
    words = [f"{start:#x}+{end - start:#x}" for start, end in ranges[:most]]
    if len(ranges) > most:
        words.append(f"and {len(ranges) - most} more")
    return " ".join(words) or "nothing"


def expect(holds: bool, message: str) -> None:
    if not holds:
        raise ScenarioFailure(message)


def expect_same_ranges(seen: Iterable[Range], expected: Iterable[Range], what: str) -> None:
    seen, expected = merge(seen), merge(expected)
    extra, lacking = subtract(seen, expected), subtract(expected, seen)
    expect(not extra and not lacking, f"{what}: too many: {show(extra)}; missing: {show(lacking)}")


def wait_until(holds: Callable[[], bool], otherwise: Callable[[], str],
               seconds: float = rig.BOOT_SECONDS) -> None:
    """Asks again and again; `otherwise` says what there is instead."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise ScenarioFailure(otherwise())
        time.sleep(1)


@dataclass
class Bench:
    """What run.py gives a scenario: the programs, the kernel, and where results go."""

    kernel: Kernel
    kexec_tools: Program
    poisonctl: Path
    alloc_sweep: Path
    cache: Path
    results: Path
    machine: rig.Machine = MACHINE
    helpers: tuple[Path, ...] = ()  # further programs of ours in the guests
    poison_replay: Path | None = None
    arm64_replay: Path | None = None  # the same for arm64
    packages: Path | None = None  # the folder with our Debian packages
    replays: bool = False  # guests have poison-replay and the script that starts it at boot
    more_programs: tuple[Program, ...] = ()  # and of packages
    chain: int = 1  # cold boots, and kexecs, of a chain that may have any number
    figures: list[dict] = field(default_factory=list)  # of a benchmark: tests/bench/figures.py, Figure
    _started: float = field(default_factory=time.monotonic)

    def say(self, text: str) -> None:
        print(f"[{time.monotonic() - self._started:6.1f} s] {text}", flush=True)

    def measured(self, flow: str, case: str, unit: str, ours: float, against: str, theirs: float
                 ) -> None:
        self.figures.append({"flow": flow, "case": case, "unit": unit, "ours": [ours],
                             "against": against, "theirs": [theirs]})

    def other_kernel(self, name: str) -> Kernel:
        return find_kernel(self.cache, name)

    def fetched_program(self, name: str) -> Program:
        return find_program(self.cache, name)

    def fetched_libraries(self, name: str) -> Path:
        return find_libraries(self.cache, name)

    def initramfs(self, kernel: Kernel) -> Path:
        made = rig.Initramfs(kernel)
        made.add_program(self.kexec_tools.program, "/bin/kexec", self.kexec_tools.library_path)
        made.add_program(self.poisonctl, "/bin/poisonctl")
        made.add_program(self.alloc_sweep, "/bin/alloc_sweep")
        for helper in self.helpers:
            made.add_program(helper, f"/bin/{helper.name}")
        if self.replays:
            expect(self.poison_replay is not None, "run.py was given no --poison-replay")
            made.add_program(self.poison_replay, "/usr/sbin/poison-replay")
            script = PACKAGING / "initramfs-tools/scripts/init-top/poisonctl"
            made.add_file("/scripts/init-top/poisonctl", script.read_bytes(), 0o755)
        for program in self.more_programs:
            made.add_program(program.program, f"/bin/{program.program.name}", program.library_path)
        return made.write(self.results / f"initramfs-{kernel.name}")

    def disk(self, kernel: Kernel, initramfs: Path) -> Path:
        """An image for the registry, which also carries what the guest boots by kexec."""
        return rig.make_disk(self.results / "disk.img", DISK_MIB,
                             {VMLINUZ.removeprefix("/disk"): kernel.vmlinuz,
                              INITRAMFS.removeprefix("/disk"): initramfs})

    def boot(self, kernel: Kernel | None = None, disk: Path | None = None, name: str = "guest",
             append: str = "") -> rig.Guest:
        kernel = kernel or self.kernel
        initramfs = self.initramfs(kernel)
        disk = disk or self.disk(kernel, initramfs)
        self.say(f"boot {kernel.release}, {self.machine.memory_mib} MiB"
                 + (f", with {append[:60]}..." if append else ""))
        return rig.Guest(kernel, initramfs, disk, self.results / name, self.machine, append)


def kexec(bench: Bench, guest: rig.Guest, extra: str = "") -> None:
    """Boots the same kernel again from within the guest."""
    bench.say(f"kexec, command line +{len(extra)} characters")
    guest.kexec(VMLINUZ, INITRAMFS, extra)


def build_helper(name: str, folder: Path, sources: Path = FOLDER) -> Path:
    """A static build of NAME.c in `folder`."""
    return _build(sources / f"{name}.c", folder / name, "-static")


def build_preload(name: str, folder: Path, sources: Path) -> Path:
    """NAME.c as a library for LD_PRELOAD, in `folder`."""
    return _build(sources / f"{name}.c", folder / f"lib{name}.so", "-shared", "-fPIC")


def _build(source: Path, made: Path, *how: str) -> Path:
    built = rig.run_on_host([rig.need_program("cc", "gcc"), "-std=c11", "-O2", *how, "-o", str(made),
                             str(source)])
    if built.returncode != 0:
        raise MissingPrerequisite(f"cannot build {source.name}: {built.stderr.decode()}")
    return made


# ---- what the kernel says ----


class FrameFlags:
    """A copy of /proc/kpageflags."""

    def __init__(self, guest: rig.Guest):
        # Nearly all of it repeats: compressed, it takes milliseconds on the serial port.
        packed = guest.run("gzip -1 </proc/kpageflags")
        expect(packed.status == 0, f"cannot read /proc/kpageflags: {packed.errors}")
        self._flags = array.array("Q", gzip.decompress(packed.stdout))

    def has(self, frame: int, flag: int) -> bool:
        return bool(self._flags[frame // FRAME] >> flag & 1)

    def find(self, every: Iterable[int], none: Iterable[int], count: int) -> list[int]:
        """Up to `count` frames that carry every flag of the first and none of the second."""
        wanted, unwanted = (sum(1 << flag for flag in flags) for flags in (every, none))
        found = []
        for number, flags in enumerate(self._flags):
            if flags & wanted == wanted and not flags & unwanted:
                found.append(number * FRAME)
                if len(found) == count:
                    break
        return found

    def free(self, frame: int) -> bool:
        return self.has(frame, BUDDY)

    def excluded(self, frame: int) -> bool:
        """Not the allocator's: reserved from boot on, or not a page of this kernel at all."""
        return (self.has(frame, RESERVED) or self.has(frame, NOPAGE)) and not self.free(frame)

    def describe(self, frame: int) -> str:
        return f"{frame:#x} flags {self._flags[frame // FRAME]:#x}"


def choose_free_frames(guest: rig.Guest, count: int, avoid: Iterable[int] = (), run: int = 1,
                       seed: int = 1) -> list[int]:
    """`count` scattered frames, or runs of `run` adjacent ones, that are free, as are the frames
    around them, so that nothing takes them before the error and no two of them touch."""
    flags = FrameFlags(guest)
    taken = set(avoid)
    margin = 4 * FRAME
    places = list(range(FRAMES_FROM, FRAMES_BELOW, 16 * FRAME))
    random.Random(seed).shuffle(places)
    chosen: list[int] = []
    for place in places:
        around = range(place - margin, place + run * FRAME + margin, FRAME)
        if all(flags.free(frame) and frame not in taken for frame in around):
            chosen += range(place, place + run * FRAME, FRAME)
            taken.update(around)
        if len(chosen) == count * run:
            return sorted(chosen)
    raise ScenarioFailure(f"expected {count} free places of {run} frames between {FRAMES_FROM:#x} "
                          f"and {FRAMES_BELOW:#x}, found {len(chosen) // run}")


def system_ram(guest: rig.Guest) -> list[Range]:
    """What /proc/iomem calls System RAM. Only the outermost level: kernel code is inside."""
    found = re.findall(r"^([0-9a-f]+)-([0-9a-f]+) : System RAM$", guest.check("cat /proc/iomem"),
                       re.MULTILINE)
    return merge((int(first, 16), int(last, 16) + 1) for first, last in found)


def hardware_corrupted_kib(guest: rig.Guest) -> int:
    line = guest.check("grep HardwareCorrupted /proc/meminfo")
    return int(line.split()[1])


def sweep(bench: Bench, guest: rig.Guest, frames: Sequence[int]) -> set[int]:
    """Takes nearly all free memory in the guest; returns those of `frames` that were handed out."""
    words = " ".join(f"{frame // FRAME:#x}" for frame in frames)
    got: set[int] = set()
    for _ in range(SWEEPS):
        result = json.loads(guest.check(f"alloc_sweep {words}"))
        bench.say(f"sweep took {result['taken']} of {result['free']} free frames "
                  f"({100 * result['coverage']:.1f} %)")
        got |= {pfn * FRAME for pfn in result["got"]}
        if result["coverage"] > LEAST_COVERAGE:
            return got
    raise ScenarioFailure(f"{SWEEPS} sweeps got less than {100 * LEAST_COVERAGE:.0f} % of the free "
                          "memory each: a frame that they did not get proves little")


# ---- errors ----


def inject_machine_check(guest: rig.Guest, frame: int) -> None:
    """A machine check as hardware raises it for an uncorrected error found by the patrol scrubber
    (Intel SDM volume 3, chapter 16: status valid, uncorrected, signalled, action optional, address
    and misc valid; error code 0xc0; misc says physical address, 4 KiB granularity)."""
    before = hardware_corrupted_kib(guest)
    said = guest.monitor(f"mce 0 9 0xbd000000000000c0 0x5 {frame:#x} 0x8c")
    expect(not said.strip(), f"QEMU refused the machine check: {said.strip()}")
    deadline = time.monotonic() + rig.COMMAND_SECONDS
    while hardware_corrupted_kib(guest) == before:
        expect(time.monotonic() < deadline, "the kernel did not take the injected machine check: "
               f"HardwareCorrupted still is {before} kB after {rig.COMMAND_SECONDS} s")
        time.sleep(0.1)
    expect_poisoned(guest, [frame])


def poison(guest: rig.Guest, frames: Iterable[int]) -> None:
    """Errors in bulk: as a machine check, but without the hardware's part."""
    words = " ".join(f"{frame:#x}" for frame in frames)
    guest.check(f"for a in {words}; do echo $a >/sys/devices/system/memory/hard_offline_page || "
                "exit 1; done")
    expect_poisoned(guest, frames)


def poison_by_injector(guest: rig.Guest, frames: Iterable[int]) -> None:
    """As poison(), through hwpoison-inject, which takes frame numbers."""
    words = " ".join(f"{frame // FRAME:#x}" for frame in frames)
    guest.check(f"for n in {words}; do echo $n >/sys/kernel/debug/hwpoison/corrupt-pfn || "
                "exit 1; done")
    expect_poisoned(guest, frames)


def expect_poisoned(guest: rig.Guest, frames: Iterable[int]) -> None:
    flags = FrameFlags(guest)
    left = [flags.describe(f) for f in frames if not flags.has(f, HWPOISON) or flags.free(f)]
    expect(not left, f"the kernel did not retire the injected frames {left[:8]}")


# ---- poisonctl ----


@dataclass
class E820Plan:
    available: bool
    covered: list[Range]
    refused: list[Range]
    reasons: list[str]


GZIP_MAGIC = b"\x1f\x8b"  # RFC 1952, 2.3.1; no text of ours begins so


class Poisonctl:
    """The program under test, in a guest or on this machine."""

    def __init__(self, execute: Callable[[list[str]], tuple[int, str, str]], options: list[str]):
        self._execute = execute
        self._options = options

    @classmethod
    def in_guest(cls, guest: rig.Guest, registry: str = REGISTRY) -> Poisonctl:
        def execute(words: list[str]) -> tuple[int, str, str]:
            # Megabytes of JSON would take minutes on the serial port.
            result = guest.run(f"{shlex.join(['poisonctl', *words])} >/run/answer; status=$?; "
                               "if [ $(wc -c </run/answer) -lt 65536 ]; then cat /run/answer; "
                               "else gzip -1 </run/answer; fi; exit $status")
            output = result.stdout
            if output.startswith(GZIP_MAGIC):
                output = gzip.decompress(output)
            return result.status, output.decode(), result.errors

        return cls(execute, ["--registry", registry])

    @classmethod
    def on_host(cls, program: Path, registry: Path, sysroot: Path) -> Poisonctl:
        def execute(words: list[str]) -> tuple[int, str, str]:
            done = rig.run_on_host([str(program), *words])
            return done.returncode, done.stdout.decode(), done.stderr.decode().strip()

        return cls(execute, ["--registry", str(registry), "--sysroot", str(sysroot)])

    def run(self, *words: str, statuses: Sequence[int] = (0,)) -> str:
        return self.run_with_status(*words, statuses=statuses)[1]

    def run_with_status(self, *words: str, statuses: Sequence[int]) -> tuple[int, str]:
        status, output, errors = self._execute([*self._options, *words])
        command = shlex.join(["poisonctl", *words])
        expect(status in statuses,
               f"'{command[:200]}' ended with status {status}, expected "
               f"{' or '.join(map(str, statuses))}: {errors or output.strip()}")
        return status, output

    def json(self, *words: str, schema: str, statuses: Sequence[int] = (0,)) -> dict:
        output = self.run("--json", *words, statuses=statuses)
        try:
            answer = json.loads(output)
        except ValueError as error:
            raise ScenarioFailure(f"'poisonctl --json {shlex.join(words)}' did not print JSON: "
                                  f"{error}: {output[:200]!r}") from None
        expect(answer.get("schema") == schema,
               f"expected schema {schema}, got {answer.get('schema')}")
        return answer

    def collect_kernel(self) -> None:
        self.run("collect", "kernel")

    def records(self) -> list[Range]:
        answer = self.json("list", schema="poisonctl/records-v1")
        return sorted((r["address"], r["address"] + r["size"]) for r in answer["records"])

    def plan(self) -> E820Plan:
        answer = self.json("plan", schema="poisonctl/plan-v1", statuses=(0, 1))
        found = [backend for backend in answer["backends"] if backend["name"] == "e820"]
        expect(len(found) == 1, f"expected one backend e820 in the plan, got {len(found)}")
        ranges = {kind: [(r["address"], r["address"] + r["size"]) for r in found[0][kind]]
                  for kind in ("covered", "refused")}
        return E820Plan(found[0]["available"], ranges["covered"], ranges["refused"],
                        [refusal["reason"] for refusal in found[0]["refused"]])

    def emit_e820(self, expected: E820Plan) -> str:
        """The kernel parameter; checks that it says what the plan said, on one line, and that the
        exit status tells whether something was refused."""
        status, output = self.run_with_status("emit", "e820", statuses=(0, 1))
        expect(status == (1 if expected.refused else 0),
               f"emit e820 ended with status {status} though {len(expected.refused)} ranges are "
               "refused")
        match = re.fullmatch(r"memmap=(\S+)\n", output)
        expect(match is not None, f"emit e820: expected one line memmap=..., got {output[:200]!r}")
        emitted = []
        for word in match.group(1).split(","):
            parts = re.fullmatch(r"(0x[0-9a-f]+)%(0x[0-9a-f]+)-1\+5", word)
            expect(parts is not None, f"emit e820: expected 0xSIZE%0xADDRESS-1+5, got {word!r}")
            size, address = int(parts.group(1), 16), int(parts.group(2), 16)
            emitted.append((address, address + size))
        expect(sorted(emitted) == merge(emitted), "emit e820: ranges overlap or could be joined")
        expect_same_ranges(emitted, expected.covered, "emitted, compared with the plan's covered")
        return output.strip()

    def retirements(self) -> list[tuple[Range, str]]:
        """(range, retirement) for each range of the registry."""
        answer = self.json("verify", schema="poisonctl/verify-v1", statuses=(0, 1))
        return [((r["address"], r["address"] + r["size"]), r["retirement"])
                for r in answer["ranges"]]


class Watch:
    """'poisonctl watch' in the background of a guest, with further variables in its environment; with `service`,
    as systemd starts it."""

    OUTPUT = "/run/watch.out"
    # Each with what came there, in a file of the same name and ".out".
    NOTIFY_SOCKET = "/run/notify"
    JOURNAL_SOCKET = "/run/systemd/journal/socket"
    INSTANCE = "/sys/kernel/tracing/instances/poisonctl"

    def __init__(self, guest: rig.Guest, registry: str = REGISTRY, seconds: float = 60,
                 ready: str = "following ", service: bool = False, environment: str = ""):
        self._guest = guest
        if service:
            for path in (self.NOTIFY_SOCKET, self.JOURNAL_SOCKET):
                guest.check(f"mkdir -p {Path(path).parent} && datagrams {path} >{path}.out 2>&1 & "
                            f"while [ ! -S {path} ]; do usleep 10000; done")
            environment += (f" NOTIFY_SOCKET={self.NOTIFY_SOCKET} "
                            f"JOURNAL_STREAM=$(stat -L -c %d:%i {self.OUTPUT})")
        # In a shell of its own, so that its exit status can be had later.
        guest.check(f"rm -f {self.OUTPUT} {self.OUTPUT}.status; :>{self.OUTPUT}; "
                    f"({environment} poisonctl --registry {registry} --verbose watch "
                    f">{self.OUTPUT} 2>&1 & echo $! >/run/watch.pid; wait $!; "
                    f"echo $? >{self.OUTPUT}.status) >/dev/null 2>&1 &")
        self.wait_for(ready, seconds)

    def output(self) -> str:
        """The end of what it said: storms are long."""
        return self._guest.check(f"tail -c 4000 {self.OUTPUT}")

    def wait_for(self, text: str, seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while text not in (seen := self.output()):
            expect(time.monotonic() < deadline, f"'poisonctl watch' did not say {text!r}: {seen}")
            time.sleep(0.1)

    def wait_for_events(self, tool: Poisonctl, frame: int, count: int, source: str = "trace",
                        seconds: float = 60) -> list[dict]:
        """The events from a source about a frame, as soon as there are so many."""
        deadline = time.monotonic() + seconds
        while True:
            answer = tool.json("show", f"{frame:#x}", schema="poisonctl/events-v1")
            events = [e for e in answer["events"]
                      if e["source"] == source and e["kind"] != "outcome"]
            if len(events) >= count:
                return events
            expect(time.monotonic() < deadline,
                   f"expected {count} events of {source} about {frame:#x}, got {events}; watch said "
                   f"{self.output()}")
            time.sleep(0.1)

    def datagrams(self, socket: str, text: str, seconds: float = 60) -> list[str]:
        """What has come to a socket, as soon as one has `text` in it."""
        deadline = time.monotonic() + seconds
        while True:
            seen = self._guest.check(f"cat {socket}.out").split("\n--\n")
            if any(text in datagram for datagram in seen):
                return seen
            expect(time.monotonic() < deadline, f"expected {text!r} at {socket}, got {seen}")
            time.sleep(0.1)

    def kill(self) -> None:
        self._guest.check("kill -9 $(cat /run/watch.pid)")
        self.ended()

    def terminate(self) -> str:
        """As systemd does. Returns the exit status."""
        self._guest.check("kill $(cat /run/watch.pid)")
        return self.ended()

    def stop(self) -> None:
        """Ended without trouble; the instance must be gone then."""
        status = self.terminate()
        expect(status == "0", f"'poisonctl watch' ended with status {status}: {self.output()}")
        left = self._guest.run(f"test -e {self.INSTANCE}")
        expect(left.status != 0, "the trace instance was left behind")

    def ended(self, seconds: float = 60) -> str:
        """Waits for that. Returns the exit status."""
        deadline = time.monotonic() + seconds
        while not (status := self._guest.run(f"cat {self.OUTPUT}.status").text.strip()):
            expect(time.monotonic() < deadline, f"'poisonctl watch' did not end: {self.output()}")
            time.sleep(0.1)
        return status


# ---- checks that several scenarios share ----


def expect_records(tool: Poisonctl, frames: Iterable[int]) -> None:
    expect_same_ranges(tool.records(), as_ranges(frames), "poisonctl list")


def expect_whole_plan(plan: E820Plan, frames: Iterable[int]) -> None:
    """covered and refused together are the input, nothing twice, each refusal with a reason."""
    expect_same_ranges(plan.covered + plan.refused, as_ranges(frames), "covered and refused")
    both = subtract(plan.covered, subtract(plan.covered, plan.refused))
    expect(not both, f"covered and refused at once: {show(both)}")
    expect(all(plan.reasons), "a refused range has no reason")


def expect_effective(tool: Poisonctl, frames: Iterable[int]) -> None:
    """verify names each of the frames as effectively retired."""
    effective = merge(r for r, retirement in tool.retirements() if retirement == "effective")
    lacking = subtract(as_ranges(frames), effective)
    expect(not lacking, f"verify does not say effective for {show(lacking)}")


def expect_not_effective(tool: Poisonctl, frames: Iterable[int]) -> None:
    """verify names each of the frames, and none as effectively retired."""
    retirements = tool.retirements()
    others = merge(r for r, retirement in retirements if retirement != "effective")
    lacking = subtract(as_ranges(frames), others)
    expect(not lacking,
           f"verify says effective, or nothing, for {show(lacking)}, which is free memory")


def expect_excluded(bench: Bench, guest: rig.Guest, frames: Sequence[int],
                    ram_before: list[Range]) -> None:
    """The running kernel keeps the frames, and nothing else, out of its memory."""
    def look(when: str) -> None:
        flags = FrameFlags(guest)
        bad = [flags.describe(frame) for frame in frames if not flags.excluded(frame)]
        expect(not bad, f"{when}, {len(bad)} frames are not excluded: {bad[:8]}")

    corrupted = hardware_corrupted_kib(guest)
    expect(corrupted == 0, f"HardwareCorrupted is {corrupted} kB in a kernel that saw no error")
    lost = subtract(ram_before, system_ram(guest))
    expect_same_ranges(lost, as_ranges(frames), "System RAM lost since the first boot")
    look("after boot")
    handed_out = sweep(bench, guest, frames)
    expect(not handed_out, f"the kernel handed out {show(as_ranges(handed_out))}")
    look("after the sweep")  # freed memory went back to the allocator meanwhile
