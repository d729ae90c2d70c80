#!/usr/bin/env python3
"""Times `poisonctl emit e820` as a whole process on registries of 10 and of 100,000 records.

    tests/bench/startup.py POISONCTL [--repetitions N]

Interleaved with `true`, the floor of starting any process, and with `poisonctl --version`, the floor
of starting this one. Prints the machine, then minimum, median and maximum in milliseconds.
"""

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# Frames far apart in the first GiB and above: nothing coalesces, so the plan has as many ranges as the
# registry has records. 100,000 words are near the limit of one command line (ARG_MAX), hence batches.
FIRST = 0x1000000
STRIDE = 0x3000
BATCH = 20000


def make_registry(poisonctl: Path, registry: Path, records: int) -> None:
    ranges = [hex(FIRST + i * STRIDE) for i in range(records)]
    for start in range(0, records, BATCH):
        subprocess.run([poisonctl, "-q", "--registry", registry, "record",
                        *ranges[start:start + BATCH]], check=True)


def milliseconds(command: list) -> float:
    started = time.perf_counter()
    status = subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode
    if status not in (0, 1):  # 1: not all fits on a command line
        sys.exit(f"startup.py: {command} ended with status {status}")
    return (time.perf_counter() - started) * 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("poisonctl", type=Path)
    parser.add_argument("--repetitions", type=int, default=15)
    arguments = parser.parse_args()
    tool = arguments.poisonctl.absolute()
    with tempfile.TemporaryDirectory() as folder:
        commands = {"true": ["true"], "poisonctl --version": [tool, "--version"]}
        for records in (10, 100_000):
            registry = Path(folder) / f"{records}.db"
            make_registry(tool, registry, records)
            commands[f"emit e820, {records:,} records"] = [tool, "-q", "--registry", registry, "emit",
                                                           "e820"]
        times = {name: [] for name in commands}
        for _ in range(arguments.repetitions):
            for name, command in commands.items():
                times[name].append(milliseconds(command))
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} CPUs, "
          f"Linux {platform.release()}, load {os.getloadavg()[0]:.1f}, "
          f"{arguments.repetitions} repetitions, interleaved")
    for name, values in times.items():
        print(f"{name:32}  min {min(values):8.2f}  median {statistics.median(values):8.2f}  "
              f"max {max(values):8.2f} ms")


if __name__ == "__main__":
    main()
