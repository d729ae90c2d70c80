"""Lists of 0, 1, 1,000 and 1,000,000 ranges in preserved memory: what holding and receiving one takes,
and that every range arrives."""

import json
import re
import time
from dataclasses import replace

import rig
from kho_steps import CHAIN_OPTIONS, REGISTRY, Hold, KhoGuest
from steps import FRAME, MACHINE, Bench, expect, kexec

COUNTS = (0, 1, 1000, 1_000_000)
FIRST_PFN = 0x110000  # above the hole for devices: RAM to the end
BOUNDS = "--bounds frames=4000000,per-mille=900,node-per-mille=900,hard-per-mille=900"
SECONDS = 1500


def run(bench: Bench) -> None:
    # Every other frame from 4.25 GiB on.
    bench.machine = replace(MACHINE, memory_mib=13 * 1024)
    with bench.boot(append=CHAIN_OPTIONS) as guest:
        floor = kexec_seconds(bench, guest)
        bench.say(f"a kexec that preserves nothing: {floor:.2f} s until the new kernel answers")
        for count in COUNTS:
            one_size(bench, guest, count, floor)
        guest.power_off()


def one_size(bench: Bench, guest: rig.Guest, count: int, floor: float) -> None:
    collecting = fill(guest, count)
    kho = KhoGuest(guest)
    kho.keep_key()
    made = seconds(guest, f"poisonctl --registry {REGISTRY} -q handover make -o /run/made {BOUNDS}")
    size = int(guest.check("stat -c %s /run/made"))
    guest.check("rm /run/made")
    hold = Hold(guest, ready="", options=BOUNDS)
    said = hold.wait_for("held in session", seconds=SECONDS)
    held = max(count, 1)
    expect(said_ranges(said) == held, f"{count} ranges: {said}")
    kexeced = kexec_seconds(bench, guest)
    KhoGuest(guest, kho.key)
    received = seconds(guest, f"poisonctl --registry {REGISTRY} --json kho receive >/run/answer",
                       statuses=(0,))
    answer = json.loads(guest.check("cat /run/answer"))
    expect(answer["taken"] is not None, f"{count} ranges: {answer}")
    expect(answer["lists"][0]["ranges"] == held, f"{count} ranges, {answer} arrived")
    bench.say(f"{count} ranges: {size} bytes, {size / max(count, 1):.1f} a range; recorded in "
              f"{collecting:.2f} s, a list made in {made:.2f} s; kexec {kexeced:.2f} s, "
              f"{kexeced / floor:.2f} of the floor; received and recorded in {received:.2f} s "
              "(emulated)")


def fill(guest: rig.Guest, count: int) -> float:
    """A new registry with so many ranges to retire; the seconds that recording them took."""
    guest.check(f"rm -rf {REGISTRY}* /run/poisonctl")
    if count == 0:
        # Nothing to retire; that one record was resolved goes with the list.
        return seconds(guest, f"poisonctl --registry {REGISTRY} -q record {FIRST_PFN * FRAME:#x} && "
                       f"poisonctl --registry {REGISTRY} -q resolve {FIRST_PFN * FRAME:#x} "
                       "--as cleared --reason 'tested good'")
    guest.check("awk 'BEGIN { for (i = 0; i < %d; i++) printf \"0x%%x\\n\", %d + 2 * i }' "
                ">/run/pfns" % (count, FIRST_PFN))
    took = seconds(guest, f"poisonctl --registry {REGISTRY} -q collect pfn /run/pfns")
    guest.check("rm /run/pfns")
    return took


def said_ranges(said: str) -> int:
    return int(re.search(r"generation \d+, (\d+) ranges?, \d+ bytes held", said).group(1))


def kexec_seconds(bench: Bench, guest: rig.Guest) -> float:
    """From the order until the new kernel's first shell answers."""
    begin = time.monotonic()
    kexec(bench, guest)
    return time.monotonic() - begin


def seconds(guest, command: str, statuses=(0, 1)) -> float:
    """How long a command takes by the guest's clock."""
    done = guest.run(f"a=$(cut -d' ' -f1 /proc/uptime); {command}; s=$?; "
                     "b=$(cut -d' ' -f1 /proc/uptime); echo; echo \"TIME $a $b $s\"", timeout=SECONDS)
    begin, end, status = re.search(r"TIME (\S+) (\S+) (\d+)", done.text).groups()
    expect(int(status) in statuses, f"'{command}' ended with status {status}: {done.errors}")
    return float(end) - float(begin)
