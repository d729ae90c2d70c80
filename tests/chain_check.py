#!/usr/bin/env python3
"""Checks the hash chain of a registry by the text of registry/README.md alone, without poisonctl.

    chain_check.py REGISTRY [CHECKPOINT]

Prints "N events, head HASH". Ends with 1 at the first entry that does not fit, or when the checkpoint
is about another log. The signature of a checkpoint is not checked: Python has no Ed25519.
"""
import hashlib
import sqlite3
import sys

INTEGERS = ("time_ns", "monotonic_ns", "uid", "page_size")
IMPORT = ("time_ns", "monotonic_ns", "source", "source_version", "origin", "tool", "uid", "boot_id",
          "kernel_release", "host_id", "product_uuid", "product_serial", "page_size")
EVENT = ("import", "kind", "address", "size", "granularity", "count", "observed_ns", "foreign_host",
         "label", "dram", "result", "state", "evidence", "hash")


def integer(value):
    """8 bytes, big-endian, two's complement."""
    return (value & 0xFFFFFFFFFFFFFFFF).to_bytes(8, "big")


def text(value):
    return integer(len(value)) + value


def optional(*values):
    return b"\0" if values[0] is None else b"\1" + b"".join(map(integer, values))


def import_digest(number, row):
    message = integer(number)
    for name, value in zip(IMPORT, row):
        message += integer(value) if name in INTEGERS else text(value)
    if row[-1] is not None:
        message += text(row[-1])
    return hashlib.sha256(message).digest()


def event_hash(previous, digest, number, event):
    message = previous + digest + integer(number) + text(event["kind"])
    message += optional(event["address"], event["size"])
    message += integer(event["granularity"]) + integer(event["count"])
    message += optional(event["observed_ns"])
    for name in ("foreign_host", "label", "dram", "result", "state", "evidence"):
        message += text(event[name])
    return hashlib.sha256(message).digest()


def chain(database):
    """The hashes of the log, from entry 0, which is no event."""
    hashes = [bytes(32)]
    imports = {number: import_digest(number, row) for number, *row in
               database.execute(f"SELECT id, {', '.join(IMPORT)}, (SELECT text FROM topology WHERE "
                                "topology.id = import.topology) FROM import")}
    for number, *row in database.execute(f"SELECT id, {', '.join(EVENT)} FROM event ORDER BY id"):
        event = dict(zip(EVENT, row))
        if number != len(hashes):
            sys.exit(f"entry {len(hashes)} is missing")
        expected = event_hash(hashes[-1], imports[event["import"]], number, event)
        if event["hash"] != expected:
            sys.exit(f"entry {number} does not fit")
        hashes.append(expected)
    return hashes


def main():
    database = sqlite3.connect(f"file:{sys.argv[1]}?mode=ro", uri=True)
    database.text_factory = bytes
    hashes = chain(database)
    if len(sys.argv) > 2:
        with open(sys.argv[2], encoding="ascii") as file:
            pinned = dict(line.split() for line in file.read().splitlines()[1:])
        entry = int(pinned["events"])
        if entry >= len(hashes) or hashes[entry].hex() != pinned["hash"]:
            sys.exit(f"the checkpoint is about another log, at entry {entry}")
    print(f"{len(hashes) - 1} events, head {hashes[-1].hex()}")


main()
