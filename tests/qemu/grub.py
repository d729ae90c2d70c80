"""GRUB for a guest: an image for BIOS that runs one script, without an installation.

A disk whose first sector is GRUB's boot.img and whose core image follows. The kernel and its initramfs are on the guest's own disk.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import rig
from kernels import MissingPrerequisite

# What the script below may use, and what finds and reads the guest's disk.
MODULES = ("boot", "echo", "ext2", "linux", "lsmmap", "mmap", "part_msdos", "search",
           "search_fs_file", "serial", "terminal")


def _modules(platform: str) -> Path:
    for folder in (Path("/usr/lib/grub"), Path("/usr/share/grub2")):
        if (folder / platform).is_dir():
            return folder / platform
    raise MissingPrerequisite(f"GRUB's modules for {platform} are not there; install grub-pc-bin")


def _mkimage() -> str:
    return shutil.which("grub2-mkimage") or rig.need_program("grub-mkimage", "grub-common")


def _make_image(platform: str, more: tuple[str, ...], script: Path, image: Path) -> None:
    made = rig.run_on_host(
        [_mkimage(), "-d", str(_modules(platform)),
         "-O", platform, "-p", "/", "-c", str(script), "-o", str(image), *MODULES, *more])
    if made.returncode != 0:
        raise rig.GuestError(f"grub-mkimage for {platform}: {made.stderr.decode().strip()}")


def _first_disk(file: str) -> tuple[str, ...]:
    """What firmware starts from. On IDE, which the guests' kernels have no driver for: their own
    disk keeps its name."""
    return ("-drive", f"file={file},if=none,id=grub,format=raw",
            "-device", "ide-hd,drive=grub,bootindex=0")


def bios(folder: Path, script: str) -> tuple[str, ...]:
    """QEMU arguments with which SeaBIOS starts a GRUB that runs `script`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "grub.cfg").write_text(script)
    _make_image("i386-pc", ("biosdisk",), folder / "grub.cfg", folder / "core.img")
    disk = folder / "grub.img"
    disk.write_bytes((_modules("i386-pc") / "boot.img").read_bytes()
                     + (folder / "core.img").read_bytes())
    with open(disk, "r+b") as image:
        image.truncate(4 << 20)
    return _first_disk(str(disk))


def script(command_line: str) -> str:
    """Shows the memory map, and starts the kernel of the guest's disk. What GRUB says is on the
    console."""
    return "\n".join(["serial --unit=0", "terminal_output serial", "lsmmap",
                      "search --file --set=root /boot/vmlinuz",
                      f"linux /boot/vmlinuz {command_line}", "initrd /boot/initramfs", "boot", ""])
