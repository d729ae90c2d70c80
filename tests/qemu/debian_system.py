"""Debian 12 with systemd on a disk, and what our package puts into it (packaging/CMakeLists.txt)."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import rig
from kernels import find_system
from steps import PACKAGING, Bench

REGISTRY = "/var/lib/poisonctl/registry.db"
ROOT_MIB = 700
SERVICES = ("poisonctl-apply.service", "poisonctl-bmc.service", "poisonctl-kho.service",
            "poisonctl-metrics.service", "poisonctl-replay.service", "poisonctl-watch.service")
OTHER_UNITS = ("poisonctl-apply.path", "poisonctl-replay.timer")


def system_disk(bench: Bench, files: dict[str, Path] | None = None, installed: bool = True) -> Path:
    """With this kernel, and further files for it; not `installed`: without what our packages have."""
    release = bench.kernel.release
    with tempfile.TemporaryDirectory(dir=bench.results) as folder:
        tree = Path(folder)

        def put(source: Path, path: str, mode: int = 0o644, sbindir: bool = False) -> None:
            target = tree / path
            target.parent.mkdir(parents=True, exist_ok=True)
            if sbindir:
                target.write_text(source.read_text()
                                  .replace("@CMAKE_INSTALL_FULL_SBINDIR@", "/usr/sbin"))
            else:
                shutil.copyfile(source, target)
            target.chmod(mode)

        if installed:
            put_ours(bench, tree, put)
        put(bench.kernel.vmlinuz, f"boot/vmlinuz-{release}")
        put(bench.kernel.config, f"boot/config-{release}")
        for module in bench.kernel.modules:
            put(module, f"usr/lib/modules/{release}/kernel/{module.name}")
        for path, source in (files or {}).items():
            put(source, path.removeprefix("/"))
        put(rig.FOLDER / "guest-control.sh", "usr/lib/rig/guest-control.sh")
        for helper in (bench.alloc_sweep, *bench.helpers):
            put(helper, f"usr/bin/{helper.name}", 0o755)
        write_configuration(tree, [module.stem for module in bench.kernel.modules])
        return rig.make_system_disk(bench.results / "system.img", ROOT_MIB,
                                    find_system(bench.cache, "debian12-system"), tree)


def put_ours(bench: Bench, tree: Path, put: Callable[..., None]) -> None:
    for program in (bench.poisonctl, bench.poison_replay):
        put(program, f"usr/sbin/{program.name}", 0o755)
        rig.strip_program(tree / f"usr/sbin/{program.name}")
    for unit in SERVICES:
        put(PACKAGING / f"systemd/{unit}.in", f"usr/lib/systemd/system/{unit}", sbindir=True)
    for unit in OTHER_UNITS:
        put(PACKAGING / f"systemd/{unit}", f"usr/lib/systemd/system/{unit}")
    put(PACKAGING / "udev/90-poisonctl.rules", "usr/lib/udev/rules.d/90-poisonctl.rules")
    put(PACKAGING / "initramfs-tools/hooks/poisonctl",
        "usr/share/initramfs-tools/hooks/poisonctl", 0o755)
    put(PACKAGING / "initramfs-tools/scripts/init-top/poisonctl",
        "usr/share/initramfs-tools/scripts/init-top/poisonctl", 0o755)
    for part in ("module-setup.sh", "poison-replay.sh"):
        put(PACKAGING / f"dracut/{part}", f"usr/lib/dracut/modules.d/90poisonctl/{part}", 0o755)


def write_configuration(tree: Path, modules: list[str]) -> None:
    texts = {
        "etc/machine-id": "5d41402abc4b2a76b9719d911017c592\n",
        "etc/hostname": "guest\n",
        "etc/fstab": "/dev/vda / ext4 defaults 0 1\n",
        # The package of the kernel is not there, only the modules that a guest needs.
        "etc/initramfs-tools/initramfs.conf": "MODULES=list\nBUSYBOX=auto\nCOMPRESS=zstd\n",
        "etc/initramfs-tools/modules": "".join(f"{name}\n" for name in modules),
        # dracut takes what mounts the root by the folders of the package, such as kernel/crypto.
        "etc/dracut.conf.d/modules.conf": f'add_drivers+=" {" ".join(modules)} "\n',
        "etc/systemd/system/rig.service":
            "[Unit]\nDescription=The guest's end of the control channel\n"
            "[Service]\nExecStart=/bin/busybox sh /usr/lib/rig/guest-control.sh\n"
            # No answer to the command that shuts down: the host would take it for a refusal.
            "KillSignal=SIGKILL\n"
            "[Install]\nWantedBy=multi-user.target\n",
    }
    for path, text in texts.items():
        target = tree / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    wants = tree / "etc/systemd/system/multi-user.target.wants"
    wants.mkdir(parents=True)
    (wants / "rig.service").symlink_to("/etc/systemd/system/rig.service")


def switch_initramfs(bench: Bench) -> Path:
    """For the first boot, when the system has made none of its own."""
    return rig.Initramfs(bench.kernel, init="switch-init.sh").write(bench.results / "switch.img")


def start(bench: Bench, disk: Path, initramfs: Path, name: str,
          append: str = "") -> rig.SystemGuest:
    bench.say(f"cold boot with {initramfs.name}")
    return rig.SystemGuest(bench.kernel, initramfs, disk, bench.results / name, bench.machine,
                           f"root=/dev/vda rw {append}".rstrip())
