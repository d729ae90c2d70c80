#!/usr/bin/env python3
"""A test: four times the records take no more than some four times the work.

    tests/bench/growth.py POISONCTL WITHOUT_OPENAT2

Counts instructions with cachegrind (valgrind), which no other process disturbs, for each verb on
registries of ever more records, less those on one of ten. Sorting makes four times as many into 4.7 times
the work; what compares every record with every other one would take 16 times.
"""

import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from scratch import Context, make_machine, make_registry, scattered

SMALL, LARGE = 1_000, 4_000
MOST = 1.4 * LARGE / SMALL
VERBS = (["list"], ["check"], ["plan"], ["emit", "e820"], ["emit", "e820", "--form", "badram"], ["status"],
         ["map"], ["handover", "make", "-o", "OUTPUT"], ["audit", "verify"],
         ["audit", "export", "-o", "OUTPUT"], ["rebuild", "--check"], ["collect", "pfn", "FRAMES"],
         ["collect", "kernel-log", "LINES"], ["collect", "kernel-log", "LINES_AGAIN"],
         ["collect", "csv", "SIZES"])


def instructions(context: Context, size: int, words: list[str], number: int) -> int:
    output = context.folder / f"output-{number}-{size}"
    registry = make_registry(context, size)
    if words[0] == "collect":
        registry = context.folder / f"{words[2]}-{size}.db"
    lines = context.folder / f"lines-{size}"
    named = {"OUTPUT": output, "FRAMES": context.folder / f"frames-{size}", "LINES": lines, "LINES_AGAIN": lines,
             "SIZES": context.folder / f"sizes-{size}"}
    command = ["valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null",
               *context.tool(registry, *(named.get(word, word) for word in words))]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                          check=False, env=os.environ | {"LD_PRELOAD": str(context.helpers)})
    counted = re.search(r"I\s+refs:\s+([\d,]+)", done.stderr)
    if done.returncode not in (0, 1) or not counted:
        sys.exit(f"growth.py: {' '.join(command)} ended with {done.returncode}: {done.stderr}")
    return int(counted.group(1).replace(",", ""))


def main() -> int:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        program = Path(sys.argv[1]).absolute()
        context = Context(poisonctl=program, bench=program, helpers=Path(sys.argv[2]).absolute(), cache=folder, folder=folder,
                          turns=1, most=LARGE)
        make_machine(folder / "machine")
        for size in (10, SMALL, LARGE):
            make_registry(context, size)
            (folder / f"frames-{size}").write_text(
                "".join(f"{frame:#x}\n" for frame in scattered(size)))
            # States at one address, each of its own.
            (folder / f"sizes-{size}").write_text(
                "address,size,kind\n" + "".join(f"0x100000,{4096 * (i + 1)},poisoned\n" for i in range(size)))
            # Of one place and one time, which no index tells apart.
            lines = folder / f"lines-{size}"
            lines.write_text("".join(f"[    1.000000] Memory failure: 0x3500: recovery action for page {i}: Recovered\n"
                                     for i in range(size)))
            subprocess.run(context.tool(folder / f"LINES_AGAIN-{size}.db", "collect", "kernel-log", lines),
                           check=True, stdout=subprocess.DEVNULL)

        def grown(numbered: tuple[int, list[str]]) -> tuple[str, list[int]]:
            number, words = numbered
            return " ".join(words), [instructions(context, size, words, number)
                                     for size in (10, SMALL, LARGE)]

        too_much = 0
        with ThreadPoolExecutor(2) as pool:
            for words, (base, small, large) in pool.map(grown, enumerate(VERBS)):
                # Where next to nothing depends on the records there is nothing to grow.
                growth = (large - base) / max(small - base, base / 10)
                print(f"{words:28} {base:12,} {small:12,} {large:12,}  x {growth:.2f}")
                too_much += growth > MOST
    if too_much:
        print(f"growth.py: expected {LARGE:,} records to take at most {MOST:.1f} times what {SMALL:,} take")
    return 1 if too_much else 0


if __name__ == "__main__":
    sys.exit(main())
