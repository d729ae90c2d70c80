#!/usr/bin/env python3
"""Times what `emit e820` does with 10, 1,000 and 1,000,000 scattered ranges, in its forms.

    tests/bench/emit.py POISONCTL [--repetitions N]

On a machine of 1 TiB that is a folder, so that no privilege is needed. Prints the median of each in
milliseconds, and as a multiple of the plain form with 10 ranges.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
RAM_END = 1 << 40
FIRST_FRAME = 0x100000
STRIDE = 3  # frames: nothing coalesces
FORMS = {"memmap": [], "merged": ["--merge", "root=/dev/sda1 ro quiet"], "widened": ["--widen", "64K"],
         "badram": ["--form", "badram"], "setup-data": ["--form", "setup-data"]}


def make_machine(folder: Path) -> None:
    subprocess.run([sys.executable, FOLDER.parent / "cli/machine.py", folder], check=True)
    (folder / "proc/iomem").write_text(f"00001000-{RAM_END - 1:x} : System RAM\n")
    (folder / "sys/firmware/memmap/1/end").write_text(f"{RAM_END - 1:#x}\n")


def milliseconds(command: list) -> float:
    started = time.perf_counter()
    status = subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode
    if status not in (0, 1):  # 1: not all fits
        sys.exit(f"emit.py: {command} ended with status {status}")
    return (time.perf_counter() - started) * 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("poisonctl", type=Path)
    parser.add_argument("--repetitions", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_machine(folder / "machine")
        base = 0.0
        for count in (10, 1000, 1_000_000):
            registry, frames = folder / f"{count}.db", folder / "frames"
            frames.write_text("".join(f"{FIRST_FRAME + STRIDE * i:#x}\n" for i in range(count)))
            tool = [arguments.poisonctl.absolute(), "-q", "--sysroot", folder / "machine",
                    "--registry", registry]
            subprocess.run([*tool, "collect", "pfn", frames], check=True, stdout=subprocess.DEVNULL)
            for form, options in FORMS.items():
                median = statistics.median(milliseconds([*tool, "emit", "e820", "-o", folder / "artifact",
                                                          *options])
                                           for _ in range(arguments.repetitions))
                base = base or median
                print(f"{count:>9,} ranges  {form:<11} {median:10.1f} ms  {median / base:8.1f} x")


if __name__ == "__main__":
    main()
