"""What the scenarios about preserved memory share. The registry is in the guest's memory."""

from __future__ import annotations

import json
import time

import rig
from steps import FRAME, Poisonctl, expect

# After kexec -c the timer's first interrupts may come later than check_timer()
# (arch/x86/kernel/apic/io_apic.c) waits for them: emulation on a busy host.
CHAIN_OPTIONS = "kho=on liveupdate=on no_timer_check"
REGISTRY = "/run/registry.db"
PRESERVED = "/run/poisonctl/preserved/"


class KhoGuest:
    """One boot of a guest: poisonctl with a registry that began with it, and the key of the host,
    which an administrator puts into the initramfs."""

    def __init__(self, guest: rig.Guest, key: bytes = b""):
        self.guest = guest
        self.key = key
        self.tool = Poisonctl.in_guest(guest, REGISTRY)
        if key:
            guest.push(key, f"{REGISTRY}.key", 0o600)

    def keep_key(self) -> None:
        self.key = self.guest.pull(f"{REGISTRY}.key")

    def receive(self, status: int = 0) -> dict:
        done = self.guest.run(f"poisonctl --registry {REGISTRY} --json kho receive")
        expect(done.status == status, f"kho receive ended with status {done.status}, expected "
               f"{status}: {done.text} {done.errors}")
        return json.loads(done.text)

    def scratch_frames(self) -> list[int]:
        return scratch_frames(self.tool)

    def resolve(self, frame: int) -> None:
        self.tool.run("resolve", f"{frame:#x}", "--as", "cleared", "--reason", "tested good")


class Hold:
    """'poisonctl kho hold' in the background of a guest."""

    OUTPUT = "/run/hold.out"

    def __init__(self, guest: rig.Guest, ready: str = "generation ", options: str = ""):
        self._guest = guest
        guest.check(f":>{self.OUTPUT}; poisonctl --registry {REGISTRY} -v kho hold {options} "
                    f">{self.OUTPUT} 2>&1 & echo $! >/run/hold.pid")
        if ready:
            self.wait_for(ready)

    def output(self) -> str:
        return self._guest.check(f"tail -c 4000 {self.OUTPUT}")

    def wait_for(self, text: str, seconds: float = 120) -> str:
        deadline = time.monotonic() + seconds
        while text not in (seen := self.output()):
            expect(time.monotonic() < deadline, f"'poisonctl kho hold' did not say {text!r}: {seen}")
            time.sleep(0.2)
        return seen

    def wait_for_generation(self, kho: KhoGuest) -> None:
        """Until the list of the registry as it is now is held."""
        status = kho.tool.json("list", "--all", schema="poisonctl/records-v1")
        expect(status["records"], "there is nothing to hold")
        generation = self._guest.check(
            f"poisonctl --registry {REGISTRY} -q handover make -o /run/expected && "
            f"poisonctl --registry {REGISTRY} --json handover check /run/expected || true")
        number = json.loads(generation)["generation"]
        self.wait_for(f"generation {number},")

    def kill(self) -> None:
        self._guest.check("kill -9 $(cat /run/hold.pid); sleep 0.1")

    def pid(self) -> str:
        return self._guest.check("cat /run/hold.pid").strip()


def scratch_frames(tool: Poisonctl) -> list[int]:
    answer = tool.json("kho", "inspect", schema="poisonctl/kho-v1")
    return [frame for area in answer["scratch"]
            for frame in range(area["address"], area["address"] + area["size"], FRAME)]


def expect_conditions(tool: Poisonctl, expected: dict[int, str]) -> None:
    """Every frame has its condition, and there is no other."""
    answer = tool.json("list", "--all", schema="poisonctl/records-v1")
    seen = {}
    for record in answer["records"]:
        for frame in range(record["address"], record["address"] + record["size"], FRAME):
            seen[frame] = record["condition"]
    expect(seen == expected, f"expected {expected}, the registry has {seen}")
