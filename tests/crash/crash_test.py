"""Pulls the plug on poisonctl at every call that changes a file, and looks at what is left.

    crash_test.py --poisonctl PATH --preload PATH [--quick] [--only NAME,...] [--seed N] [--folder DIR]

Closes with the line `N passed, N failed`; exit status 1 when anything failed. README.md says what each
part does, promises.py what is checked, power_loss.py which disks a power cut may leave.
"""

import argparse
import errno
import itertools
import json
import os
import random
import shutil
import signal
import sqlite3
import struct
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace

import boot_files
import power_loss
from promises import LOCKED, REGISTRY, Broken, Log, Promises, Tool, look, records_in, was_killed

# Registries as older schemas wrote them, and their events.
OLD_SCHEMAS = {"schema-1": 42, "schema-2": 13}
NOTHING = Log("no registry")
MOST_SHOWN = 20


def ranges(first, count):
    return [hex(first + 0x3000 * i) for i in range(count)]


@dataclass(frozen=True)
class Step:
    """A command that changes the registry, and what happened before."""

    name: str
    arguments: tuple
    starts_from: str = ""  # a step, the folder after which this one starts from; or a preparation
    status: int = 0
    sampled: bool = False  # too many calls to be cut at each


STEPS = (
    Step("create", ("record", "0x1000000")),
    Step("import-1", ("record", "0x1001000", "--kind", "ce"), "create"),
    Step("import-50", ("record", *ranges(0x1100000, 50), "--note", "fifty"), "import-1"),
    Step(
        "resolve",
        ("resolve", "0x1100000-0x111bfff", "--as", "replaced", "--reason", "new DIMM"),
        "import-50",
    ),
    Step("verify", ("verify",), "resolve", status=1),
    Step("import-3000", ("record", *ranges(0x40000000, 3000)), "verify"),
    Step("import-14000", ("record", *ranges(0x80000000, 14000)), "import-3000", sampled=True),
    Step("first-key", ("record", "0x1002000"), "no-key"),
    Step("rebuild", ("rebuild",), "damaged", status=1),
    Step("upgrade", ("upgrade",), "schema-1"),
    Step("import-upgrades", ("record", "0x1003000"), "schema-1"),
    Step("upgrade-from-2", ("upgrade",), "schema-2"),
    Step("play-back", ("list", "--json"), "hot-journal"),
)
# Steps that follow one another on one disk when the power fails.
SEQUENCES = (
    ("create", "import-1", "import-50", "resolve", "verify", "import-3000"),
    ("first-key",),
    ("rebuild",),
    ("upgrade",),
    ("upgrade-from-2",),
    ("play-back",),
)


def make_machine(folder):
    """A machine with 32 MiB of RAM and no poison, as --sysroot takes it."""
    pages = 8192
    files = {
        "proc/self/auxv": struct.pack("=4Q", 6, 4096, 0, 0),
        "proc/iomem": b"00001000-01ffffff : System RAM\n",
        "proc/meminfo": b"MemTotal: 32768 kB\n",
        "proc/cmdline": b"ro\n",
        "proc/kpageflags": struct.pack("=Q", 1 << 10) * pages,
        "proc/sys/kernel/arch": b"x86_64\n",
        "proc/sys/kernel/osrelease": b"6.1.0\n",
        "proc/sys/kernel/random/boot_id": b"b7c1b0e6-95f4-4a83-9d0e-7f4f6a9b1c55\n",
        "etc/machine-id": b"0123456789abcdef0123456789abcdef\n",
    }
    for name, content in files.items():
        path = os.path.join(folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(content)
    return folder


class Run:
    def __init__(self, options, work):
        self.options, self.work = options, work
        self.tool = Tool(options.poisonctl, options.preload, make_machine(f"{work}/machine"))
        self.promises = Promises(self.tool, power_loss.read_state)
        self.random = random.Random(options.seed)
        self.steps = {step.name: step for step in STEPS}
        self.before, self.after = {}, {}  # of a step: (folder's state, log)
        self.passed = self.failed = 0
        self.tried = {}  # what -> how many

    # ---- bookkeeping

    def count(self, what, number=1):
        self.tried[what] = self.tried.get(what, 0) + number

    def case(self, label, action):
        try:
            result = action()
        except (Broken, subprocess.TimeoutExpired, ValueError, KeyError) as problem:
            self.fail(label, f"{type(problem).__name__}: {problem}")
            return None
        self.passed += 1
        return result

    def fail(self, label, problem):
        self.failed += 1
        if self.failed <= MOST_SHOWN:
            print(f"FAILED {label}: {problem}", flush=True)

    def folder(self, state):
        path = f"{self.work}/registry"
        shutil.rmtree(path, ignore_errors=True)
        os.mkdir(path)
        power_loss.write_state(state, path)
        return path

    # ---- where each step starts, and where it ends

    def prepare(self):
        for step in STEPS:
            if not (step.sampled and self.options.quick):
                self.case(f"{step.name}, undisturbed", lambda: self.undisturbed(step))
        self.promises.known.clear()

    def undisturbed(self, step):
        state, log = self.prepared(step.starts_from)
        folder = self.folder(state)
        ran = self.tool.run(folder, step.arguments)
        if ran.status != step.status or "could not follow" in ran.err:
            raise Broken(f"expected exit {step.status}, got {ran}")
        left, end = power_loss.read_state(folder), look(self.tool, folder, step.name)
        if step.name == "play-back":  # it reads; the log stays what it was
            log = replace(end, name="before")
        self.before[step.name], self.after[step.name] = (state, log), (left, end)

    def prepared(self, name):
        if name in self.after:
            return self.after[name]
        if name == "":
            return {}, NOTHING
        if name in OLD_SCHEMAS:
            fixture = f"{os.path.dirname(os.path.abspath(__file__))}/registry-{name}.db"
            with open(fixture, "rb") as file:
                state = {REGISTRY: (0o640, file.read())}
            folder = self.folder(state)
            self.tool.run(folder, ["upgrade"])
            log = look(self.tool, folder, name)
            if log.events != OLD_SCHEMAS[name]:
                raise Broken(f"{fixture}: expected {OLD_SCHEMAS[name]} events, found {log.events}")
            return state, replace(log, old_schema=True)
        if "import-50" not in self.after or name in self.steps:
            raise Broken(f"{name} failed, from which it starts")
        state, log = self.after["import-50"]
        if name == "no-key":
            return {REGISTRY: state[REGISTRY]}, log
        folder = self.folder(state)
        if name == "damaged":
            with sqlite3.connect(os.path.join(folder, REGISTRY)) as database:
                database.execute("DELETE FROM record WHERE address % 8192 = 0")
                database.execute("UPDATE record SET condition = 'resolved'")
            database.close()
            state = power_loss.read_state(folder)
            listing = self.tool.run(folder, ["list", "--all", "--json"]).out
            return state, replace(log, name="damaged", damaged=records_in(listing))
        if name == "hot-journal":
            # Killed amid its writes to the database: the next one must play the journal back.
            step = self.steps["import-3000"]
            calls, _ = self.calls_of(step, state)
            self.tool.run(self.folder(state), step.arguments, {"AT": calls - 40, "DO": "half"})
            state = power_loss.read_state(folder)
            if REGISTRY + "-journal" not in state:
                raise Broken("there is no journal to play back")
            return state, log
        raise ValueError(f"nothing is known of {name}")

    def calls_of(self, step, state):
        """How many calls, and writes among them, a step makes."""
        report = f"{self.work}/count"
        self.tool.run(self.folder(state), step.arguments, {"COUNT": report})
        with open(report, encoding="ascii") as file:
            return [int(word) for word in file.read().split()]

    # ---- the kill matrix

    def kill_matrix(self):
        for step in self.steps_of("create", "import-1", "first-key", "upgrade", "play-back"):
            state, log = self.before[step.name]
            end = replace(self.after[step.name][1], head="", name="done")
            start = replace(log, head="", name="not begun") if log is not NOTHING else log
            calls, _ = self.calls_of(step, state)
            points = [(n, do) for n in range(1, calls + 1) for do in ("before", "half")]
            points.append((calls, "after"))
            if self.options.quick:
                points = [points[0], *self.sample(points[1:-1], 4), points[-1]]
            elif step.sampled:
                points = [points[0], *self.sample(points[1:-20], 20), *points[-20:]]
            reported = bool(state) and not log.old_schema and step.starts_from != "no-key"
            found = []
            for number, do in points:
                label = f"kill {do} call {number} of {calls} of {step.name}"
                found.append(
                    self.case(label, lambda: self.killed(step, state, number, do, [start, end], reported))
                )
            self.count("crash points", sum(1 for log in found if log != "no write"))
            self.case(f"order of {step.name}", lambda: self.check_order(step, found))

    def sample(self, items, size):
        """Some of them, in their order."""
        chosen = self.random.sample(range(len(items)), min(size, len(items)))
        return [items[index] for index in sorted(chosen)]

    def killed(self, step, state, number, do, possible, reported):
        folder = self.folder(state)
        ran = self.tool.run(folder, step.arguments, {"AT": number, "DO": do})
        if do == "half" and ran.status == step.status:
            return "no write"  # and so nothing to halve
        if not was_killed(ran):
            raise Broken(f"was not killed: {ran}")
        found = self.promises.check(folder, possible, reported, self.also(step))
        return found.name.removesuffix("+1")

    @staticmethod
    def check_order(step, found):
        """An import becomes true at one moment and stays so; after its last call it is true."""
        names = [name for name in found if name not in (None, "no write")]
        if step.name == "play-back":
            return
        changes = sum(1 for a, b in itertools.pairwise(names) if a != b)
        if step.starts_from in OLD_SCHEMAS and step.arguments[0] == "upgrade":
            return  # both sides look alike once they are read
        if changes != 1 or names[-1] != "done":
            raise Broken(f"expected one change from not begun to done, got {changes}, {names[-1]}")

    def also(self, step):
        if step.starts_from not in OLD_SCHEMAS:
            return None
        return lambda folder: self.check_copy(folder, step.starts_from)

    @staticmethod
    def check_copy(folder, schema):
        """The copy that an upgrade keeps is what was there before it."""
        path = os.path.join(folder, f"{REGISTRY}.{schema}")
        if not os.path.exists(path):
            raise Broken("no copy of the older schema was kept")
        database = sqlite3.connect(path)
        try:
            version = database.execute("PRAGMA user_version").fetchone()[0]
            events = database.execute("SELECT count(*) FROM event").fetchone()[0]
            sound = database.execute("PRAGMA integrity_check").fetchone()[0]
        except sqlite3.Error as problem:
            raise Broken(f"the copy of the older schema: {problem}") from problem
        finally:
            database.close()
        if (f"schema-{version}", events, sound) != (schema, OLD_SCHEMAS[schema], "ok"):
            raise Broken(f"the copy is of schema {version} with {events} events, {sound}")

    def steps_of(self, *quick):
        names = quick if self.options.quick else self.before
        return [self.steps[name] for name in names if name in self.before]

    # ---- errors in place of crashes

    ERRORS = (
        ("ENOSPC", {"DO": "fail", "ERRNO": errno.ENOSPC}),
        ("ENOSPC ever after", {"DO": "fail-on", "ERRNO": errno.ENOSPC}),
        ("EIO", {"DO": "fail", "ERRNO": errno.EIO}),
        ("EIO ever after", {"DO": "fail-on", "ERRNO": errno.EIO}),
        ("EINTR", {"DO": "fail", "ERRNO": errno.EINTR}),
        ("short write", {"DO": "short"}),
    )

    def error_matrix(self):
        names = ("create", "import-50", "rebuild", "upgrade", "play-back")
        for step in (self.steps[name] for name in names if name in self.before):
            state, log = self.before[step.name]
            calls, _ = self.calls_of(step, state)
            start = replace(log, head="", name="not begun") if log is not NOTHING else log
            end = replace(self.after[step.name][1], head="", name="done")
            cases = list(itertools.product(self.ERRORS, range(1, calls + 1)))
            for (name, fault), number in self.sample(cases, 1) if self.options.quick else cases:
                self.count("errors")
                self.case(
                    f"{name} at call {number} of {calls} of {step.name}",
                    lambda: self.refused(step, state, {**fault, "AT": number}, start, end),
                )

    def refused(self, step, state, fault, start, end):
        folder = self.folder(state)
        ran = self.tool.run(folder, step.arguments, fault)
        done = ran.status == step.status
        if not done and (ran.status not in (73, 74) or not ran.err.startswith("poisonctl: ")):
            raise Broken(f"expected a message and exit 73 or 74, got {ran}")
        # Where a commit was refused so late that nobody can tell, both are possible. Success is not.
        followed = done and "could not follow" not in ran.err
        self.promises.check(folder, [end] if done else [start, end], followed, self.also(step))

    # ---- power loss

    def power_loss(self):
        for names in SEQUENCES:
            if self.options.quick:
                names = names[:2]
            if not all(name in self.before for name in names):
                continue  # counted as failed already
            self.power_loss_during(names)

    def power_loss_during(self, names):
        trace = f"{self.work}/trace"
        state, log = self.before[names[0]]
        folder = self.folder(state)
        disk = power_loss.Disk(folder)
        logs, ends, calls = [log if log is not NOTHING else NOTHING], [], []
        if os.path.exists(trace):
            os.unlink(trace)
        for name in names:
            step = self.steps[name]
            ran = self.tool.run(folder, step.arguments, {"TRACE": trace})
            calls = power_loss.read_trace(trace)
            ends.append(len(calls))
            logs.append(look(self.tool, folder, f"after {name}"))
        if names[0] == "play-back":
            logs[0] = logs[1]
        final = power_loss.read_state(folder)

        seen = set()
        sequence = "+".join(names)
        for number in range(len(calls) + 1):
            if number > 0:
                disk.apply(number, calls[number - 1])
            finished = sum(1 for end in ends if end <= number)
            possible = [logs[finished]]
            between = finished > 0 and ends[finished - 1] == number
            if finished < len(names) and not between:
                possible.append(logs[finished + 1])
            reported = finished > 0 or (
                bool(state) and self.steps[names[0]].starts_from not in ("no-key", *OLD_SCHEMAS))
            if self.options.quick and self.random.random() < 0.96:
                continue
            for label, choice in self.choices(disk, number):
                left = disk.state(choice)
                key = (power_loss.digest(left), finished, len(possible))
                if key in seen:
                    continue
                seen.add(key)
                self.count("disk states")
                self.case(
                    f"power cut after call {number} of {len(calls)} of {sequence}, {label}",
                    lambda: self.cut(left, possible, reported, names),
                )
        everything = disk.state(power_loss.Everything(len(calls)))
        self.case(f"trace of {sequence}", lambda: self.check_trace(everything, final))

    @staticmethod
    def check_trace(everything, final):
        """All calls together make the folder: none was missed, and the model applies them right."""
        if power_loss.digest(everything) != power_loss.digest(final):
            raise Broken("the trace does not add up to the folder")

    def choices(self, disk, number):
        yield "nothing that was not synced", power_loss.Everything(-1)
        pending = disk.pending
        # Each prefix was tried when its last call was the newest, unless a sync came between.
        inner = pending if len(pending) < 12 else [*self.sample(pending, 3), pending[-1]]
        for last in inner[-1:] if self.options.quick else inner:
            yield f"calls up to {last}", power_loss.Everything(last)
        subsets = 1 if self.options.quick else 4
        for subset in range(subsets if pending else 0):
            seed = f"{self.options.seed} {number} {subset}"
            yield f"chance {seed!r}", power_loss.Chance(seed)

    def cut(self, left, possible, reported, names):
        folder = self.folder(left)
        self.promises.check(folder, possible, reported, self.also(self.steps[names[-1]]))

    # ---- two processes, one of which stands still

    def interleaving(self):
        """While one process stands before its N-th call, another one does the same work."""
        pairs = (("create", ("record", "0x5000000"), 1), ("first-key", ("record", "0x5000000"), 1),
                 ("upgrade", ("upgrade",), 0))
        for name, other, more in pairs:
            if name not in self.before:
                continue  # counted as failed already
            step = self.steps[name]
            state, _ = self.before[name]
            calls, _ = self.calls_of(step, state)
            log = self.after[name][1]
            numbers = range(1, calls + 1)
            for number in self.sample(numbers, 2) if self.options.quick else numbers:
                self.count("interleavings")
                self.case(
                    f"{other[0]} while {name} stands before call {number} of {calls}",
                    lambda: self.interleaved(step, state, number, other, log.events + more),
                )

    def interleaved(self, step, state, number, other, events):
        folder = self.folder(state)
        first = self.tool.start(folder, step.arguments, {"AT": number, "DO": "stop"})
        second = None
        try:
            _, status = os.waitpid(first.pid, os.WUNTRACED)
            if not os.WIFSTOPPED(status):
                raise Broken("the first process did not come so far")
            second = self.tool.start(folder, other)
            try:
                second.wait(timeout=0.06)  # it may wait for a lock that the first one holds
            except subprocess.TimeoutExpired:
                pass
        finally:
            os.kill(first.pid, signal.SIGCONT)
        for process in (first, second):
            ran = self.tool.finish(process)
            if ran.status != step.status or "could not follow" in ran.err:
                raise Broken(f"one of the two: {ran}")
        log = look(self.tool, folder, "both")
        if log.events != events:
            raise Broken(f"expected {events} events, found {log.events}")
        if step.starts_from in OLD_SCHEMAS:
            self.check_copy(folder, step.starts_from)
        audit = json.loads(self.tool.run(folder, ["audit", "verify", "--json"]).out)
        if audit["findings"] or audit["checkpoint"]["events"] != events:
            raise Broken(f"audit verify: {audit}")

    # ---- many processes at once

    WRITERS = 32
    READERS = 4

    def crowd(self):
        writers = 8 if self.options.quick else self.WRITERS
        for killed in (False, True):
            label = f"{writers} writers at once" + (", some of them killed" if killed else "")
            self.case(label, lambda: self.crowded(writers, killed))

    def crowded(self, writers, killed):
        folder = self.folder({})
        imports = 1 if self.options.quick else 6
        waiting = [[(writer, turn) for turn in range(imports)] for writer in range(writers)]
        readers = [["list", "--all", "--json"]] * self.READERS
        running, done, undecided, locked, seen = {}, set(), set(), 0, 0
        while any(waiting) or running:
            for writer in range(writers):
                if waiting[writer] and ("writer", writer) not in running:
                    job = waiting[writer].pop(0)
                    addresses = ranges(0x10000000 + 0x1000000 * writer + 0x10000 * job[1], 3)
                    fault = None
                    if killed and self.random.random() < 0.3:
                        fault = {"AT": self.random.randint(1, 50), "DO": "before"}
                    process = self.tool.start(folder, ["record", *addresses], fault)
                    running["writer", writer] = (process, frozenset(int(a, 16) for a in addresses))
            for reader, arguments in enumerate(readers):
                if any(waiting) and ("reader", reader) not in running:
                    running["reader", reader] = (self.tool.start(folder, arguments), seen)
            for who in [w for w, (process, _) in running.items() if w[0] == "reader" or process.poll() is not None]:
                process, addresses = running.pop(who)  # of a reader: what was seen before it
                ran = self.tool.finish(process)
                if who[0] == "reader":
                    not_made_yet = ran.status == 66 or "is empty" in ran.err
                    if ran.status == 0:
                        found = len(records_in(ran.out))
                        if found < addresses or found % 3 != 0:
                            raise Broken(f"a reader saw {found} records after {addresses}")
                        seen = max(seen, found)
                    elif ran.status != LOCKED and (addresses or not not_made_yet):
                        raise Broken(f"a reader: {ran}")
                elif was_killed(ran) and killed:
                    undecided.add(addresses)
                elif ran.status == LOCKED:
                    locked += 1
                elif ran.status != 0 or "could not follow" in ran.err:
                    raise Broken(f"a writer: {ran}")
                else:
                    done.add(addresses)
            time.sleep(0.002)
        self.count("imports in a crowd", len(done))
        self.count("of them told to try again", locked)
        self.count("of them killed", len(undecided))
        log = look(self.tool, folder, "crowd") if not killed else None
        if killed:
            self.tool.run(folder, ["record", "0x5000"])
            log = look(self.tool, folder, "crowd")
        there = {record[0] for record in log.records} - {0x5000}
        must = frozenset().union(*done)
        may = must.union(*undecided)
        if not must <= there <= may:
            raise Broken(f"{len(must - there)} records lost, {len(there - may)} too many")
        if any(0 < len(addresses & there) < 3 for addresses in undecided):
            raise Broken("half an import is there")
        if log.events != len(there) + killed:
            raise Broken(f"{log.events} events for {len(there)} records")
        audit = json.loads(self.tool.run(folder, ["audit", "verify", "--json"]).out)
        if audit["findings"] or audit["checkpoint"]["events"] != log.events:
            raise Broken(f"audit verify: {audit}")
        if self.tool.run(folder, ["rebuild", "--check"]).status != 0:
            raise Broken("rebuild --check")

    # ---- what boots the machine

    def boot(self):
        for name in boot_files.TARGETS:
            target = boot_files.BootFiles(self, name)
            if self.case(f"{name}, undisturbed", lambda: target.prepare() or True) is None:
                continue
            points = [(n, do) for n in range(1, target.calls + 1) for do in ("before", "half")]
            points.append((target.calls, "after"))
            for number, do in self.sample(points, 3) if self.options.quick else points:
                self.count("kills of what writes boot files")
                self.case(f"kill {do} call {number} of {target.calls} of {name}",
                          lambda: target.killed(number, do))
            disks = list(target.disks())
            seen = set()
            for label, left in self.sample(disks, 3) if self.options.quick else disks:
                key = power_loss.digest(left)
                if key in seen:
                    continue
                seen.add(key)
                self.count("disk states of boot files")
                self.case(f"{name}: {label}", lambda: target.cut(left))

    # ---- all of it

    def run(self):
        parts = {
            "kill": self.kill_matrix,
            "errors": self.error_matrix,
            "power": self.power_loss,
            "interleaving": self.interleaving,
            "crowd": self.crowd,
            "boot": self.boot,
        }
        wanted = self.options.only.split(",") if self.options.only else list(parts)
        if wanted != ["boot"]:
            self.prepare()
        for name in wanted:
            started, passed, failed = time.monotonic(), self.passed, self.failed
            parts[name]()
            print(f"{name}: {self.passed - passed} passed, {self.failed - failed} failed, "
                  f"{time.monotonic() - started:.1f} s", flush=True)
        print("tried: " + ", ".join(f"{number} {what}" for what, number in self.tried.items()))
        if self.failed > MOST_SHOWN:
            print(f"{self.failed - MOST_SHOWN} more failures were not shown")
        print(f"{self.passed} passed, {self.failed} failed")
        return 1 if self.failed else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--poisonctl", required=True, type=os.path.abspath)
    parser.add_argument("--preload", required=True, type=os.path.abspath)
    parser.add_argument("--quick", action="store_true", help="a part of it, for slow builds")
    parser.add_argument("--only", help="parts, with commas between: kill,errors,power,interleaving,crowd,boot")
    parser.add_argument("--seed", default="1")
    parser.add_argument("--folder", help="where to work; better in memory than on a disk")
    options = parser.parse_args()
    os.umask(0o022)
    memory = "/dev/shm"
    parent = options.folder or (memory if os.access(memory, os.W_OK) else None)
    with tempfile.TemporaryDirectory(prefix="poisonctl-crash.", dir=parent) as work:
        return Run(options, os.path.realpath(work)).run()


if __name__ == "__main__":
    sys.exit(main())
