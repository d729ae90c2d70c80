"""What a registry promises whoever pulls the plug, as checks of a folder that was just left so.

1. It opens, and its log is one of those that were possible at that moment: with every import that was
   reported as done, and with the interrupted one wholly or not at all.
2. `audit verify` has nothing to say. One finding is no defect: as long as no import was ever reported
   as done, there may be no checkpoint yet. After that there is always one, and it may lag behind by the
   interrupted import, which no finding tells; it is never ahead of the log, as it is written last.
3. `rebuild --check` proves the records equal to the events.
4. The next import works without a warning, and then the checkpoint is at the head.
5. Nothing is left that others than owner and group may read, nor any file but those of a registry
   and `PATH.{head,key}.*.tmp`, which nobody reads again.
"""

import json
import os
import re
import signal
import subprocess
from dataclasses import dataclass

REGISTRY = "r.db"
LOCKED = 75
_FILE_NAMES = re.compile(r"r\.db(\.head|\.key|\.schema-[12]|\.(head|key)\.[0-9a-f]{16}\.tmp)?")
_RANDOM = re.compile(r"[0-9a-f]{16}(?=\.tmp$)")
_NEXT = 0x700000000000  # where the import after the crash goes


@dataclass(frozen=True)
class Log:
    """A state of the registry that may be found. `head` is "" where it is not known beforehand."""

    name: str
    events: int = 0
    records: frozenset = frozenset()
    head: str = ""
    old_schema: bool = False  # to be found before its upgrade
    damaged: frozenset = None  # what is in place of `records` until a rebuild

    def with_one_more(self, record):
        return Log(self.name + "+1", self.events + 1, self.records | {record})


class Broken(Exception):
    """A promise was not kept."""


@dataclass
class Ran:
    status: int
    out: str
    err: str

    def __str__(self):
        return f"exit {self.status}: {(self.err or self.out).strip()[:300]}"


class Tool:
    """Runs poisonctl on a small machine of its own."""

    def __init__(self, binary, preload, sysroot):
        self.binary, self.preload, self.sysroot = binary, preload, sysroot
        self.runs = 0

    def command(self, folder, arguments):
        registry = os.path.join(folder, REGISTRY)
        return [self.binary, "--registry", registry, "--sysroot", self.sysroot, *arguments]

    def environment(self, folder, fault):
        """`fault` names variables of fault_preload.c without their FAULT_."""
        environment = dict(os.environ, LC_ALL="C")
        if fault is not None:
            environment["LD_PRELOAD"] = self.preload
            environment["FAULT_ROOT"] = folder
            environment.update({f"FAULT_{name}": str(value) for name, value in fault.items()})
            # The library is only a few calls and may come before the sanitizer's.
            options = environment.get("ASAN_OPTIONS", "")
            environment["ASAN_OPTIONS"] = f"{options}:verify_asan_link_order=0"
        return environment

    def start(self, folder, arguments, fault=None):
        self.runs += 1
        return subprocess.Popen(
            self.command(folder, arguments),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            env=self.environment(folder, fault),
        )

    def run(self, folder, arguments, fault=None):
        process = self.start(folder, arguments, fault)
        return self.finish(process)

    @staticmethod
    def finish(process, seconds=60):
        out, err = process.communicate(timeout=seconds)
        return Ran(process.returncode, out.decode(), err.decode())


def was_killed(ran):
    return ran.status == -signal.SIGKILL


def _expect(ran, what, *statuses):
    if ran.status not in (statuses or (0,)):
        raise Broken(f"{what}: {ran}")
    return ran


def records_in(listing):
    """What `list --all --json` says, without times and ids."""
    return frozenset(
        (r["address"], r["size"], r["condition"], r["severity"], r["retirement"], r["events"])
        for r in json.loads(listing)["records"]
    )


def look(tool, folder, name, head=True):
    """The log as it is now; for a folder that no crash has visited."""
    audit = json.loads(_expect(tool.run(folder, ["audit", "verify", "--json"]), "audit").out)
    listing = _expect(tool.run(folder, ["list", "--all", "--json"]), "list").out
    return Log(name, audit["events"], records_in(listing), audit["head"] if head else "")


def fingerprint(state):
    """Equal for folders in which poisonctl behaves alike. Random names are masked, and so is what is in
    a journal that is still there after the first command: it was not to be played back."""
    return tuple(
        sorted(
            (_RANDOM.sub("", name), mode, b"" if name.endswith("-journal") else text)
            for name, (mode, text) in state.items()
        )
    )


class Promises:
    """Checks folders. One that looks after the first command like one that was checked before is
    checked again only now and then: poisonctl depends on nothing else."""

    AGAIN = 6

    def __init__(self, tool, read_state):
        self.tool, self.read_state = tool, read_state
        self.known = {}
        self.turn = 0

    def check(self, folder, possible, reported, also=None):
        """Raises Broken, or returns the Log of `possible` that was found. `reported`: whether any
        import was ever reported as done. `also(folder)` checks what else there is to check at last."""
        writer_first = None
        self.turn += 1
        # Whoever comes first plays the journal back: most often a reader, sometimes a writer.
        if self.turn % 7 == 0 and not any(log.damaged is not None for log in possible):
            writer_first = self._add_one(folder, _NEXT - 0x100000)
            possible = [log.with_one_more(writer_first) for log in possible]
        else:
            first = (["list", "-q"], ["audit", "verify"], ["list", "--json"])[self.turn % 3]
            ran = self.tool.run(folder, first)
            if ran.status < 0 or ran.status in (70, 74, LOCKED):
                raise Broken(f"{' '.join(first)} after the crash: {ran}")
        key = hash((fingerprint(self.read_state(folder)), tuple(possible), reported))
        if key not in self.known or self.turn % self.AGAIN == 0:
            self.known[key] = self._check(folder, possible, reported or writer_first is not None)
            if also is not None:
                also(folder)
        return self.known[key]

    def _add_one(self, folder, address):
        ran = _expect(self.tool.run(folder, ["record", hex(address)]), "the next import")
        if "could not follow" in ran.err:
            raise Broken(f"the next import: {ran}")
        return (address, 4096, "faulty", "ue", "unknown", 1)

    def _check(self, folder, possible, reported):
        audit = self._audit(folder, possible, reported)
        found = self._which(possible, audit)
        if audit is not None:
            found = self._rebuilt(folder, possible, found)
        added = self._add_one(folder, _NEXT)
        listing = _expect(self.tool.run(folder, ["list", "--all", "--json"]), "list").out
        if records_in(listing) != found.records | {added}:
            raise Broken(f"the records are not those of '{found.name}' and of the next import")
        audit = self._audit(folder, possible, True)
        events = found.events + 1
        if audit["events"] != events or audit["checkpoint"]["events"] != events:
            raise Broken(f"after the next import {events} events were expected: {audit}")
        self._check_files(folder)
        return found

    def _rebuilt(self, folder, possible, found):
        damaged = [log for log in possible if log.damaged is not None]
        ran = self.tool.run(folder, ["rebuild", "--check"])
        if not damaged or ran.status == 0:
            _expect(ran, "rebuild --check")
            return next(log for log in possible if log.damaged is None and log.events == found.events)
        listing = _expect(self.tool.run(folder, ["list", "--all", "--json"]), "list").out
        if records_in(listing) != damaged[0].damaged:
            raise Broken("the records are neither those before the rebuild nor those after it")
        _expect(self.tool.run(folder, ["rebuild"]), "rebuild", 1)
        _expect(self.tool.run(folder, ["rebuild", "--check"]), "rebuild --check")
        return damaged[0]

    def _audit(self, folder, possible, reported):
        """None: there is no registry yet."""
        command = ["audit", "verify", "--json"]
        ran = self.tool.run(folder, command)
        if any(log.events == 0 for log in possible) and (
            ran.status == 66 or (ran.status == 65 and "is empty" in ran.err)
        ):
            return None
        if ran.status == 65 and "older schema" in ran.err and any(l.old_schema for l in possible):
            _expect(self.tool.run(folder, ["upgrade"]), "upgrade after the crash")
            ran = self.tool.run(folder, command)
        audit = json.loads(_expect(ran, "audit verify", 0, 1).out)
        findings = audit["findings"]
        if not reported:
            findings = [f for f in findings if f"{REGISTRY}.head is not there" not in f]
        if findings:
            raise Broken(f"audit verify: {findings}")
        if audit["checkpoint"] and audit["checkpoint"]["events"] > audit["events"]:
            raise Broken(f"the checkpoint is ahead of the log: {audit}")
        return audit

    @staticmethod
    def _which(possible, audit):
        events = 0 if audit is None else audit["events"]
        for log in possible:
            if log.events == events and (audit is None or log.head in ("", audit["head"])):
                return log
        names = ", ".join(f"{log.name} ({log.events} events)" for log in possible)
        raise Broken(f"found {events} events; possible were: {names}")

    @staticmethod
    def _check_files(folder):
        for name in os.listdir(folder):
            if not _FILE_NAMES.fullmatch(name):
                raise Broken(f"{name} was left behind")
            mode = os.stat(os.path.join(folder, name)).st_mode & 0o7777
            if mode & 0o027:
                raise Broken(f"{name} may be used by others: mode {mode:04o}")
