"""Memory that an option made persistent memory (ZONE_DEVICE, with page structures of its own): the
kernel shows no flags of it, so that no order's outcome could be read, and none is given; its frames are
refused with what helps. Without the option they are RAM again and are retired."""

import json

import rig
from steps import (FRAME, INITRAMFS, MIB, STAYS_IN_PLACE, VMLINUZ, Bench, FrameFlags, Poisonctl,
                   expect, expect_poisoned, hardware_corrupted_kib)

# Within where other scenarios choose their frames.
SIZE, START = 64 * MIB, 192 * MIB
OPTION = f"memmap={SIZE >> 20}M!{START >> 20}M"
LISTED = (START + 40 * MIB, START + 41 * MIB)
IN_RAM = START + SIZE + 32 * MIB


def run(bench: Bench) -> None:
    with bench.boot(append=STAYS_IN_PLACE) as guest:
        # While they are RAM.
        tool = Poisonctl.in_guest(guest)
        tool.run("record", *(f"{frame:#x}" for frame in (*LISTED, IN_RAM)))
        as_device_memory(bench, guest, tool)
        as_ram(bench, guest, tool)
        guest.power_off()


def as_device_memory(bench: Bench, guest: rig.Guest, tool: Poisonctl) -> None:
    bench.say(f"kexec with {OPTION}")
    guest.kexec(VMLINUZ, INITRAMFS, OPTION)
    expect(guest.run("test -b /dev/pmem0").status == 0, "the kernel made no /dev/pmem0")
    iomem = guest.check("cat /proc/iomem")
    expect("Persistent Memory (legacy)" in iomem, f"no persistent memory in {iomem}")
    flags = FrameFlags(guest)
    seen = [flags.describe(frame) for frame in LISTED]
    bench.say(f"their flags: {seen}")
    status, output = tool.run_with_status("--json", "replay", statuses=(1,))
    told = json.loads(output)
    refused = {r["address"]: r["reason"] for r in told["refused"]}
    expect(sum(r["size"] for r in told["refused"]) == len(LISTED) * FRAME
           and set(refused) == set(LISTED), f"expected both refused: {told}")
    expect(all("ndctl" in reason for reason in refused.values()), f"no help: {refused}")
    expect(told["orders"] == 1 and told["frames"]["effective"] == 1, f"the one in RAM: {told}")
    plan = tool.plan()
    expect(set(LISTED) <= {start for start, _ in plan.refused}, f"the plan covers them: {plan}")
    expect(hardware_corrupted_kib(guest) == FRAME >> 10, "device memory was retired")


def as_ram(bench: Bench, guest: rig.Guest, tool: Poisonctl) -> None:
    bench.say("kexec without")
    guest.kexec(VMLINUZ, INITRAMFS)
    tool.run("replay", statuses=(0,))
    expect_poisoned(guest, (*LISTED, IN_RAM))
    bench.say("RAM again, and retired")
