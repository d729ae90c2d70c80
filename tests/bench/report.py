#!/usr/bin/env python3
"""Measures what a report and an export cost: time, highest memory use and size of the file.

    tests/bench/report.py [--events N,N] POISONCTL

For each N (default 1000 and 1000000) a registry of N events, each about another frame, with labels and
times, on a machine of 2 TiB that this makes; then report, map and metrics on it, a bundle and its check,
and every format of audit export.
"""
import argparse
import pathlib
import tempfile

from million import make_machine, run


def measure(folder, program, events):
    rows = folder / "events.csv"
    with rows.open("w", encoding="ascii") as file:
        file.write("address,kind,time,label,note\n")
        # Scattered and all different: an odd factor permutes the numbers below a power of two.
        file.writelines(
            f"{(0x100 + number * 0x9e3779b1 % 0x10000000) << 12:#x},{('ue', 'ce')[number % 4 == 0]},"
            f"2026-{1 + number % 12:02}-{1 + number % 28:02}T{number % 24:02}:00:00Z,DIMM {number % 48},"
            "memory read error\n" for number in range(events))
    words = [program, "-q", "--sysroot", str(folder / "machine"), "--registry",
             str(folder / f"{events}.db")]
    run([*words, "collect", "csv", str(rows)])
    output = folder / "output"
    formats = ("csv", "ndjson", "redfish", "cper", "rasdaemon")
    for name, verb, options in (
            ("report", ["report"], ["-o", str(output)]),
            ("map", ["map"], []),
            ("metrics", ["metrics"], []),
            ("bundle", ["audit", "export"], ["-o", str(output)]),
            ("its check", ["audit", "verify", str(output)], []),
            *((form, ["audit", "export", "--format", form], ["-o", str(output)])
              for form in formats)):
        if options:
            output.unlink(missing_ok=True)
        seconds, memory = run([*words, *verb, *options])
        print(f"{events:9} events  {name:9} {seconds:7.2f} s  memory {memory:6.1f} MiB"
              + (f"  file {output.stat().st_size / 1024:.0f} KiB" if options else ""), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--events", default="1000,1000000", metavar="N,N")
    parser.add_argument("poisonctl")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=".") as name:
        make_machine(pathlib.Path(name) / "machine")
        (pathlib.Path(name) / "machine/proc/meminfo").write_text("HardwareCorrupted: 0 kB\n",
                                                                 encoding="ascii")
        for events in map(int, arguments.events.split(",")):
            measure(pathlib.Path(name), arguments.poisonctl, events)


if __name__ == "__main__":
    main()
