"""Each kind of call that 'watch' makes on the kernel's tracing fails once: an error in memory meanwhile is
recorded, or found by the next scan, and never is one lost by a program that says all is well. Neither is what
waits to be stored when memory runs out, nor what happens in the moment before SIGTERM."""

import time
from dataclasses import dataclass

import rig
from steps import (REGISTRY, Bench, Poisonctl, ScenarioFailure, Watch, choose_free_frames, expect,
                   poison_by_injector)

OUTPUT = "/run/faulted"
LIST = "/run/calls"
REFRESH = "/run/poisonctl/refresh"  # poisonctl-apply.path waits for it
DOCUMENTED = {0, 69, 71, 73, 74, 75, 77}
EIO, ENOMEM, ENOSPC, EBUSY = 5, 12, 28, 16
# Numbers of x86-64 (arch/x86/entry/syscalls/syscall_64.tbl), and what the call fails with. fstat, close
# and lseek of files of tracefs do not fail.
CALLS = {0: ("read", EIO), 1: ("write", ENOSPC), 2: ("open", EIO), 4: ("stat", EIO), 17: ("pread64", EIO),
         21: ("access", EIO), 83: ("mkdir", ENOMEM), 84: ("rmdir", EBUSY), 217: ("getdents64", EIO),
         257: ("openat", EIO), 262: ("newfstatat", EIO)}
MOST = 40
SPARED = 7


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


def check_counts_without_memory(guest: rig.Guest, tool: Poisonctl, frame: int) -> None:
    """Corrected errors wait for seconds, to be counted. They are stored when memory runs out meanwhile."""
    corrected, wanting = 60, "/run/wanting"  # no more than the kernel has room for (mce/genpool.c)
    watch = Watch(guest, environment=f"LD_PRELOAD=/bin/liballoc_faults.so ALLOC_WHEN={wanting}")
    # A moment later all are read: what is in hand when memory runs out is lost.
    guest.check(f"poison_memory checks {corrected} 1 {frame // 4096:#x} && sleep 0.5 && :>{wanting}")
    status = watch.ended()
    expect(status == "74" and "out of memory" in watch.output(),
           f"watch without memory ended with {status} and said {watch.output()}")
    counted = sum(event["count"] for event in
                  tool.json("show", f"{frame:#x}", schema="poisonctl/events-v1")["events"]
                  if event["kind"] == "ce")
    expect(counted == corrected, f"{counted} of {corrected} corrected errors are counted")
    guest.check(f"rm {wanting}")


def check_last_moment(guest: rig.Guest, tool: Poisonctl, soft: int, lost: int, flood: list[int]) -> None:
    """What no trace event tells, between the last look at it and SIGTERM."""
    words = " ".join(f"{frame // 4096:#x}" for frame in flood)
    for frame, happens in (
            (soft, f"echo {soft:#x} >/sys/devices/system/memory/soft_offline_page"),
            (lost, f"echo {lost // 4096:#x} >/sys/kernel/debug/hwpoison/corrupt-pfn && "
                   f"poison_memory storm 300 {words}")):
        watch = Watch(guest)
        # The scan of the start is over then, and what it has asked for.
        guest.check(f"echo 4 >{Watch.INSTANCE}/buffer_size_kb && sleep 2.5 && rm -f {REFRESH}")
        guest.check(f"kill -STOP $(cat /run/watch.pid) && {happens} && kill -TERM $(cat /run/watch.pid) && "
                    "kill -CONT $(cat /run/watch.pid)")
        status = watch.ended()
        expect(status == "0", f"watch ended with {status}: {watch.output()}")
        expect(frame in known(tool), f"{frame:#x} is not in the registry: {watch.output()}")
        expect(guest.run(f"test -e {REFRESH}").status == 0, "nobody is asked to renew the boot configuration")
    events = tool.json("show", f"{lost:#x}", schema="poisonctl/events-v1")["events"]
    expect({event["source"] for event in events} == {"kernel"},
           f"its trace event was to be lost, and was not: {events}")


def run(bench: Bench) -> None:
    with bench.boot() as guest:
        tool = Poisonctl.in_guest(guest)
        first, *frames = choose_free_frames(guest, MOST + 1 + SPARED)
        spared, frames = frames[:SPARED], frames[SPARED:]
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
        check_counts_without_memory(guest, tool, spared[0])
        poison_by_injector(guest, spared[3:])
        check_last_moment(guest, tool, spared[1], spared[2], spared[3:])
        tool.run("audit", "verify")
        bench.say(f"{min(len(frames), len(dict.fromkeys([*reads, *chosen])))} of them failed, one each time")
        guest.power_off()
