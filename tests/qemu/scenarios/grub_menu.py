"""Debian's own tools make the menu: grub-mkconfig reads the drop-in that the service of 'apply' wrote, run
by it and confined like it, and the entry leaves the frames out, started by BIOS and by UEFI. Undone,
the menu is what it was."""

import dataclasses

import grub
import rig
from debian_system import REGISTRY, start, switch_initramfs, system_disk
from scenarios.boot_loader import left_out
from steps import FRAME, FRAMES_FROM, MIB, Bench, Poisonctl, choose_free_frames, expect

MENU = "/boot/grub/grub.cfg"
MACHINE = rig.Machine(memory_mib=768)
# The EFI stub puts the kernel at the lowest place that firmware has free, whatever memmap= says
# (drivers/firmware/efi/libstub/x86-stub.c); with GRUB's images below it, it reached to 132 MiB.
EFI_STUB_PLACES = range(FRAMES_FROM, 192 * MIB, FRAME)


def run(bench: Bench) -> None:
    bench.machine = MACHINE
    initramfs = switch_initramfs(bench)
    disk = system_disk(bench, {f"/boot/initrd.img-{bench.kernel.release}": initramfs})
    with start(bench, disk, initramfs, "menu-made") as guest:
        write_settings(guest)
        guest.check("update-grub", timeout=300)
        guest.power_off()
    for firmware in (grub.bios, grub.uefi):
        with boot(bench, disk, initramfs, firmware, "whole") as guest:
            tool = Poisonctl.in_guest(guest, REGISTRY)
            before = guest.check(f"cat {MENU}")
            frames = choose_free_frames(guest, 12, avoid=EFI_STUB_PLACES)
            tool.run("record", *(f"{frame:#x}" for frame in frames))
            renewed = guest.run("systemctl start poisonctl-apply.service", timeout=300)
            expect(renewed.status == 0, "the service failed: " +
                   guest.run("journalctl -b -u poisonctl-apply.service -o cat").text)
            parameter = tool.run("emit", "e820").strip()
            expect(parameter in guest.check(f"cat {MENU}"), f"no {parameter} in {MENU}")
            guest.power_off()
        with boot(bench, disk, initramfs, firmware, "without") as guest:
            expect(parameter in guest.check("cat /proc/cmdline"), "the entry has no parameter")
            left_out(bench, guest, frames)
            Poisonctl.in_guest(guest, REGISTRY).run("apply", "e820", "--undo")
            guest.check("update-grub", timeout=300)
            expect(guest.check(f"cat {MENU}") == before, f"{MENU} is not as it was")
            guest.check(f"rm {REGISTRY}*")
            guest.power_off()


def write_settings(guest: rig.Guest) -> None:
    guest.push(b'GRUB_DEFAULT=0\nGRUB_TIMEOUT=0\nGRUB_TERMINAL=serial\nGRUB_DISABLE_OS_PROBER=true\n'
               b'GRUB_CMDLINE_LINUX="console=ttyS0 panic=-1 mitigations=off no_timer_check rig.boot=1"\n',
               "/etc/default/grub")
    guest.check("mkdir -p /etc/poisonctl /boot/grub && "
                "printf '[watch]\\nrefresh = e820\\n' >/etc/poisonctl/poisonctl.conf")


def boot(bench: Bench, disk, initramfs, firmware, what: str) -> rig.SystemGuest:
    name = f"{firmware.__name__}-{what}"
    bench.say(f"cold boot, {name}")
    machine = dataclasses.replace(bench.machine,
                                  loader=firmware(bench.results / f"grub-{name}", grub.menu()))
    return rig.SystemGuest(bench.kernel, initramfs, disk, bench.results / name, machine, "")
