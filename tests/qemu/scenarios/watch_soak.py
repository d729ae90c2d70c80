"""Minutes of corrected errors, as many as the machine can trace, with one in each of them that lost data: all
are counted or stored, in few rows, and watch takes no more memory, files or threads than in the beginning. Too
long for every run of the tests: by hand."""

from __future__ import annotations

import dataclasses
import re
import sqlite3
import time

import rig
from steps import Bench, Poisonctl, Watch, choose_free_frames, expect, poison_by_injector
from watch_storm import FRAMES, cpu_seconds, end_of_corrected, events_lost, start_corrected

MINUTES = 10


@dataclasses.dataclass(frozen=True)
class Footprint:
    """Of the process."""
    resident_mib: float
    files: int
    threads: int

    @classmethod
    def of_watch(cls, guest: rig.Guest) -> Footprint:
        status = guest.check("cat /proc/$(cat /run/watch.pid)/status")
        def field(name: str) -> int:
            return int(re.search(rf"^{name}:\s+(\d+)", status, re.MULTILINE).group(1))
        files = guest.check("ls /proc/$(cat /run/watch.pid)/fd").split()
        return cls(field("VmRSS") / 1024, len(files), field("Threads"))


def run(bench: Bench) -> None:
    bench.machine = dataclasses.replace(bench.machine, cpus=2)
    with bench.boot() as guest:
        guest.check("taskset -p 1 1 && taskset -p 1 $$ && echo -1 >/proc/sys/kernel/sched_rt_runtime_us")
        tool = Poisonctl.in_guest(guest)
        lost_data = choose_free_frames(guest, MINUTES)
        watch = Watch(guest)
        guest.check("taskset -p 2 $(cat /run/watch.pid)")  # the injector is on CPU 0
        start_corrected(guest, 60 * MINUTES, avoid=lost_data)
        begun = time.monotonic()
        seen = []
        for minute, frame in enumerate(lost_data, 1):
            time.sleep(max(0.0, begun + 60 * minute - 30 - time.monotonic()))
            poison_by_injector(guest, [frame])
            watch.wait_for_events(tool, frame, 1, seconds=60)
            seen.append(Footprint.of_watch(guest))
            bench.say(f"minute {minute}: {seen[-1].resident_mib:.1f} MiB, {seen[-1].files} files, "
                      f"{seen[-1].threads} threads, {cpu_seconds(guest):.0f} s of CPU")
        storm = end_of_corrected(guest, 600 * MINUTES)
        bench.say(str(storm))
        watch.stop()
        tool.run("audit", "verify")
        guest.power_off()
    account(bench, storm.traced)
    # Its buffers have their size, and all places are known, after the first minutes.
    settled = seen[1]
    for footprint in seen[2:]:
        expect(footprint.resident_mib < settled.resident_mib + 1, f"watch grew: {seen}")
        # A registry that is written to is two files more, a scan a thread.
        expect(abs(footprint.files - settled.files) <= 4 and footprint.threads <= 3, f"watch collects: {seen}")


def account(bench: Bench, traced: int) -> None:
    registry = rig.copy_from_disk(bench.results / "disk.img", "/registry.db", bench.results / "registry.db")
    with sqlite3.connect(registry) as database:
        counted, rows = database.execute("SELECT sum(count), count(*) FROM event WHERE kind = 'ce'").fetchone()
        lost = events_lost(database)
    bench.say(f"{counted} corrected errors are in {rows} rows, {lost} lost in overruns of the ring buffer; "
              f"{registry.stat().st_size / 1024:.0f} KiB of registry")
    expect(counted + lost == traced, f"{traced} were traced, {counted} are counted and {lost} lost")
    expect(rows < 20 * FRAMES * MINUTES, f"{rows} rows for {FRAMES} places")
