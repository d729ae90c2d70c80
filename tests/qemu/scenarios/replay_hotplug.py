"""Two nodes, and a memory module that is plugged into one of them, pulled out with its bad frames and
put back: the kernel has forgotten their poison then, and what the udev rule starts retires them
again. A bad frame of the other node is not touched."""

import json
import time

import rig
from steps import (FRAME, MIB, Bench, FrameFlags, Poisonctl, choose_free_frames, expect,
                   expect_effective, expect_poisoned, hardware_corrupted_kib)

# Node 1 has 128 MiB, and a slot for a module of 256 MiB more. What is there from the start has a
# serial number: without one, a change of the memory map would put every record in doubt
# (packaging/doc/decisions/0009-topology.md).
HARDWARE = rig.Machine(
    memory_mib=640,
    extra=("-m", "640,slots=2,maxmem=2G",
           "-object", "memory-backend-ram,id=m0,size=512M",
           "-object", "memory-backend-ram,id=m1,size=128M",
           "-numa", "node,nodeid=0,cpus=0,memdev=m0", "-numa", "node,nodeid=1,memdev=m1",
           "-smbios", "type=17,manufacturer=Acme,part=D1,serial=11111111"))
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
        (other,) = choose_free_frames(guest, 1)  # on node 0
        tool.run("record", *(f"{frame:#x}" for frame in (*frames, other)))
        retire(tool, {"effective": len(frames) + 1})
        expect_effective(tool, (*frames, other))
        expect_poisoned(guest, (*frames, other))
        on_their_nodes(guest, frames, other)

        unplug(bench, guest, before)
        left = hardware_corrupted_kib(guest)
        expect(left == FRAME >> 10, f"HardwareCorrupted is {left} kB with one bad frame left")
        status, output = tool.run_with_status("--json", "replay", statuses=(0, 1))
        told = json.loads(output)
        expect(not told["orders"] and status == 1, f"absent memory was retired: {told}")
        expect(told["frames"]["already"] == 1, f"the frame of node 0: {told}")
        absent = sum(r["size"] for r in told["refused"]) + told["frames"]["absent"] * FRAME
        expect(absent == len(frames) * FRAME, f"absent frames are not named: {told}")

        plug(guest)
        wait_for_blocks(guest, before)
        expect(all(FrameFlags(guest).free(frame) for frame in frames),
               "expected the memory to come back without its poison")
        # Not "already": the outcome is of these pages, not of those before.
        retire(tool, {"effective": len(frames), "already": 1})
        expect_effective(tool, (*frames, other))
        expect_poisoned(guest, (*frames, other))
        bench.say("the frames were forgotten, and are retired again")
        guest.power_off()


def retire(tool: Poisonctl, states: dict[str, int]) -> None:
    """As the udev rule does, through the service."""
    told = json.loads(tool.run("--json", "replay"))
    became = {state: count for state, count in told["frames"].items() if count}
    expect(became == states, f"expected {states}: {told}")


def on_their_nodes(guest: rig.Guest, frames: list[int], other: int) -> None:
    size = block_size(guest)
    for node, addresses in ((1, frames), (0, [other])):
        for address in addresses:
            block = f"/sys/devices/system/node/node{node}/memory{address // size}"
            expect(guest.run(f"test -e {block}").status == 0, f"{address:#x} is not on node {node}")


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
    # Bad frames do not hold a block back: they are nobody's (mm/page_isolation.c).
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
