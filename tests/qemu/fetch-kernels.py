#!/usr/bin/env python3
"""Puts the kernels, programs, systems and libraries for the QEMU tests into a cache folder. No root needed.

    fetch-kernels.py [--cache DIR] [--refresh] [NAME...]

What is there already stays as it is, without a look at the network; --refresh looks for newer
versions. Exit status: 0 everything is there, 2 something could not be had.
"""

import argparse
import sys
from pathlib import Path

sys.dont_write_bytecode = True  # the checkout stays as it is

import kernels


def main() -> int:
    everything = kernels.everything()
    chosen = kernels.PROGRAMS | kernels.SYSTEMS
    usual = [name for name in everything if name not in chosen or chosen[name].by_default]
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cache", type=Path, default=kernels.default_cache(), metavar="DIR",
                        help="default: %(default)s")
    parser.add_argument("--refresh", action="store_true", help="look for newer versions")
    parser.add_argument("names", nargs="*", default=usual, metavar="NAME",
                        help=f"one of: {', '.join(everything)} (default: {', '.join(usual)})")
    arguments = parser.parse_args()
    for name in arguments.names:
        try:
            print(kernels.fetch(arguments.cache.absolute(), name, arguments.refresh), flush=True)
        except (kernels.MissingPrerequisite, OSError) as error:
            print(f"fetch-kernels: {name}: {error}", file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
