"""A registry made under one kernel is used for the cold boot of another.

With --kernel debian12 it is made under debian12 and carried to newest, and the other way round. The
parameter for the second kernel is made on the host, from the disk image and a capture of the first
machine: nothing of the first kernel is running any more.
"""

from rig import copy_from_disk
from steps import (REGISTRY, Bench, Poisonctl, choose_free_frames, expect, expect_effective,
                   expect_excluded, expect_records, expect_whole_plan, inject_machine_check, poison,
                   system_ram)

OTHER = {"debian12": "newest", "newest": "debian12"}
CAPTURE = "/disk/capture"


def run(bench: Bench) -> None:
    other = bench.other_kernel(OTHER[bench.kernel.name])
    disk = bench.disk(bench.kernel, bench.initramfs(bench.kernel))

    with bench.boot(disk=disk, name="made-under") as guest:
        tool = Poisonctl.in_guest(guest)
        ram = system_ram(guest)
        frames = choose_free_frames(guest, 4)
        bench.say("machine check and three more errors")
        inject_machine_check(guest, frames[0])
        poison(guest, frames[1:])
        tool.collect_kernel()
        expect_records(tool, frames)
        tool.run("capture", CAPTURE)
        guest.power_off()

    registry = copy_from_disk(disk, REGISTRY.removeprefix("/disk"), bench.results / "registry.db")
    sysroot = copy_from_disk(disk, CAPTURE.removeprefix("/disk"), bench.results)
    on_host = Poisonctl.on_host(bench.poisonctl, registry, sysroot)
    expect_records(on_host, frames)
    plan = on_host.plan()
    expect_whole_plan(plan, frames)
    expect(not plan.refused, f"plan on the host: refused: {plan.reasons}")
    parameter = on_host.emit_e820(plan)
    bench.say(f"on the host: {parameter}")

    with bench.boot(other, disk=disk, name="carried-to", append=parameter) as guest:
        tool = Poisonctl.in_guest(guest)
        expect_records(tool, frames)
        expect_excluded(bench, guest, frames, ram)
        expect_effective(tool, frames)
        guest.power_off()
