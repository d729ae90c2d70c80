"""arm64: poison-replay, built for it on this machine, retires a signed list before anything else
runs in guests with pages of 4 and of 16 KiB. The list is made for pages of 4 KiB in both, on the host
from what the guest itself says of its hardware. A corrupt list retires nothing."""

import array
import base64
import gzip
import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import rig
from kernels import Kernel
from steps import BUDDY, HWPOISON, MIB, PACKAGING, Bench, Poisonctl, expect, merge

MEMORY_MIB = 640
# Cortex-A72, as other guests have, knows no pages of 16 KiB.
CPU = "neoverse-n1"
COMPILER = "aarch64-linux-gnu-gcc"
RAM = 1 << 30  # where QEMU's "virt" has it
# QEMU puts the kernel at the start of RAM and the initramfs 128 MiB behind (hw/arm/boot.c).
FRAMES_FROM, FRAMES_BELOW = RAM + 256 * MIB, RAM + 448 * MIB
COUNT = 40
LISTED = 4096  # bytes of each frame of the list


@dataclass
class Report:
    """What a guest said."""

    files: dict[str, bytes]
    blocks: list[str]

    def text(self, path: str) -> str:
        return self.files[path].decode()

    @property
    def page_size(self) -> int:
        """AT_PAGESZ (6) of the auxiliary vector, getauxval(3)."""
        words = array.array("Q", self.files["/proc/self/auxv"])
        return dict(zip(words[::2], words[1::2]))[6]

    @property
    def flags(self) -> array.array:
        return array.array("Q", self.files["/proc/kpageflags"])

    def has(self, address: int, flag: int) -> bool:
        return bool(self.flags[address // self.page_size] >> flag & 1)

    def flagged(self) -> list[int]:
        """All frames of the guest that are poisoned."""
        return [number * self.page_size for number, flags in enumerate(self.flags)
                if flags >> HWPOISON & 1]

    def corrupted_bytes(self) -> int:
        match = re.search(r"^HardwareCorrupted: +(\d+) kB$", self.text("/proc/meminfo"),
                          re.MULTILINE)
        expect(match is not None, "/proc/meminfo has no HardwareCorrupted")
        return int(match.group(1)) * 1024

    def replay(self) -> dict:
        path = "/run/poisonctl/replay.json"
        said = self.files.get("/run/replay.out", b"").decode(errors="replace")
        expect(path in self.files, f"poison-replay left no report; it said: {said}")
        return json.loads(self.files[path])

    def sweep(self) -> dict:
        try:
            result = json.loads(self.files["/run/sweep.json"])
        except ValueError:
            expect(False, f"alloc_sweep said {self.files['/run/sweep.json'][:300]!r}")
        expect(result["coverage"] > 0.95,
               f"alloc_sweep got {100 * result['coverage']:.1f} % of the free memory; expected more "
               "than 95 %, or a frame that it did not get proves little")
        return result


def run(bench: Bench) -> None:
    initramfs = make_initramfs(bench)
    # The machine ran a kernel with pages of 4 KiB before.
    before = bench.other_kernel("arm64")
    frames = choose(bench, boot(bench, before, initramfs, "before", {}))
    folder = bench.results / "machine"
    tool = Poisonctl.on_host(bench.poisonctl, bench.results / "registry.db", folder)
    (bench.results / "registry.db").unlink(missing_ok=True)  # of an earlier run
    tool.run("record", *(f"{frame:#x}" for frame in frames))
    handover = bench.results / "handover"
    tool.run("handover", "make", "-o", str(handover))
    keys = tool.run("handover", "key").encode()
    blob = handover.read_bytes()

    sweep = " ".join(str(frame // page_size_of(bench.kernel)) for frame in frames).encode()
    carried = {"etc/poisonctl/trusted-keys": keys, "poisonctl/handover": blob, "sweep": sweep}
    retired(bench, boot(bench, bench.kernel, initramfs, "listed", carried), frames)
    # The next frame instead of this one: the form stays whole, the signature does not.
    corrupt = blob.replace(frames[0].to_bytes(8, "big"), (frames[0] + LISTED).to_bytes(8, "big"))
    expect(corrupt != blob, "the handover has no address in it as it was recorded")
    carried["poisonctl/handover"] = corrupt
    not_retired(bench, boot(bench, bench.kernel, initramfs, "corrupt", carried), frames)


def make_initramfs(bench: Bench) -> Path:
    expect(bench.arm64_replay is not None and bench.arm64_replay.is_file(),
           f"{bench.arm64_replay}: expected poison-replay for arm64; make it with "
           "tests/qemu/cross-build.py and name it with --arm64-replay")
    compiler = rig.need_program(COMPILER, "g++-aarch64-linux-gnu")
    sweep = bench.results / "alloc_sweep"
    built = rig.run_on_host([compiler, "-std=c11", "-O2", "-static", "-s", "-o", str(sweep),
                             str(rig.FOLDER / "alloc_sweep.c")])
    expect(built.returncode == 0, f"{compiler}: {built.stderr.decode(errors='replace')}")
    made = rig.Initramfs(bench.kernel, "replay-init.sh",
                         bench.fetched_program("busybox-arm64").program)
    made.add_foreign_program(bench.arm64_replay, "/usr/sbin/poison-replay",
                             bench.fetched_libraries("arm64-libraries")
                             / "usr/lib/aarch64-linux-gnu", compiler)
    made.add_file("/bin/alloc_sweep", sweep.read_bytes(), 0o755)
    made.add_file("/scripts/init-top/poisonctl",
                  (PACKAGING / "initramfs-tools/scripts/init-top/poisonctl").read_bytes(), 0o755)
    return made.write(bench.results / "initramfs")


def boot(bench: Bench, kernel: Kernel, initramfs: Path, name: str, carried: dict[str, bytes]
         ) -> Report:
    """A cold boot with `carried` in a second archive behind the initramfs."""
    image = bench.results / f"initrd-{name}"
    data = initramfs.read_bytes()
    image.write_bytes(data + b"\0" * (-len(data) % 4) + rig.archive({"sweep": b"", **carried}))
    bench.say(f"boot {kernel.release}: {name}")
    text = rig.boot_once(kernel, image, bench.results / name, MEMORY_MIB, cpu=CPU)
    text = text[text.index("REPORT BEGIN"):].replace("\r", "")
    files = {path: gzip.decompress(base64.b64decode(packed)) for path, packed in
             re.findall(r"^FILE (\S+)\n([A-Za-z0-9+/=\n]*?)^END$", text, re.MULTILINE)}
    torn = set(re.findall(r"^FILE (\S+)$", text, re.MULTILINE)) - set(files)
    expect(not torn, f"something tore what the guest said: {torn}")
    report = Report(files, re.findall(r"^BLOCK (\S+)$", text, re.MULTILINE))
    expect(report.page_size == page_size_of(kernel), f"pages of {report.page_size} bytes")
    return report


def choose(bench: Bench, report: Report) -> list[int]:
    """Free frames of the guest; writes what it says of itself into a folder, as 'poisonctl capture'
    does."""
    folder = bench.results / "machine"
    shutil.rmtree(folder, ignore_errors=True)  # of an earlier run
    for path in [*report.files, *report.blocks]:
        target = folder / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(report.files.get(path, b""))
    expect("/run/poisonctl/replay.json" not in report.files, "a report without a list")
    expect(not report.flagged(), f"a kernel that saw no error has poison: {report.flagged()}")
    free = [frame for frame in range(FRAMES_FROM, FRAMES_BELOW, 64 * 16384)
            if report.has(frame, BUDDY)]
    expect(len(free) >= COUNT, f"expected {COUNT} free places, found {len(free)}")
    return free[:COUNT]


def page_size_of(kernel: Kernel) -> int:
    shift = re.search(r"^CONFIG_PAGE_SHIFT=(\d+)$", kernel.config.read_text(), re.MULTILINE)
    expect(shift is not None, f"{kernel.config} has no CONFIG_PAGE_SHIFT")
    return 1 << int(shift.group(1))


def retired(bench: Bench, report: Report, frames: list[int]) -> None:
    told = report.replay()
    bench.say(f"pages of {report.page_size} bytes: {told['frames']}, {told['duration_us']} us")
    expect(told["stage"] == "initramfs" and told["flags_read"]
           and told["page_size"] == report.page_size, f"unexpected report {told}")
    expect([seen["used"] for seen in told["handovers"]] == [True], f"the list: {told['handovers']}")
    whole = merge((frame, frame + report.page_size) for frame in frames)
    seen = merge((r["address"], r["address"] + r["size"]) for r in told["ranges"])
    expect(seen == whole, f"expected {len(frames)} whole frames, got {told['ranges'][:8]}")
    # One that the kernel has already is named; a boot takes few of 40 scattered frames.
    effective = [r["address"] for r in told["ranges"] if r["state"] == "effective"]
    expect(len(effective) >= COUNT - 3, f"expected nearly all to be effective: {told['frames']}")
    for frame in effective:
        expect(report.has(frame, HWPOISON) and not report.has(frame, BUDDY),
               f"{frame:#x} has flags {report.flags[frame // report.page_size]:#x}")
    others = set(report.flagged()) - set(frames)
    expect(not others, f"frames that are not on the list were poisoned: {sorted(others)[:8]}")
    expect(report.corrupted_bytes() == told["orders"] * report.page_size,
           f"HardwareCorrupted is {report.corrupted_bytes()} after {told['orders']} orders")
    got = {number * report.page_size for number in report.sweep()["got"]} & set(effective)
    expect(not got, f"the kernel handed out {[hex(frame) for frame in got]}")
    bench.say(f"{len(effective)} of {len(frames)} flagged, and handed out to nobody")


def not_retired(bench: Bench, report: Report, frames: list[int]) -> None:
    told = report.replay()
    rules = [finding["rule"] for seen in told["handovers"] for finding in seen["findings"]]
    expect("bad-signature" in rules and not told["orders"] and not told["ranges"],
           f"a corrupt list: expected bad-signature and no order, got {told}")
    expect(not report.flagged() and report.corrupted_bytes() == 0, "a corrupt list retired frames")
    # So the sweep can tell.
    got = report.sweep()["got"]
    expect(len(got) > COUNT * 3 // 4, f"the sweep got only {len(got)} of {len(frames)} free frames")
    bench.say(f"a corrupt list: boots, nothing retired, {rules}; the sweep was given {len(got)}")
