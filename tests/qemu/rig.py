"""Boots real kernels under QEMU and talks to them: initramfs, disk image, guest, control channel.

Knows nothing of poisonctl; what the scenarios do with a guest is in steps.py.

Everything has a time limit, and an error shows the end of the guest's console. QEMU runs with
software emulation, so that the tests need no /dev/kvm and give the same result everywhere.
"""

from __future__ import annotations

import base64
import gzip
import json
import os
import re
import shlex
import shutil
import socket
import stat
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from kernels import Kernel, MissingPrerequisite, Program

BOOT_SECONDS = 600  # 5 to 15 on an idle machine, and 190 was seen on a busy one
COMMAND_SECONDS = 120
SHUTDOWN_SECONDS = 30
CONSOLE_TAIL_LINES = 60  # a panic with its call trace
# A request line must fit into the guest's 64 KiB serial buffer, or the kernel drops bytes.
PUSH_CHUNK_BYTES = 24 * 1024
FOLDER = Path(__file__).resolve().parent


class GuestError(Exception):
    """The guest did not do what it was asked: a failed command, a panic, a time limit."""


def need_program(name: str, package: str) -> str:
    """The path of a program on this machine; administrators' programs are found by all."""
    path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if not path:
        raise MissingPrerequisite(f"the program '{name}' is not installed; install {package}")
    return path


def run_on_host(command: list[str], timeout: float = COMMAND_SECONDS,
                environment: dict[str, str] | None = None) -> subprocess.CompletedProcess:
    """Runs a program here; the caller looks at the exit status."""
    try:
        return subprocess.run(command, capture_output=True, check=False, timeout=timeout,
                              stdin=subprocess.DEVNULL, env=environment)
    except subprocess.TimeoutExpired:
        raise GuestError(f"'{shlex.join(command)}' did not end within {timeout:.0f} s") from None


# ---- what a guest boots from ----


class Initramfs:
    """An initramfs in the making: busybox, guest-init.sh, a kernel's modules, programs, files.

    The result depends on the contents alone: no time stamps, owners or order of insertion.
    """

    def __init__(self, kernel: Kernel, init: str = "guest-init.sh", busybox: Path | None = None):
        """`init` is the first process, beside this file; `busybox` is one for another kind of
        machine than this."""
        self._entries: dict[str, tuple[int, bytes]] = {}  # path without leading / -> mode, data
        busybox = busybox or Path(need_program("busybox", "busybox-static"))
        if shared_libraries(busybox, None):
            raise MissingPrerequisite(f"{busybox} is linked dynamically; install busybox-static")
        self.add_file("/bin/busybox", busybox.read_bytes(), 0o755)
        self._add(PurePosixPath("/bin/sh"), stat.S_IFLNK | 0o777, b"busybox")
        self.add_file("/init", (FOLDER / init).read_bytes(), 0o755)
        self.add_file("/guest-control.sh", (FOLDER / "guest-control.sh").read_bytes())
        for module in kernel.modules:
            self.add_file(f"/modules/{module.name}", module.read_bytes())
        # Where distributions install it; programs look there for what the kernel was built with.
        self.add_file(f"/boot/config-{kernel.release}", kernel.config.read_bytes())
        order = "".join(f"{module.name}\n" for module in kernel.modules)
        self.add_file("/modules/load-order", order.encode())
        # The kernel opens it before /init runs; without it init has no standard output.
        self._add(PurePosixPath("/dev/console"), stat.S_IFCHR | 0o600, b"")

    def add_file(self, path: str, data: bytes, mode: int = 0o644) -> None:
        self._add(PurePosixPath(path), stat.S_IFREG | mode, data)

    def add_program(self, program: Path, path: str, library_path: Path | None = None) -> None:
        """A program of this machine and all shared libraries it needs; those go to /lib."""
        self.add_file(path, without_debug_information(program), 0o755)
        for name, library in shared_libraries(program, library_path):
            # The loader is asked for by its full path, the rest by name.
            where = name if name.startswith("/") else f"/lib/{name}"
            self.add_file(where, library.read_bytes(), 0o755)

    def add_foreign_program(self, program: Path, path: str, folder: Path, compiler: str) -> None:
        """A program without debug information for another kind of machine, which this one cannot
        ask for its libraries: they are in `folder`, or come with the compiler; they go to /lib."""
        self.add_file(path, program.read_bytes(), 0o755)
        left = [program]
        for file in left:  # grows while we go
            for name in _needed_by(file):
                if f"lib/{name}" in self._entries:
                    continue
                library = folder / name
                if not library.is_file():
                    said = run_on_host([compiler, f"-print-file-name={name}"]).stdout.decode()
                    library = Path(said.strip())
                if not library.is_file():
                    raise MissingPrerequisite(f"{file} needs {name}, which is neither in {folder} "
                                              f"nor a part of {compiler}")
                self.add_file(f"/lib/{name}", library.read_bytes(), 0o755)
                left.append(library)

    def write(self, path: Path) -> Path:
        # Compressed: kexec computes and checks a hash of every byte, which takes long under
        # emulation.
        with open(path, "wb") as file, gzip.GzipFile("", "wb", 6, file, mtime=0) as out:
            for number, name in enumerate(sorted(self._entries), start=1):
                mode, data = self._entries[name]
                out.write(_cpio_entry(number, name, mode, data))
            out.write(_cpio_entry(0, "TRAILER!!!", 0, b""))
        return path

    def _add(self, path: PurePosixPath, mode: int, data: bytes) -> None:
        name = str(path.relative_to("/"))
        known = self._entries.setdefault(name, (mode, data))
        if known != (mode, data):
            raise MissingPrerequisite(f"two different files want to be {path} in the initramfs")
        for parent in path.relative_to("/").parents:
            if str(parent) != ".":
                self._entries.setdefault(str(parent), (stat.S_IFDIR | 0o755, b""))


def archive(files: dict[str, bytes]) -> bytes:
    """A cpio archive of plain files and their folders, as the kernel unpacks it over another."""
    folders = {str(parent) for path in files for parent in PurePosixPath(path).parents} - {"."}
    entries = [(path, stat.S_IFDIR | 0o755, b"") for path in sorted(folders)]
    entries += [(path, stat.S_IFREG | 0o644, data) for path, data in sorted(files.items())]
    return b"".join(_cpio_entry(number, path, mode, data)
                    for number, (path, mode, data) in enumerate(entries, start=1)
                    ) + _cpio_entry(0, "TRAILER!!!", 0, b"")


def _cpio_entry(number: int, name: str, mode: int, data: bytes) -> bytes:
    """One "newc" record (see cpio(5)); a device is /dev/console, 5:1, the only one we make."""
    major, minor = (5, 1) if stat.S_ISCHR(mode) else (0, 0)
    links = 2 if stat.S_ISDIR(mode) else 1
    encoded = name.encode() + b"\0"
    fields = (number, mode, 0, 0, links, 0, len(data), 0, 0, major, minor, len(encoded), 0)
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + encoded
    return head + b"\0" * (-len(head) % 4) + data + b"\0" * (-len(data) % 4)


def without_debug_information(program: Path) -> bytes:
    """The program as it would be packaged: debug information can be most of a build's size."""
    if not program.is_file():
        raise MissingPrerequisite(f"{program} is not there; build it first")
    with tempfile.NamedTemporaryFile() as stripped:
        done = run_on_host([need_program("strip", "binutils"), "-o", stripped.name, str(program)])
        if done.returncode != 0:
            raise MissingPrerequisite(f"{program}: expected a program in ELF format: "
                                      f"{done.stderr.decode().strip()}")
        return Path(stripped.name).read_bytes()


def strip_program(program: Path) -> None:
    """In place."""
    program.write_bytes(without_debug_information(program))


def shared_libraries(program: Path, library_path: Path | None) -> list[tuple[str, Path]]:
    """(name or full path asked for, file) of each library that ldd finds; none if static."""
    environment = dict(os.environ, LC_ALL="C")
    if library_path:
        environment["LD_LIBRARY_PATH"] = str(library_path)
    listing = run_on_host(["ldd", str(program)], environment=environment)
    if listing.returncode != 0:  # "not a dynamic executable"
        return []
    found = []
    for line in listing.stdout.decode().splitlines():
        words = line.split()
        if "=>" in words:
            if "not found" in line:
                raise MissingPrerequisite(f"{program} needs {words[0]}, which is not installed")
            found.append((words[0], Path(words[2])))
        elif words and words[0].startswith("/"):
            found.append((words[0], Path(words[0])))
    return found


def _needed_by(program: Path) -> list[str]:
    """The names of the libraries that a program, or a library, asks for, of whatever machine it is;
    the loader is the one of the C library."""
    listing = run_on_host([need_program("readelf", "binutils"), "-d", str(program)],
                          environment=dict(os.environ, LC_ALL="C"))
    if listing.returncode != 0:
        raise MissingPrerequisite(f"{program}: expected a program in ELF format: "
                                  f"{listing.stderr.decode().strip()}")
    return re.findall(r"\(NEEDED\).*\[(.*)\]", listing.stdout.decode())


def make_disk(image: Path, size_mib: int, contents: dict[str, Path]) -> Path:
    """An ext4 image that holds `contents` (path in the image -> file here). Nothing is mounted."""
    tree = image.with_suffix(".tree")
    shutil.rmtree(tree, ignore_errors=True)
    tree.mkdir()
    for name, source in contents.items():
        target = tree / name.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    image.unlink(missing_ok=True)
    made = run_on_host([need_program("mke2fs", "e2fsprogs"), "-q", "-t", "ext4", "-b", "4096",
                        "-E", "root_owner=0:0", "-d", str(tree), str(image), f"{size_mib}M"])
    shutil.rmtree(tree)
    if made.returncode != 0:
        raise GuestError(f"mke2fs could not make {image}: {made.stderr.decode().strip()}")
    return image


def make_system_disk(image: Path, size_mib: int, archive: Path, tree: Path) -> Path:
    """An ext4 image with the root folder in `archive` (a tar file) and, over it, the files of the
    folder `tree`; all of those belong to root. Nothing is mounted, and no root is needed."""
    script = ('mkdir "$1.root" && tar -x -f "$2" -C "$1.root" --exclude="./dev/*" && '
              'chown -R 0:0 "$3" && cp -a "$3/." "$1.root/" && '
              'mke2fs -q -t ext4 -b 4096 -d "$1.root" "$1" "$4M"; '
              'status=$?; rm -rf "$1.root"; exit $status')
    image.unlink(missing_ok=True)
    need_program("mke2fs", "e2fsprogs")
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    made = run_on_host([need_program("fakeroot", "fakeroot"), "sh", "-c", script, "sh", str(image),
                        str(archive), str(tree), str(size_mib)], timeout=BOOT_SECONDS,
                       environment=dict(os.environ, PATH=path))
    if made.returncode != 0:
        raise GuestError(f"cannot make {image}: {made.stderr.decode().strip()}")
    return image


def copy_from_disk(image: Path, path: str, target: Path) -> Path:
    """Takes a file or a folder out of an image that no guest has mounted."""
    debugfs = need_program("debugfs", "e2fsprogs")
    kind = run_on_host([debugfs, "-R", f"stat {path}", str(image)]).stdout.decode()
    if "Type: directory" in kind:
        target.mkdir(parents=True, exist_ok=True)
        run_on_host([debugfs, "-R", f'rdump {path} "{target}"', str(image)])
        copied = target / PurePosixPath(path).name
    else:
        run_on_host([debugfs, "-R", f'dump {path} "{target}"', str(image)])
        copied = target
    if not copied.exists():  # debugfs ends with status 0 whatever happens
        raise GuestError(f"{image}: expected {path} in it; the guest did not write it, or was not "
                         "shut down")
    return copied


# ---- the guest ----


@dataclass(frozen=True)
class Architecture:
    """What differs between kinds of machine."""

    qemu: str
    qemu_package: str
    machine: str
    cpu: str
    console: str


ARCHITECTURES = {
    # Skylake-Server: its machine check banks take an injected error as a real one does; on an AMD
    # model the same error is fatal.
    "x86_64": Architecture("qemu-system-x86_64", "qemu-system-x86", "pc", "Skylake-Server",
                           "ttyS0"),
    "aarch64": Architecture("qemu-system-aarch64", "qemu-system-arm", "virt", "cortex-a72",
                            "ttyAMA0"),
}


@dataclass(frozen=True)
class Machine:
    """The hardware of a guest."""

    memory_mib: int = 512
    cpus: int = 1
    cpu: str = ""  # empty: the architecture's default
    kind: str = ""  # QEMU's -machine; empty: the architecture's default
    qemu: Program | None = None  # none: the one that is installed
    extra: tuple[str, ...] = ()  # further QEMU arguments
    # QEMU arguments with a boot loader, which then starts the kernel; none: QEMU does.
    loader: tuple[str, ...] = ()


@dataclass(frozen=True)
class CommandResult:
    command: str
    status: int
    stdout: bytes
    stderr: bytes

    @property
    def text(self) -> str:
        return self.stdout.decode()

    @property
    def errors(self) -> str:
        return self.stderr.decode(errors="replace").strip()


class Guest:
    """A running machine. Use it in a `with` statement: QEMU is gone afterwards, whatever happens.

    Control channel, on the second serial port, one line at a time:

        guest   hello BOOT RELEASE BOOT_ID                    after every boot, kexec or cold
        host    run ID LENGTH COMMAND LENGTH INPUT            both in base64, "-" if empty
        guest   reply ID STATUS
                base64 lines
                stderr ID
                base64 lines
                end ID
        guest   again                                         it lost the beginning of a request

    One request is under way at a time. Results go to the folder `results`: console.log (all boots),
    qemu.log, control.log (every command with its status and output).
    """

    def __init__(self, kernel: Kernel, initramfs: Path, disk: Path, results: Path,
                 machine: Machine = Machine(), append: str = ""):
        self.results = results
        results.mkdir(parents=True, exist_ok=True)
        self.boot_number = 1
        self.release = ""
        self._boot_id = ""
        self._append = append
        self._architecture = ARCHITECTURES[kernel.arch]
        self._request = 0
        self._sent = b""  # the line of that request
        self._console = results / "console.log"
        self._log = open(results / "control.log", "w", encoding="utf-8")
        self._start(kernel, initramfs, disk, machine)

    def __enter__(self) -> Guest:
        try:
            self._wait_for_hello()
            self._qmp_greeting()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def command_line(self, extra: str = "") -> str:
        """The kernel parameters of the next boot, with `extra` at their end."""
        # panic=-1 with -no-reboot: a panic ends QEMU at once instead of running into a time limit.
        # mitigations=off: page table isolation makes the emulator several times slower.
        # no_timer_check: on a busy host the emulated timer misses the few ticks that x86 waits for
        # before it panics (arch/x86/kernel/apic/io_apic.c, timer_irq_works).
        words = [f"console={self._architecture.console}", "panic=-1", "quiet", "mitigations=off",
                 "no_timer_check",
                 f"rig.boot={self.boot_number}", self._append, extra]
        return " ".join(word for word in words if word)

    def run(self, command: str, stdin: bytes = b"", timeout: float = COMMAND_SECONDS
            ) -> CommandResult:
        """Runs a shell command in the guest; stdout, stderr and status come back exactly."""
        identifier = self._send_request(command, stdin)
        deadline = time.monotonic() + timeout
        what = f"the command '{_shortened(command)}'"
        status = self._expect("reply", identifier, deadline, what)
        stdout = self._read_base64(f"stderr {identifier}", deadline, what)
        stderr = self._read_base64(f"end {identifier}", deadline, what)
        if status == "garbled":
            raise self._error(f"characters of {what} were lost on the control channel")
        result = CommandResult(command, int(status), stdout, stderr)
        self._log_result(result)
        return result

    def check(self, command: str, stdin: bytes = b"", timeout: float = COMMAND_SECONDS) -> str:
        """As run(), for a command that must succeed; returns its standard output."""
        result = self.run(command, stdin, timeout)
        if result.status != 0:
            raise self._error(f"'{_shortened(command)}' ended with status {result.status}: "
                              f"{result.errors or result.text.strip()}")
        return result.text

    def push(self, data: bytes, path: str, mode: int = 0o644) -> None:
        """Writes a file in the guest. For megabytes, the disk image or initramfs is faster."""
        quoted = shlex.quote(path)
        self.check(f": >{quoted} && chmod {mode:o} {quoted}")
        for start in range(0, len(data), PUSH_CHUNK_BYTES):
            self.check(f"cat >>{quoted}", stdin=data[start:start + PUSH_CHUNK_BYTES])

    def pull(self, path: str) -> bytes:
        result = self.run(f"cat {shlex.quote(path)}")
        if result.status != 0:
            raise self._error(f"cannot read {path} in the guest: {result.errors}")
        return result.stdout

    def qmp(self, command: str, **arguments: object) -> object:
        """A command of QEMU's machine protocol; returns its "return" value."""
        request = {"execute": command, "arguments": arguments}
        self._qmp.send(json.dumps(request).encode() + b"\n")
        deadline = time.monotonic() + COMMAND_SECONDS
        while True:
            answer = json.loads(self._read_line(self._qmp, deadline, f"QMP {command}"))
            if "error" in answer:
                raise self._error(f"QMP {command}: {answer['error'].get('desc')}")
            if "return" in answer:
                return answer["return"]

    def monitor(self, command: str) -> str:
        """A command of QEMU's human monitor, for what QMP has no command (such as `mce`)."""
        return str(self.qmp("human-monitor-command", **{"command-line": command}))

    def kexec(self, vmlinuz: str, initramfs: str, extra: str = "") -> None:
        """Boots another kernel from within this one; returns when the new one says hello.

        The disk is unmounted first: kexec -e does not look after file systems."""
        self.boot_number += 1
        line = shlex.quote(self.command_line(extra))
        self.check(f"kexec -s -l {vmlinuz} --initrd={initramfs} --command-line={line}")
        self.check("sync && umount /disk")
        identifier = self._send_request("kexec -e", b"")
        self._wait_for_hello(refusal=identifier)

    def start_next(self, command: str) -> None:
        """Runs a command that ends in another kernel; returns when that says hello. The caller has
        counted `boot_number` up, which is on the command line."""
        self._wait_for_hello(refusal=self._send_request(command, b""))

    def power_off(self) -> None:
        """Shuts down cleanly, so that the disk image can be read on the host."""
        self.check("sync && umount /disk")
        self._send_request("poweroff -f", b"")
        try:
            self._process.wait(SHUTDOWN_SECONDS)
        except subprocess.TimeoutExpired:
            raise self._error(f"QEMU still ran {SHUTDOWN_SECONDS} s after poweroff") from None

    def kill(self) -> None:
        """Ends QEMU; the disk image is then what a power cut leaves."""
        self._process.kill()
        self._process.wait()
        for connection in (self._control, self._qmp):
            connection.close()
        self._log.close()

    # -- below: how --

    def _start(self, kernel: Kernel, initramfs: Path, disk: Path, machine: Machine) -> None:
        kind = self._architecture
        if machine.qemu:
            qemu = list(machine.qemu.command)
            qemu += [word for folder in machine.qemu.data for word in ("-L", str(folder))]
        else:
            qemu = [need_program(kind.qemu, kind.qemu_package)]
        self._control, control_end = _LineSocket.pair()
        self._qmp, qmp_end = _LineSocket.pair()
        # pdeathsig: QEMU does not outlive us, even if ctest kills us at its time limit.
        arguments = [
            need_program("setpriv", "util-linux"), "--pdeathsig", "KILL", *qemu,
            "-accel", "tcg", "-machine", machine.kind or kind.machine, "-cpu", machine.cpu or kind.cpu,
            "-smp", str(machine.cpus), "-m", str(machine.memory_mib),
            "-nodefaults", "-display", "none", "-no-reboot",
            *(machine.loader or ("-kernel", str(kernel.vmlinuz), "-initrd", str(initramfs),
                                 "-append", self.command_line())),
            "-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console",
            "-chardev", f"socket,id=control,fd={control_end.fileno()}", "-serial",
            "chardev:control",
            "-chardev", f"socket,id=qmp,fd={qmp_end.fileno()}", "-mon", "chardev=qmp,mode=control",
            "-drive", f"file={_escape_commas(disk)},if=none,id=disk,format=raw,cache=writeback",
            # bootindex: UEFI connects no other disks, and a boot loader would not see this one.
            "-device", "virtio-blk-pci,drive=disk" + (",bootindex=1" if machine.loader else ""),
            *machine.extra,
        ]
        self._log.write(shlex.join(arguments) + "\n")
        with open(self._console, "wb") as console, open(self.results / "qemu.log", "wb") as errors:
            self._process = subprocess.Popen(
                arguments, stdin=subprocess.DEVNULL, stdout=console, stderr=errors,
                pass_fds=(control_end.fileno(), qmp_end.fileno()))
        control_end.close()
        qmp_end.close()

    def _qmp_greeting(self) -> None:
        self._read_line(self._qmp, time.monotonic() + COMMAND_SECONDS, "QMP greeting")
        self.qmp("qmp_capabilities")

    def _wait_for_hello(self, refusal: int | None = None) -> None:
        """Waits for a kernel's hello; `refusal` is the request whose answer means there is none."""
        deadline = time.monotonic() + BOOT_SECONDS
        what = f"the hello of boot {self.boot_number}"
        while True:
            words = self._read_line(self._control, deadline, what).split()
            if refusal is not None and words[:2] == [b"reply", str(refusal).encode()]:
                self._read_base64(f"stderr {refusal}", deadline, what)
                reason = self._read_base64(f"end {refusal}", deadline, what)
                raise self._error(f"kexec -e came back: {reason.decode(errors='replace').strip()}")
            if len(words) == 4 and words[0] == b"hello":
                break
        boot, release, boot_id = (word.decode() for word in words[1:])
        if boot != str(self.boot_number) or boot_id == self._boot_id:
            raise self._error(f"expected {what}, but boot {boot} ({release}) said hello")
        self.release, self._boot_id = release, boot_id
        self._log.write(f"--- boot {boot}: {release}\n")
        self._log.flush()

    def _send_request(self, command: str, stdin: bytes) -> int:
        self._request += 1
        self._log.write(f"$ {command}\n")
        self._log.flush()
        fields = [b"run", str(self._request).encode()]
        for part in (command.encode(), stdin):
            encoded = base64.b64encode(part) or b"-"
            fields += [str(len(encoded)).encode(), encoded]
        self._sent = b" ".join(fields) + b"\n"
        self._control.send(self._sent)
        return self._request

    def _expect(self, word: str, identifier: int, deadline: float, what: str) -> str:
        """The rest of the line that starts with `word` and our number; others are not for us."""
        prefix = f"{word} {identifier} ".encode()
        while True:
            line = self._read_line(self._control, deadline, what)
            if line.startswith(prefix):
                return line[len(prefix):].decode()
            if line.startswith(b"hello "):
                raise self._error(f"the guest rebooted during {what}")
            if line == b"again":  # it lost the beginning of the request
                self._control.send(self._sent)

    def _read_base64(self, end: str, deadline: float, what: str) -> bytes:
        lines = []
        while (line := self._read_line(self._control, deadline, what)) != end.encode():
            lines.append(line)
        return base64.b64decode(b"".join(lines))

    def _read_line(self, connection: _LineSocket, deadline: float, what: str) -> bytes:
        try:
            return connection.read_line(deadline)
        except TimeoutError:
            raise self._error(f"time limit: {what} did not come") from None
        except (EOFError, ConnectionError):
            raise self._error(f"QEMU ended while waiting for {what}") from None

    def _log_result(self, result: CommandResult) -> None:
        for name, data in (("", result.stdout), ("! ", result.stderr)):
            try:
                text = data.decode()
            except UnicodeDecodeError:
                text = f"({len(data)} bytes, not text)"
            lines = _shortened(text, 4000).splitlines()
            self._log.write("".join(f"  {name}{line}\n" for line in lines))
        self._log.write(f"  = {result.status}\n")
        self._log.flush()

    def _error(self, message: str) -> GuestError:
        tail = self._console.read_bytes().decode(errors="replace").splitlines()
        tail = [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|[\r\x1bc]+$", "", line).rstrip() for line in tail]
        shown = "\n".join(f"  | {line}" for line in tail[-CONSOLE_TAIL_LINES:])
        qemu = (self.results / "qemu.log").read_text(errors="replace").strip()
        parts = [message, f"end of the console ({self._console}):", shown or "  | (nothing)"]
        if qemu and self._process.poll() is not None:
            parts += ["QEMU said:", qemu]
        return GuestError("\n".join(parts))


class SystemGuest(Guest):
    """A guest with an operating system that systemd started; guest-control.sh is a service of it."""

    SHUTDOWN_SECONDS = 180  # 5 to 20 on an idle machine

    def kexec(self, vmlinuz: str, initramfs: str, extra: str = "") -> None:
        self._load(vmlinuz, initramfs, extra)
        # The command must not end, or its answer would be taken for a refusal.
        self.start_next("systemctl kexec && sleep 600")

    def kexec_at_once(self, vmlinuz: str, initramfs: str, extra: str = "") -> None:
        """Without a shutdown: no process is told anything."""
        self._load(vmlinuz, initramfs, extra)
        self.start_next("sync && kexec -e")

    def _load(self, vmlinuz: str, initramfs: str, extra: str) -> None:
        self.boot_number += 1
        line = shlex.quote(self.command_line(extra))
        self.check(f"kexec -s -l {vmlinuz} --initrd={initramfs} --command-line={line}")

    def power_off(self) -> None:
        self._send_request("systemctl poweroff && sleep 600", b"")
        try:
            self._process.wait(self.SHUTDOWN_SECONDS)
        except subprocess.TimeoutExpired:
            raise self._error(f"QEMU still ran {self.SHUTDOWN_SECONDS} s after poweroff") from None


def boot_once(kernel: Kernel, initrd: Path, results: Path, memory_mib: int,
              extra: tuple[str, ...] = (), cpu: str = "") -> str:
    """Boots a machine whose init (report-init.sh, replay-init.sh) reports on the console and powers
    off; the console's text. `cpu`: as Machine.cpu."""
    kind = ARCHITECTURES[kernel.arch]
    arguments = [need_program(kind.qemu, kind.qemu_package), "-accel", "tcg", "-machine",
                 kind.machine, "-cpu", cpu or kind.cpu, "-m", str(memory_mib), "-nodefaults", "-display",
                 "none", "-no-reboot", "-serial", "stdio", "-kernel", str(kernel.vmlinuz),
                 "-initrd", str(initrd), "-append", f"console={kind.console} panic=-1 quiet",
                 *extra]
    results.mkdir(parents=True, exist_ok=True)
    done = run_on_host([need_program("setpriv", "util-linux"), "--pdeathsig", "KILL", *arguments],
                       timeout=BOOT_SECONDS)
    text = done.stdout.decode(errors="replace")
    (results / "console.log").write_text(shlex.join(arguments) + "\n" + text)
    if "REPORT END" not in text:
        raise GuestError(f"the guest did not report; end of its console ({results}/console.log):\n"
                         + "\n".join(text.splitlines()[-CONSOLE_TAIL_LINES:]) +
                         done.stderr.decode(errors="replace"))
    return text


class _LineSocket:
    """One end of a socket pair, read by lines with a deadline."""

    def __init__(self, connection: socket.socket):
        self._socket = connection
        self._pending = b""

    @classmethod
    def pair(cls) -> tuple[_LineSocket, socket.socket]:
        ours, theirs = socket.socketpair()
        return cls(ours), theirs

    def send(self, data: bytes) -> None:
        self._socket.settimeout(COMMAND_SECONDS)
        self._socket.sendall(data)

    def read_line(self, deadline: float) -> bytes:
        parts = [self._pending]
        while b"\n" not in parts[-1]:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            self._socket.settimeout(left)
            data = self._socket.recv(65536)
            if not data:
                raise EOFError
            parts.append(data)
        line, _, self._pending = b"".join(parts).partition(b"\n")
        return line.rstrip(b"\r")

    def close(self) -> None:
        self._socket.close()


def _shortened(text: str, most: int = 300) -> str:
    return text if len(text) <= most else f"{text[:most]}... ({len(text)} characters)"


def _escape_commas(path: Path) -> str:
    return str(path).replace(",", ",,")
