"""The counter-test: without the parameter the next kernel does hand the bad frame out.

If this one fails, a pass of the others proves nothing: the frame might be out of reach for another
reason.
"""

from steps import (Bench, FrameFlags, Poisonctl, choose_free_frames, expect, expect_not_effective,
                   expect_records, inject_machine_check, kexec, sweep)

SWEEPS = 3


def run(bench: Bench) -> None:
    with bench.boot() as guest:
        tool = Poisonctl.in_guest(guest)
        frames = choose_free_frames(guest, 1)

        bench.say(f"machine check at {frames[0]:#x}")
        inject_machine_check(guest, frames[0])
        tool.collect_kernel()

        # nokaslr: a kernel image that happens to land on the frame would hide it from the sweep.
        kexec(bench, guest, "nokaslr")
        expect_records(tool, frames)
        flags = FrameFlags(guest)
        expect(flags.free(frames[0]), "expected the frame to be free in a kernel that knows "
               f"nothing of it: {flags.describe(frames[0])}")

        expect_not_effective(tool, frames)

        # One sweep leaves a few frames out; the same one three times over is no accident.
        expect(any(sweep(bench, guest, frames) for _ in range(SWEEPS)),
               f"{SWEEPS} sweeps did not get the free frame {frames[0]:#x}")
        guest.power_off()
