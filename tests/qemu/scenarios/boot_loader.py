"""Cold boots through GRUB, by BIOS, leave bad frames out: by the drop-in that 'apply' writes, by GRUB's own
'cutmem', and by 'badram' with the pairs of GRUB_BADRAM.

The list is made in a guest and turned into what GRUB reads on the host, from a capture of that guest, as
GRUB's tools do it: the settings are read by a shell.
"""

import dataclasses
import shutil

import grub
from rig import Guest, copy_from_disk, run_on_host
from steps import (MIB, REGISTRY, Bench, FrameFlags, Poisonctl, Range, as_ranges,
                   choose_free_frames, expect, expect_same_ranges, show, subtract, sweep,
                   system_ram)

CAPTURE = "/disk/capture"


def run(bench: Bench) -> None:
    disk = bench.disk(bench.kernel, bench.initramfs(bench.kernel))
    with bench.boot(disk=disk, name="list-made") as guest:
        tool = Poisonctl.in_guest(guest)
        frames = choose_free_frames(guest, 12)
        tool.run("record", *(f"{frame:#x}" for frame in frames))
        tool.run("capture", CAPTURE)
        guest.power_off()
    registry = copy_from_disk(disk, REGISTRY.removeprefix("/disk"), bench.results / "registry.db")
    shutil.rmtree(bench.results / "capture", ignore_errors=True)  # of an earlier run
    sysroot = copy_from_disk(disk, CAPTURE.removeprefix("/disk"), bench.results)
    tool = Poisonctl.on_host(bench.poisonctl, registry, sysroot)

    words = settings_after_apply(tool, sysroot)
    expect(words == tool.run("emit", "e820").strip(), f"GRUB_CMDLINE_LINUX became {words!r}")
    boot(bench, disk, "drop-in", words, frames)
    boot(bench, disk, "cutmem", "", frames, tool.run("emit", "e820", "--form", "cutmem").splitlines())
    # 10_linux has no part in it: 00_header makes this command of the setting.
    setting = tool.run("emit", "e820", "--form", "badram").strip()
    pairs = setting.removeprefix('GRUB_BADRAM="').removesuffix('"')
    expect(setting == f'GRUB_BADRAM="{pairs}"', f"no setting: {setting}")
    boot(bench, disk, "badram", "", frames, [f"badram {pairs}"])


def settings_after_apply(tool: Poisonctl, sysroot) -> str:
    """What grub-mkconfig makes of /etc/default/grub and its drop-ins, written by apply."""
    (sysroot / "etc/default/grub.d").mkdir(parents=True)
    (sysroot / "etc/default/grub").write_text('GRUB_CMDLINE_LINUX=""\n')
    tool.run("apply", "e820")
    shell = run_on_host(["sh", "-euc", '. "$1/grub"; for f in "$1"/grub.d/*.cfg; do . "$f"; done; '
                         'echo $GRUB_CMDLINE_LINUX', "-", str(sysroot / "etc/default")])
    expect(shell.returncode == 0, f"a shell cannot read the drop-in: {shell.stderr.decode()}")
    return shell.stdout.decode().strip()


def boot(bench: Bench, disk, name: str, extra: str, frames: list[int], commands=()) -> None:
    bench.say(f"{name}: {extra or '; '.join(commands)}")
    words = ("console=ttyS0 panic=-1 quiet mitigations=off rig.boot=1 " + extra).strip()
    arguments = grub.bios(bench.results / f"grub-{name}", grub.script(words, *commands))
    machine = dataclasses.replace(bench.machine, loader=arguments)
    with Guest(bench.kernel, bench.results, disk, bench.results / name, machine) as guest:
        left_out(bench, guest, frames)
        guest.power_off()


def left_out(bench: Bench, guest: Guest, frames: list[int]) -> None:
    """The kernel has none of the frames, and all that lies around and above them."""
    ram = system_ram(guest)
    area: Range = (min(frames) - 4 * MIB, max(frames) + 4 * MIB)
    missing = subtract([area], ram)
    expect_same_ranges(missing, as_ranges(frames), "RAM missing around the frames")
    top = max(end for _, end in ram)
    expect(top > max(frames) + 200 * MIB, f"RAM ends at {top:#x}: what lies above was lost")
    flags = FrameFlags(guest)
    free = [flags.describe(frame) for frame in frames if flags.free(frame)]
    expect(not free, f"free in spite of all: {free}")
    handed_out = sweep(bench, guest, frames)
    expect(not handed_out, f"the kernel handed out {show(as_ranges(handed_out))}")
