"""'collect cxl' reads the poison lists of devices, alone and interleaved, by one host bridge or over
two: by serial number until a region has the bytes, then at the addresses that the kernel gives too;
and the same after a boot that numbers the devices differently."""

import dataclasses
import re

import rig
from cxl_steps import addresses_of_kernel, hardware, inject_poison, make_region, trace
from steps import MIB, Bench, Poisonctl, expect

SHARE = 256 * MIB  # of each device in its region; the rest of it is in none
FIRST, SECOND, ALONE = 0xabcd0001, 0xabcd0002, 0xabcd0003
LEFT, RIGHT = 0xabcd0004, 0xabcd0005  # each below a host bridge of its own
# The decoder of the window, and the devices in the order of their positions.
REGIONS = (("decoder0.0", (ALONE,)), ("decoder0.0", (FIRST, SECOND)), ("decoder0.1", (LEFT, RIGHT)))
# Lines of 64 bytes at the edges of granules (256 bytes) and pages, and deep inside.
LINES = {FIRST: [0x0, 0xc0, 0x1840, 0x7fffc0, SHARE - 64],
         SECOND: [0x40, 0x100, 0x1840, 0x123440],
         ALONE: [0x0, 0x1040, 0xabcdc0],
         LEFT: [0x0, 0x7ffc0], RIGHT: [0x0, 0x1840, SHARE - 64]}
OUTSIDE = SHARE + 0x1000  # of the device that is alone


def inject(guest: rig.Guest) -> None:
    lines = [(serial, line) for serial, lines in LINES.items() for line in lines]
    for serial, line in [*lines, (ALONE, OUTSIDE)]:
        inject_poison(guest, serial, line)


def make_regions(guest: rig.Guest) -> None:
    for root, serials in REGIONS:
        make_region(guest, root, serials, SHARE)


def collect(guest: rig.Guest, warns: bool = False) -> str:
    """All that it says; a difference from the kernel would be a warning."""
    said = guest.check("poisonctl --registry /disk/registry.db collect cxl 2>&1")
    expect("by the decoders" not in said, f"an address is not the kernel's: {said}")
    expect(("warning" in said) == warns, f"expected {'a' if warns else 'no'} warning: {said}")
    return said


def expect_addresses(bench: Bench, guest: rig.Guest, tool: Poisonctl) -> None:
    """Each entry is where the kernel has it, to the byte, and there is no other."""
    kernel = addresses_of_kernel(guest)
    checked = 0
    for serial, lines in LINES.items():
        for line in lines:
            host = kernel[serial, line]
            shown = tool.json("show", hex(host & ~0xfff), schema="poisonctl/events-v1")
            events = [event for event in shown["events"]
                      if event["kind"] == "media" and event["address"] == host]
            expect(len(events) == 1 and events[0]["size"] == 64
                   and events[0]["label"] == f"cxl serial {serial:#x}",
                   f"device {serial:#x}, address {line:#x}, is at {host:#x} for the kernel; "
                   f"recorded there: {shown['events']}")
            checked += 1
    records = tool.json("list", "--all", schema="poisonctl/records-v1")["records"]
    frames = {kernel[serial, line] & ~0xfff for serial, lines in LINES.items() for line in lines}
    expect({record["address"] for record in records} == frames,
           f"records {[hex(record['address']) for record in records]}, "
           f"expected {sorted(map(hex, frames))}")
    bench.say(f"{checked} lines are where the kernel says, in {len(frames)} frames")


def expect_resolved_is_opened_again(guest: rig.Guest, tool: Poisonctl) -> None:
    """A record was resolved by mistake: the device, which lists the place still, knows better."""
    record = tool.json("list", schema="poisonctl/records-v1")["records"][0]
    tool.run("resolve", hex(record["address"]), "--as", "acquitted", "--reason", "a mistake")
    collect(guest, warns=True)
    again = [other for other in tool.json("list", schema="poisonctl/records-v1")["records"]
             if other["address"] == record["address"]]
    expect(len(again) == 1 and again[0]["condition"] == "faulty",
           f"what the device still lists stayed resolved: {again}")


def expect_no_repair(guest: rig.Guest) -> None:
    """This kernel shows no repair: every line is named and refused, and nothing is resolved."""
    done = guest.run("poisonctl --registry /disk/registry.db apply cxl")
    expect(done.status == 1, f"apply cxl ended with status {done.status}: {done.errors}")
    lines = done.text.strip().splitlines()
    expected = {f"cxl serial {serial:#x} dpa {line:#x}+0x40"
                for serial, all_of_it in LINES.items() for line in all_of_it}
    expected.add(f"cxl serial {ALONE:#x} dpa {OUTSIDE:#x}+0x40")
    named = {re.sub(r"^refused ([^,:]*).*", r"\1", line) for line in lines}
    expect(named == expected and all("offers no repair" in line for line in lines),
           f"expected each of {sorted(expected)} refused, got {lines}")


def memdevs(guest: rig.Guest) -> str:
    return guest.check("cd /sys/bus/cxl/devices; for d in mem*; do echo $d=$(cat $d/serial); done")


def start(bench: Bench, serials, disk, name: str) -> rig.Guest:
    bench.machine = dataclasses.replace(bench.machine, extra=hardware((serials, (LEFT,), (RIGHT,))))
    guest = bench.boot(disk=disk, name=name)
    return guest


def run(bench: Bench) -> None:
    bench.machine = dataclasses.replace(
        bench.machine, qemu=bench.fetched_program("qemu-cxl"), cpu="Skylake-Server,-hypervisor",
        kind="q35,cxl=on,cxl-fmw.0.targets.0=cxl.0,cxl-fmw.0.size=4G,"
             "cxl-fmw.1.targets.0=cxl.1,cxl-fmw.1.targets.1=cxl.2,cxl-fmw.1.size=4G")
    disk = bench.disk(bench.kernel, bench.initramfs(bench.kernel))
    every = sum(len(lines) for lines in LINES.values()) + 1
    with start(bench, (FIRST, SECOND, ALONE), disk, "first") as guest:
        tool = Poisonctl.in_guest(guest)
        first_names = memdevs(guest)
        inject(guest)
        said = collect(guest)
        expect(f"{every} recorded" in said and f"{every} of them without a place" in said,
               f"without a region all entries are kept without a place: {said}")
        make_regions(guest)
        trace(guest)
        said = collect(guest)
        expect_addresses(bench, guest, tool)
        expect("nothing new" in collect(guest), "the same lists again are something new")
        guest.power_off()

    bench.say("a boot that numbers the devices in another order")
    with start(bench, (ALONE, SECOND, FIRST), disk, "second") as guest:
        tool = Poisonctl.in_guest(guest)
        expect(memdevs(guest) != first_names, f"numbered as before: {first_names}")
        make_regions(guest)
        inject(guest)
        trace(guest)
        expect("nothing new" in collect(guest), "the same lists after a boot are something new")
        expect_addresses(bench, guest, tool)
        expect_no_repair(guest)
        expect_resolved_is_opened_again(guest, tool)
        guest.power_off()
