"""'watch' records what the kernel reports: who saw an error, on which bank, and what was done."""

import rig
from steps import Bench, Poisonctl, Watch, choose_free_frames, expect, inject_machine_check


def run(bench: Bench) -> None:
    with bench.boot() as guest:
        tool = Poisonctl.in_guest(guest)
        frames = choose_free_frames(guest, 2)

        watch = Watch(guest)
        bench.say(f"machine check at {frames[0]:#x}")
        inject_machine_check(guest, frames[0])
        events = watch.wait_for_events(tool, frames[0], 2)
        expect_one_incident(events)

        bench.say(f"injected by the kernel at {frames[1]:#x}")
        guest.check(f"echo {frames[1] // 4096:#x} >/sys/kernel/debug/hwpoison/corrupt-pfn")
        watch.wait_for_events(tool, frames[1], 1)

        expect_every_kind(bench, guest, tool, watch)
        watch.stop()
        guest.power_off()


def expect_every_kind(bench: Bench, guest: rig.Guest, tool: Poisonctl, watch: Watch) -> None:
    """Pages that programs have. Soft offline has no trace event: the scan finds it."""
    guest.check("echo 2 >/proc/sys/vm/nr_hugepages")
    for kind in ("anon", "file", "thp", "hugetlb", "soft"):
        frame = int(guest.check(f"poison_memory {kind}"), 16) * 4096
        source = "kernel" if kind == "soft" else "trace"
        found = watch.wait_for_events(tool, frame, 1, source)[0]
        bench.say(f"{kind} at {frame:#x}: {found['result'] or found['evidence']}")


def expect_one_incident(events: list[dict]) -> None:
    """The machine check with its bank and status, what the kernel did, and which goes with which."""
    checks = [e for e in events if e["evidence"].startswith("mce_record")]
    done = [e for e in events if e["evidence"].startswith("memory_failure_event")]
    expect(len(checks) == 1 and len(done) == 1,
           f"expected one mce_record and one memory_failure_event, got {events}")
    for word in ("bank=0x9", "status=0xbd000000000000c0", "socketid=0x0"):
        expect(word in checks[0]["evidence"], f"{word} is not in {checks[0]['evidence']}")
    tied = [e for e in events if "same incident" in e["evidence"]]
    expect(len(tied) == 1, f"expected the later one to name the earlier one: {events}")
    expect(tied[0]["result"] == "free buddy page: Recovered", f"result is {tied[0]['result']!r}")
    for event in events:
        expect(event["dram"] == "socket=0", f"coordinates are {event['dram']!r}")
    expect("bank=0x9" in tied[0]["evidence"] and "pfn=" in tied[0]["evidence"],
           f"the tie lacks one side: {tied[0]['evidence']}")
