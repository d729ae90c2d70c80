#!/usr/bin/env python3
"""The story that demo.sh tells: memory fails in a real kernel, and the next one never uses it.

    demo.py --poisonctl FILE [--kernel NAME] [--cache DIR]

Every command is printed as it runs in the guest, with what it really said. What the story claims is
checked; if it does not hold, it ends there with status 1 (2 if something has to be installed first).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

import kernels
import rig
import steps

POISONCTL = f"poisonctl --registry {steps.REGISTRY}"
COLOURS = sys.stdout.isatty() and not os.environ.get("NO_COLOR")


class QuietBench(steps.Bench):
    """The steps' own remarks are for tests; here the story speaks."""

    def say(self, text: str) -> None:
        pass


def say(text: str) -> None:
    print(f"\n\033[1m# {text}\033[0m" if COLOURS else f"\n# {text}", flush=True)


def show_output(output: str) -> None:
    print(output.rstrip("\n"), flush=True)


def typed(guest: rig.Guest, command: str) -> str:
    """Runs a command that must succeed and shows it as one sees it on a terminal."""
    print(f"$ {command}", flush=True)
    result = guest.run(command)
    show_output("\n".join(filter(None, (result.text.strip("\n"), result.errors))))
    steps.expect(result.status == 0, f"'{command}' ended with status {result.status}")
    return result.text


def fail_a_frame(guest: rig.Guest) -> int:
    """A machine check at a free frame, which the kernel takes and handles."""
    [frame] = steps.choose_free_frames(guest, 1)
    say(f"The hardware of the guest reports an uncorrectable memory error at {frame:#x}, a free frame")
    print(f"(qemu) mce 0 9 0xbd000000000000c0 0x5 {frame:#x} 0x8c")  # what the next step does
    steps.inject_machine_check(guest, frame)
    typed(guest, "dmesg | grep 'Memory failure'")
    typed(guest, "grep HardwareCorrupted /proc/meminfo")
    return frame


def remember(guest: rig.Guest, frame: int) -> str:
    """From the kernel's page flags into the registry, and from there to a kernel parameter."""
    say("poisonctl finds the frame in the kernel's page flags and remembers where it learnt of it")
    typed(guest, f"{POISONCTL} collect kernel")
    typed(guest, f"{POISONCTL} show {frame:#x}")
    say("What would keep the frame out of the next kernel, and what that costs")
    typed(guest, f"{POISONCTL} plan e820")
    return typed(guest, f"{POISONCTL} emit e820").strip()


def boot_next(guest: rig.Guest, parameter: str) -> None:
    say("kexec into a kernel that saw no error and has only the parameter to go by")
    before = guest.check("cat /proc/sys/kernel/random/boot_id")
    guest.kexec(steps.VMLINUZ, steps.INITRAMFS, parameter)
    after = guest.check("cat /proc/sys/kernel/random/boot_id")
    steps.expect(before != after, "expected another boot after kexec")
    log = (guest.results / "control.log").read_text(encoding="utf-8")
    for line in log.splitlines():
        if line.startswith("$ kexec "):
            print(line)
    typed(guest, "uname -sr; cat /proc/sys/kernel/random/boot_id")


def check_excluded(guest: rig.Guest, frame: int) -> None:
    number = frame // steps.FRAME
    typed(guest, "grep HardwareCorrupted /proc/meminfo")
    say("This kernel's memory map calls the frame unusable; its page flags say reserved (bit 32)")
    typed(guest, "grep -E 'System RAM|Unusable' /proc/iomem")
    typed(guest, f"dd if=/proc/kpageflags bs=8 skip={number} count=1 2>/dev/null | od -An -t x8")
    flags = steps.FrameFlags(guest)
    steps.expect(flags.excluded(frame), f"the frame is not excluded: {flags.describe(frame)}")
    typed(guest, f"{POISONCTL} verify")


def sweep(guest: rig.Guest, frame: int) -> None:
    say("The proof: a program takes nearly all free memory and looks for the frame among what it got")
    result = json.loads(typed(guest, f"alloc_sweep {frame // steps.FRAME:#x}"))
    steps.expect(result["coverage"] > 0.95,
                 f"the program got only {100 * result['coverage']:.1f} % of the free memory")
    steps.expect(not result["got"], "the kernel handed the bad frame out")
    say(f"{result['taken']} of {result['free']} free frames were handed out; {frame:#x} was not among "
        "them")


def tell(bench: steps.Bench) -> None:
    started = time.monotonic()
    say(f"3. An emulated machine boots Debian's {bench.kernel.release} "
        f"with {bench.machine.memory_mib} MiB")
    with bench.boot() as guest:
        typed(guest, "uname -sr; cat /proc/sys/kernel/random/boot_id")
        frame = fail_a_frame(guest)
        boot_next(guest, remember(guest, frame))
        check_excluded(guest, frame)
        sweep(guest, frame)
        guest.power_off()
    print(f"(Two boots and all of this took {time.monotonic() - started:.0f} s.)")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--poisonctl", required=True, type=Path, metavar="FILE")
    parser.add_argument("--kernel", default="debian12", choices=kernels.KERNELS)
    parser.add_argument("--cache", type=Path, default=kernels.default_cache(), metavar="DIR")
    arguments = parser.parse_args()
    cache = arguments.cache.absolute()
    with tempfile.TemporaryDirectory(prefix="poisonctl-demo-") as folder:
        results = Path(folder)
        try:
            tell(QuietBench(kernel=kernels.find_kernel(cache, arguments.kernel),
                            kexec_tools=kernels.find_program(cache, "kexec-tools"),
                            poisonctl=arguments.poisonctl.absolute(),
                            alloc_sweep=steps.build_helper("alloc_sweep", results), cache=cache, results=results))
        except kernels.MissingPrerequisite as error:
            print(f"demo.py: prerequisite missing: {error}", file=sys.stderr)
            return 2
        except (steps.ScenarioFailure, rig.GuestError) as error:
            print(f"demo.py: the story does not hold: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
