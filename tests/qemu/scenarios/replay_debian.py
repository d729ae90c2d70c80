"""Replay in a real system: Debian 12 with systemd, whose initramfs is made by dracut and, for a chain of more
than one (run.py --chain), by update-initramfs too, of which packaged-boot has one. After each kexec and
cold boot every frame is retired, or named with the reason."""

import itertools
import re

import rig
from debian_system import REGISTRY, start, switch_initramfs, system_disk
from steps import (BUDDY, FRAME, HWPOISON, Bench, FrameFlags, Poisonctl, choose_free_frames,
                   expect, wait_until)

# The UUID is firmware's name of the machine: without one a list is for whoever trusts the key.
HARDWARE = rig.Machine(memory_mib=1024, extra=("-uuid", "6c1b2a3e-5d4f-4a70-8c9d-0e1f2a3b4c5d"))
SCATTERED = 24


def run(bench: Bench) -> None:
    bench.machine = HARDWARE
    disk = system_disk(bench)
    with start(bench, disk, switch_initramfs(bench), "first") as guest:
        guest.check("systemctl enable poisonctl-replay.service poisonctl-replay.timer "
                    "poisonctl-watch.service")
        tool = Poisonctl.in_guest(guest, REGISTRY)
        frames = choose_free_frames(guest, SCATTERED)
        tool.run("record", *(f"{frame:#x}" for frame in frames))
        images = make_images(bench, guest)
        for number, (name, image) in in_turn(images, bench.chain):
            guest.kexec(f"/boot/vmlinuz-{guest.release}", image)
            all_accounted_for(bench, guest, frames, f"{name}, kexec {number}")
        timer_tries_again(bench, guest)
        beside_watch(bench, guest)
        boot_files_follow(bench, guest)
        guest.power_off()
    copies = {name: rig.copy_from_disk(disk, image, bench.results / f"{name}.img")
              for name, image in images.items()}
    for number, (name, copy) in in_turn(copies, bench.chain):
        with start(bench, disk, copy, f"cold-{number}") as guest:
            all_accounted_for(bench, guest, frames, f"{name}, cold boot {number}")
            guest.power_off()


def in_turn(images: dict, boots: int) -> list:
    """The images one after the other, for so many boots, numbered from 1."""
    return list(itertools.islice(enumerate(itertools.cycle(images.items()), 1), boots))


def make_images(bench: Bench, guest: rig.Guest) -> dict[str, str]:
    release = guest.release
    # Not that of busybox, whose shell the control channel is: it makes no modules.dep.bin.
    guest.check(f"/usr/sbin/depmod {release}")
    # As a package of dracut would call it, but for modules of hardware that this kernel has none of.
    guest.check(f"dracut --no-hostonly --force /boot/dracut.img {release}", timeout=900)
    images = {"dracut": "/boot/dracut.img"}
    if bench.chain > 1:
        images["initramfs-tools"] = f"/boot/initrd.img-{release}"
        guest.check(f"update-initramfs -c -k {release}", timeout=600)
    for image in images.values():
        size = guest.check(f"stat -c %s {image}").strip()
        bench.say(f"{image}: {size} bytes")
    return images


# ---- what is to hold ----


def kernel_seconds(guest: rig.Guest, pattern: str) -> list[float]:
    """The kernel's time stamps of the lines that match."""
    return [float(match.group(1)) for line in guest.check("dmesg").splitlines()
            if (match := re.match(r"\[ *([0-9.]+)\]", line)) and re.search(pattern, line)]


def all_accounted_for(bench: Bench, guest: rig.Guest, frames: list[int], when: str) -> None:
    tool = Poisonctl.in_guest(guest, REGISTRY)
    orders = kernel_seconds(guest, r"Memory failure: 0x[0-9a-f]+: recovery action")
    mounted = kernel_seconds(guest, r"EXT4-fs \(vda\): mounted")
    expect(len(orders) >= len(frames) - 4, f"{when}: {len(orders)} frames were ordered")
    early = [at for at in orders if at < mounted[0]]
    expect(len(early) >= len(frames) - 4,
           f"{when}: only {len(early)} orders came before the root was mounted at {mounted[0]}: "
           f"{orders}")
    status = tool.json("status", schema="poisonctl/status-v1")
    replayed = status["replay"]
    expect(replayed is not None and replayed["stage"] == "service", f"{when}: {replayed}")
    expect(replayed["time"] > status_time_of_boot(guest), f"{when}: an old report: {replayed}")
    named = {frame: run["how"] for run in replayed["in_use"]
             for frame in range(run["address"], run["address"] + run["size"], FRAME)}
    expect(all(named.values()), f"{when}: in use without a reason: {named}")
    flags = FrameFlags(guest)
    lost = [flags.describe(frame) for frame in frames if frame not in named
            and (not flags.has(frame, HWPOISON) or flags.has(frame, BUDDY))]
    expect(not lost, f"{when}: neither retired nor named: {lost}")
    failed = guest.check("systemctl --failed --no-legend --plain").strip()
    expect(failed == "", f"{when}: units failed: {failed}")
    bench.say(f"{when}: {len(frames) - len(named)} retired, {len(named)} named; the last of "
              f"{len(early)} at {early[-1]:.2f} s of the kernel, root mounted at {mounted[0]:.2f}")


def status_time_of_boot(guest: rig.Guest) -> str:
    return guest.check("date -u -d @$(sed -n 's/^btime //p' /proc/stat) +%Y-%m-%dT%H:%M:%S").strip()


def timer_tries_again(bench: Bench, guest: rig.Guest) -> None:
    """A frame that a process has is named; when the process is gone, nobody has to ask again."""
    tool = Poisonctl.in_guest(guest, REGISTRY)
    guest.check("poison_memory hold anon >/run/held & while [ ! -s /run/held ]; do :; done")
    frame = int(guest.check("cat /run/held"), 16) * FRAME
    tool.run("record", f"{frame:#x}")
    guest.check("systemctl start poisonctl-replay.service")
    in_use = tool.json("status", schema="poisonctl/status-v1")["replay"]["in_use"]
    # Debian's kernel may have given it as a part of a huge page.
    expect([run["use"] in ("anonymous", "huge") for run in in_use if run["address"] == frame]
           == [True], f"the frame of a process is not named: {in_use}")
    said = guest.check("journalctl -b -u poisonctl-replay.service -o cat")
    expect(f"{frame:#x}" in said and "poisonctl apply" in said,
           f"the journal names neither the frame nor what helps: {said[-1000:]}")
    guest.check("pidof poison_memory")
    guest.check("mkdir -p /run/systemd/system/poisonctl-replay.timer.d && "
                "printf '[Timer]\\nOnBootSec=\\nOnUnitInactiveSec=\\nOnUnitInactiveSec=3s\\n"
                "AccuracySec=1s\\n' >/run/systemd/system/poisonctl-replay.timer.d/often.conf && "
                "systemctl daemon-reload && systemctl restart poisonctl-replay.timer && "
                "kill -9 $(pidof poison_memory)")
    wait_until(lambda: FrameFlags(guest).has(frame, HWPOISON),
               lambda: "the timer did not retire the frame: " +
               guest.check("systemctl list-timers --all --no-pager; "
                           "journalctl -b -u poisonctl-replay.service -o cat | tail -20"))
    guest.check("rm -r /run/systemd/system/poisonctl-replay.timer.d && systemctl daemon-reload && "
                "systemctl restart poisonctl-replay.timer")
    bench.say("the timer retired what a process had before")


def beside_watch(bench: Bench, guest: rig.Guest) -> None:
    """Two replays at once, while the service that records errors follows what they do."""
    tool = Poisonctl.in_guest(guest, REGISTRY)
    guest.check("systemctl is-active poisonctl-watch.service")
    frames = choose_free_frames(guest, 40, seed=7)
    tool.run("record", *(f"{frame:#x}" for frame in frames))
    told = guest.check(f"poisonctl --registry {REGISTRY} replay >/run/1 2>&1 & first=$!; "
                       f"poisonctl --registry {REGISTRY} replay >/run/2 2>&1; second=$?; "
                       "wait $first; echo $? $second")
    # 75: the registry was locked by the other; the outcome is in the page flags all the same.
    expect(set(told.split()) <= {"0", "1", "75"}, f"two replays at once: {told} "
           + guest.check("tail -n 5 /run/1 /run/2"))
    flags = FrameFlags(guest)
    left = [flags.describe(f) for f in frames
            if not flags.has(f, HWPOISON) or flags.has(f, BUDDY)]
    expect(not left, f"two replays at once left {left}")
    wait_until(lambda: all(seen_by_watch(tool, frame) for frame in (frames[0], frames[-1])),
               lambda: "watch did not see the orders: "
               f"{tool.json('show', f'{frames[0]:#x}', schema='poisonctl/events-v1')}")
    guest.check("systemctl is-active poisonctl-watch.service")
    tool.run("verify", statuses=(0, 1))
    bench.say(f"two replays at once ({told.strip()}) beside watch")


def boot_files_follow(bench: Bench, guest: rig.Guest) -> None:
    """What the administrator wants to be kept current is, as soon as a frame is known to be bad."""
    line = "root=/dev/vda ro"
    guest.check("mkdir -p /etc/kernel /etc/poisonctl && "
                f"echo '{line}' >/etc/kernel/cmdline && "
                "printf '[watch]\\nrefresh = e820\\n' >/etc/poisonctl/poisonctl.conf && "
                "systemctl enable --now poisonctl-apply.path")
    frame = choose_free_frames(guest, 1, seed=11)[0]
    guest.check(f"echo {frame:#x} >/sys/devices/system/memory/hard_offline_page")
    wanted = f"0x1000%{frame:#x}-1+5"
    wait_until(lambda: wanted in guest.check("cat /etc/kernel/cmdline"),
               lambda: "the boot files do not have the new frame: " +
               guest.check("cat /etc/kernel/cmdline; "
                           "journalctl -b -u poisonctl-apply.service -o cat | tail -20"))
    bench.say("the boot files have a new frame")


def seen_by_watch(tool: Poisonctl, frame: int) -> bool:
    events = tool.json("show", f"{frame:#x}", schema="poisonctl/events-v1")["events"]
    return any(e["source"] in ("trace", "kernel") and e["kind"] != "outcome" for e in events)
