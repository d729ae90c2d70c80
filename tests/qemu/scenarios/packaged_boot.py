"""The packages on a Debian 12 that runs: dpkg installs them, services run as the presets say and may do no more
than they need, the hook's own trigger makes the initramfs anew, and that retires the list in a kexec and in a
cold boot."""

from __future__ import annotations

from pathlib import Path

import rig
from debian_system import REGISTRY, start, switch_initramfs, system_disk
from kernels import MissingPrerequisite
from replay_debian import HARDWARE, all_accounted_for
from sandbox import add_probe, try_sandboxes
from steps import Bench, Poisonctl, choose_free_frames, expect

SCATTERED = 24
# debconf asks nobody; the shell of the control channel is busybox's, the scripts' is not.
DPKG = ("/usr/bin/env PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive "
        "dpkg --install")


def run(bench: Bench) -> None:
    bench.machine = HARDWARE
    add_probe(bench)
    switch = switch_initramfs(bench)
    disk = system_disk(bench, {f"packages/{package.name}": package for package in ours(bench)},
                       installed=False)
    with start(bench, disk, switch, "first") as guest:
        image = f"/boot/initrd.img-{guest.release}"
        has_an_image(guest, image)
        guest.check(f"{DPKG} /packages/poisonctl_*.deb", timeout=300)
        bench.say("poisonctl is installed")
        as_the_presets_say(guest)
        try_sandboxes(bench, guest)
        works_without_tracefs(bench, guest)
        modules = guest.check("cat /sys/kernel/security/lsm").strip()
        expect("apparmor" in modules.split(","), f"AppArmor is off: {modules}")
        tool = Poisonctl.in_guest(guest, REGISTRY)
        frames = choose_free_frames(guest, SCATTERED)
        tool.run("record", *(f"{frame:#x}" for frame in frames))
        guest.check(f"{DPKG} /packages/poisonctl-initramfs_*.deb", timeout=600)
        bench.say("poisonctl-initramfs is installed, and has made the image anew")
        inside = guest.check(f"lsinitramfs {image}")
        for path in ("usr/sbin/poison-replay", "scripts/init-top/poisonctl",
                     "etc/poisonctl/handover", "etc/poisonctl/trusted-keys",
                     "etc/poisonctl/bounds"):
            expect(path in inside.split(), f"{image} has no {path}: {inside}")
        guest.kexec(f"/boot/vmlinuz-{guest.release}", image)
        all_accounted_for(bench, guest, frames, "kexec")
        guest.power_off()
    copy = rig.copy_from_disk(disk, image, bench.results / "packaged.img")
    with start(bench, disk, copy, "cold") as guest:
        all_accounted_for(bench, guest, frames, "cold boot")
        guest.power_off()


def works_without_tracefs(bench: Bench, guest: rig.Guest) -> None:
    """To mount it is not allowed to the service: it says so, and looks at page flags."""
    units = "sys-kernel-tracing.mount sys-kernel-debug.mount"  # debugfs has another way to it
    guest.check(f"systemctl stop poisonctl-watch.service && systemctl mask --runtime {units} && "
                f"systemctl stop {units} && systemctl restart poisonctl-watch.service")
    said = guest.check("journalctl --no-pager -o cat -u poisonctl-watch.service")
    expect("looking at HardwareCorrupted" in said, f"watch without tracefs said {said}")
    guest.check("systemctl is-active poisonctl-watch.service")
    guest.check(f"systemctl unmask --runtime {units} && systemctl start {units} && "
                "systemctl restart poisonctl-watch.service")
    bench.say("watch runs without tracefs")


def ours(bench: Bench) -> list[Path]:
    found = []
    for name in ("poisonctl", "poisonctl-initramfs"):
        packages = list(bench.packages.glob(f"{name}_*.deb")) if bench.packages else []
        if len(packages) != 1:
            raise MissingPrerequisite(f"{name}_*.deb in {bench.packages}; run "
                                      "packaging/build-deb.sh --output DIR, and give --packages DIR")
        found += packages
    return found


def has_an_image(guest: rig.Guest, image: str) -> None:
    """What any Debian has before: an image, which update-initramfs knows as its own, and modules.dep."""
    guest.check(f"/usr/sbin/depmod {guest.release} && echo of before >{image} && "
                "mkdir -p /var/lib/initramfs-tools && "
                f"sha1sum {image} >/var/lib/initramfs-tools/{guest.release}")


def as_the_presets_say(guest: rig.Guest) -> None:
    for unit, enabled in (("poisonctl-watch.service", "enabled"),
                          ("poisonctl-replay.service", "enabled"),
                          ("poisonctl-replay.timer", "enabled"),
                          ("poisonctl-kho.service", "disabled"),
                          ("poisonctl-apply.path", "disabled")):
        said = guest.check(f"systemctl is-enabled {unit} || :").strip()
        expect(said == enabled, f"{unit} is {said}, expected {enabled}")
    guest.check("systemctl is-active poisonctl-watch.service poisonctl-replay.timer")
    # No list: nothing to replay.
    expect(guest.check("systemctl show -P ActiveEnterTimestamp poisonctl-replay.service").strip()
           == "", "a replay ran on installation")
