"""CXL devices repair what the registry knows to be bad in them, before a region has their memory
and after: what the kernel refuses is explained, no repair is believed that the poison list does not
bear out, and one that a reset undoes resolves nothing. The same after a boot, and with the memory
online, where its frames are retired first."""

import dataclasses
from typing import Sequence

import rig
from cxl_steps import addresses_of_kernel, hardware, inject_poison, make_region, path_of, trace
from steps import FRAME, HWPOISON, MIB, Bench, FrameFlags, Poisonctl, Watch, expect, wait_until

SHARE = 256 * MIB  # of each device in its region; the rest of it is in none
ALONE, FIRST, SECOND = 0xabcd0003, 0xabcd0001, 0xabcd0002
REGIONS = ((ALONE,), (FIRST, SECOND))
OUTSIDE, NOWHERE = (ALONE, SHARE + 0x1000), (ALONE, SHARE + 0x2000)
# Lines by what the device reports of them besides, if anything.
ROW_KNOWN = [(ALONE, 0x2040), (FIRST, 0x1840)]
ADDRESS_KNOWN = (SECOND, 0x40)
UNREPORTED = (ALONE, 0x8003040)
LINES = [*ROW_KNOWN, ADDRESS_KNOWN, UNREPORTED]
NEIGHBOURS = (ALONE, 0x6040), (ALONE, 0x6080)  # of one frame
ROW = {"bank-group": 7, "bank": 11, "row": 2, "column": 77, "nibble-mask": 0x30, "sub-channel": 1}
APPLY = "poisonctl --registry /disk/registry.db apply cxl"


def name_of(line: tuple[int, int]) -> str:
    return f"cxl serial {line[0]:#x} dpa {line[1]:#x}+0x40"


class Applied:
    """What 'apply cxl' did, by line of a device."""

    def __init__(self, guest: rig.Guest, options: str, *statuses: int):
        done = guest.run(f"{APPLY} {options}")
        self.text = f"{done.text}\n{done.errors}"
        expect(done.status in statuses,
               f"apply cxl {options} ended with status {done.status}, expected {statuses}: "
               f"{self.text}")

    def expect_said(self, line: tuple[int, int], *words: str) -> None:
        about = [text for text in self.text.splitlines() if name_of(line) in text]
        for word in words:
            expect(any(word in text for text in about),
                   f"expected {word!r} about {name_of(line)}, got {about}")


def conditions(tool: Poisonctl) -> dict[int, str]:
    """Of each record, resolved or not, by the address of its frame."""
    records = tool.json("list", "--all", schema="poisonctl/records-v1")["records"]
    return {record["address"]: record["condition"] for record in records}


def collect(guest: rig.Guest) -> str:
    said = guest.check("poisonctl --registry /disk/registry.db collect cxl 2>&1")
    expect("by the decoders" not in said, f"an address is not the kernel's: {said}")
    return said


def without_region(bench: Bench, guest: rig.Guest, tool: Poisonctl) -> None:
    """The kernel repairs whatever it is told to; this device says yes and lists the place still."""
    inject_poison(guest, *OUTSIDE)
    expect("1 recorded" in collect(guest), "an entry of the list was not recorded")
    planned = tool.run("apply", "cxl", "--dry-run")
    expect(planned == f"repair {name_of(OUTSIDE)}: temporary ppr\n", f"the plan is {planned!r}")
    Applied(guest, "", 1).expect_said(OUTSIDE, "still on its poison list", "not resolved")
    said = Applied(guest, "--repair none --clear-poison", 0)
    said.expect_said(OUTSIDE, "the poison list does not have it: that is no repair")
    expect("repaired" not in said.text, f"clearing is called a repair: {said.text}")
    known = tool.json("list", "--all", schema="poisonctl/records-v1")["evidence"]
    expect(len(known) == 2
           and "poison overwritten with zeros (clear_poison)" in known[-1]["evidence"],
           f"what was cleared is not in the registry: {known}")
    bench.say("repaired and cleared without a region")


def for_good_without_region(bench: Bench, guest: rig.Guest, tool: Poisonctl) -> None:
    """What is in no record is repaired once, and again when the device lists it again."""
    watch = Watch(guest)
    inject_poison(guest, *NOWHERE)
    guest.qmp("cxl-inject-dram-event", **report_of(NOWHERE), **ROW)
    watch.wait_for(f"ue without a place, on cxl serial {NOWHERE[0]:#x} dpa {NOWHERE[1]:#x}")
    watch.stop()
    said = Applied(guest, "--permanent --clear-poison", 1)  # 1: OUTSIDE, of which no row is known
    said.expect_said(NOWHERE, ": permanent cacheline-sparing",
                     "repaired, and no longer on the poison list")
    expect(name_of(NOWHERE) not in Applied(guest, "--permanent --dry-run", 1).text,
           "what is repaired for good is to be repaired again")
    expect("nothing new" in collect(guest), "what is repaired for good is still on a list")
    inject_poison(guest, *NOWHERE)
    expect("1 recorded" in collect(guest), "what went bad again was not recorded")
    # Which row it was, nobody has said since.
    Applied(guest, "--dry-run", 0).expect_said(NOWHERE, ": temporary ppr")
    guest.check(f"{APPLY} --repair none --clear-poison")
    bench.say("repaired for good without a region, once")


def report_of(line: tuple[int, int]) -> dict:
    return {"path": path_of(line[0]), "dpa": line[1], "log": "failure", "flags": 1, "descriptor": 1,
            "type": 0, "sub-type": 0, "transaction-type": 1, "channel": 3, "rank": 1}


def report_row(guest: rig.Guest, tool: Poisonctl, line: tuple[int, int], frame: int, count: int) -> None:
    watch = Watch(guest)
    guest.qmp("cxl-inject-dram-event", **report_of(line), **ROW)
    watch.wait_for_events(tool, frame, count)
    watch.stop()


def let_devices_report(guest: rig.Guest, tool: Poisonctl, kernel: dict) -> None:
    watch = Watch(guest)
    for line in ROW_KNOWN:
        guest.qmp("cxl-inject-dram-event", **report_of(line), **ROW)
    guest.qmp("cxl-inject-general-media-event", **report_of(ADDRESS_KNOWN))
    for line in (*ROW_KNOWN, ADDRESS_KNOWN):
        events = watch.wait_for_events(tool, kernel[line] & ~(FRAME - 1), 1)
        expect(events[0]["address"] == kernel[line],
               f"{name_of(line)} is at {kernel[line]:#x} for the kernel, recorded are {events}")
    watch.stop()


def expect_all_faulty(tool: Poisonctl, frames: Sequence[int]) -> None:
    seen = conditions(tool)
    expect(seen == {frame: "faulty" for frame in frames}, f"not all records are faulty: {seen}")


def with_regions(bench: Bench, guest: rig.Guest, tool: Poisonctl) -> dict[tuple[int, int], int]:
    for serials in REGIONS:
        make_region(guest, "decoder0.0", serials, SHARE)
    trace(guest)
    for line in LINES:
        inject_poison(guest, *line)
    collect(guest)
    kernel = {line: addresses_of_kernel(guest)[line] for line in LINES}
    frames = [address & ~(FRAME - 1) for address in kernel.values()]
    expect_all_faulty(tool, frames)
    bench.say(f"{len(frames)} frames of CXL memory are where the kernel says")

    said = Applied(guest, "", 1)
    for line in LINES:
        said.expect_said(line, "Invalid argument; while a region has memory of the device, the "
                               "kernel only repairs what the device has reported in this boot")
    expect_all_faulty(tool, frames)
    let_devices_report(guest, tool, kernel)

    said = Applied(guest, "", 1)
    for line in ROW_KNOWN:
        said.expect_said(line, ": temporary cacheline-sparing", "still on its poison list")
    said.expect_said(ADDRESS_KNOWN, ": temporary ppr", "still on its poison list")
    said.expect_said(UNREPORTED, "has reported in this boot")
    expect_all_faulty(tool, frames)
    return kernel


def repair_for_good(bench: Bench, guest: rig.Guest, tool: Poisonctl,
                    kernel: dict[tuple[int, int], int]) -> None:
    """Permanent repairs resolve a record, but only when the list does not have the place."""
    frames = {line: address & ~(FRAME - 1) for line, address in kernel.items()}
    said = Applied(guest, "--permanent", 1)
    for line in ROW_KNOWN:
        said.expect_said(line, ": permanent cacheline-sparing", "still on its poison list")
    said.expect_said(ADDRESS_KNOWN, "refused", "ppr: a reset undoes it")
    expect_all_faulty(tool, list(frames.values()))

    said = Applied(guest, "--clear-poison", 1)
    for line in (*ROW_KNOWN, ADDRESS_KNOWN):
        said.expect_said(line, "repaired until the device is reset, and no longer on the poison "
                               "list; its record stays")
    expect_all_faulty(tool, list(frames.values()))

    first, second = ROW_KNOWN
    inject_poison(guest, *first)
    said = Applied(guest, "--permanent", 1)
    said.expect_said(first, "still on its poison list")
    said.expect_said(second, "repaired, and no longer on the poison list")
    said = Applied(guest, "--permanent --clear-poison", 1)
    said.expect_said(first, "repaired, and no longer on the poison list")
    wanted = {frame: "resolved" if line in ROW_KNOWN else "faulty"
              for line, frame in frames.items()}
    expect(conditions(tool) == wanted, f"expected {wanted}, got {conditions(tool)}")
    for line, words in ((first, "overwritten with zeros"), (second, "permanent cacheline-sparing")):
        events = tool.json("show", hex(frames[line]), schema="poisonctl/events-v1")["events"]
        ends = [event for event in events if event["kind"] == "resolution"]
        expect(len(ends) == 1 and ends[0]["state"] == "repaired"
               and words in ends[0]["evidence"],
               f"expected one resolution as repaired, with {words!r}: {ends}")
    bench.say("two records are resolved as repaired, by permanent repairs alone")


def two_of_one_frame(bench: Bench, guest: rig.Guest, tool: Poisonctl) -> None:
    """A line that is repaired for good costs no second spare while another one of its frame is bad."""
    one, other = NEIGHBOURS
    for line in NEIGHBOURS:
        inject_poison(guest, *line)
    collect(guest)
    frame = addresses_of_kernel(guest)[one] & ~(FRAME - 1)
    report_row(guest, tool, one, frame, 1)
    said = Applied(guest, "--permanent --clear-poison", 1)
    said.expect_said(one, "repaired, and no longer on the poison list")
    said.expect_said(other, "which no event told")
    expect(conditions(tool)[frame] == "faulty", "half of what is bad was repaired, and the record is resolved")
    said = Applied(guest, "--permanent --clear-poison", 1)
    expect(name_of(one) not in said.text, f"what is repaired for good is repaired again: {said.text}")
    said.expect_said(other, "which no event told")
    expect("nothing new" in collect(guest), "what is repaired for good is still on a list")
    # What is said of the other one is said of their frame.
    Applied(guest, "--repair none --clear-poison", 0, 1).expect_said(other, "overwritten with zeros")
    inject_poison(guest, *one)
    expect("1 recorded" in collect(guest), "what went bad again was not recorded")
    expect("nothing new" in collect(guest), "the same list is new each time")
    expect(name_of(one) in Applied(guest, "--permanent --dry-run", 1).text, "what is bad again is not to be repaired")
    said = Applied(guest, "--permanent --clear-poison", 1)
    said.expect_said(one, "repaired, and no longer on the poison list")
    report_row(guest, tool, other, frame, 2)
    said = Applied(guest, "--permanent --clear-poison", 1)
    expect(name_of(one) not in said.text, f"what is repaired for good is repaired again: {said.text}")
    said.expect_said(other, "repaired, and no longer on the poison list")
    expect(conditions(tool)[frame] == "resolved", "all that was bad is repaired, and the record is not resolved")
    bench.say("two lines of one frame: each repaired once, the record resolved with the second")


def after_a_boot(bench: Bench, guest: rig.Guest, tool: Poisonctl,
                 kernel: dict[tuple[int, int], int]) -> None:
    """The device has lost what was repaired until a reset, and one place that was repaired for good
    went bad again."""
    before = conditions(tool)
    make_region(guest, "decoder0.0", (ALONE,), SHARE)
    make_region(guest, "decoder0.0", (FIRST, SECOND), SHARE)
    trace(guest)
    for line in (ADDRESS_KNOWN, UNREPORTED):
        inject_poison(guest, *line)
    expect("nothing new" in collect(guest), "the same lists after a boot are something new")
    expect(conditions(tool) == before, f"a boot made {conditions(tool)} of {before}")
    expect({line: addresses_of_kernel(guest)[line] for line in (ADDRESS_KNOWN, UNREPORTED)}
           == {line: kernel[line] for line in (ADDRESS_KNOWN, UNREPORTED)},
           "the regions are elsewhere after a boot")
    inject_poison(guest, *ROW_KNOWN[0])
    collect(guest)
    frame = kernel[ROW_KNOWN[0]] & ~(FRAME - 1)
    expect(conditions(tool)[frame] == "faulty", "a repaired place that is bad again stays resolved")
    bench.say("after a boot: the same records, and one opened again")


RETIRE = "/sys/devices/system/memory/hard_offline_page"


def online(bench: Bench, guest: rig.Guest, kernel: dict[tuple[int, int], int]) -> None:
    """Memory of the device as System RAM: its frames are retired before a repair is ordered."""
    frame = kernel[UNREPORTED] & ~(FRAME - 1)
    guest.check("echo online_movable >/sys/devices/system/memory/auto_online_blocks; "
                "echo region0 >/sys/bus/cxl/drivers/cxl_region/bind")
    wait_until(lambda: "System RAM (kmem)" in guest.check("cat /proc/iomem"),
               lambda: f"the region did not become memory: {guest.check('cat /proc/iomem')}", 60)
    expect(not FrameFlags(guest).has(frame, HWPOISON), "the frame is poisoned beforehand")

    # Orders to retire go nowhere: zeros in memory that somebody may get are not written.
    guest.check(f"touch /tmp/orders; mount --bind /tmp/orders {RETIRE}")
    said = Applied(guest, "--repair none --clear-poison", 1)
    said.expect_said(UNREPORTED, "not overwritten", "is not retired")
    guest.check(f"umount {RETIRE}")
    expect(not FrameFlags(guest).has(frame, HWPOISON), "the frame was retired by orders to a file")
    expect(UNREPORTED in addresses_of_kernel(guest), "what is in use was overwritten")

    said = Applied(guest, "", 1)
    said.expect_said(UNREPORTED, "has reported in this boot")
    expect(FrameFlags(guest).has(frame, HWPOISON), f"the frame is not retired: {said.text}")
    bench.say("online: the frame was retired before the repair, which the kernel refused")

    # 1: a process of the guest may have another of the frames by now.
    Applied(guest, "--repair none --clear-poison", 0, 1).expect_said(
        UNREPORTED, "overwritten with zeros; the poison list does not have it")
    bench.say("online: what is retired is overwritten, and what is not is left alone")


def run(bench: Bench) -> None:
    bench.machine = dataclasses.replace(
        bench.machine, qemu=bench.fetched_program("qemu-cxl-repair"),
        cpu="Skylake-Server,-hypervisor",
        kind="q35,cxl=on,cxl-fmw.0.targets.0=cxl.0,cxl-fmw.0.size=4G",
        extra=hardware(((ALONE, FIRST, SECOND),)))
    disk = bench.disk(bench.kernel, bench.initramfs(bench.kernel))
    with bench.boot(disk=disk, name="first") as guest:
        tool = Poisonctl.in_guest(guest)
        without_region(bench, guest, tool)
        for_good_without_region(bench, guest, tool)
        kernel = with_regions(bench, guest, tool)
        repair_for_good(bench, guest, tool, kernel)
        two_of_one_frame(bench, guest, tool)
        guest.power_off()
    with bench.boot(disk=disk, name="second") as guest:
        tool = Poisonctl.in_guest(guest)
        after_a_boot(bench, guest, tool, kernel)
        online(bench, guest, kernel)
        guest.power_off()
