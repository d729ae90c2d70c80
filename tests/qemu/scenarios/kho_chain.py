"""The list goes through five kexecs in preserved memory alone: the registry is in the guest's memory
and begins anew at each boot. Frames are added, cleared and poisoned again on the way; nothing is
lost, and nothing comes back. poison-replay receives the list first, and retires its frames as soon
as it is told whose key to believe."""

import json

import rig
from kho_steps import CHAIN_OPTIONS, PRESERVED, REGISTRY, Hold, KhoGuest, expect_conditions
from steps import (BUDDY, HWPOISON, INITRAMFS, VMLINUZ, Bench, FrameFlags, choose_free_frames,
                   expect, kexec, poison)

BOOTS = 6


def run(bench: Bench) -> None:
    bench.replays = True
    with bench.boot(append=CHAIN_OPTIONS) as guest:
        kho = KhoGuest(guest)
        nothing = kho.receive()
        expect(nothing["lists"] == [] and nothing["taken"] is None,
               f"a list came with a cold boot: {nothing}")
        first = choose_free_frames(guest, 3, avoid=kho.scratch_frames())
        cleared = first[1]
        expected = {}

        # Held before there is anything to hold, and current without a restart.
        hold = Hold(guest, ready="nothing is held until there is")
        poison(guest, first)
        kho.tool.collect_kernel()
        expected |= {frame: "faulty" for frame in first}
        hold.wait_for("generation ")
        kho.keep_key()
        inspected = kho.tool.json("kho", "inspect", schema="poisonctl/kho-v1")
        luo = [s for d in inspected["directions"] for s in d["subtrees"] if s["name"] == "LUO"]
        expect([s["decoded"] for s in luo] == [{"version": "luo-v5"}],
               f"kho inspect does not show the live update orchestrator: {inspected}")
        expect(inspected["scratch"], "kho inspect shows no scratch area")

        for boot in range(2, BOOTS + 1):
            if boot == BOOTS:
                kexec_with_key(bench, guest)
                retired_early(guest, [f for f, kind in expected.items() if kind == "faulty"])
            else:
                kexec(bench, guest)
            kho = KhoGuest(guest, key=kho.key)
            answer = kho.receive()
            bench.say(f"boot {boot}: {json.dumps(answer)[:300]}")
            expect(answer["taken"] is not None and answer["taken"].startswith(PRESERVED),
                   f"boot {boot} took no list from preserved memory: {answer}")
            expect_conditions(kho.tool, expected)
            hold = Hold(guest)
            if boot == 2:
                kho.resolve(cleared)
                expected[cleared] = "resolved"
            if boot == 4:  # again: it is as bad as before
                kho.tool.run("record", f"{cleared:#x}", "--kind", "ue")
                expected[cleared] = "faulty"
            if boot in (3, 4, 5):
                new = choose_free_frames(guest, 1, [*kho.scratch_frames(), *expected], seed=boot)
                poison(guest, new)
                kho.tool.collect_kernel()
                expected[new[0]] = "faulty"
            hold.wait_for_generation(kho)
            expect_conditions(kho.tool, expected)
        guest.power_off()


def kexec_with_key(bench: Bench, guest: rig.Guest) -> None:
    bench.say("kexec with the host's key in the initramfs")
    # cpio fills its last block: the archive behind it begins where the kernel looks.
    guest.check(f"mkdir -p /run/root/etc/poisonctl && poisonctl --registry {REGISTRY} handover key "
                ">/run/root/etc/poisonctl/trusted-keys && cd /run/root && "
                f"(find etc | cpio -o -H newc 2>/dev/null; cat {INITRAMFS}) >/disk/initramfs")
    guest.kexec(VMLINUZ, "/disk/initramfs")


def retired_early(guest: rig.Guest, frames: list[int]) -> None:
    """By poison-replay, before anybody was asked."""
    told = json.loads(guest.check("cat /run/poisonctl/replay.json"))
    used = [seen["from"] for seen in told["handovers"] if seen["used"]]
    expect(len(used) == 1 and used[0].startswith(PRESERVED),
           f"poison-replay did not take the preserved list: {told}")
    flags = FrameFlags(guest)
    left = [flags.describe(f) for f in frames
            if not flags.has(f, HWPOISON) or flags.has(f, BUDDY)]
    expect(not left, f"poison-replay left {left}: {told}")
