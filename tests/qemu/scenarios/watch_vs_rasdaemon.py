"""A benchmark, not a test: 'watch' beside rasdaemon in one guest, under the same load, one after the
other. Asserts no time. `fetch-kernels.py rasdaemon` first."""

import dataclasses
import re
import sqlite3
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import rig
from steps import Bench, choose_free_frames, expect
from watch_storm import FRAMES, TWO_NODES

LONE_EVENTS = 40
STORM_EVENTS = 1_000
CORRECTED_RATE, CORRECTED_SECONDS = 300, 1
# Nothing but the kernel knows when a row is durable: of this instance of the ring buffer it notes the
# error and each end of a system call that SQLite makes durable with, by one clock.
CLOCK = "/sys/kernel/tracing/instances/clock"
DURABLE_CALLS = ("fdatasync", "fsync", "unlink")


@dataclass(frozen=True)
class Daemon:
    name: str  # as in /proc/PID/comm
    start: str
    database: str
    # Rows about uncorrected errors, and about corrected ones with what they count.
    uncorrected: str
    corrected: str


DAEMONS = (
    Daemon("poisonctl", "poisonctl --registry /disk/registry.db watch", "/registry.db",
           "SELECT count(*) FROM event WHERE kind = 'ue' AND evidence LIKE 'memory_failure_event%'",
           "SELECT count(*), sum(count) FROM event WHERE kind = 'ce'"),
    Daemon("rasdaemon", "rasdaemon -f -r", "/rasdaemon/ras-mc_event.db",
           "SELECT count(*) FROM memory_failure_event",
           "SELECT count(*), count(*) FROM mce_record"),
)


def run(bench: Bench) -> None:
    bench.machine = dataclasses.replace(bench.machine, cpus=2, extra=TWO_NODES)
    bench.more_programs = (bench.fetched_program("rasdaemon"),)
    results = {}
    with bench.boot() as guest:
        guest.check("taskset -p 1 1 && taskset -p 1 $$ && echo 0 >/proc/sys/kernel/printk && "
                    "echo -1 >/proc/sys/kernel/sched_rt_runtime_us")
        guest.check("mount -t tracefs tracefs /sys/kernel/tracing && mkdir -p /var/lib "
                    "/disk/rasdaemon && ln -s /disk/rasdaemon /var/lib/rasdaemon")
        frames = choose_free_frames(guest, 2 * (LONE_EVENTS + FRAMES))
        for number, daemon in enumerate(DAEMONS):
            mine = frames[number::2]
            results[daemon.name] = measure(bench, guest, daemon, mine[:LONE_EVENTS],
                                           mine[LONE_EVENTS:])
        guest.power_off()
    for daemon in DAEMONS:
        count_rows(bench, daemon, results[daemon.name])
    compare(bench, results)


def measure(bench: Bench, guest: rig.Guest, daemon: Daemon, lone: list[int], many: list[int]
            ) -> dict[str, float]:
    guest.check(f"{daemon.start} >/run/{daemon.name}.out 2>&1 & echo $! >/run/daemon.pid")
    wait_until_idle(guest)
    bench.say(f"{daemon.name}: {len(lone)} events, one at a time")
    start_clock(guest, daemon.name)
    for frame in lone:
        guest.check(f"echo {frame // 4096:#x} >/sys/kernel/debug/hwpoison/corrupt-pfn; usleep 500000")
    delays = lone_delays(guest.check(f"cat {CLOCK}/trace"), daemon.name)
    expect(len(delays) > len(lone) * 3 / 4, f"{daemon.name} stored {len(delays)} of {len(lone)}")
    found = {"median ms": 1000 * statistics.median(delays), "worst ms": 1000 * max(delays)}

    words = " ".join(f"{frame // 4096:#x}" for frame in many)
    guest.check(f"for n in {words}; do echo $n >/sys/kernel/debug/hwpoison/corrupt-pfn; done")
    wait_until_idle(guest)
    bench.say(f"{daemon.name}: {STORM_EVENTS} events as fast as the kernel makes them")
    before = cpu_seconds(guest)
    begun = boot_seconds(guest)
    guest.check(f"poison_memory storm {STORM_EVENTS} {words}", timeout=900)
    wait_until_idle(guest)
    found["storm s"] = last_durable(guest, daemon.name) - begun
    found["storm CPU s"] = cpu_seconds(guest) - before

    bench.say(f"{daemon.name}: {CORRECTED_RATE * CORRECTED_SECONDS} corrected errors")
    before = cpu_seconds(guest)
    guest.check(f"poison_memory checks {CORRECTED_RATE} {CORRECTED_SECONDS} {words}", timeout=900)
    wait_until_idle(guest)
    found["corrected CPU s"] = cpu_seconds(guest) - before
    found["peak MiB"] = int(guest.check("grep VmHWM /proc/$(cat /run/daemon.pid)/status")
                            .split()[1]) / 1024
    guest.check("kill $(cat /run/daemon.pid); while [ -e /proc/$(cat /run/daemon.pid)/exe ]; do "
                f"usleep 100000; done; rmdir {CLOCK}")
    return found


def start_clock(guest: rig.Guest, name: str) -> None:
    """The error, and what `name` does to make it durable."""
    guest.check(f"mkdir {CLOCK} && cd {CLOCK} && echo mono >trace_clock && "
                "echo 4096 >buffer_size_kb && echo 1 >$(ls -d events/*/memory_failure_event)/enable")
    for call in DURABLE_CALLS:
        guest.check(f"cd {CLOCK}/events/syscalls/sys_exit_{call} && echo 'comm == \"{name}\"' >filter "
                    "&& echo 1 >enable")


def clock_events(trace: str, name: str) -> list[tuple[float, str]]:
    found = re.findall(r"^ *(\S+)-\d+ +\[\d+\] \S+ +([\d.]+): (\w+)", trace, re.MULTILINE)
    return [(float(when), what) for who, when, what in found
            if who == name or what == "memory_failure_event"]


def lone_delays(trace: str, name: str) -> list[float]:
    """From each error to the end of the transaction that stored it: the journal of SQLite is removed,
    and where the program asks for that, its folder is synchronised."""
    delays, event, removed = [], None, None
    for when, what in [*clock_events(trace, name), (float("inf"), "memory_failure_event")]:
        if what == "memory_failure_event":
            if event is not None and removed is not None:
                delays.append(removed - event)
            event, removed = when, None
        elif event is not None and what == "sys_unlink" and removed is None:
            removed = when
        elif removed is not None and what == "sys_fdatasync" and when - removed < 0.1:
            delays.append(when - event)
            event = removed = None
    return delays


def last_durable(guest: rig.Guest, name: str) -> float:
    trace = guest.check(f"grep sys_unlink {CLOCK}/trace | tail -n 9")
    calls = [when for when, _ in clock_events(trace, name)]
    return calls[-1] if calls else boot_seconds(guest)


def boot_seconds(guest: rig.Guest) -> float:
    return float(guest.check("cat /proc/uptime").split()[0])


def cpu_seconds(guest: rig.Guest) -> float:
    fields = guest.check("cat /proc/$(cat /run/daemon.pid)/stat").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def wait_until_idle(guest: rig.Guest, seconds: float = 600) -> None:
    """Until the daemon has used next to no processor for some time: it has stored what there was."""
    deadline = time.monotonic() + seconds
    used = -1.0
    while (now := cpu_seconds(guest)) > used + 0.1:
        expect(time.monotonic() < deadline, f"the daemon is still busy after {seconds} s")
        used = now
        time.sleep(4)


def count_rows(bench: Bench, daemon: Daemon, found: dict[str, float]) -> None:
    copy = rig.copy_from_disk(bench.results / "disk.img", daemon.database,
                              bench.results / Path(daemon.database).name)
    with sqlite3.connect(copy) as database:
        uncorrected = database.execute(daemon.uncorrected).fetchone()[0]
        rows, errors = database.execute(daemon.corrected).fetchone()
    found["rows"] = uncorrected - LONE_EVENTS - FRAMES
    found["rows a second"] = found["rows"] / found["storm s"]
    found["CPU ms a row"] = 1000 * found["storm CPU s"] / max(1, found["rows"])
    found["corrected rows"], found["corrected errors"] = rows, errors or 0
    found["database KiB"] = copy.stat().st_size / 1024


def compare(bench: Bench, results: dict[str, dict[str, float]]) -> None:
    ours, theirs = (results[daemon.name] for daemon in DAEMONS)
    bench.say(f"{'':18}{DAEMONS[0].name:>12}{DAEMONS[1].name:>12}{'ratio':>9}")
    for what, value in ours.items():
        ratio = f"{value / theirs[what]:9.2f}" if theirs[what] else ""
        bench.say(f"{what:18}{value:12.1f}{theirs[what]:12.1f}{ratio}")
        bench.measured("watch", what, "", value, "rasdaemon", theirs[what])
