"""'watch' records what the kernel reports: who saw an error, on which bank, and what was done."""

import time

import rig
from steps import Bench, Poisonctl, Watch, choose_free_frames, expect, inject_machine_check


def run(bench: Bench) -> None:
    with bench.boot() as guest:
        tool = Poisonctl.in_guest(guest)
        frames = choose_free_frames(guest, 3)

        watch = Watch(guest, service=True)
        watch.datagrams(Watch.NOTIFY_SOCKET, "READY=1")
        expect_poison_that_comes_back(bench, guest, tool, watch, frames[2])
        bench.say(f"machine check at {frames[0]:#x}")
        inject_machine_check(guest, frames[0])
        expect_one_incident(watch.wait_for_events(tool, frames[0], 2), "free buddy page: Recovered")
        expect_journal(watch, frames[0])
        for kind in ("anon", "file"):
            machine_check_in_use(bench, guest, tool, watch, kind)

        bench.say(f"injected by the kernel at {frames[1]:#x}")
        guest.check(f"echo {frames[1] // 4096:#x} >/sys/kernel/debug/hwpoison/corrupt-pfn")
        watch.wait_for_events(tool, frames[1], 1)

        expect_every_kind(bench, guest, tool, watch)
        watch.stop()
        watch.datagrams(Watch.NOTIFY_SOCKET, "STOPPING=1")
        expect_fallback(bench, guest, tool)
        guest.power_off()


def expect_poison_that_comes_back(bench: Bench, guest: rig.Guest, tool: Poisonctl, watch: Watch,
                                  frame: int) -> None:
    """As after a module is exchanged in a running machine. Before any machine check: after one the
    kernel takes no flag back (hw_memory_failure in mm/memory-failure.c)."""
    offline = f"echo {frame:#x} >/sys/devices/system/memory/soft_offline_page"
    guest.check(offline)
    watch.wait_for_events(tool, frame, 1, "kernel")
    tool.run("resolve", f"{frame:#x}", "--as", "replaced", "--reason", "another module")
    guest.check(f"echo {frame // 4096:#x} >/sys/kernel/debug/hwpoison/unpoison-pfn")
    events = watch.wait_for_events(tool, frame, 2, "kernel")
    expect([e["kind"] for e in events] == ["poisoned", "unpoisoned"], f"the log has {events}")
    expect(not conditions_of(tool, frame), "a flag that is taken back opens a record")
    guest.check(offline)
    events = watch.wait_for_events(tool, frame, 3, "kernel")
    expect(conditions_of(tool, frame) == ["faulty"],
           f"poison that came back is not to be retired: {events}")
    bench.say(f"{frame:#x}: soft offlined, given back, and soft offlined again")


def conditions_of(tool: Poisonctl, frame: int) -> list[str]:
    """Of a record that is not resolved."""
    records = tool.json("list", schema="poisonctl/records-v1")["records"]
    return [r["condition"] for r in records if r["address"] == frame]


def expect_journal(watch: Watch, frame: int) -> None:
    """The incident, in the fields that journalctl looks for (systemd's JOURNAL_NATIVE_PROTOCOL)."""
    entries = watch.datagrams(Watch.JOURNAL_SOCKET, "POISONCTL_RESULT=free buddy page: Recovered")
    entry = next(e for e in entries if "POISONCTL_RESULT=" in e)
    fields = dict(line.partition("=")[::2] for line in entry.splitlines())
    wanted = {"PRIORITY": "2", "SYSLOG_IDENTIFIER": "poisonctl", "POISONCTL_KIND": "ue",
              "POISONCTL_ADDRESS": f"{frame:#x}", "POISONCTL_SIZE": "4096", "POISONCTL_COUNT": "1"}
    seen = {name: fields.get(name) for name in wanted}
    expect(seen == wanted, f"expected {wanted}, got {seen}")
    expect(f"{frame:#x}" in fields["MESSAGE"], f"MESSAGE is {fields['MESSAGE']!r}")


def machine_check_in_use(bench: Bench, guest: rig.Guest, tool: Poisonctl, watch: Watch,
                         kind: str) -> None:
    """As the scrubber finds it in memory that a program has, which has not run into it yet."""
    guest.check(f"poison_memory hold {kind} >/run/frame & echo $! >/run/holder; "
                "while [ ! -s /run/frame ]; do usleep 10000; done")
    frame = int(guest.check("cat /run/frame"), 16) * 4096
    bench.say(f"machine check at {frame:#x}, {kind}")
    inject_machine_check(guest, frame)
    events = watch.wait_for_events(tool, frame, 2)
    expect_one_incident(events, "LRU page: Recovered")
    expect_outcome(tool, frame)
    guest.run("kill $(cat /run/holder)")


def expect_outcome(tool: Poisonctl, frame: int, seconds: float = 60) -> None:
    """What became of a frame is in the registry soon, though nothing has made watch scan."""
    deadline = time.monotonic() + seconds
    while True:
        records = tool.json("list", schema="poisonctl/records-v1")["records"]
        states = [r["retirement"] for r in records if r["address"] == frame]
        if states == ["effective"]:
            return
        expect(time.monotonic() < deadline, f"expected {frame:#x} to be effective, got {states}")
        time.sleep(0.1)


def expect_fallback(bench: Bench, guest: rig.Guest, tool: Poisonctl) -> None:
    """Under lockdown nobody may read trace events; watch says so, and finds poison all the same."""
    guest.check("mount -t securityfs securityfs /sys/kernel/security && "
                "echo confidentiality >/sys/kernel/security/lockdown")
    watch = Watch(guest, ready="looking at HardwareCorrupted")
    frame = int(guest.check("poison_memory anon"), 16) * 4096
    watch.wait_for_events(tool, frame, 1, "kernel")
    bench.say(f"{frame:#x}, found without trace events")
    watch.stop()


def expect_every_kind(bench: Bench, guest: rig.Guest, tool: Poisonctl, watch: Watch) -> None:
    """Pages that programs have. Soft offline has no trace event: the scan finds it."""
    guest.check("echo 2 >/proc/sys/vm/nr_hugepages")
    for kind in ("anon", "file", "thp", "hugetlb", "soft"):
        frame = int(guest.check(f"poison_memory {kind}"), 16) * 4096
        source = "kernel" if kind == "soft" else "trace"
        found = watch.wait_for_events(tool, frame, 1, source)[0]
        bench.say(f"{kind} at {frame:#x}: {found['result'] or found['evidence']}")


def expect_one_incident(events: list[dict], result: str) -> None:
    """The machine check with its bank and status, what the kernel did, and which goes with which."""
    checks = [e for e in events if e["evidence"].startswith("mce_record")]
    done = [e for e in events if e["evidence"].startswith("memory_failure_event")]
    expect(len(checks) == 1 and len(done) == 1,
           f"expected one mce_record and one memory_failure_event, got {events}")
    for word in ("bank=0x9", "status=0xbd000000000000c0", "socketid=0x0"):
        expect(word in checks[0]["evidence"], f"{word} is not in {checks[0]['evidence']}")
    tied = [e for e in events if "same incident" in e["evidence"]]
    expect(len(tied) == 1, f"expected the later one to name the earlier one: {events}")
    expect(result in tied[0]["result"], f"result is {tied[0]['result']!r}")
    for event in events:
        expect(event["dram"] == "socket=0", f"coordinates are {event['dram']!r}")
    expect("bank=0x9" in tied[0]["evidence"] and "pfn=" in tied[0]["evidence"],
           f"the tie lacks one side: {tied[0]['evidence']}")
