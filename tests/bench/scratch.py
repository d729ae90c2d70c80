"""What the benchmarks share: a machine that is a folder, and processes that are measured."""

from __future__ import annotations

import os
import struct
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Iterator, Sequence


class BenchmarkError(Exception):
    """Something could not be measured."""


@dataclass(frozen=True)
class Context:
    poisonctl: Path
    bench: Path        # poisonctl_bench
    helpers: Path      # the folder of the static programs for guests
    cache: Path        # of kernels for guests
    folder: Path       # for what is made on the way
    turns: int         # how often each thing is measured
    most: int          # records of the largest registry

    def tool(self, registry: Path, *words: object, machine: str = "machine") -> list[str]:
        return [str(self.poisonctl), "-q", "--sysroot", str(self.folder / machine), "--registry",
                str(registry), *map(str, words)]


def run(words: Sequence[object], stdin=None) -> tuple[float, float]:
    """Seconds and the highest resident set in MiB of one process. Exit status 1 has findings."""
    started = time.perf_counter()
    with open(os.devnull, "w", encoding="ascii") as nowhere:
        process = subprocess.Popen([str(word) for word in words], stdin=stdin, stdout=nowhere,
                                   stderr=nowhere)
        _, status, usage = os.wait4(process.pid, 0)
    took = time.perf_counter() - started
    code = os.waitstatus_to_exitcode(status)
    process.returncode = code
    if code not in (0, 1):
        raise BenchmarkError(f"ended with {code}: {' '.join(map(str, words))}")
    return took, usage.ru_maxrss / 1024


def in_turns(turns: int, **measures: Callable[[int], float]) -> dict[str, list[float]]:
    """Each of `measures` once a turn, so that what disturbs one disturbs all."""
    found: dict[str, list[float]] = {name: [] for name in measures}
    for turn in range(turns):
        for name, measure in measures.items():
            found[name].append(measure(turn))
    return found


def sizes(most: int) -> list[int]:
    """1,000, 10,000, ... up to `most`."""
    return [size for size in (1_000, 10_000, 100_000, 1_000_000) if size <= most]


def scattered(count: int) -> Iterator[int]:
    """Frames of the machine below, all different and none beside another: an odd factor permutes the
    numbers below a power of two."""
    return (0x100 + 2 * (number * 0x9e3779b1 % 0x8000000) for number in range(count))


def make_machine(folder: Path) -> None:
    """x86-64 with 2 TiB of RAM in 4 KiB pages."""
    _write(folder, _COMMON | {
        "proc/sys/kernel/arch": b"x86_64\n",
        "proc/sys/kernel/osrelease": b"6.1.0\n",
        "sys/firmware/memmap/0/start": b"0x1000\n",
        "sys/firmware/memmap/0/end": b"0x1ffffffffff\n",
        "sys/firmware/memmap/0/type": b"System RAM\n",
    })


def make_arm64_machine(folder: Path) -> None:
    """arm64 with the same RAM, described by a device tree, and a kernel that has reserve_mem=."""
    tree = subprocess.run(["dtc", "-q", "-I", "dts", "-O", "dtb", "-"], input=_TREE.encode(),
                          stdout=subprocess.PIPE, check=True).stdout
    _write(folder, _COMMON | {
        "boot/config-7.2.0": b"CONFIG_EFI=y\nCONFIG_PSTORE_RAM=y\nCONFIG_PSTORE_PMSG=y\n",
        "proc/sys/kernel/arch": b"aarch64\n",
        "proc/sys/kernel/osrelease": b"7.2.0\n",
        "sys/firmware/fdt": tree,
    })


_COMMON = {
    "etc/machine-id": b"0123456789abcdef0123456789abcdef\n",
    "proc/cmdline": b"quiet\n",
    "proc/iomem": b"00001000-1ffffffffff : System RAM\n",
    "proc/meminfo": b"HardwareCorrupted: 0 kB\n",
    "proc/self/auxv": struct.pack("<4Q", 6, 4096, 0, 0),
    "proc/sys/kernel/random/boot_id": b"11111111-2222-3333-4444-555555555555\n",
}

_TREE = """/dts-v1/;
/ {
  #address-cells = <2>;
  #size-cells = <2>;
  memory@1000 { device_type = "memory"; reg = <0 0x1000 0x1ff 0xfffff000>; };
};
"""


def _write(folder: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def make_registry(context: Context, count: int) -> Path:
    """A registry of `count` scattered frames; made once."""
    registry = context.folder / f"registry-{count}.db"
    if not registry.exists():
        frames = context.folder / "frames"
        with frames.open("w", encoding="ascii") as file:
            file.writelines(f"{frame:#x}\n" for frame in scattered(count))
        run(context.tool(registry, "collect", "pfn", frames))
    return registry
