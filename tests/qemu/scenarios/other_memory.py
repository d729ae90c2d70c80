"""The memory modules and the layout change between cold boots, with the registry on the disk.

What was recorded under one module is quarantined under another, comes back when the first one does,
and never reaches the next kernel in between, neither as memmap= nor as a handover.
"""

import rig
from steps import (MACHINE, REGISTRY, Bench, Poisonctl, as_ranges, choose_free_frames, expect,
                   expect_same_ranges, poison)

HANDOVER = "/disk/handover"
HOST = "6f1c0c4e-2b8a-4f58-9d3e-0a5b7c1d2e3f"  # the same all along: only its memory changes
# All of the frame's neighbourhood is in node 1 then; the frames are chosen from 128 MiB on.
TWO_NODES = ("-object", "memory-backend-ram,id=m0,size=128M",
             "-object", "memory-backend-ram,id=m1,size=512M",
             "-numa", "node,nodeid=0,cpus=0,memdev=m0", "-numa", "node,nodeid=1,memdev=m1")


def machine(serial: str, memory_mib: int = MACHINE.memory_mib, extra: tuple[str, ...] = ()
            ) -> rig.Machine:
    module = f"type=17,manufacturer=Rig,loc_pfx=SLOT,serial={serial},part=P-1"
    return rig.Machine(memory_mib=memory_mib, extra=("-uuid", HOST, "-smbios", module, *extra))


def run(bench: Bench) -> None:
    disk = bench.disk(bench.kernel, bench.initramfs(bench.kernel))

    def boot(name: str, hardware: rig.Machine) -> rig.Guest:
        bench.machine = hardware
        return bench.boot(disk=disk, name=name)

    with boot("first", machine("S1")) as guest:
        tool = Poisonctl.in_guest(guest)
        shown = tool.json("topology", "show", schema="poisonctl/topology-v1")
        expect([module["serial"] for module in shown["modules"]] == ["S1"],
               f"expected one module with serial S1, got {shown['modules']}")
        frames = choose_free_frames(guest, 3)
        bench.say("3 frames fail under the module with serial S1")
        poison(guest, frames)
        tool.collect_kernel()
        parameter = tool.emit_e820(tool.plan())
        tool.run("handover", "make", "-o", HANDOVER)
        guest.power_off()

    def expect_quarantined(name: str, hardware: rig.Machine, reason: str) -> None:
        bench.say(f"cold boot: {name}")
        with boot(name, hardware) as guest:
            tool = Poisonctl.in_guest(guest)
            records = tool.json("list", schema="poisonctl/records-v1")["records"]
            conditions = {record["condition"] for record in records}
            expect(conditions == {"quarantined"} and len(records) == len(frames),
                   f"expected {len(frames)} quarantined records, got {records}")
            expect(all(reason in record["reason"] for record in records),
                   f"expected '{reason}' as the reason, got {records[0]['reason']}")
            emitted = tool.run("emit", "e820", statuses=(1,))
            expect(emitted == "", f"expected no memmap= for other memory, got {emitted!r}")
            told = tool.json("handover", "check", HANDOVER, schema="poisonctl/handover-v1",
                             statuses=(1,))
            expect(told["trust"] == "quarantine" and not told["retire"],
                   f"expected the handover to be quarantined, got {told}")
            guest.power_off()

    def expect_back(name: str) -> None:
        bench.say(f"cold boot: {name}")
        with boot(name, machine("S1")) as guest:
            tool = Poisonctl.in_guest(guest)
            tool.run("topology", "diff")
            plan = tool.plan()
            expect(tool.emit_e820(plan) == parameter, "the list is not what it was under S1")
            told = tool.json("handover", "check", HANDOVER, schema="poisonctl/handover-v1")
            expect_same_ranges([(r["address"], r["address"] + r["size"]) for r in told["retire"]],
                               as_ranges(frames), "the handover's frames")
            guest.power_off()

    expect_quarantined("another-module", machine("S2"), "had the module with serial S1")
    expect_back("first-module-again")
    expect_quarantined("more-memory", machine("S1", MACHINE.memory_mib + 128), "MiB now")
    expect_quarantined("two-nodes", machine("S1", extra=TWO_NODES), "is in node 1 now")
    expect_back("as-at-first")

    bench.say("cold boot: the exchanged module's records are resolved")
    with boot("exchanged", machine("S2")) as guest:
        tool = Poisonctl.in_guest(guest)
        tool.run("topology", "diff", "--resolve-replaced", statuses=(1,))
        expect(tool.records() == [], f"expected no active record in {REGISTRY}")
        tool.run("audit", "verify")
        guest.power_off()
