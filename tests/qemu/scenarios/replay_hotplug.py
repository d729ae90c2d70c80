"""Memory that is taken away and comes back has forgotten its poison: what the udev rule starts retires
its frames again."""

import json
import time

import rig
from steps import (FRAME, MIB, Bench, FrameFlags, Poisonctl, expect, expect_effective)

# Node 1 has 128 MiB, and a slot for a module of 256 MiB more.
HARDWARE = rig.Machine(
    memory_mib=640,
    extra=("-m", "640,slots=2,maxmem=2G",
           "-object", "memory-backend-ram,id=m0,size=512M",
           "-object", "memory-backend-ram,id=m1,size=128M",
           "-numa", "node,nodeid=0,cpus=0,memdev=m0", "-numa", "node,nodeid=1,memdev=m1"))
MODULE = 256 * MIB


def run(bench: Bench) -> None:
    bench.machine = HARDWARE
    with bench.boot() as guest:
        tool = Poisonctl.in_guest(guest)
        before = set(blocks(guest))
        plug(guest)
        new = wait_for_blocks(guest, before)
        start = min(new) * block_size(guest)
        bench.say(f"{len(new)} memory blocks came, from {start:#x}")
        # Away from the start, where the kernel keeps the page array of the new memory.
        frames = [start + (64 + 16 * number) * MIB for number in range(5)]
        expect(all(FrameFlags(guest).free(frame) for frame in frames), "the new memory is in use")
        tool.run("record", *(f"{frame:#x}" for frame in frames))
        retire(tool, frames, "effective")
        expect_effective(tool, frames)

        unplug(bench, guest, before)
        status, output = tool.run_with_status("--json", "replay", statuses=(0, 1))
        told = json.loads(output)
        expect(not told["orders"] and status == 1, f"absent memory was retired: {told}")
        absent = sum(r["size"] for r in told["refused"]) + told["frames"]["absent"] * FRAME
        expect(absent == len(frames) * FRAME, f"absent frames are not named: {told}")

        plug(guest)
        wait_for_blocks(guest, before)
        expect(all(FrameFlags(guest).free(frame) for frame in frames),
               "expected the memory to come back without its poison")
        # Not "already": the outcome is of these pages, not of those before.
        retire(tool, frames, "effective")
        expect_effective(tool, frames)
        bench.say("the frames were forgotten, and are retired again")
        guest.power_off()


def retire(tool: Poisonctl, frames: list[int], state: str) -> None:
    """As the udev rule does, through the service."""
    told = json.loads(tool.run("--json", "replay"))
    expect(told["frames"][state] == len(frames), f"expected all {state}: {told}")


def blocks(guest: rig.Guest) -> list[int]:
    names = guest.check("ls /sys/devices/system/memory").split()
    return [int(name.removeprefix("memory")) for name in names
            if name.removeprefix("memory").isdigit()]


def block_size(guest: rig.Guest) -> int:
    return int(guest.check("cat /sys/devices/system/memory/block_size_bytes"), 16)


def plug(guest: rig.Guest) -> None:
    guest.qmp("object-add", **{"qom-type": "memory-backend-ram", "id": "hot", "size": MODULE})
    guest.qmp("device_add", driver="pc-dimm", id="dimm", memdev="hot", node=1)


def wait_for_blocks(guest: rig.Guest, before: set[int], seconds: float = 60) -> list[int]:
    deadline = time.monotonic() + seconds
    while True:
        new = [number for number in blocks(guest) if number not in before]
        if len(new) * block_size(guest) == MODULE:
            break
        expect(time.monotonic() < deadline, f"the module did not come: {new}")
        time.sleep(0.2)
    for number in new:
        state = f"/sys/devices/system/memory/memory{number}/state"
        guest.check(f"[ $(cat {state}) = online ] || echo online_movable >{state}")
    return new


def unplug(bench: Bench, guest: rig.Guest, before: set[int], seconds: float = 60) -> None:
    for number in blocks(guest):
        if number not in before:
            guest.check(f"echo offline >/sys/devices/system/memory/memory{number}/state")
    guest.qmp("device_del", id="dimm")
    deadline = time.monotonic() + seconds
    while set(blocks(guest)) != before:
        expect(time.monotonic() < deadline, "the module did not go")
        time.sleep(0.2)
    # The device goes a moment after its memory; then its backend may.
    while True:
        try:
            guest.qmp("object-del", id="hot")
            break
        except rig.GuestError:
            expect(time.monotonic() < deadline, "the backend of the module did not go")
            time.sleep(0.2)
    bench.say("the module is gone")
