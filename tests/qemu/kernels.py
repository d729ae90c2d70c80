"""What the guests boot and run from packages: kernels, a few programs that are not installed, a whole
operating system, and the libraries that programs for other machines are built with.

Everything is a Debian package, fetched with apt into a cache folder outside the checkout; one kernel
is built from the package of the kernel's source (kernel_build.py):

    CACHE/NAME/VERSION/entry.json     what is in the entry; written last
    CACHE/NAME/VERSION/vmlinuz, config, modules/*.ko      (a kernel)
    CACHE/NAME/VERSION/PROGRAM, lib/*.so*, share/*        (a program)
    CACHE/NAME/VERSION/root.tar                           (an operating system)
    CACHE/NAME/VERSION/root/usr/...                       (libraries and their headers)
    CACHE/NAME/current -> VERSION     the version the tests use

An entry is put together in a staging folder and renamed into place, so a folder that has a version
for its name is complete. Once `current` exists nothing goes to the network any more: tests stay on
the same kernel until somebody asks for a newer one (`fetch-kernels.py --refresh`).

apt runs with a configuration of its own (sources, lists, cache), never the system's, and needs no
root. The mirror is the one that the system's own configuration names.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import lzma
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator

import kernel_build
from errors import MissingPrerequisite

FOLDER = Path(__file__).resolve().parent
ARCHIVE_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
FETCH_ATTEMPTS = 4
FETCH_TIMEOUT_SECONDS = 300
SYSTEM_TIMEOUT_SECONDS = 900  # 60 on an idle machine

# Names under which a Debian archive (not some vendor's repository) appears in sources.list.
DEBIAN_SUITES = frozenset(
    "oldoldstable oldstable stable testing unstable bookworm trixie forky duke sid".split()
)


@dataclass(frozen=True)
class PackageSource:
    """A package to fetch: from which suites, and which of its dependencies belong to it."""

    suites: tuple[str, ...]
    package: str
    follow: str  # regular expression: dependencies with such a name are fetched too


@dataclass(frozen=True)
class KernelSpec:
    """A kernel that scenarios can name with --kernel."""

    source: PackageSource
    modules: tuple[str, ...]  # what guests load; dependencies are added, built-in ones are fine
    arch: str = "x86_64"
    fragment: Path | None = None  # the package is source: built with these options


TRIXIE = ("trixie", "trixie-updates", "trixie-security")
BOOKWORM = ("bookworm", "bookworm-updates", "bookworm-security")
# Older suites have all of a kernel in linux-image-VERSION; newer ones split it up.
KERNEL_PARTS = r"^linux-(image|binary|modules|base)-\d"

KERNELS = {
    # Not the cloud flavour: Debian 12's is built without MEMORY_FAILURE and X86_MCE, so it neither
    # takes a machine check nor retires a frame.
    "debian12": KernelSpec(
        PackageSource(BOOKWORM, "linux-image-amd64", KERNEL_PARTS),
        # crc32c_generic: ext4 asks the crypto API for it by alias, so no dependency names it.
        # nd_e820, nd_pmem: persistent memory, by an option.
        modules=("virtio_pci", "virtio_blk", "crc32c_generic", "ext4", "hwpoison-inject",
                 "mce-inject", "nd_e820", "nd_pmem"),
    ),
    # The same, for guests that have a BMC.
    "debian12-bmc": KernelSpec(
        PackageSource(BOOKWORM, "linux-image-amd64", KERNEL_PARTS),
        modules=("virtio_pci", "virtio_blk", "crc32c_generic", "ext4", "hwpoison-inject",
                 "ipmi_si", "ipmi_devintf"),
    ),
    "newest": KernelSpec(
        PackageSource(("sid",), "linux-image-cloud-amd64", KERNEL_PARTS),
        modules=("virtio_pci", "virtio_blk", "ext4", "hwpoison-inject", "mce-inject", "cxl_acpi",
                 "cxl_pci", "cxl_mem", "nd_e820", "nd_pmem"),
    ),
    "arm64": KernelSpec(
        PackageSource(("sid",), "linux-image-cloud-arm64", KERNEL_PARTS), modules=(),
        arch="aarch64",
    ),
    # Pages of 16 KiB.
    "arm64-16k": KernelSpec(
        PackageSource(("sid",), "linux-image-arm64-16k", KERNEL_PARTS), modules=(),
        arch="aarch64",
    ),
    # With what Debian builds no kernel with: kexec handover, live update, pmsg, memory repair.
    "own": KernelSpec(
        PackageSource(("sid",), "linux-source", r"^linux-source-\d"),
        modules=(), fragment=FOLDER / "own-kernel.config",
    ),
}


@dataclass(frozen=True)
class ProgramSpec:
    """A program out of a package that is not installed here."""

    source: PackageSource
    program: str
    data: tuple[str, ...] = ()  # folders of /usr/share that it needs
    by_default: bool = True  # fetched when nobody names it
    arch: str = "x86_64"
    # Where the C library of the suite is newer than this machine's: the loader that comes with it
    # starts the program, and all libraries come along.
    loader: str = ""
    # A folder of the kernel's source, of which the package holds an archive, that has a Makefile for it.
    built_in: str = ""


PROGRAMS = {
    # Debian links kexec with Xen's control library, which nothing else on a test machine has.
    "kexec-tools": ProgramSpec(PackageSource(BOOKWORM, "kexec-tools", r"^libxen"), "kexec"),
    # QEMU 7.2 has no CXL events. This one needs no library that Debian 12's own does not need.
    "qemu-cxl": ProgramSpec(
        PackageSource(("bookworm-backports",), "qemu-system-x86", r"^(qemu-system-data|seabios)$"),
        "qemu-system-x86_64", ("qemu", "seabios")),
    # Devices of QEMU 10 offer no repair. This one needs a newer C library than Debian 12 has.
    "qemu-cxl-repair": ProgramSpec(
        PackageSource(("sid",), "qemu-system-x86", r"^(lib|zlib1g$|qemu-system-data$|seabios$)"),
        "qemu-system-x86_64", ("qemu", "seabios"), loader="ld-linux-x86-64.so.2"),
    # What reads the event log of a BMC, and a BMC outside of QEMU.
    "ipmitool": ProgramSpec(
        PackageSource(BOOKWORM, "ipmitool", r"^lib(freeipmi|readline)"), "ipmitool"),
    "freeipmi": ProgramSpec(
        PackageSource(BOOKWORM, "freeipmi-tools", r"^lib(freeipmi|ipmi)"), "ipmi-sel"),
    "openipmi": ProgramSpec(
        PackageSource(BOOKWORM, "openipmi", r"^lib(openipmi|popt)"), "ipmi_sim"),
    # The user space of arm64 guests.
    "busybox-arm64": ProgramSpec(PackageSource(BOOKWORM, "busybox-static", r"^$"), "busybox",
                                 arch="aarch64"),
    # What starts a kernel with another device tree in them.
    "kexec-tools-arm64": ProgramSpec(
        PackageSource(BOOKWORM, "kexec-tools", r"^(libxen|zlib1g$|liblzma5$)"), "kexec", arch="aarch64"),
    # What 'watch' is measured beside. Debian 12's own 0.6.8 is built without memory_failure_event.
    "rasdaemon": ProgramSpec(
        PackageSource(("bookworm-backports",), "rasdaemon", r"^$"), "rasdaemon", by_default=False),
    # And what the scan of page flags is measured beside.
    "page-types": ProgramSpec(PackageSource(("sid",), "linux-source", r"^linux-source-\d"), "page-types",
                              by_default=False, built_in="tools/mm"),
}

@dataclass(frozen=True)
class SystemSpec:
    """An operating system without a kernel: what mmdebstrap makes of these packages."""

    suites: tuple[str, ...]
    packages: tuple[str, ...]
    version_of: str  # the package whose version names the entry
    by_default: bool = True  # as of a program

    @property
    def arch(self) -> str:
        return "x86_64"


SYSTEMS = {
    # systemd, both makers of an initramfs (dracut-core: the package dracut would remove
    # initramfs-tools), update-grub, and the libraries of our programs.
    "debian12-system": SystemSpec(
        BOOKWORM,
        ("systemd-sysv", "udev", "kmod", "initramfs-tools", "dracut-core", "kexec-tools",
         "busybox-static", "cpio", "zstd", "e2fsprogs", "procps", "grub2-common",
         "libboost-program-options1.74.0", "libfmt9", "libsqlite3-0", "libssl3", "libfdt1",
         "libtracefs1", "libtraceevent1", "libcurl4"),
        "systemd-sysv"),
    # Only for tests/packaging/debian13.sh: where our packages are installed, and where they are built.
    "debian13-system": SystemSpec(
        TRIXIE,
        ("systemd-sysv", "udev", "kmod", "initramfs-tools", "dracut-core", "zstd", "sqlite3",
         "lintian", "libboost-program-options1.83.0", "libfmt10", "libsqlite3-0", "libssl3t64", "libfdt1",
         "libtracefs1", "libtraceevent1", "libcurl4t64"),
        "systemd-sysv", by_default=False),
    "debian13-build": SystemSpec(
        TRIXIE,
        ("build-essential", "cmake", "ninja-build", "pkg-config", "debhelper", "po-debconf", "git",
         "libboost-program-options-dev", "libcurl4-openssl-dev", "libfdt-dev", "libfmt-dev", "libsqlite3-dev", "libssl-dev",
         "libtraceevent-dev", "libtracefs-dev", "nlohmann-json3-dev"),
        "g++", by_default=False),
}


@dataclass(frozen=True)
class LibrariesSpec:
    """What a program is built with for another kind of machine than this: packages, unpacked."""

    suites: tuple[str, ...]
    packages: tuple[str, ...]
    follow: str  # as PackageSource.follow
    version_of: str  # the package whose version names the entry
    arch: str


LIBRARIES = {
    # As in packaging/dependencies/debian.txt, so that the build is the same as here. The C and C++
    # libraries come with the compiler.
    "arm64-libraries": LibrariesSpec(
        BOOKWORM,
        ("libboost-program-options-dev", "libcurl4-openssl-dev", "libfdt-dev", "libfmt-dev",
         "libsqlite3-dev", "libssl-dev", "libtraceevent-dev", "libtracefs-dev", "nlohmann-json3-dev"),
        r"^lib(boost|curl|fdt|fmt|sqlite3|ssl|tracefs|traceevent)", "libssl-dev", "aarch64"),
}

# Without these no scenario can work; looked at when a kernel is fetched, so that the message names
# the kernel and not the symptom.
NEEDED_CONFIG = {
    "x86_64": ("MEMORY_FAILURE X86_MCE KEXEC_FILE PROC_PAGE_MONITOR DEVTMPFS BLK_DEV_INITRD "
               "SERIAL_8250_CONSOLE FIRMWARE_MEMMAP").split(),
    "aarch64": ("OF_RESERVED_MEM EFI DEVTMPFS BLK_DEV_INITRD SERIAL_AMBA_PL011_CONSOLE "
                "MEMORY_FAILURE PROC_PAGE_MONITOR").split(),
}
DEBIAN_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True)
class Kernel:
    name: str
    version: str  # of the package
    release: str  # uname -r
    arch: str
    vmlinuz: Path
    config: Path
    modules: tuple[Path, ...]  # in the order in which they have to be loaded

    def variant(self, name: str) -> Path:
        """Another image of the same configuration (kernel_build.VARIANTS)."""
        return self.vmlinuz.with_name(f"vmlinuz-{name}")


@dataclass(frozen=True)
class Program:
    version: str
    program: Path
    library_path: Path
    data: tuple[Path, ...]
    loader: Path | None = None

    @property
    def command(self) -> list[str]:
        """What starts it on this machine."""
        if not self.loader:
            return [str(self.program)]
        return [str(self.loader), "--library-path", str(self.library_path), str(self.program)]


def default_cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "poisonctl-tests"


def find_kernel(cache: Path, name: str) -> Kernel:
    """The cached kernel called `name`; raises MissingPrerequisite if it has not been fetched."""
    folder, entry = _current_entry(cache, name)
    return Kernel(
        name=name,
        version=entry["version"],
        release=entry["release"],
        arch=entry["arch"],
        vmlinuz=folder / "vmlinuz",
        config=folder / "config",
        modules=tuple(folder / "modules" / module for module in entry["modules"]),
    )


def find_program(cache: Path, name: str) -> Program:
    folder, entry = _current_entry(cache, name)
    spec = PROGRAMS[name]
    return Program(entry["version"], folder / spec.program, folder / "lib",
                   tuple(folder / "share" / part for part in spec.data),
                   folder / "lib" / spec.loader if spec.loader else None)


def find_system(cache: Path, name: str) -> Path:
    """The archive with the root folder of the cached operating system called `name`."""
    return _current_entry(cache, name)[0] / "root.tar"


def find_libraries(cache: Path, name: str) -> Path:
    """The root folder of the cached libraries called `name`."""
    return _current_entry(cache, name)[0] / "root"


def everything() -> list[str]:
    return [*KERNELS, *PROGRAMS, *SYSTEMS, *LIBRARIES]


def fetch(cache: Path, name: str, refresh: bool = False) -> str:
    """Makes sure that `name` is in the cache; returns one line that says what is there now."""
    if not refresh:
        with contextlib.suppress(MissingPrerequisite):
            return _describe(cache, name)
    if name not in everything():
        known = ", ".join(everything())
        raise MissingPrerequisite(f"nothing is known about '{name}'; known are: {known}")
    cache.mkdir(parents=True, exist_ok=True)
    with _only_one_fetcher(cache):
        if not refresh:  # somebody else may have fetched it while we waited
            with contextlib.suppress(MissingPrerequisite):
                return _describe(cache, name)
        for left_over in cache.glob(".staging-*"):  # of a fetch that was killed
            shutil.rmtree(left_over)
        with tempfile.TemporaryDirectory(prefix=".staging-", dir=cache) as staging:
            _fetch_into_cache(cache, name, Path(staging))
    return _describe(cache, name)


# ---- the cache ----


def _wanted(name: str) -> dict:
    """What the entry must have been made from; an entry made from an older wish is no use."""
    if name in KERNELS:
        spec = KERNELS[name]
        wanted = {"package": spec.source.package, "modules": list(spec.modules)}
        if spec.fragment:
            wanted["build"] = kernel_build.identity(spec.fragment)
        return wanted
    if name in SYSTEMS or name in LIBRARIES:
        spec = SYSTEMS.get(name) or LIBRARIES[name]
        return {"package": spec.version_of, "packages": list(spec.packages)}
    return {"package": PROGRAMS[name].source.package}


def _current_entry(cache: Path, name: str) -> tuple[Path, dict]:
    folder = cache / name / "current"
    manifest = folder / "entry.json"
    remedy = f"run tests/qemu/fetch-kernels.py --cache '{cache}'"
    try:
        entry = json.loads(manifest.read_text())
    except FileNotFoundError:
        raise MissingPrerequisite(
            f"{manifest} is not there: {name} is not fetched; {remedy}"
        ) from None
    except ValueError as error:
        raise MissingPrerequisite(
            f"{manifest}: expected a JSON object: {error}; remove {folder.parent} and {remedy}"
        ) from None
    if entry.get("wanted") != _wanted(name):
        raise MissingPrerequisite(
            f"{manifest} was made for {entry.get('wanted')}, but {_wanted(name)} is needed; "
            f"{remedy}"
        )
    return folder.resolve(), entry


def _describe(cache: Path, name: str) -> str:
    folder, entry = _current_entry(cache, name)
    what = f", kernel {entry['release']}" if "release" in entry else ""
    return f"{name}: {entry['package']} {entry['version']}{what} in {folder}"


@contextlib.contextmanager
def _only_one_fetcher(cache: Path) -> Iterator[None]:
    with open(cache / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _publish(cache: Path, name: str, version: str, built: Path, staging: Path) -> None:
    """Renames a complete entry into place and makes it the current one."""
    target = cache / name / version
    target.parent.mkdir(exist_ok=True)
    if target.exists():  # made for an older wish; moved away whole, so that no half of it is seen
        target.rename(staging / "replaced")
    built.rename(target)
    link = cache / name / f".current-{os.getpid()}"
    link.unlink(missing_ok=True)
    link.symlink_to(version)
    link.replace(cache / name / "current")


def _fetch_into_cache(cache: Path, name: str, staging: Path) -> None:
    if name in SYSTEMS:
        _make_system(cache, name, staging)
        return
    if name in LIBRARIES:
        _unpack_libraries(cache, name, staging)
        return
    spec = KERNELS.get(name) or PROGRAMS[name]
    source = spec.source
    apt = _PrivateApt(cache / ".apt" / name, source.suites, DEBIAN_ARCHITECTURES[spec.arch])
    apt.update()
    packages = apt.with_dependencies(source)
    version = apt.version(source.package)
    with contextlib.suppress(MissingPrerequisite):
        folder, entry = _current_entry(cache, name)
        if entry["version"] == version:  # --refresh, and nothing newer is there
            return
    tree = staging / "tree"
    for archive in apt.download(packages, staging):
        _run(["dpkg-deb", "-x", str(archive), str(tree)])
        archive.unlink()
    entry = {"package": source.package, "version": version, "wanted": _wanted(name)}
    built = staging / "entry"
    built.mkdir()
    if name in KERNELS and KERNELS[name].fragment:
        entry |= kernel_build.build(_source_of_kernel(tree, packages), KERNELS[name].fragment, staging,
                                    built)
        version += f"-{entry['wanted']['build'][:12]}"
    elif name in KERNELS:
        entry |= _collect_kernel(KERNELS[name], tree, built, packages)
    elif PROGRAMS[name].built_in:
        kernel_build.build_tool(_source_of_kernel(tree, packages), PROGRAMS[name].built_in,
                                PROGRAMS[name].program, staging, built)
    else:
        _collect_program(PROGRAMS[name], tree, built, packages)
    (built / "entry.json").write_text(json.dumps(entry, indent=2) + "\n")
    _publish(cache, name, version.replace(":", "%3a"), built, staging)


def _make_system(cache: Path, name: str, staging: Path) -> None:
    spec = SYSTEMS[name]
    apt = _PrivateApt(cache / ".apt" / name, spec.suites, DEBIAN_ARCHITECTURES[spec.arch])
    apt.update()
    version = apt.version(spec.version_of)
    with contextlib.suppress(MissingPrerequisite):
        folder, entry = _current_entry(cache, name)
        if entry["version"] == version:
            return
    built = staging / "entry"
    built.mkdir()
    # What nobody reads in a guest is left out.
    excludes = [f"--dpkgopt=path-exclude=/usr/share/{part}/*" for part in ("doc", "man", "locale")]
    _run(["mmdebstrap", "--quiet", "--variant=minbase", "--format=tar",
          f"--include={','.join(spec.packages)}", *excludes, spec.suites[0],
          str(built / "root.tar"), str(apt.sources)], timeout=SYSTEM_TIMEOUT_SECONDS)
    entry = {"package": spec.version_of, "version": version, "wanted": _wanted(name)}
    (built / "entry.json").write_text(json.dumps(entry, indent=2) + "\n")
    _publish(cache, name, version.replace(":", "%3a"), built, staging)


def _unpack_libraries(cache: Path, name: str, staging: Path) -> None:
    spec = LIBRARIES[name]
    apt = _PrivateApt(cache / ".apt" / name, spec.suites, DEBIAN_ARCHITECTURES[spec.arch])
    apt.update()
    version = apt.version(spec.version_of)
    with contextlib.suppress(MissingPrerequisite):
        folder, entry = _current_entry(cache, name)
        if entry["version"] == version:
            return
    packages = {package for wanted in spec.packages for package in
                apt.with_dependencies(PackageSource(spec.suites, wanted, spec.follow))}
    built = staging / "entry"
    built.mkdir()
    for archive in apt.download(sorted(packages), staging):
        _run(["dpkg-deb", "-x", str(archive), str(built / "root")])
        archive.unlink()
    entry = {"package": spec.version_of, "version": version, "wanted": _wanted(name)}
    (built / "entry.json").write_text(json.dumps(entry, indent=2) + "\n")
    _publish(cache, name, version.replace(":", "%3a"), built, staging)


def _collect_kernel(spec: KernelSpec, tree: Path, built: Path, packages: list[str]) -> dict:
    """Takes vmlinuz, config and the modules out of unpacked packages of any suite's layout."""
    release_folder = _only(list(tree.glob("lib/modules/*")) + list(tree.glob("usr/lib/modules/*")),
                           "lib/modules/RELEASE", packages)
    release = release_folder.name
    vmlinuz = _only([p for p in (tree / f"boot/vmlinuz-{release}", release_folder / "vmlinuz")
                     if p.is_file()], "vmlinuz", packages)
    config = _only([p for p in (tree / f"boot/config-{release}", release_folder / "config")
                    if p.is_file()], "config", packages)
    options = set(config.read_text().split("\n"))
    lacking = [option for option in NEEDED_CONFIG[spec.arch] if f"CONFIG_{option}=y" not in options]
    if lacking:
        raise MissingPrerequisite(
            f"kernel {release} ({spec.source.package}) is built without {' '.join(lacking)}, which "
            "the scenarios need; choose another flavour in KERNELS (tests/qemu/kernels.py)"
        )
    shutil.copyfile(vmlinuz, built / "vmlinuz")
    shutil.copyfile(config, built / "config")
    (built / "modules").mkdir()
    modules = _ModuleTree(release_folder)
    names = []
    for name in modules.in_load_order(spec.modules):
        (built / "modules" / f"{name}.ko").write_bytes(modules.contents(name))
        names.append(f"{name}.ko")
    return {"release": release, "arch": spec.arch, "modules": names}


def _source_of_kernel(tree: Path, packages: list[str]) -> Path:
    return _only(list(tree.glob("usr/src/linux-source-*.tar.xz")), "linux-source-*.tar.xz", packages)


def _collect_program(spec: ProgramSpec, tree: Path, built: Path, packages: list[str]) -> None:
    found = [path for folder in ("bin", "sbin", "usr/sbin", "usr/bin")
             if (path := tree / folder / spec.program).is_file()]
    shutil.copy(_only(found, spec.program, packages), built / spec.program)
    for part in spec.data:
        # Links to what other packages hold are dropped: nothing that we start asks for it.
        shutil.copytree(tree / "usr/share" / part, built / "share" / part,
                        ignore_dangling_symlinks=True)
    (built / "lib").mkdir()
    if spec.loader:
        _collect_libraries(built / spec.program, spec.loader, tree, built / "lib", packages)
        return
    for library in tree.rglob("lib*.so*"):
        if library.is_symlink():  # the name programs ask for; copied with the contents behind it
            shutil.copy(library, built / "lib" / library.name)


def _collect_libraries(program: Path, loader: str, tree: Path, target: Path,
                       packages: list[str]) -> None:
    """The loader, and what it finds in the packages for the program and nowhere else."""
    started_by = _only(list(tree.glob(f"usr/lib/*/{loader}")), loader, packages)
    folder = started_by.parent
    listing = _run([str(started_by), "--inhibit-cache", "--library-path", str(folder), "--list",
                    str(program)])
    found = [Path(path) for path in re.findall(r"=> (/\S+)", listing)]
    strange = [path.name for path in found if not path.is_relative_to(tree)]
    if strange:
        raise MissingPrerequisite(
            f"{program.name} would take {' '.join(strange)} from this machine and not from the "
            f"packages {' '.join(packages)}; correct the list in PROGRAMS (tests/qemu/kernels.py)")
    for path in [started_by, *found]:
        shutil.copy(path, target / path.name)


def _only(found: list[Path], what: str, packages: list[str]) -> Path:
    if len(found) != 1:
        raise MissingPrerequisite(
            f"expected exactly one {what} in the packages {' '.join(packages)}, found "
            f"{len(found)}; the layout of the packages has changed: see tests/qemu/kernels.py"
        )
    return found[0]


class _ModuleTree:
    """The modules of one unpacked kernel. Their own `depends=` is used: a package that was only
    unpacked has no modules.dep."""

    def __init__(self, folder: Path):
        self._release = folder.name
        self._files = {}
        for path in folder.rglob("*.ko*"):
            self._files[self._key(path.name.split(".ko")[0])] = path
        builtin = (folder / "modules.builtin").read_text().split()
        self._builtin = {self._key(Path(line).name.split(".ko")[0]) for line in builtin}

    @staticmethod
    def _key(name: str) -> str:
        return name.replace("-", "_")

    def contents(self, name: str) -> bytes:
        path = self._files[self._key(name)]
        data = path.read_bytes()
        if path.suffix == ".xz":
            return lzma.decompress(data)
        if path.suffix == ".ko":
            return data
        raise MissingPrerequisite(f"{path.name}: expected a module as .ko or .ko.xz")

    def in_load_order(self, names: tuple[str, ...]) -> list[str]:
        order: list[str] = []
        for name in names:
            self._add(self._key(name), order)
        return order

    def _add(self, name: str, order: list[str]) -> None:
        if name in order or name in self._builtin:
            return
        if name not in self._files:
            raise MissingPrerequisite(
                f"kernel {self._release} has no module {name}, neither as a file nor built in; "
                "correct the list in KERNELS (tests/qemu/kernels.py)"
            )
        match = re.search(rb"\0depends=([^\0]*)\0", self.contents(name))
        for dependency in match.group(1).decode().split(",") if match else []:
            if dependency:
                self._add(self._key(dependency), order)
        order.append(name)


# ---- apt ----


class _PrivateApt:
    """apt on other suites, in its own folder: nothing of the system's configuration changes."""

    def __init__(self, folder: Path, suites: tuple[str, ...], architecture: str):
        if not ARCHIVE_KEYRING.is_file():
            raise MissingPrerequisite(
                f"{ARCHIVE_KEYRING} is not there; install debian-archive-keyring"
            )
        for sub in ("lists/partial", "cache/archives/partial"):
            (folder / sub).mkdir(parents=True, exist_ok=True)
        sources = self.sources = folder / "sources.list"
        sources.write_text("".join(
            f"deb [signed-by={ARCHIVE_KEYRING}] {uri} {suite} main\n"
            for suite, uri in _archive_addresses(suites)
        ))
        options = {
            "Dir::Etc::SourceList": sources,
            "Dir::Etc::SourceParts": "/dev/null",
            "Dir::Etc::Preferences": "/dev/null",
            "Dir::Etc::PreferencesParts": "/dev/null",
            "Dir::State": folder,
            "Dir::State::Lists": folder / "lists",
            "Dir::State::Status": "/dev/null",
            "Dir::Cache": folder / "cache",
            "Dir::Cache::pkgcache": "pkgcache.bin",  # off on some systems: slow with many calls
            "Dir::Cache::srcpkgcache": "srcpkgcache.bin",
            "APT::Architecture": architecture,
            "APT::Architectures": architecture,
            "APT::Update::Error-Mode": "any",  # or a failed download of a list counts as success
            "APT::Sandbox::User": "root",  # the cache may be where the user _apt cannot write
            "Acquire::Languages": "none",
            "Acquire::Retries": "3",
        }
        self._options = [f"-o{key}={value}" for key, value in options.items()]
        self._shown: dict[str, str] = {}  # by package: what apt-cache says of it

    def update(self) -> None:
        _run_with_retries(["apt-get", *self._options, "-q", "update"])

    def download(self, packages: list[str], folder: Path) -> list[Path]:
        _run_with_retries(["apt-get", *self._options, "-q", "download", *packages], cwd=folder)
        return sorted(folder.glob("*.deb"))

    def version(self, package: str) -> str:
        return self._field(package, "Version")

    def with_dependencies(self, source: PackageSource) -> list[str]:
        """The package and, recursively, those of its dependencies that match source.follow."""
        found = [source.package]
        for package in found:  # grows while we go
            for field in ("Depends", "Pre-Depends"):
                for clause in self._field(package, field).split(","):
                    name = clause.split("|")[0].split("(")[0].split(":")[0].strip()
                    if name and re.match(source.follow, name) and name not in found:
                        found.append(name)
        return found

    def _field(self, package: str, field: str) -> str:
        if package not in self._shown:
            self._shown[package] = _run(
                ["apt-cache", *self._options, "--no-all-versions", "show", package])
        match = re.search(rf"^{field}: (.*)$", self._shown[package], re.MULTILINE)
        return match.group(1) if match else ""


def _archive_addresses(suites: tuple[str, ...]) -> list[tuple[str, str]]:
    """(suite, address) for each suite, with the addresses that this system itself uses."""
    listing = _run(["apt-get", "indextargets", "--format", "$(RELEASE) $(REPO_URI)",
                    "Created-By: Packages"])
    main, security = "", ""
    for line in listing.splitlines():
        release, _, uri = line.partition(" ")
        base, _, part = release.partition("-")
        if base in DEBIAN_SUITES and part == "":
            main = main or uri
        elif base in DEBIAN_SUITES and part == "security":
            security = security or uri
    if not main:
        raise MissingPrerequisite(
            "no Debian archive in this system's apt configuration (apt-get indextargets): expected "
            "a suite such as 'bookworm' in /etc/apt/sources.list or sources.list.d"
        )
    addresses = []
    for suite in suites:
        if not suite.endswith("-security"):
            addresses.append((suite, main))
        elif security:
            addresses.append((suite, security))
    return addresses


def _run_with_retries(command: list[str], cwd: Path | None = None) -> str:
    for attempt in range(1, FETCH_ATTEMPTS + 1):
        try:
            return _run(command, cwd)
        except MissingPrerequisite as error:
            if attempt == FETCH_ATTEMPTS:
                raise
            wait = 3 * attempt
            print(f"{error}\ntrying again in {wait} s", file=sys.stderr)
            time.sleep(wait)
    raise AssertionError("not reached")


def _run(command: list[str], cwd: Path | None = None,
         timeout: float = FETCH_TIMEOUT_SECONDS) -> str:
    try:
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False,
                              stdin=subprocess.DEVNULL, timeout=timeout)
    except FileNotFoundError:
        raise MissingPrerequisite(
            f"{command[0]} is not installed; what the guests run comes from Debian packages, which "
            "takes apt, dpkg and mmdebstrap"
        ) from None
    except subprocess.TimeoutExpired:
        raise MissingPrerequisite(
            f"'{_short(command)}' did not end within {timeout:.0f} s"
        ) from None
    if done.returncode != 0:
        raise MissingPrerequisite(
            f"'{_short(command)}' ended with status {done.returncode}:\n{done.stderr.strip()}"
        )
    return done.stdout


def _short(command: list[str]) -> str:
    return " ".join(word for word in command if not word.startswith("-o"))
