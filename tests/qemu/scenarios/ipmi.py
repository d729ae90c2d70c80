"""The BMC is told of retired frames: other people's tools read the right thing in its event log,
nothing is told twice, whatever happens to the BMC or to our queue, and the log is never filled."""

import contextlib
import dataclasses
import os
import re
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Iterator

from rig import Guest
from steps import REGISTRY, Bench, choose_free_frames, expect, wait_until

INSIDE = ("-device", "ipmi-bmc-sim,id=bmc0", "-device", "isa-ipmi-kcs,bmc=bmc0")
HARD_OFFLINE = "/sys/devices/system/memory/hard_offline_page"


def retire(guest: Guest, frames: list[int]) -> None:
    for frame in frames:
        guest.check(f"echo {frame:#x} >{HARD_OFFLINE}")
    guest.check(f"poisonctl -q --registry {REGISTRY} collect kernel")


def apply(guest: Guest, *options: str):
    return guest.run(" ".join(["poisonctl", "--registry", REGISTRY, "apply", "bmc", *options]),
                     timeout=300)


def raw_log(guest: Guest) -> list[bytes]:
    """All records, as ipmitool reads them."""
    guest.run("rm -f /run/sel; ipmitool -I open sel writeraw /run/sel")
    data = guest.run("cat /run/sel").stdout
    return [data[at:at + 16] for at in range(0, len(data), 16)]


def told(records: list[bytes]) -> list[int]:
    """The addresses of our notices, in the order of the log."""
    return [(int.from_bytes(record[6:12], "little") & (1 << 44) - 1) << 12
            for record in records if record[2] == 0xE5 and record[3:6] == b"Pc\x01"]


def expect_told_once(guest: Guest, frames: list[int], what: str) -> list[bytes]:
    records = raw_log(guest)
    expect(sorted(told(records)) == sorted(frames),
           f"{what}: the log tells of {[f'{at:#x}' for at in told(records)]}, "
           f"expected {[f'{at:#x}' for at in sorted(frames)]}")
    events = [record for record in records if record[2] == 2 and record[7] == 0x41]
    expect(len(events) == len(frames), f"{what}: {len(events)} sensor events")
    return records


def inside(bench: Bench) -> None:
    """A BMC of QEMU: what is written, who reads it, how much."""
    bench.machine = dataclasses.replace(bench.machine, extra=INSIDE)
    with bench.boot(name="inside") as guest:
        frames = choose_free_frames(guest, 4)
        guest.check("test -c /dev/ipmi0")
        # What firmware logged, and a record of somebody else's.
        guest.check("ipmitool -I open raw 0x0a 0x44 0 0 2 0 0 0 0 0x33 0 4 0xc 0x53 0x6f 0x31 0 7")
        guest.check("ipmitool -I open raw 0x0a 0x44 0 0 0xe5 1 2 3 4 5 6 7 8 9 10 11 12 13")
        retire(guest, frames)
        dry = apply(guest, "--dry-run")
        expect(dry.text.count("would tell bmc: ") == 4, f"--dry-run said: {dry.text}")
        expect(told(raw_log(guest)) == [], "--dry-run wrote")

        done = apply(guest)
        expect(done.status == 0 and "4 notices written, 0 there already, 0 kept" in done.text,
               f"apply bmc: {done.status} {done.text} {done.errors}")
        expect_told_once(guest, frames, "the first time")
        again = apply(guest)
        expect("nothing to tell" in again.text, f"the second time: {again.text} {again.errors}")
        guest.check(f"rm {REGISTRY}.bmc")
        found = apply(guest)
        expect("0 notices written, 4 there already" in found.text, f"without a queue: {found.text}")
        records = expect_told_once(guest, frames, "without a queue")
        expect(len(records) == 10, f"{len(records)} records")

        # Those who know nothing of us.
        listed = guest.check("ipmitool -I open sel elist 2>/dev/null")
        bench.say(listed.splitlines()[2])
        expect(len(re.findall(r"Memory .*\| Uncorrectable ECC .*\| Asserted", listed)) == 5,
               f"ipmitool: {listed}")
        expect(listed.count("OEM record e5") == 5, f"ipmitool: {listed}")
        seen = guest.check("ipmi-sel --driver-type=OPENIPMI --ignore-sdr-cache")
        expect(len(re.findall(r"\| Memory .*Uncorrectable memory error", seen)) == 5,
               f"ipmi-sel: {seen}")
        bench.say(next(line for line in seen.splitlines() if "Uncorrectable" in line))

        # We read it back, on a machine that lost its registry.
        read = guest.run("poisonctl --registry /run/other.db collect ipmi")
        expect(read.status == 0 and "5 recorded" in read.errors and "1 OEM record of other makers"
               in read.errors, f"collect ipmi: {read.errors}")
        faulty = guest.check("poisonctl --registry /run/other.db list")
        for frame in frames:
            expect(f"{frame:#x}" in faulty, f"{frame:#x} is not in {faulty}")

        # A log that gets full: a quarter stays free.
        many = choose_free_frames(guest, 70)
        retire(guest, [frame for frame in many if frame not in frames])
        full = apply(guest)
        for _ in range(3):
            full = apply(guest, "--now")
        expect(full.status == 73 and "are left to others" in full.errors and "kept in" in full.errors,
               f"a log that gets full: {full.status} {full.text} {full.errors}")
        records = raw_log(guest)
        expect(94 <= len(records) <= 96, f"{len(records)} of 128 records are used")
        waiting = apply(guest)
        expect(waiting.status == 1 and "the next attempt is made from" in waiting.errors,
               f"right after a failure: {waiting.status} {waiting.errors}")
        # Somebody saves and clears it: what was told is not told again, the rest is.
        guest.check("ipmitool -I open sel clear")
        time.sleep(3)  # it takes a BMC a moment
        rest = apply(guest, "--now")
        expect(rest.status in (0, 1), f"after it was cleared: {rest.status} {rest.errors}")
        expect(not set(told(records)) & set(told(raw_log(guest))), "told again after a clear")
        guest.power_off()


def no_bmc(bench: Bench) -> None:
    bench.machine = dataclasses.replace(bench.machine, extra=())
    # The other kernel's driver finds no BMC, and its guest would not start.
    with bench.boot(bench.other_kernel("debian12"), name="none") as guest:
        frames = choose_free_frames(guest, 2)
        retire(guest, frames)
        for verb in ("apply bmc", "collect ipmi"):
            lacking = guest.run(f"poisonctl --registry {REGISTRY} {verb}")
            expect(lacking.status == 69 and "this machine has no BMC" in lacking.errors,
                   f"{verb} without a BMC: {lacking.status} {lacking.errors}")
        kept = guest.check(f"grep -c ^pending {REGISTRY}.bmc")
        expect(int(kept) == 2, f"{kept} kept")
        guest.power_off()


class OutsideBmc:
    """ipmi_sim as a process of its own, which the guest reaches through QEMU."""

    def __init__(self, bench: Bench):
        self._program = bench.fetched_program("openipmi")
        self._folder = bench.results / "bmc"
        (self._folder / "state").mkdir(parents=True, exist_ok=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        (self._folder / "lan.conf").write_text(
            f'name "bmc"\nset_working_mc 0x20\n  serial 15 127.0.0.1 {self.port} codec VM\n')
        (self._folder / "bmc.emu").write_text(
            "mc_setbmc 0x20\n"
            "mc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr\n"
            "sel_enable 0x20 200 0x0a\nmc_enable 0x20\n")
        self._process = None
        self.start()

    def start(self) -> None:
        environment = dict(os.environ, LD_LIBRARY_PATH=str(self._program.library_path))
        with open(self._folder / "log", "ab") as log:
            self._process = subprocess.Popen(
                [str(self._program.program), "-n", "-c", str(self._folder / "lan.conf"), "-f",
                 str(self._folder / "bmc.emu"), "-s", str(self._folder / "state")],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)
        # It takes one connection, which is QEMU's: so nobody else tries.
        wait_until(self._listens, lambda: f"ipmi_sim does not listen: {self._folder}/log", 60)

    def _listens(self) -> bool:
        expect(self._process.poll() is None, f"ipmi_sim ended: {self._folder}/log")
        sockets = Path("/proc/net/tcp").read_text()
        return f"0100007F:{self.port:04X} 00000000:0000 0A" in sockets

    def stop(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


@contextlib.contextmanager
def outside_bmc(bench: Bench) -> Iterator[OutsideBmc]:
    bmc = OutsideBmc(bench)
    try:
        yield bmc
    finally:
        bmc.kill()


def outside(bench: Bench) -> None:
    """A BMC that hangs, and one that is killed, while it is told."""
    with outside_bmc(bench) as bmc:
        bench.machine = dataclasses.replace(bench.machine, extra=(
            "-chardev", f"socket,id=ipmi,host=127.0.0.1,port={bmc.port},reconnect=1",
            "-device", "ipmi-bmc-extern,id=bmc0,chardev=ipmi",
            "-device", "isa-ipmi-kcs,bmc=bmc0"))
        with bench.boot(name="outside") as guest:
            guest.check("test -c /dev/ipmi0")
            frames = choose_free_frames(guest, 40)
            retire(guest, frames[:20])
            interrupted(bench, guest, 3, bmc.stop, "hangs")
            bmc.go_on()
            catch_up(guest)
            expect_told_once(guest, frames[:20], "after it hung")

            retire(guest, frames[20:])
            interrupted(bench, guest, 23, bmc.kill, "is killed")
            delivered = int(guest.check(f"grep -c ^delivered {REGISTRY}.bmc"))
            bmc.start()
            catch_up(guest)
            # Its log is kept or went with it, as a whole.
            after = told(raw_log(guest))
            expect(len(after) == len(set(after)), f"told twice: {after}")
            expect(len(after) in (len(frames), len(frames) - delivered),
                   f"{len(after)} in the log, {delivered} were delivered before it was killed")
            bench.say(f"then the log has {len(after)}, {delivered} were delivered before")
            guest.power_off()


def interrupted(bench: Bench, guest: Guest, after: int, interrupt, what: str) -> None:
    """It happens when so many notices of all time are delivered, and more are being written."""
    guest.check(f"poisonctl --registry {REGISTRY} apply bmc --now >/run/said 2>&1 & "
                "for i in $(seq 600); do "
                f"[ $(grep -c ^delivered {REGISTRY}.bmc) -ge {after} ] && exit 0; sleep 0.1; "
                "done; exit 1")
    interrupt()
    guest.check("for i in $(seq 600); do pidof poisonctl >/dev/null || exit 0; sleep 0.2; done; "
                "exit 1", timeout=200)
    said = guest.check("cat /run/said")
    bench.say(f"a BMC that {what}: {said.splitlines()[-1]}")
    expect("kept in" in said, f"a BMC that {what}: {said}")


def catch_up(guest: Guest) -> None:
    """The kernel's driver needs a while to find its BMC again."""
    for _ in range(20):
        done = apply(guest, "--now")
        if done.status == 0:
            return
        time.sleep(3)
    expect(False, f"the BMC does not come back: {done.status} {done.errors}")


def run(bench: Bench) -> None:
    bench.more_programs = (bench.fetched_program("ipmitool"), bench.fetched_program("freeipmi"))
    no_bmc(bench)
    outside(bench)
    inside(bench)
