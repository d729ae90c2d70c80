"""A benchmark, no test: poison-replay beside a C loop of bare writes and beside a shell loop, and what it
adds to an initramfs."""

import gzip
import json
import random
import tempfile
from pathlib import Path

import rig
from rig import Guest
from steps import (BUDDY, FRAME, MIB, Bench, FrameFlags, Poisonctl, build_helper, expect)

COUNTS = (10, 1000, 10000)
# The shell needs too long for more.
MOST_IN_SHELL = 1000
PLACES_FROM, PLACES_BELOW, STRIDE = 96 * MIB, 480 * MIB, 2 * FRAME


def run(bench: Bench) -> None:
    bench.replays = True
    # A list may take 1 % of memory.
    bench.machine = rig.Machine(memory_mib=4608)
    with tempfile.TemporaryDirectory() as folder:
        bare = build_helper("bare_orders", Path(folder))
        bench.helpers += (bare,)
        size_of_program(bench)
        with bench.boot() as guest:
            places = free_places(guest)
            for count in COUNTS:
                measure(bench, guest, places, count)
            guest.power_off()


def size_of_program(bench: Bench) -> None:
    parts = {"poison-replay": rig.without_debug_information(bench.poison_replay)}
    for name, library in rig.shared_libraries(bench.poison_replay, None):
        parts[Path(name).name] = library.read_bytes()
    for name, data in parts.items():
        bench.say(f"{name}: {len(data)} bytes, {len(gzip.compress(data, 9))} with gzip -9")
    everything = b"".join(parts.values())
    bench.say(f"all together: {len(gzip.compress(everything, 9))} bytes with gzip -9")


def free_places(guest: Guest) -> list[int]:
    flags = FrameFlags(guest)
    places = [frame for frame in range(PLACES_FROM, PLACES_BELOW, STRIDE) if flags.has(frame, BUDDY)]
    random.Random(1).shuffle(places)
    return places


def measure(bench: Bench, guest: Guest, places: list[int], count: int) -> None:
    def take(number: int) -> list[int]:
        expect(len(places) >= number, "not enough free frames")
        taken = sorted(places[:number])
        del places[:number]
        return taken

    def listed(frames: list[int]) -> None:
        guest.push("".join(f"{frame:#x}\n" for frame in frames).encode(), "/run/list")

    listed(take(count))
    number, floor, failed = map(int, guest.check("bare_orders /run/list").split())
    expect(number == count and failed <= count // 20, f"bare writes: {failed} of {number} failed")

    frames = take(count)
    registry = f"/disk/speed-{count}.db"
    tool = Poisonctl.in_guest(guest, registry)
    listed(frames)
    guest.check(f"xargs poisonctl -q --registry {registry} record </run/list")
    tool.run("handover", "make", "-o", "/disk/speed", "--bounds",
             "per-mille=1000,node-per-mille=1000,hard-per-mille=1000")
    guest.check("mkdir -p /etc/poisonctl && "
                f"poisonctl --registry {registry} handover key >/etc/poisonctl/trusted-keys")
    timed = guest.run("time -v poison-replay --from /disk/speed", timeout=300)
    told = json.loads(guest.check("cat /run/poisonctl/replay.json"))
    # busybox takes the kernel's KiB for pages (procps/time.c, ptok).
    memory = [int(line.split(":")[1]) // (FRAME // 1024) for line in timed.errors.splitlines()
              if "Maximum resident" in line]
    wall = [line.split("):")[1].strip() for line in timed.errors.splitlines() if "Elapsed" in line]
    took = told["duration_us"]
    bench.say(f"{count} frames: floor {floor} us, replay {took} us, ratio {took / floor:.2f}; "
              f"whole process {wall}, peak {memory} KiB; {told['frames']}")
    bench.measured("replay", f"{count:,} frames", "us", took, "bare writes in C", floor)

    few = take(min(count, MOST_IN_SHELL))
    listed(few)
    start = guest.check("cat /proc/uptime").split()[0]
    guest.check("while read -r a; do echo $a >/sys/devices/system/memory/hard_offline_page; "
                "done </run/list 2>/dev/null; true", timeout=600)
    end = guest.check("cat /proc/uptime").split()[0]
    shell = (float(end) - float(start)) * 1e6 / len(few)
    bench.say(f"shell loop: {shell:.0f} us a frame, floor {floor / count:.1f}, "
              f"replay {took / count:.1f}")
    bench.measured("replay", f"{count:,} frames, each", "us", took / count, "a shell loop", shell)
