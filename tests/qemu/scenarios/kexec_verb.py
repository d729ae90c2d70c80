"""'poisonctl kexec' loads and starts the next kernel: it never has the frame, and finds the list in
its root. What cannot be kept out is refused before anything is loaded."""

import shlex

from rig import Guest
from steps import (INITRAMFS, REGISTRY, VMLINUZ, Bench, Poisonctl, choose_free_frames, expect,
                   expect_effective, expect_excluded, poison, system_ram)


def run(bench: Bench) -> None:
    with bench.boot() as guest:
        tool = Poisonctl.in_guest(guest)
        ram = system_ram(guest)
        frames = choose_free_frames(guest, 8)
        poison(guest, frames)
        tool.collect_kernel()

        refused = guest.run(kexec(guest, "--load-only", "--bounds", "frames=1"))
        expect(refused.status == 77, f"expected a refusal, status 77: {refused.errors}")
        expect(loaded(guest) == "0", "a kernel was loaded although frames would stay in use")

        guest.boot_number += 1
        line = kexec(guest, "--load-only")
        done = guest.run(line)
        expect(done.status == 0, f"'poisonctl kexec': {done.errors}")
        expect("--mem-min=" in done.errors, f"no window for kexec-tools was named: {done.errors}")
        expect(loaded(guest) == "1", "the kernel says that nothing is loaded")
        digest = guest.check(f"poisonctl --registry {REGISTRY} -q handover make -o /run/handover && "
                             "sha256sum </run/handover")

        # Without systemd the last step is the reboot itself; sync is all that comes before it.
        bench.say("poisonctl kexec")
        guest.start_next(kexec(guest))
        expect(guest.check("sha256sum </poisonctl/handover") == digest,
               "/poisonctl/handover is not the list that was made")
        expect_excluded(bench, guest, frames, ram)
        # 1: whether it is for this machine cannot be told, as a guest has no UUID.
        believed = tool.run("handover", "check", "/poisonctl/handover", statuses=(0, 1))
        expect("trust      accept" in believed, f"the handover is not believed: {believed}")
        expect_effective(tool, frames)
        guest.power_off()


def kexec(guest: Guest, *options: str) -> str:
    return shlex.join(["poisonctl", "--registry", REGISTRY, "kexec", "--kernel", VMLINUZ, "--initrd",
                       INITRAMFS, "--append", guest.command_line(), *options])


def loaded(guest: Guest) -> str:
    return guest.check("cat /sys/kernel/kexec_loaded").strip()
