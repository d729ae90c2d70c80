"""Kills `apply` and `emit -o` at each call that changes a file, and cuts the power there.

What boots the machine is all or nothing: each file that a boot loader reads is as it was or as it is
to be, byte by byte and with its mode, and no file comes to lie beside it that one reads. The same
command goes on from there.
"""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass

import power_loss
from promises import Broken, Tool, was_killed

FILES = {
    "etc/default/grub": b'GRUB_CMDLINE_LINUX="console=ttyS0"\n',
    "etc/default/grub.d/10-other.cfg": b"GRUB_TIMEOUT=3\n",
    "etc/default/kexec.d/10-other": b"# theirs\n",
    "etc/kernel/cmdline": b"root=/dev/sda1 ro  quiet\n",
    "boot/loader/entries/a.conf": b"title A\noptions root=/dev/sda1 ro\n",
    "boot/loader/entries/b.conf": b"title B\noptions\troot=/dev/sda1 -- single",
}
# A temporary file, as create_temporary() names it.
_TEMPORARY = re.compile(r".*\.[0-9a-f]{16}\.tmp")


@dataclass(frozen=True)
class Target:
    """What is written into one folder. `read_by`: the names in it that a boot loader reads."""

    folder: str
    arguments: tuple
    read_by: str
    undo: tuple = ()  # what comes before, when it is to be taken out again


_APPLY = ("apply", "e820")
_UNDO = ("apply", "e820", "--undo")
TARGETS = {
    "GRUB drop-in": Target("etc/default/grub.d", (*_APPLY, "--only", "grub"), r".*\.cfg"),
    "GRUB drop-in, --undo": Target("etc/default/grub.d", (*_UNDO, "--only", "grub"), r".*\.cfg", _APPLY),
    # run-parts(8)
    "kexec.d": Target("etc/default/kexec.d", (*_APPLY, "--only", "kexec"), r"[A-Za-z0-9_-]+"),
    "kernel-install": Target("etc/kernel", (*_APPLY, "--only", "kernel-install"), r"cmdline"),
    "loader entries": Target("boot/loader/entries", (*_APPLY, "--only", "loader-entries"), r".*\.conf"),
    "loader entries, --undo": Target(
        "boot/loader/entries", (*_UNDO, "--only", "loader-entries"), r".*\.conf", _APPLY),
    "initrd carrier": Target("boot/carrier", ("emit", "initrd", "-o", "{machine}/boot/carrier/poisonctl.cpio"), r".*\.cpio"),
}


class BootFiles:
    """One target: its folder before and after, and the cases."""

    def __init__(self, run, name):
        self.run, self.name, self.target = run, name, TARGETS[name]
        self.machine = f"{run.work}/boot-machine"
        here = os.path.dirname(os.path.abspath(__file__))
        subprocess.run([sys.executable, "-B", f"{here}/../cli/machine.py", self.machine], check=True)
        self.tool = Tool(run.tool.binary, run.tool.preload, self.machine)
        self.folder = os.path.join(self.machine, self.target.folder)
        self.registry = f"{run.work}/boot-registry"
        self.arguments = tuple(word.format(machine=self.machine) for word in self.target.arguments)

    def prepare(self):
        for name, content in FILES.items():
            path = os.path.join(self.machine, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as file:
                file.write(content)
            os.chmod(path, 0o640)
        os.makedirs(f"{self.machine}/boot/carrier", exist_ok=True)
        for name in ("etc/default/grub.d/zz-poisonctl.cfg", "etc/default/kexec.d/zz-poisonctl"):
            if os.path.exists(os.path.join(self.machine, name)):
                os.unlink(os.path.join(self.machine, name))
        shutil.rmtree(self.registry, ignore_errors=True)
        os.mkdir(self.registry)
        for arguments in [("record", "0x1000000"), *([self.target.undo] if self.target.undo else [])]:
            ran = self.tool.run(self.registry, arguments)
            if ran.status != 0:
                raise Broken(f"{' '.join(arguments)}: {ran}")
        self.before = self.read()
        report = f"{self.run.work}/count"
        ran = self.tool.run(self.registry, self.arguments, {"ROOT": self.folder, "COUNT": report})
        if ran.status != 0:
            raise Broken(f"{self.name}, undisturbed: {ran}")
        self.after = self.read()
        if self.before == self.after:
            raise Broken(f"{self.name} changes nothing")
        with open(report, encoding="ascii") as file:
            self.calls = int(file.read().split()[0])

    def read(self):
        return {
            name: (os.stat(path).st_mode & 0o7777, open(path, "rb").read())
            for name in os.listdir(self.folder)
            if os.path.isfile(path := os.path.join(self.folder, name))
        }

    def put(self, state):
        for name in self.read():
            os.unlink(os.path.join(self.folder, name))
        power_loss.write_state(state, self.folder)

    def same(self, found, wanted):
        """A carrier has a time and a signature in it: of the same size, or told apart by its reader."""
        if found == wanted:
            return True
        return (found is not None and wanted is not None and self.name == "initrd carrier"
                and found[0] == wanted[0] and len(found[1]) == len(wanted[1])
                and found[1].startswith(b"070701") and b"TRAILER!!!" in found[1])

    def check(self):
        left = self.read()
        known = self.before.keys() | self.after.keys()
        for name in known:
            found = left.get(name)
            if not any(self.same(found, state.get(name)) for state in (self.before, self.after)):
                raise Broken(f"{name} is neither as before nor as after: {found}")
        for name in left.keys() - known:
            if re.fullmatch(self.target.read_by, name) or not _TEMPORARY.fullmatch(name):
                raise Broken(f"{name} was left behind")
        ran = self.tool.run(self.registry, self.arguments)
        if ran.status != 0:
            raise Broken(f"the same command again: {ran}")
        ended = self.read()
        if any(not self.same(ended.get(name), self.after.get(name)) for name in known):
            raise Broken("the same command again does not bring it to an end")

    def killed(self, number, do):
        self.put(self.before)
        ran = self.tool.run(self.registry, self.arguments, {"ROOT": self.folder, "AT": number, "DO": do})
        if do == "half" and ran.status == 0:
            return  # no write, and so nothing to halve
        if not was_killed(ran):
            raise Broken(f"was not killed: {ran}")
        self.check()

    def disks(self):
        """(label, what a power cut leaves) for each call; the last one is the whole of the trace."""
        self.put(self.before)
        disk = power_loss.Disk(self.folder)
        trace = f"{self.run.work}/boot-trace"
        if os.path.exists(trace):
            os.unlink(trace)
        self.tool.run(self.registry, self.arguments, {"ROOT": self.folder, "TRACE": trace})
        calls = power_loss.read_trace(trace)
        for number in range(len(calls) + 1):
            if number > 0:
                disk.apply(number, calls[number - 1])
            for label, choice in self.run.choices(disk, number):
                yield f"power cut after call {number} of {len(calls)}, {label}", disk.state(choice)

    def cut(self, left):
        self.put(left)
        self.check()
