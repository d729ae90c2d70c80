#!/usr/bin/env python3
"""Runs clang-tidy over what is shipped, each translation unit only if it was not found clean before.

    .ci/clang-tidy.py [--jobs N] BUILD-FOLDER

clang-tidy takes many seconds a file. A file that it found clean is clean until something that it
read changes: the file, any header, the compiler's command, the checks, or clang-tidy. A digest of
all these is kept for each clean file in ~/.cache/poisonctl-tests/clang-tidy (XDG_CACHE_HOME is
heeded). The headers are those that ninja noted when it built the folder with clang; build it first.

Exit status: 0 all clean, 1 not all clean, 2 something is missing.
"""

import argparse
import concurrent.futures
import hashlib
import json
import os
import re
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
FOLDERS = ("registry", "backends", "cli")
TOOL = "clang-tidy"
FILES_KEPT_FOR_DAYS = 60


class MissingPrerequisite(Exception):
    """Something must be built or installed first."""


@dataclass(frozen=True)
class Unit:
    source: Path
    command: str
    output: str  # the object file, relative to the build folder


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, metavar="N")
    parser.add_argument("build_folder", type=Path, metavar="BUILD-FOLDER")
    arguments = parser.parse_args()
    try:
        return lint(arguments.build_folder.absolute(), arguments.jobs)
    except MissingPrerequisite as error:
        print(f".ci/clang-tidy.py: {error}", file=sys.stderr)
        return 2


def lint(build_folder: Path, jobs: int) -> int:
    units = our_units(build_folder)
    cache = make_cache()
    digests = digest_units(build_folder, units)
    todo = [unit for unit in units if not (cache / digests[unit]).exists()]
    print(f"{TOOL}: {len(units)} files, {len(units) - len(todo)} known to be clean", flush=True)
    started = time.monotonic()
    dirty = []
    seen: set[str] = set()
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        running = {pool.submit(run_tidy, build_folder, unit): unit for unit in todo}
        for number, done in enumerate(concurrent.futures.as_completed(running), start=1):
            unit, said = running[done], done.result()
            name = unit.source.relative_to(CHECKOUT)
            seconds = time.monotonic() - started
            print(f"[{number}/{len(todo)}, {seconds:.0f} s] {name}", flush=True)
            if said is None:
                (cache / digests[unit]).write_text(f"{name}\n")
            else:
                print(unseen(said, seen), flush=True)
                dirty.append(str(name))
    for digest in digests.values():
        if (cache / digest).exists():
            (cache / digest).touch()
    if dirty:
        print(f"{TOOL}: {len(dirty)} files are not clean: {' '.join(sorted(dirty))}",
              file=sys.stderr)
    return 1 if dirty else 0


def unseen(said: str, seen: set[str]) -> str:
    """What was not said before: a finding in a header comes with each file that includes it."""
    findings = re.split(r"(?m)^(?=/\S+:\d+:\d+: (?:error|warning):)", said)
    new = [finding for finding in findings if finding.strip() and finding not in seen]
    seen.update(new)
    return "".join(new).rstrip() or "as above"


def our_units(build_folder: Path) -> list[Unit]:
    database = build_folder / "compile_commands.json"
    try:
        entries = json.loads(database.read_text())
    except (OSError, ValueError) as error:
        raise MissingPrerequisite(f"{database}: expected the commands of a configured build: "
                                  f"{error}; run 'cmake --preset {build_folder.name}'") from None
    units = []
    for entry in entries:
        source = Path(entry["file"])
        ours = any(source.is_relative_to(CHECKOUT / folder) for folder in FOLDERS)
        # The same source may be in two programs, with the same flags but for the names.
        if ours and source.suffix == ".cc" and source not in [unit.source for unit in units]:
            units.append(Unit(source, entry["command"], output_of(entry["command"])))
    if not units:
        raise MissingPrerequisite(f"{database} names none of the sources in {CHECKOUT}")
    return sorted(units, key=lambda unit: unit.source)


def output_of(command: str) -> str:
    words = shlex.split(command)
    return words[words.index("-o") + 1]


def make_cache() -> Path:
    """The folder of the digests, without those of files that are long gone."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    cache = Path(base) / "poisonctl-tests" / "clang-tidy"
    cache.mkdir(parents=True, exist_ok=True)
    oldest = time.time() - FILES_KEPT_FOR_DAYS * 24 * 3600
    for entry in cache.iterdir():
        if entry.stat().st_mtime < oldest:
            entry.unlink(missing_ok=True)
    return cache


def digest_units(build_folder: Path, units: list[Unit]) -> dict[Unit, str]:
    """What each unit's cleanness depends on. The place of the checkout is no part of it."""
    headers = noted_headers(build_folder)
    common = [run([TOOL, "--version"])]
    common += [path.read_text() for path in sorted(CHECKOUT.glob("**/.clang-tidy"))]
    contents: dict[Path, str] = {}

    def content(path: Path) -> str:
        if path not in contents:
            contents[path] = hashlib.sha256(path.read_bytes()).hexdigest()
        return contents[path]

    digests = {}
    for unit in units:
        if unit.output not in headers:
            raise MissingPrerequisite(f"{build_folder}: {unit.output} is not built; run "
                                      f"'cmake --build --preset {build_folder.name}'")
        read = sorted({str(path).replace(str(CHECKOUT), "."): path
                       for path in headers[unit.output]}.items())
        parts = [*common, unit.command.replace(str(CHECKOUT), "."),
                 *(f"{name} {content(path)}" for name, path in read)]
        digests[unit] = hashlib.sha256("\n".join(parts).encode()).hexdigest()
    return digests


def noted_headers(build_folder: Path) -> dict[str, list[Path]]:
    """Object file -> what the compiler read for it, from `ninja -t deps`:

        OBJECT: #deps 2, deps mtime 1234 (VALID)
            FILE
            FILE
                                          (an empty line)
    """
    found: dict[str, list[Path]] = {}
    current = ""
    for line in run(["ninja", "-C", str(build_folder), "-t", "deps"]).splitlines():
        if line.startswith("    "):
            if current:
                found[current].append(Path(os.path.normpath(build_folder / line.strip())))
        elif ": #deps " in line:
            name, _, state = line.partition(": #deps ")
            current = name if state.endswith("(VALID)") else ""
            found[current] = []
    return found


def run(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise MissingPrerequisite(f"{command[0]} is not installed; run "
                                  "packaging/dependencies/install.sh build test") from None
    if done.returncode != 0:
        raise MissingPrerequisite(f"'{' '.join(command)}' failed: {done.stderr.strip()}")
    return done.stdout


def run_tidy(build_folder: Path, unit: Unit) -> str | None:
    """None if the unit is clean, else what clang-tidy said."""
    done = subprocess.run([TOOL, "-p", str(build_folder), "--quiet", str(unit.source)],
                          capture_output=True, text=True, check=False)
    if done.returncode == 0 and not done.stdout.strip():
        return None
    return done.stdout.strip() or done.stderr.strip() or f"{TOOL} ended with {done.returncode}"


if __name__ == "__main__":
    sys.exit(main())
