#!/usr/bin/env python3
"""Builds poison-replay for arm64, with the libraries that fetch-kernels.py has fetched.

    cross-build.py --build DIR [--cache DIR]

The program is DIR/cli/poison-replay afterwards; what has not changed is not built again. Exit status:
0 it is there, 2 it could not be built, or something that it takes is missing.
"""

import argparse
import subprocess
import sys
from pathlib import Path

sys.dont_write_bytecode = True  # the checkout stays as it is

import kernels
import rig

FOLDER = Path(__file__).resolve().parent
SOURCES = FOLDER.parents[1]


def run(command: list[str]) -> None:
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        sys.stdout.write(done.stdout.decode(errors="replace"))
        raise kernels.MissingPrerequisite(f"'{' '.join(command)}' ended with status "
                                          f"{done.returncode}; what it said is above")


def build(folder: Path, cache: Path) -> Path:
    libraries = kernels.find_libraries(cache, "arm64-libraries")
    rig.need_program("aarch64-linux-gnu-g++", "g++-aarch64-linux-gnu")
    # As distributions build it, and without debug information: it goes into an initramfs as it is.
    run(["cmake", "-S", str(SOURCES), "-B", str(folder), "-G", "Ninja",
         f"-DCMAKE_TOOLCHAIN_FILE={FOLDER / 'arm64.cmake'}",
         f"-DPOISONCTL_ARM64_LIBRARIES={libraries}", "-DCMAKE_BUILD_TYPE=Release",
         "-DCMAKE_CXX_FLAGS_RELEASE=-O2", "-DBUILD_TESTING=OFF"])
    # One job: ctest counts this as one test.
    run(["cmake", "--build", str(folder), "--target", "poison-replay", "-j1"])
    return folder / "cli/poison-replay"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--build", required=True, type=Path, metavar="DIR", help="build folder")
    parser.add_argument("--cache", type=Path, default=kernels.default_cache(), metavar="DIR",
                        help="what fetch-kernels.py filled (default: %(default)s)")
    arguments = parser.parse_args()
    try:
        print(build(arguments.build.absolute(), arguments.cache.absolute()))
    except kernels.MissingPrerequisite as error:
        print(f"cross-build: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
