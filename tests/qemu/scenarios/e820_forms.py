"""The binary forms of 'emit e820', for tools that make the memory map of the next kernel: a kernel that is
started with the table, and one with the setup_data, have never seen the bad frames as RAM."""

from pathlib import Path
import shlex

from rig import Guest
from steps import (INITRAMFS, STAYS_IN_PLACE, VMLINUZ, Bench, Poisonctl, build_helper,
                   choose_free_frames, expect_effective, expect_excluded, poison_by_injector,
                   system_ram)

# As many as the zero page has room for beside the map of the firmware, and as the kernel's table has.
FRAMES = {"table": 40, "setup-data": 50}


def run(bench: Bench) -> None:
    bench.helpers += (build_helper("load_kernel", bench.results),)
    for form, count in FRAMES.items():
        with bench.boot(disk=None, name=form) as guest:
            tool = Poisonctl.in_guest(guest)
            ram = system_ram(guest)
            frames = choose_free_frames(guest, count)
            poison_by_injector(guest, frames)
            tool.collect_kernel()
            start_with(bench, guest, tool, form)
            expect_excluded(bench, guest, frames, ram)
            expect_effective(tool, frames)
            guest.power_off()


def start_with(bench: Bench, guest: Guest, tool: Poisonctl, form: str) -> None:
    artifact = Path("/run") / form
    tool.run("emit", "e820", "--form", form, "-o", str(artifact))
    bench.say(f"a kernel with {guest.check(f'wc -c <{artifact}').strip()} bytes of {form}")
    guest.boot_number += 1
    # KASLR chooses before the kernel reads setup_data.
    line = guest.command_line(STAYS_IN_PLACE if form == "setup-data" else "")
    guest.check(shlex.join(["load_kernel", VMLINUZ, INITRAMFS, line, form, str(artifact)]))
    guest.check("sync && umount /disk")
    guest.start_next("kexec -e")
