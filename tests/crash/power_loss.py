"""The disk as a power cut may leave it, told from the trace of what was written and synced.

The model is the weakest that POSIX allows and SQLite claims to live with:
- the content of a file is what it was at its last fsync or fdatasync, plus any part of what was
  written since, in units of 512-byte sectors and in any order; its size may be any it has had since;
- the names in the folder are those at the last fsync of the folder, plus any of the changes since;
- a sector is written wholly or not at all, and a write harms no byte beside it.
"""

import hashlib
import os
import random
import struct
from dataclasses import dataclass, field

CREATE, WRITE, TRUNCATE, SYNC, RENAME, UNLINK, MKDIR, LINK, CHMOD = range(1, 10)
SECTOR = 512
_HEAD = struct.Struct("=5Q")


@dataclass(frozen=True)
class Call:
    """One entry of the trace; see struct trace_head in fault_preload.c."""

    kind: int
    inode: int
    value: int
    path: str
    data: bytes


def read_trace(path):
    with open(path, "rb") as file:
        text = file.read()
    calls, at = [], 0
    while at < len(text):
        kind, inode, value, path_size, data_size = _HEAD.unpack_from(text, at)
        at += _HEAD.size
        name = os.fsdecode(text[at : at + path_size])
        at += path_size
        data = text[at : at + data_size]
        at += data_size
        calls.append(Call(kind, inode, value, name, data))
    return calls


@dataclass
class _File:
    content: bytes = b""  # what is surely on the disk
    mode: int = 0o600
    pending: list = field(default_factory=list)  # (number of the call, call)


def _overwritten(content, offset, data):
    if len(content) < offset:
        content.extend(bytes(offset - len(content)))
    content[offset : offset + len(data)] = data


class Everything:
    """Keeps all calls up to `last`: as if the cut came later, or all went to the disk in order."""

    def __init__(self, last):
        self.last = last

    def keeps(self, number):
        return number <= self.last

    def keeps_sector(self, number):
        return number <= self.last

    def size(self, sizes, numbers):
        kept = [size for size, number in zip(sizes, numbers) if number <= self.last]
        return kept[-1]


class Chance:
    """Keeps each name, each sector and one of the sizes by chance."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.odds = self.random.choice((0.1, 0.5, 0.9))

    def keeps(self, _number):
        return self.random.random() < self.odds

    def keeps_sector(self, _number):
        return self.random.random() < self.odds

    def size(self, sizes, _numbers):
        return self.random.choice((sizes[0], sizes[-1], self.random.choice(sizes)))


class Disk:
    """What is surely on the disk, and what is on its way, at one moment of a trace."""

    def __init__(self, folder):
        """Starts from a folder of which all is synced."""
        self._files = {}  # identity -> _File
        self._identity = {}  # inode -> identity; inodes are used again, identities are not
        self._names = {}  # name -> identity
        self._pending_names = []  # (number of the call, function of a dictionary of names)
        self.pending = []  # numbers of the calls that a power cut may undo
        for name in sorted(os.listdir(folder)):
            path = os.path.join(folder, name)
            status = os.stat(path)
            with open(path, "rb") as file:
                self._add(status.st_ino, _File(file.read(), status.st_mode & 0o7777))
            self._names[name] = self._identity[status.st_ino]

    def _add(self, inode, file):
        self._identity[inode] = len(self._files) + 1
        self._files[len(self._files) + 1] = file

    def apply(self, number, call):
        if call.kind == SYNC:
            self._sync(call)
        elif call.kind in (WRITE, TRUNCATE, CHMOD):
            self._files[self._identity[call.inode]].pending.append((number, call))
        else:
            self._change_names(number, call)
        self.pending = sorted(
            [n for file in self._files.values() for n, _ in file.pending]
            + [n for n, _ in self._pending_names]
        )

    def _sync(self, call):
        if call.path:
            assert call.path == ".", f"{call.path}: the model knows one folder"
            for _, change in self._pending_names:
                change(self._names)
            self._pending_names = []
            return
        file = self._files[self._identity[call.inode]]
        everything = Everything(float("inf"))
        file.content, file.mode = self._content(file, everything), self._mode(file, everything)
        file.pending = []

    def _change_names(self, number, call):
        if call.kind == CREATE:
            self._add(call.inode, _File(mode=call.value))
        identity = self._identity.get(call.inode)
        new_name = os.fsdecode(call.data)

        def change(names):
            if call.kind == CREATE:
                names[call.path] = identity
            elif call.kind == UNLINK:
                names.pop(call.path, None)
            elif call.kind == RENAME:
                names.pop(call.path, None)
                names[new_name] = identity
            elif call.kind == LINK:
                names[new_name] = identity
            else:
                raise AssertionError(f"the model knows no call of kind {call.kind}")

        self._pending_names.append((number, change))

    @staticmethod
    def _content(file, choice):
        if not file.pending:
            return file.content
        content = bytearray(file.content)
        sizes, numbers = [len(content)], [-1]
        for number, call in file.pending:
            if call.kind == TRUNCATE:
                sizes.append(call.value)
                # Bytes beyond the new end are gone if the truncation is not.
                if choice.keeps(number):
                    del content[call.value :]
            elif call.kind == WRITE:
                sizes.append(max(sizes[-1], call.value + len(call.data)))
                at = 0
                while at < len(call.data):
                    end = min(len(call.data), at + SECTOR - (call.value + at) % SECTOR)
                    if choice.keeps_sector(number):
                        _overwritten(content, call.value + at, call.data[at:end])
                    at = end
            else:
                continue
            numbers.append(number)
        size = choice.size(sizes, numbers)
        content.extend(bytes(max(0, size - len(content))))
        return bytes(content[:size])

    @staticmethod
    def _mode(file, choice):
        mode = file.mode
        for number, call in file.pending:
            if call.kind == CHMOD and choice.keeps(number):
                mode = call.value
        return mode

    def state(self, choice):
        """Name -> (mode, content): one disk that `choice` makes of the pending calls."""
        names = dict(self._names)
        for number, change in self._pending_names:
            if choice.keeps(number):
                change(names)
        return {
            name: (
                self._mode(self._files[identity], choice),
                self._content(self._files[identity], choice),
            )
            for name, identity in names.items()
        }


def digest(state):
    total = hashlib.blake2b(digest_size=16)
    for name in sorted(state):
        mode, content = state[name]
        total.update(f"{len(name)} {name} {mode} {len(content)} ".encode())
        total.update(content)
    return total.digest()


def read_state(folder):
    """The folder as it is, in the form of Disk.state()."""
    state = {}
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        with open(path, "rb") as file:
            state[name] = (os.stat(path).st_mode & 0o7777, file.read())
    return state


def write_state(state, folder):
    """Makes an empty folder hold `state`."""
    for name, (mode, content) in state.items():
        path = os.path.join(folder, name)
        with open(path, "wb") as file:
            file.write(content)
        os.chmod(path, mode)
