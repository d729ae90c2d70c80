"""arm64: a tree of 'emit devicetree' takes 1, 64, 1,000 and 20,000 scattered frames out, as far as
the plan says and no further; the handover is found in the guest's root whether its archive comes
before or after the initramfs. kexec --dtb with such a tree takes them out as well."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import rig
from steps import (FRAME, MIB, Bench, Poisonctl, Range, as_ranges, expect, expect_same_ranges, merge,
                   subtract)

MEMORY_MIB = 1024
RAM = (1 << 30, (1 << 30) + MEMORY_MIB * MIB)  # where QEMU's "virt" has it
# Not where a boot puts the kernel, the initramfs and the tree (the first and the last 256 MiB here).
FRAMES_FROM = RAM[0] + 256 * MIB
# A guest of this size would not give up so much.
BOUNDS = "--bounds=per-mille=1000,node-per-mille=1000,hard-per-mille=1000"
COUNTS = (1, 64, 1000, 20000)
BY_KEXEC = 64
COMPILER = "aarch64-linux-gnu-gcc"


def run(bench: Bench) -> None:
    initramfs = rig.Initramfs(bench.kernel, "report-init.sh",
                              bench.fetched_program("busybox-arm64").program)
    plain = initramfs.write(bench.results / "initramfs")
    base = bench.results / "virt.dtb"
    rig.run_on_host([rig.need_program("qemu-system-aarch64", "qemu-system-arm"), "-M",
                     f"virt,dumpdtb={base}", "-cpu", "cortex-a72", "-m", str(MEMORY_MIB)])
    expect(base.is_file(), "QEMU did not write its device tree")
    # QEMU's dump has a seed, for which kexec would refuse it (kernels wipe that of the tree they run with).
    rig.run_on_host([rig.need_program("fdtput", "device-tree-compiler"), "-t", "x", str(base), "/chosen",
                     "kaslr-seed", "0", "0"])
    ram = ram_of(rig.boot_once(bench.kernel, plain, bench.results / "plain", MEMORY_MIB))
    bench.say(f"{bench.kernel.release}: {sum(end - start for start, end in ram) >> 20} MiB of RAM")
    for number, count in enumerate(COUNTS):
        # Every second one: no two are adjacent, as after a bad row.
        step = 2 if count > 1000 else 6
        frames = [FRAMES_FROM + step * FRAME * i for i in range(count)]
        expect(frames[-1] < RAM[1] - 256 * MIB, "the frames reach into the kernel's part")
        boot_without(bench, base, plain, ram, frames, archive_first=number % 2 == 0)
    kexec_without(bench, plain, ram, bench.results / f"frames-{BY_KEXEC}")


def boot_without(bench: Bench, base: Path, initramfs: Path, ram: list[Range], frames: list[int],
                 archive_first: bool) -> None:
    folder = bench.results / f"frames-{len(frames)}"
    shutil.rmtree(folder, ignore_errors=True)  # of an earlier run
    folder.mkdir()
    tool = Poisonctl.on_host(bench.poisonctl, folder / "registry.db", machine(bench, folder, base))
    listing = folder / "frames.txt"
    listing.write_text("".join(f"{frame // FRAME:#x}\n" for frame in frames))
    tool.run("collect", "pfn", str(listing))
    plan = json.loads(tool.run("--json", "plan", "devicetree", BOUNDS, statuses=(0, 1)))
    plan = plan["backends"][0]
    covered, refused = (merge((r["address"], r["address"] + r["size"]) for r in plan[kind])
                        for kind in ("covered", "refused"))
    # Sums rather than set algebra: there are many.
    expect(merge(covered + refused) == as_ranges(frames), "covered and refused are not the list")
    expect(sum(end - start for start, end in covered + refused) == len(frames) * FRAME,
           "covered and refused at once")
    tree, archive, both = folder / "out.dtb", folder / "list.cpio", folder / "initrd"
    tool.run("emit", "devicetree", BOUNDS, "--dtb", str(base), "-o", str(tree),
             statuses=(1 if refused else 0,))
    tool.run("emit", "initrd", BOUNDS, "-o", str(archive))
    parts = [archive.read_bytes(), padded(initramfs.read_bytes())]
    both.write_bytes(b"".join(parts if archive_first else reversed(parts)))
    tool.run("handover", "make", BOUNDS, "-o", str(folder / "handover"))

    text = rig.boot_once(bench.kernel, both, folder, MEMORY_MIB, ("-dtb", str(tree)))
    bench.say(f"{len(frames)} frames: {len(covered)} covered, {len(refused)} refused")
    expect_same_ranges(subtract(ram, ram_of(text)), covered, "System RAM lost by the tree")
    expect(set(covered) <= set(reserved_of(text)), "not all that is covered shows as reserved")
    expect("failed nodes 0" in text, "the kernel could not reserve for a node")
    digest = hashlib.sha256((folder / "handover").read_bytes()).hexdigest()
    expect(digest in text, "/poisonctl/handover is not what was emitted")


def kexec_without(bench: Bench, plain: Path, ram: list[Range], made: Path) -> None:
    """A kernel that has all of its memory starts another with the tree that was made before."""
    kexec = bench.fetched_program("kexec-tools-arm64")
    initramfs = rig.Initramfs(bench.kernel, "kexec-init.sh", bench.fetched_program("busybox-arm64").program)
    initramfs.add_foreign_program(kexec.program, "/bin/kexec", kexec.library_path,
                                  rig.need_program(COMPILER, "g++-aarch64-linux-gnu"))
    initramfs.add_file("/next/Image", bench.kernel.vmlinuz.read_bytes())
    initramfs.add_file("/next/initrd", plain.read_bytes())
    initramfs.add_file("/next/tree.dtb", (made / "out.dtb").read_bytes())
    first = initramfs.write(bench.results / "initramfs-kexec")
    text = rig.boot_once(bench.kernel, first, bench.results / "kexec", MEMORY_MIB)
    before, started, report = text.partition("KEXEC LOADED 1")
    expect(started != "" and "REPORT" not in before, "the report is not that of the second kernel")
    frames = as_ranges(FRAMES_FROM + 6 * FRAME * i for i in range(BY_KEXEC))
    expect_same_ranges(subtract(ram, ram_of(report)), frames, "System RAM lost by the tree, by kexec")
    expect(set(frames) <= set(reserved_of(report)), "not all that is listed shows as reserved, by kexec")
    bench.say(f"kexec -c --dtb: {BY_KEXEC} frames are no RAM of the second kernel")


def padded(initramfs: bytes) -> bytes:
    """What follows an archive begins at a multiple of four, as boot loaders see to."""
    return initramfs + b"\0" * (-len(initramfs) % 4)


def machine(bench: Bench, folder: Path, base: Path) -> Path:
    """The guest as poisonctl would see it, from what QEMU and the kernel's package say."""
    root = folder / "machine"
    maker = Path(__file__).resolve().parents[2] / "cli" / "machine.py"
    subprocess.run([sys.executable, str(maker), str(root)], check=True)
    for number in range(3):
        for name in ("start", "end", "type"):
            (root / f"sys/firmware/memmap/{number}/{name}").unlink()
        (root / f"sys/firmware/memmap/{number}").rmdir()
    (root / "sys/firmware/memmap").rmdir()
    (root / "sys/firmware/fdt").write_bytes(base.read_bytes())
    (root / "proc/sys/kernel/arch").write_text("aarch64\n")
    (root / "proc/sys/kernel/osrelease").write_text(bench.kernel.release + "\n")
    (root / "proc/iomem").write_text(f"{RAM[0]:08x}-{RAM[1] - 1:08x} : System RAM\n")
    (root / "boot").mkdir()
    (root / f"boot/config-{bench.kernel.release}").write_bytes(bench.kernel.config.read_bytes())
    return root


def top_level(text: str, name: str) -> list[Range]:
    found = re.findall(rf"^([0-9a-f]+)-([0-9a-f]+) : {name}\r?$", text, re.MULTILINE)
    return [(int(first, 16), int(last, 16) + 1) for first, last in found]


def ram_of(text: str) -> list[Range]:
    return merge(top_level(text, "System RAM"))


def reserved_of(text: str) -> list[Range]:
    return merge(top_level(text, "reserved"))
