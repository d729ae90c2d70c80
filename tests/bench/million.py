#!/usr/bin/env python3
"""Measures a registry of many records, beside the floor: sqlite3 .import of the same rows.

    tests/bench/million.py [--frames N] [--rounds R] POISONCTL

Prints time, highest memory use and size on disk of an import of N frame numbers with `collect pfn`,
and of `sqlite3 .import` of the same rows into one table with an index on the address, in turns; then
of list, show, check and emit on that registry, and of 10,000 events on one frame. The machine that
the frames belong to is a folder that this makes: 2 TiB of RAM, 4 KiB pages.
"""

import argparse
import os
import pathlib
import struct
import subprocess
import sys
import tempfile
import time


def run(words, stdin=None):
    """Seconds and the highest resident set in MiB of one process."""
    started = time.monotonic()
    with open(os.devnull, "w", encoding="ascii") as nowhere:
        process = subprocess.Popen(words, stdin=stdin, stdout=nowhere, stderr=nowhere)
        _, status, usage = os.wait4(process.pid, 0)
    code = os.waitstatus_to_exitcode(status)
    if code not in (0, 1):
        sys.exit(f"{words[0]} ended with {code}: {' '.join(map(str, words))}")
    return time.monotonic() - started, usage.ru_maxrss / 1024


def make_machine(folder):
    files = {
        "etc/machine-id": b"0123456789abcdef0123456789abcdef\n",
        "proc/cmdline": b"quiet\n",
        "proc/iomem": b"00001000-1ffffffffff : System RAM\n",
        "proc/self/auxv": struct.pack("<4Q", 6, 4096, 0, 0),
        "proc/sys/kernel/arch": b"x86_64\n",
        "proc/sys/kernel/osrelease": b"6.1.0\n",
        "proc/sys/kernel/random/boot_id": b"11111111-2222-3333-4444-555555555555\n",
        "sys/firmware/memmap/0/start": b"0x1000\n",
        "sys/firmware/memmap/0/end": b"0x1ffffffffff\n",
        "sys/firmware/memmap/0/type": b"System RAM\n",
    }
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def report(name, figures):
    seconds = sorted(figure[0] for figure in figures)
    memory = max(figure[1] for figure in figures)
    print(f"{name:34} best {seconds[0]:7.3f} s  median {seconds[len(seconds) // 2]:7.3f} s"
          f"  memory {memory:6.1f} MiB")
    return seconds[0]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--frames", type=int, default=1_000_000, metavar="N")
    parser.add_argument("--rounds", type=int, default=3, metavar="R")
    parser.add_argument("poisonctl")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=".") as name:
        measure(pathlib.Path(name), arguments)


def measure(folder, arguments):
    make_machine(folder / "machine")
    # Scattered and all different: an odd factor permutes the numbers below a power of two. Not held
    # in memory, as a child's highest memory use counts from before its exec.
    def frame(number):
        return 0x100 + number * 0x9e3779b1 % 0x10000000
    with (folder / "pfns").open("w", encoding="ascii") as file:
        file.writelines(f"{frame(number):#x}\n" for number in range(arguments.frames))
    program = [arguments.poisonctl, "--sysroot", str(folder / "machine"), "--registry"]

    ours, floor = [], []
    for number in range(arguments.rounds):
        registry = folder / f"registry{number}.db"
        ours.append(run([*program, str(registry), "collect", "pfn", str(folder / "pfns")]))
        if number == 0:
            subprocess.run(
                ["sqlite3", "-csv", str(registry),
                 "SELECT id, import, kind, address, size, granularity, count, observed_ns, "
                 "foreign_host, label, dram, result, state, evidence FROM event"],
                stdout=(folder / "rows.csv").open("w", encoding="utf-8"), check=True)
        plain = folder / f"plain{number}.db"
        script = ("PRAGMA synchronous = EXTRA;\n"
                  "CREATE TABLE event (id INTEGER PRIMARY KEY, import INTEGER, kind TEXT, "
                  "address INTEGER, size INTEGER, granularity INTEGER, count INTEGER, "
                  "observed_ns INTEGER, foreign_host TEXT, label TEXT, dram TEXT, result TEXT, "
                  "state TEXT, evidence TEXT);\nCREATE INDEX by_address ON event (address);\n"
                  f".import --csv {folder / 'rows.csv'} event\n")
        (folder / "script").write_text(script, encoding="utf-8")
        with (folder / "script").open(encoding="utf-8") as stdin:
            floor.append(run(["sqlite3", str(plain)], stdin))
    best = report(f"collect pfn, {arguments.frames} frames", ours)
    best_floor = report("sqlite3 .import of the same rows", floor)
    sizes = [(folder / f"{name}0.db").stat().st_size for name in ("registry", "plain")]
    print(f"ratio of the best times {best / best_floor:.2f}; size {sizes[0] / 2**20:.1f} MiB against "
          f"{sizes[1] / 2**20:.1f} MiB, ratio {sizes[0] / sizes[1]:.2f}")

    registry = str(folder / "registry0.db")
    for words in (["list"], ["--json", "list"], ["show", f"pfn:{frame(7):#x}"], ["check"],
                  ["emit", "e820"], ["audit", "verify"], ["rebuild", "--check"]):
        report(" ".join(words), [run([*program, registry, *words]) for _ in range(arguments.rounds)])

    lines = ["address,kind,time\n"]
    lines += [f"0x100000,ce,2026-01-{1 + i // 1440:02}T{i // 60 % 24:02}:{i % 60:02}:00Z\n"
              for i in range(10_000)]
    (folder / "one-frame.csv").write_text("".join(lines), encoding="ascii")
    figures = []
    for number in range(arguments.rounds):
        registry = str(folder / f"one-frame{number}.db")
        figures.append(run([*program, registry, "collect", "csv", str(folder / "one-frame.csv")]))
    report("10,000 events on one frame", figures)
    report("list of it", [run([*program, registry, "list"])])


if __name__ == "__main__":
    main()
