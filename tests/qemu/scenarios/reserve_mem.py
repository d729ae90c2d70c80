"""The list crosses a kexec in the region of pstore that reserve_mem= sets aside: what 'emit' prints is
the command line of both kernels, 'apply' writes the list, and the next kernel finds it."""

from kho_steps import REGISTRY, KhoGuest, expect_conditions
from steps import Bench, choose_free_frames, expect, kexec

KHO = "kho=on no_timer_check"  # without live update: nothing else carries a list


def run(bench: Bench) -> None:
    with bench.boot(append=KHO) as guest:
        kho = KhoGuest(guest)
        kho.tool.run("record", f"{choose_free_frames(guest, 1)[0]:#x}")
        lacking = guest.run(f"poisonctl --registry {REGISTRY} apply reserve-mem")
        expect(lacking.status == 69 and "emit reserve-mem" in lacking.errors,
               f"apply reserve-mem without a region: {lacking.status} {lacking.errors}")
        options = kho.tool.run("emit", "reserve-mem").strip()
        guest.power_off()
    with bench.boot(append=f"{KHO} {options}", name="region") as guest:
        kho = KhoGuest(guest)
        frames = choose_free_frames(guest, 20)
        kho.tool.run("record", *(f"{frame:#x}" for frame in frames[:10]), "--kind", "ue")
        kho.tool.run("apply", "reserve-mem")
        # A newer list behind the older one.
        kho.tool.run("record", *(f"{frame:#x}" for frame in frames[10:]), "--kind", "ue")
        kho.tool.run("apply", "reserve-mem")
        guest.check("echo 'what somebody else logs' >/dev/pmsg0")
        kho.keep_key()
        for boot in (2, 3):
            kexec(bench, guest)
            kho = KhoGuest(guest, key=kho.key)
            guest.check("mount -t pstore pstore /sys/fs/pstore")
            answer = kho.receive()
            expect((answer["taken"] or "").startswith("/sys/fs/pstore/pmsg-ramoops-0, offset "),
                   f"boot {boot} took no list from pstore: {answer}")
            expect_conditions(kho.tool, dict.fromkeys(frames, "faulty"))
            kho.tool.run("apply", "reserve-mem")
        bench.say(f"taken: {answer['taken']}")
        # A list that the region has no room for is refused.
        kexec(bench, guest, "ramoops.pmsg_size=0x1000")
        guest.check("awk 'BEGIN { for (i = 0; i < 500; i++) printf \"0x%x\\n\", 65536 + 2 * i }' "
                    f">/run/pfns && poisonctl --registry {REGISTRY} -q collect pfn /run/pfns")
        refused = guest.run(f"poisonctl --registry {REGISTRY} apply reserve-mem")
        expect(refused.status == 77 and "emit reserve-mem" in refused.errors,
               f"a list that does not fit: {refused.status} {refused.errors}")
        guest.power_off()
