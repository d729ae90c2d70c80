"""Each kind of call that 'watch' makes on the kernel's tracing fails once: an error in memory meanwhile is
recorded, or found by the next scan, and never is one lost by a program that says all is well."""

import time
from dataclasses import dataclass

import rig
from steps import (REGISTRY, Bench, Poisonctl, ScenarioFailure, Watch, choose_free_frames, expect,
                   poison_by_injector)

OUTPUT = "/run/faulted"
LIST = "/run/calls"
DOCUMENTED = {0, 69, 71, 73, 74, 75, 77}
EIO, ENOMEM, ENOSPC, EBUSY = 5, 12, 28, 16
# Numbers of x86-64 (arch/x86/entry/syscalls/syscall_64.tbl), and what the call fails with. fstat, close
# and lseek of files of tracefs do not fail.
CALLS = {0: ("read", EIO), 1: ("write", ENOSPC), 2: ("open", EIO), 4: ("stat", EIO), 17: ("pread64", EIO),
         21: ("access", EIO), 83: ("mkdir", ENOMEM), 84: ("rmdir", EBUSY), 217: ("getdents64", EIO),
         257: ("openat", EIO), 262: ("newfstatat", EIO)}
MOST = 40


@dataclass(frozen=True)
class Call:
    number: int
    path: str

    @property
    def words(self) -> str:
        return f"{CALLS[self.number][0]} {self.path}"

    @property
    def harness(self) -> str:
        return f"--at 1 --number {self.number} --about '{self.path}' --do {CALLS[self.number][1]}"


def watch_through(guest: rig.Guest, tool: Poisonctl, harness: str, frame: int) -> tuple[int, str]:
    """A 'watch' whose calls fail as the harness is told, with an error in memory once it follows the
    trace, or would: ended by SIGTERM. Returns its exit status and what it said."""
    guest.check(f"rm -f {OUTPUT} {OUTPUT}.status; :>{OUTPUT}; (call_faults {harness} /bin/poisonctl "
                f"--registry {REGISTRY} --verbose watch >{OUTPUT} 2>&1; echo $? >{OUTPUT}.status) "
                ">/dev/null 2>&1 &")

    def ended() -> str:
        return guest.run(f"cat {OUTPUT}.status").text.strip()

    def said() -> str:
        return guest.check(f"cat {OUTPUT}")

    wait(lambda: "following " in said() or "page flags" in said() or ended(),
         lambda: f"watch neither follows nor ends, {harness}: {said()}")
    poison_by_injector(guest, [frame])
    try:
        wait(lambda: frame in known(tool) or ended(), lambda: "", 8)
    except ScenarioFailure:
        pass  # it is looked at afterwards
    guest.run("kill -TERM $(pidof poisonctl)")
    wait(ended, lambda: f"watch does not end, {harness}: {said()}")
    return int(ended()), said()


def wait(until, problem, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not until():
        expect(time.monotonic() < deadline, problem())
        time.sleep(0.1)


def known(tool: Poisonctl) -> set[int]:
    return {start for start, _ in tool.records()}


def calls_of_trace(guest: rig.Guest) -> list[Call]:
    """What is called on files of tracefs, and mounts of it, each once."""
    calls = []
    for line in guest.check(f"cat {LIST}").splitlines():
        _, number, path = line.split(" ", 2)
        if "tracing" in path and int(number) in CALLS:
            call = Call(int(number), path)
            if call not in calls:
                calls.append(call)
    return calls


def check(guest: rig.Guest, tool: Poisonctl, call: Call, frame: int) -> None:
    status, said = watch_through(guest, tool, call.harness, frame)
    expect(status != 125, f"{call.words}: was not called again: {said}")
    expect(status in DOCUMENTED, f"{call.words}: ended with {status}: {said}")
    if frame not in known(tool):
        expect(status != 0, f"{call.words}: an error is not in the registry, and nothing was said: {said}")
        tool.run("collect", "kernel")
        expect(frame in known(tool), f"{call.words}: the error is not found again")
    if guest.run(f"test -e {Watch.INSTANCE}").status == 0:
        # What watch could not end in order, the next one takes up.
        expect(status != 0 or "instance" in said,
               f"{call.words}: the instance is left, and nothing was said: {said}")
        guest.check(f"rmdir {Watch.INSTANCE}")


def run(bench: Bench) -> None:
    with bench.boot() as guest:
        tool = Poisonctl.in_guest(guest)
        first, *frames = choose_free_frames(guest, MOST + 1)
        tool.run("record", "0x1000000", "--note", "a registry")
        Watch(guest).stop()  # tracefs is mounted from now on
        status, said = watch_through(guest, tool, f"--list {LIST}", first)
        expect(status == 0 and first in known(tool), f"undisturbed: {status}, {said}")
        calls = calls_of_trace(guest)
        bench.say(f"{len(calls)} calls on tracefs: {', '.join(sorted({CALLS[c.number][0] for c in calls}))}")
        reads = [call for call in calls if call.path.endswith("trace_pipe_raw") and call.number == 0]
        expect(reads, "the ring buffer was not read")
        # Files of several events are much alike.
        chosen = calls[::len(calls) // MOST + 1]
        for call, frame in zip(dict.fromkeys([*reads, *chosen]), frames):
            check(guest, tool, call, frame)
        tool.run("audit", "verify")
        bench.say(f"{min(len(frames), len(dict.fromkeys([*reads, *chosen])))} of them failed, one each time")
        guest.power_off()
