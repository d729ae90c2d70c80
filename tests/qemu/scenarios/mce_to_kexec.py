"""A machine check retires a frame; the registry keeps it out of the next kernel."""

from steps import (Bench, Poisonctl, choose_free_frames, expect, expect_effective, expect_excluded,
                   expect_records, expect_whole_plan, inject_machine_check, kexec, system_ram)


def run(bench: Bench) -> None:
    with bench.boot() as guest:
        tool = Poisonctl.in_guest(guest)
        ram = system_ram(guest)
        frames = choose_free_frames(guest, 1)

        bench.say(f"machine check at {frames[0]:#x}")
        inject_machine_check(guest, frames[0])
        tool.collect_kernel()
        expect_records(tool, frames)
        expect_effective(tool, frames)  # by this kernel itself; what follows is about the next

        plan = tool.plan()
        expect(plan.available, "plan: the backend e820 is not available on this machine")
        expect_whole_plan(plan, frames)
        expect(not plan.refused, f"plan: one frame refused: {plan.reasons}")
        parameter = tool.emit_e820(plan)
        bench.say(parameter)

        kexec(bench, guest, parameter)
        expect_records(tool, frames)
        expect_excluded(bench, guest, frames, ram)
        expect_effective(tool, frames)
        guest.power_off()
