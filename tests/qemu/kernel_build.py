"""Builds a kernel from Debian's linux-source package: tinyconfig and a fragment.

For what Debian's own kernels are built without: kexec handover, live update, pmsg, memory repair.
All is built in; there are no modules. The same source gives two more kernels, each with another
version of one of the interfaces between two kernels: that is how a kernel of another release looks
to this one.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path

from errors import MissingPrerequisite

BUILD_SECONDS = 3000  # 5 minutes on two idle cores
# name -> (file, what its text says, what it says instead)
VARIANTS = {
    "other-kho": ("include/linux/kho/abi/kexec_handover.h", '"kho-v4"', '"kho-v4+1"'),
    "other-luo": ("include/linux/kho/abi/luo.h", '"luo-v5"', '"luo-v6"'),
}
PROGRAMS = {"make": "make", "gcc": "gcc", "flex": "flex", "bison": "bison", "bc": "bc", "tar": "tar",
            "xz": "xz-utils"}


def identity(fragment: Path) -> str:
    """Another fragment or other variants make other kernels."""
    wanted = fragment.read_bytes() + json.dumps(VARIANTS, sort_keys=True).encode()
    return hashlib.sha256(wanted).hexdigest()


def build(archive: Path, fragment: Path, work: Path, built: Path) -> dict:
    """Unpacks linux-source-*.tar.xz in `work`, builds, and puts vmlinuz, vmlinuz-VARIANT and config
    into `built`. Returns what the entry says of a kernel."""
    for program, package in PROGRAMS.items():
        if not shutil.which(program):
            raise MissingPrerequisite(f"'{program}' is not installed; install {package} (the "
                                      "kernel is built from source)")
    source = work / "source"
    source.mkdir()
    _run(["tar", "-xf", str(archive), "-C", str(source), "--strip-components=1"], work)
    output = work / "output"
    output.mkdir()
    make = ["make", "-s", "-C", str(source), f"O={output}"]
    _run([*make, "tinyconfig"], work)
    _run([str(source / "scripts/kconfig/merge_config.sh"), "-m", "-O", str(output),
          str(output / ".config"), str(fragment)], work)
    _run([*make, "olddefconfig"], work)
    _check_config(output / ".config", fragment)
    # The same source gives the same kernel, whoever builds it and when.
    make += [f"-j{2 * (os.cpu_count() or 1)}", "KBUILD_BUILD_TIMESTAMP=@1", "KBUILD_BUILD_USER=tests",
             "KBUILD_BUILD_HOST=poisonctl", "bzImage"]
    image = output / "arch/x86/boot/bzImage"
    _run(make, work)
    shutil.copyfile(image, built / "vmlinuz")
    for name, (header, old, new) in VARIANTS.items():
        text = (source / header).read_text()
        if text.count(old) != 1:
            raise MissingPrerequisite(f"{header}: expected {old} once, found it {text.count(old)} "
                                      f"times; correct VARIANTS in {Path(__file__).name}")
        (source / header).write_text(text.replace(old, new))
        _run(make, work)
        shutil.copyfile(image, built / f"vmlinuz-{name}")
        (source / header).write_text(text)
    release = (output / "include/config/kernel.release").read_text().strip()
    shutil.copyfile(output / ".config", built / "config")
    return {"release": release, "arch": "x86_64", "modules": []}


def build_tool(archive: Path, folder: str, program: str, work: Path, built: Path) -> None:
    """Builds `program` in `folder` of the kernel's source, and puts it into `built`."""
    source = work / "source"
    source.mkdir()
    _run(["tar", "-xf", str(archive), "-C", str(source), "--strip-components=1"], work)
    _run(["make", "-s", "-C", str(source / folder), program], work)
    shutil.copy(source / folder / program, built / program)
    (built / "lib").mkdir()


def _check_config(config: Path, fragment: Path) -> None:
    """Kconfig leaves out without a word what it does not know or whose dependencies are lacking."""
    lines = set(config.read_text().split("\n"))
    lacking = [wanted for wanted in fragment.read_text().split("\n")
               if wanted.startswith("CONFIG_") and wanted not in lines
               and not (wanted.endswith("=n") and f"{wanted[:-1]}y" not in lines)]
    if lacking:
        raise MissingPrerequisite(f"{fragment.name} asks for what this source does not give: "
                                  f"{' '.join(lacking)}; correct the fragment")


def _run(command: list[str], folder: Path) -> None:
    log = folder / "build.log"
    with open(log, "ab") as out:
        try:
            done = subprocess.run(command, stdout=out, stderr=out,
                                  stdin=subprocess.DEVNULL, check=False, timeout=BUILD_SECONDS)
        except subprocess.TimeoutExpired:
            raise MissingPrerequisite(
                f"'{command[0]}' did not end within {BUILD_SECONDS} s") from None
    if done.returncode != 0:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
        raise MissingPrerequisite(f"'{' '.join(command[:4])}' ended with status "
                                  f"{done.returncode}:\n{tail}")
