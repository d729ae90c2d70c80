#!/usr/bin/env python3
"""Runs one scenario on a real kernel under QEMU.

    run.py SCENARIO --kernel NAME --poisonctl FILE [--poison-replay FILE]
           [--arm64-replay FILE] [--alloc-sweep FILE] [--poison-memory FILE] [--datagrams FILE]
           [--packages DIR] [--cache DIR] [--results DIR] [--chain N]

Exit status: 0 the scenario holds; 1 it does not, or the guest failed; 2 a prerequisite is missing
(which is a failure too: nothing was tested).
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import tempfile
from pathlib import Path

sys.dont_write_bytecode = True  # the checkout stays as it is

import kernels
import rig
import steps

FOLDER = Path(__file__).resolve().parent


def scenarios() -> dict[str, str]:
    """Name -> module, for each file in the folder scenarios."""
    return {path.stem.replace("_", "-"): path.stem
            for path in sorted((FOLDER / "scenarios").glob("*.py"))}


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("scenario", choices=scenarios())
    parser.add_argument("--kernel", required=True, choices=kernels.KERNELS)
    parser.add_argument("--poisonctl", required=True, type=Path, metavar="FILE",
                        help="the program under test; runs in the guest with its libraries")
    parser.add_argument("--poison-replay", type=Path, metavar="FILE",
                        help="the program of the initramfs (default: beside poisonctl)")
    parser.add_argument("--arm64-replay", type=Path, metavar="FILE",
                        help="the same for arm64, made by cross-build.py")
    parser.add_argument("--alloc-sweep", type=Path, metavar="FILE",
                        help="static build of alloc_sweep.c (default: built with cc)")
    parser.add_argument("--poison-memory", type=Path, metavar="FILE",
                        help="static build of poison_memory.c (default: built with cc)")
    parser.add_argument("--datagrams", type=Path, metavar="FILE",
                        help="static build of datagrams.c (default: built with cc)")
    parser.add_argument("--call-faults", type=Path, metavar="FILE",
                        help="static build of tests/faults/call_faults.c (default: built with cc)")
    parser.add_argument("--alloc-faults", type=Path, metavar="FILE",
                        help="tests/faults/alloc_faults.c as a library (default: built with cc)")
    parser.add_argument("--packages", type=Path, metavar="DIR",
                        help="what packaging/build-deb.sh made, for packaged-boot")
    parser.add_argument("--cache", type=Path, default=kernels.default_cache(), metavar="DIR",
                        help="what fetch-kernels.py filled (default: %(default)s)")
    parser.add_argument("--results", type=Path, metavar="DIR",
                        help="console logs, images (default: a new folder under the system's "
                             "folder for temporary files)")
    parser.add_argument("--chain", type=int, default=1, metavar="N",
                        help="cold boots, and kexecs, of a chain that may have any number "
                             "(default: %(default)s, for time's sake)")
    return parser.parse_args()


def make_bench(arguments: argparse.Namespace, results: Path) -> steps.Bench:
    if not arguments.poisonctl.is_file():
        raise kernels.MissingPrerequisite(
            f"{arguments.poisonctl} is not there; build poisonctl, or correct --poisonctl")
    cache = arguments.cache.absolute()
    return steps.Bench(
        kernel=kernels.find_kernel(cache, arguments.kernel),
        kexec_tools=kernels.find_program(cache, "kexec-tools"),
        poisonctl=arguments.poisonctl.absolute(),
        alloc_sweep=arguments.alloc_sweep or steps.build_helper("alloc_sweep", results),
        helpers=(arguments.poison_memory or steps.build_helper("poison_memory", results),
                 arguments.datagrams or steps.build_helper("datagrams", results),
                 arguments.call_faults
                 or steps.build_helper("call_faults", results, FOLDER.parent / "faults"),
                 arguments.alloc_faults
                 or steps.build_preload("alloc_faults", results, FOLDER.parent / "faults")),
        cache=cache,
        results=results,
        poison_replay=arguments.poison_replay or arguments.poisonctl.absolute().parent
        / "poison-replay",
        chain=arguments.chain,
        arm64_replay=arguments.arm64_replay,
        packages=arguments.packages,
    )


def main() -> int:
    arguments = parse_arguments()
    title = f"{arguments.scenario} on {arguments.kernel}"
    results = (arguments.results or Path(tempfile.mkdtemp(prefix="poisonctl-qemu-"))).absolute()
    results.mkdir(parents=True, exist_ok=True)
    # As a script this file is not part of a package: scenarios find rig and steps on the same path.
    sys.path.insert(0, str(FOLDER / "scenarios"))
    try:
        bench = make_bench(arguments, results)
        importlib.import_module(scenarios()[arguments.scenario]).run(bench)
    except kernels.MissingPrerequisite as error:
        print(f"{title}: prerequisite missing: {error}", file=sys.stderr)
        return 2
    except (steps.ScenarioFailure, rig.GuestError) as error:
        print(f"FAIL {title}: {error}\nlogs: {results}", file=sys.stderr)
        return 1
    if bench.figures:
        (results / "figures.json").write_text(json.dumps({"figures": bench.figures}))
    bench.say(f"PASS {title}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
