"""The registry grows from boot to boot: 1, 2, 64, 100 scattered frames and a run of adjacent ones;
then 200, 1,000 and 20,000, which is more than a kernel command line can hold."""

from rig import Guest
from steps import (COMMAND_LINE_MAX, FRAME, Bench, Poisonctl, Range, choose_free_frames, expect,
                   expect_effective, expect_excluded, expect_not_effective, expect_records,
                   expect_whole_plan, frames_in, kexec, poison, poison_by_injector, show,
                   system_ram)

ADJACENT = 16
TOO_MANY = (200, 1000, 20_000)


def run(bench: Bench) -> None:
    with bench.boot() as guest:
        tool = Poisonctl.in_guest(guest)
        ram = system_ram(guest)

        frames: list[int] = []
        for count in (1, 2, 64):
            frames += poisoned_now(bench, guest, frames, count)
            excluded = exclude(bench, guest, tool, frames, ram)
            expect(excluded == sorted(frames), f"expected all {count} frames to fit on the command "
                   f"line, but {len(frames) - len(excluded)} were refused")

        frames += poisoned_now(bench, guest, frames, 100)
        adjacent = choose_free_frames(guest, 1, avoid=frames, run=ADJACENT)
        bench.say(f"{ADJACENT} adjacent frames from {adjacent[0]:#x}")
        poison_by_injector(guest, adjacent)
        frames += adjacent
        tool.collect_kernel()
        plan = tool.plan()
        whole = (adjacent[0], adjacent[-1] + FRAME)
        expect(whole in plan.covered + plan.refused,
               f"plan: expected adjacent frames as one range {show([whole])}")
        exclude(bench, guest, tool, frames, ram)

        for count in TOO_MANY:
            too_many(bench, guest, ram, count)
        guest.power_off()


def poisoned_now(bench: Bench, guest: Guest, known: list[int], total: int) -> list[int]:
    """Poisons as many more frames as are needed to have `total`; returns the new ones."""
    new = choose_free_frames(guest, total - len(known), avoid=known, seed=total)
    bench.say(f"{len(new)} more bad frames, {total} in all")
    poison(guest, new)
    return new


def exclude(bench: Bench, guest: Guest, tool: Poisonctl, frames: list[int], ram: list[Range]
            ) -> list[int]:
    """Collects, plans, boots the next kernel with the parameter; returns the excluded frames."""
    tool.collect_kernel()
    expect_records(tool, frames)
    excluded = boot_with_plan(bench, guest, tool, frames, ram)
    expect_records(tool, frames)
    return excluded


def boot_with_plan(bench: Bench, guest: Guest, tool: Poisonctl, frames: list[int],
                   ram: list[Range]) -> list[int]:
    plan = tool.plan()
    expect_whole_plan(plan, frames)
    parameter = tool.emit_e820(plan)
    length = len(guest.command_line(parameter))
    expect(length <= COMMAND_LINE_MAX, f"the command line would have {length} characters; kexec "
           f"-s on x86 takes {COMMAND_LINE_MAX}")
    bench.say(f"{len(plan.covered)} ranges covered, {len(plan.refused)} refused, command line of "
              f"{length} characters")
    excluded = frames_in(plan.covered)
    kexec(bench, guest, parameter)
    expect_excluded(bench, guest, excluded, ram)
    expect_effective(tool, excluded)
    expect_not_effective(tool, frames_in(plan.refused))
    return excluded


def too_many(bench: Bench, guest: Guest, ram: list[Range], count: int) -> None:
    """Not everything fits: the rest is refused, said so, and the kernel loses no other memory."""
    bench.say(f"a registry with {count} scattered frames")
    tool = Poisonctl.in_guest(guest, f"/disk/too-many-{count}.db")
    start = ram[-1][0] + 160 * 1024 * 1024
    frames = [start + 2 * FRAME * number for number in range(count)]
    guest.push("".join(f"{frame // FRAME:#x}\n" for frame in frames).encode(), "/run/pfns")
    tool.run("collect", "pfn", "/run/pfns")
    # A seventh of memory, of which no list may take more than a tenth unless somebody wants it.
    guest.check("mkdir -p /etc/poisonctl")
    guest.push(b"[list]\nbounds = per-mille=1000,node-per-mille=1000,hard-per-mille=1000\n",
               "/etc/poisonctl/poisonctl.conf")
    expect_records(tool, frames)
    plan = tool.plan()
    expect(bool(plan.refused), f"plan: {count} ranges cannot fit on a command line, but nothing "
           "is refused")
    excluded = boot_with_plan(bench, guest, tool, frames, ram)
    expect(bool(excluded), f"plan: expected a part of {count} ranges to be covered, got none")
    bench.say(f"{len(excluded)} of {count} excluded, all other memory is there")
