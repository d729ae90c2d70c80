"""The holder as a service, in Debian 12 with systemd. Whoever starts the next kernel, and however late
in the shutdown, it gets the list, and has retired the frames before the services start. The registry
is deleted before each kexec, so that what is there afterwards came through memory."""

from typing import Callable

import rig
from debian_system import REGISTRY, start, switch_initramfs, system_disk
from kho_steps import CHAIN_OPTIONS, expect_conditions, scratch_frames
from steps import (BUDDY, HWPOISON, Bench, FrameFlags, Poisonctl, choose_free_frames, expect,
                   wait_until)

MACHINE = rig.Machine(memory_mib=768, extra=("-uuid", "6c1b2a3e-5d4f-4a70-8c9d-0e1f2a3b4c5d"))
INITRAMFS = "/boot/switch.img"
HOLDER = "poisonctl-kho.service"


def run(bench: Bench) -> None:
    bench.machine = MACHINE
    initramfs = switch_initramfs(bench)
    disk = system_disk(bench, {INITRAMFS: initramfs})
    with start(bench, disk, initramfs, "guest", CHAIN_OPTIONS) as guest:
        vmlinuz = f"/boot/vmlinuz-{guest.release}"
        guest.check(f"systemctl enable --now {HOLDER} poisonctl-replay.service")
        tool = Poisonctl.in_guest(guest, REGISTRY)
        expected: dict[int, str] = {}

        def hand_over(how: str, kexec: Callable[[], None]) -> dict[int, str]:
            more = record_more(guest, tool, expected)
            forget(guest)
            bench.say(how)
            kexec()
            arrived(guest, tool, more)
            return more

        def by_systemd() -> None:
            guest.kexec(vmlinuz, INITRAMFS)

        def at_once() -> None:
            guest.kexec_at_once(vmlinuz, INITRAMFS)

        def without_holder() -> None:
            later = f"/run/systemd/system/{HOLDER}.d"
            guest.check(f"mkdir -p {later} && printf '[Service]\\nRestartSec=1h\\n' >{later}/later.conf && "
                        f"systemctl daemon-reload && systemctl kill -s KILL {HOLDER}")
            wait_until(lambda: guest.run(f"systemctl is-active {HOLDER}").text.strip() == "activating",
                       lambda: guest.run(f"systemctl status {HOLDER}").text)
            at_once()

        expected = hand_over("systemctl kexec", by_systemd)
        expected = hand_over("kexec -e: nothing is stopped, nobody knows of poisonctl", at_once)
        expected = hand_over("the holder is killed, and kexec -e before it starts again", without_holder)
        give_var_a_mount(guest)
        expected = hand_over("systemctl kexec, which unmounts /var", by_systemd)
        expect(guest.check("findmnt -n -o TARGET /var").strip() == "/var", "/var is no mount")
        expected = hand_over("and again, by a holder that has started with it", by_systemd)

        bench.say("a registry of before in the place of the newer one")
        guest.check("cp -a /var/lib/poisonctl /var/lib/older")
        expected = record_more(guest, tool, expected)
        guest.check("mv /var/lib/poisonctl /var/lib/newer && mv /var/lib/older /var/lib/poisonctl")
        wait_until(lambda: "older than what is held; what is held stays as it was" in journal(guest),
                   lambda: "an older list was taken: " + journal(guest))
        guest.check("mv /var/lib/poisonctl /var/lib/older && mv /var/lib/newer /var/lib/poisonctl")

        # An administrator who stops the service is told what that means.
        guest.check(f"systemctl stop {HOLDER}")
        expect("nothing is held in memory any more" in journal(guest), "it ended without a word")
        guest.check(f"systemctl start {HOLDER}")
        expected = record_more(guest, tool, expected)
        bench.say("power cut")
    # What was held in memory went with the power; the registry is on the disk.
    with start(bench, disk, initramfs, "after", CHAIN_OPTIONS) as guest:
        arrived(guest, Poisonctl.in_guest(guest, REGISTRY), expected)
        guest.power_off()


def give_var_a_mount(guest: rig.Guest) -> None:
    """As where /var is a file system of its own: systemd stops what requires it before it unmounts it."""
    guest.check("mkdir /srv/var && cp -a /var/. /srv/var/ && "
                "echo '/srv/var /var none bind 0 0' >>/etc/fstab && systemctl daemon-reload && "
                "systemctl start var.mount")
    # The journal goes on in the files under the mount point, where journalctl does not look.
    guest.check("systemctl restart systemd-journald")


def record_more(guest: rig.Guest, tool: Poisonctl, expected: dict[int, str]) -> dict[int, str]:
    """Some more frames are recorded, and held a moment later."""
    frames = choose_free_frames(guest, 4, avoid=[*scratch_frames(tool), *expected],
                                seed=len(expected))
    tool.run("record", *(f"{frame:#x}" for frame in frames), "--kind", "ue")
    expected = expected | {frame: "faulty" for frame in frames}
    wait_until(lambda: f", {len(expected)} ranges, " in journal(guest),
               lambda: "the holder did not take the new frames: " + journal(guest) +
               guest.run(f"systemctl status {HOLDER}").text)
    return expected


def journal(guest: rig.Guest) -> str:
    return guest.check(f"journalctl -b -u {HOLDER} -o cat")


def forget(guest: rig.Guest) -> None:
    guest.check(f"rm -f {REGISTRY} {REGISTRY}-wal {REGISTRY}-shm; sync")


def arrived(guest: rig.Guest, tool: Poisonctl, expected: dict[int, str]) -> None:
    expect_conditions(tool, expected)
    replayed = tool.json("status", schema="poisonctl/status-v1")["replay"]
    expect(replayed is not None and replayed["stage"] == "service", f"no replay: {replayed}")
    # Without poison-replay in the initramfs somebody may have been first.
    named = {run["address"] for run in replayed["in_use"] if run["how"]}
    flags = FrameFlags(guest)
    left = [flags.describe(f) for f in expected if f not in named
            and (not flags.has(f, HWPOISON) or flags.has(f, BUDDY))]
    expect(not left, f"what came was neither retired nor named: {left}")
    failed = guest.check("systemctl --failed --no-legend --plain").strip()
    expect(failed == "", f"units failed: {failed}")
    expect(f", {len(expected)} ranges, " in journal(guest), f"not held: {journal(guest)}")
