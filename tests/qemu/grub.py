"""GRUB for a guest, without an installation: an image that runs one script, started by BIOS or by UEFI.

By BIOS it is a disk whose first sector is GRUB's boot.img and whose core image follows; by UEFI a file
system with a program for removable media. Kernel and initramfs are on the guest's own disk.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import rig
from kernels import MissingPrerequisite

# What the scripts below and a menu of grub-mkconfig may use, and what finds and reads the guest's disk.
MODULES = ("boot", "configfile", "echo", "ext2", "linux", "loadenv", "lsmmap", "mmap", "normal",
           "part_gpt", "part_msdos", "search", "search_fs_file", "search_fs_uuid", "serial",
           "sleep", "terminal", "test")
PACKAGES = {"i386-pc": "grub-pc-bin", "x86_64-efi": "grub-efi-amd64-bin"}
# Of Debian; the variables are written to, so each guest has its own.
FIRMWARE = Path("/usr/share/OVMF/OVMF_CODE_4M.fd"), Path("/usr/share/OVMF/OVMF_VARS_4M.fd")


def _modules(platform: str) -> Path:
    for folder in (Path("/usr/lib/grub"), Path("/usr/share/grub2")):
        if (folder / platform).is_dir():
            return folder / platform
    raise MissingPrerequisite(f"GRUB's modules for {platform} are not there; install "
                              f"{PACKAGES[platform]}")


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


def uefi(folder: Path, script: str) -> tuple[str, ...]:
    """QEMU arguments with which OVMF starts a GRUB that runs `script`."""
    for part in FIRMWARE:
        if not part.exists():
            raise MissingPrerequisite(f"there is no {part}; install ovmf")
    program = folder / "esp/EFI/BOOT/BOOTX64.EFI"
    program.parent.mkdir(parents=True, exist_ok=True)
    (folder / "grub.cfg").write_text(script)
    _make_image("x86_64-efi", (), folder / "grub.cfg", program)
    code, variables = FIRMWARE
    shutil.copyfile(variables, folder / "variables.fd")
    return ("-drive", f"if=pflash,unit=0,format=raw,readonly=on,file={code}",
            "-drive", f"if=pflash,unit=1,format=raw,file={folder / 'variables.fd'}",
            # QEMU makes a FAT file system of the folder. rw: an IDE disk cannot be read-only.
            *_first_disk(f"fat:rw:{folder / 'esp'}"))


def menu() -> str:
    """Goes to the menu that grub-mkconfig made on the guest's disk."""
    return "\n".join(["serial --unit=0", "terminal_output serial",
                      "search --file --set=root /boot/grub/grub.cfg",
                      "configfile /boot/grub/grub.cfg", ""])


def script(command_line: str, *commands: str) -> str:
    """Runs the commands, shows the memory map, and starts the kernel of the guest's disk. What GRUB
    says is on the console."""
    return "\n".join(["serial --unit=0", "terminal_output serial", *commands, "lsmmap",
                      "search --file --set=root /boot/vmlinuz",
                      f"linux /boot/vmlinuz {command_line}", "initrd /boot/initramfs", "boot", ""])
