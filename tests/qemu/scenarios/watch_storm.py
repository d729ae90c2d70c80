"""100,000 events: each is in the registry or counted as lost. Then so many that some are lost."""

import dataclasses
import re
import sqlite3

import rig
from steps import Bench, Poisonctl, Watch, choose_free_frames, expect, poison_by_injector

EVENTS = 100_000
FLOOD = 5_000
FRAMES = 16
# A frame is free for a moment between two errors. So the storm has a processor and a node of its
# own, from whose memory nobody else takes any.
TWO_NODES = ("-object", "memory-backend-ram,id=m0,size=384M", "-object",
             "memory-backend-ram,id=m1,size=256M", "-numa", "node,nodeid=0,cpus=1,memdev=m0",
             "-numa", "node,nodeid=1,cpus=0,memdev=m1")
COUNTED = "SELECT count(*) FROM event JOIN import ON import.id = event.import WHERE source = 'trace'"


def run(bench: Bench) -> None:
    bench.machine = dataclasses.replace(bench.machine, cpus=2, extra=TWO_NODES)
    with bench.boot() as guest:
        guest.check("taskset -p 1 1 && taskset -p 1 $$")  # all that is started from now on
        guest.check("echo -1 >/proc/sys/kernel/sched_rt_runtime_us")
        tool = Poisonctl.in_guest(guest)
        frames = choose_free_frames(guest, FRAMES + 1)
        words = " ".join(f"{frame // 4096:#x}" for frame in frames[:FRAMES])

        watch = Watch(guest)
        poison_by_injector(guest, frames[:FRAMES])
        bench.say(f"{EVENTS} events")
        before = cpu_seconds(guest)
        start = uptime(guest)
        guest.check(f"poison_memory storm {EVENTS} {words}", timeout=900)
        storm = uptime(guest) - start
        bench.say(f"storm: {storm:.0f} s, {EVENTS / storm:.0f} events a second, watch used "
                  f"{cpu_seconds(guest) - before:.1f} s of CPU, {peak_mib(guest):.0f} MiB at most")

        bench.say("a flood while watch stands still, with a small buffer")
        guest.check(f"echo 4 >{Watch.INSTANCE}/buffer_size_kb && kill -STOP $(cat /run/watch.pid)")
        guest.check(f"poison_memory storm {FLOOD} {words}", timeout=300)
        # Poisoned in the flood, and overwritten in the buffer by what comes after it.
        guest.check(f"echo {frames[FRAMES] // 4096:#x} >/sys/kernel/debug/hwpoison/corrupt-pfn")
        guest.check(f"poison_memory storm {FLOOD} {words}", timeout=300)
        guest.check("kill -CONT $(cat /run/watch.pid)")
        watch.wait_for_events(tool, frames[FRAMES], 1, "kernel", seconds=120)
        watch.stop()
        tool.run("audit", "verify")
        guest.power_off()
    account(bench)


def account(bench: Bench) -> None:
    """Stored and lost together are what the kernel traced, to the last one."""
    registry = rig.copy_from_disk(bench.results / "disk.img", "/registry.db",
                                  bench.results / "registry.db")
    with sqlite3.connect(registry) as database:
        lost = sum(int(re.match(r"(\d+) trace events lost", row[0]).group(1)) for row in
                   database.execute("SELECT evidence FROM event WHERE evidence LIKE '%events lost%'"))
        stored = database.execute(f"{COUNTED} AND evidence LIKE 'memory_failure%'").fetchone()[0]
        imports, longest = database.execute(
            "SELECT count(*), max(events) FROM (SELECT count(*) AS events FROM event JOIN import "
            "ON import.id = event.import WHERE source = 'trace' GROUP BY import)").fetchone()
        delays = sorted(row[0] / 1e6 for row in database.execute(
            "SELECT time_ns - observed_ns FROM event JOIN import ON import.id = event.import WHERE "
            "source = 'trace' AND observed_ns IS NOT NULL"))
    traced = FRAMES + EVENTS + 2 * FLOOD + 1
    bench.say(f"{stored} stored in {imports} batches of at most {longest}, {lost} lost; from event "
              f"to import: median {delays[len(delays) // 2]:.1f} ms, worst {delays[-1]:.1f} ms")
    expect(lost > 0, "the flood lost nothing: the scenario shows nothing of losses")
    expect(longest <= 256, f"a batch has {longest} events")
    expect(stored + lost == traced, f"{traced} were traced: {stored} are stored and {lost} lost")


def uptime(guest: rig.Guest) -> float:
    return float(guest.check("cat /proc/uptime").split()[0])


def cpu_seconds(guest: rig.Guest) -> float:
    fields = guest.check("cat /proc/$(cat /run/watch.pid)/stat").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def peak_mib(guest: rig.Guest) -> float:
    line = guest.check("grep VmHWM /proc/$(cat /run/watch.pid)/status")
    return int(line.split()[1]) / 1024
