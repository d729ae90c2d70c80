"""What goes wrong with preserved memory on the way, and that it is said: a holder that is killed, a
flipped bit, 'kexec -c', KHO off, a kernel without it or with another version, a device that is
busy. Never a wrong list, and nothing of other programs is touched."""

import shlex

import rig
from kho_steps import CHAIN_OPTIONS, PRESERVED, REGISTRY, Hold, KhoGuest, expect_conditions
from steps import (DISK_MIB, INITRAMFS, VMLINUZ, Bench, ScenarioFailure, choose_free_frames, expect,
                   poison)

OTHER_KHO, OTHER_LUO = "/disk/boot/other-kho", "/disk/boot/other-luo"
NO_KHO, NO_KHO_INITRAMFS = "/disk/boot/no-kho", "/disk/boot/initramfs-no-kho"


def run(bench: Bench) -> None:
    newest = bench.other_kernel("newest")
    own = bench.initramfs(bench.kernel)
    disk = rig.make_disk(bench.results / "disk.img", DISK_MIB + 64, {
        name.removeprefix("/disk"): path for name, path in {
            VMLINUZ: bench.kernel.vmlinuz, INITRAMFS: own,
            OTHER_KHO: bench.kernel.variant("other-kho"),
            OTHER_LUO: bench.kernel.variant("other-luo"),
            NO_KHO: newest.vmlinuz, NO_KHO_INITRAMFS: bench.initramfs(newest)}.items()})
    with bench.boot(disk=disk, append=CHAIN_OPTIONS) as guest:
        kho = KhoGuest(guest)
        frames = choose_free_frames(guest, 2, avoid=kho.scratch_frames())
        expected = {frame: "faulty" for frame in frames}
        poison(guest, frames)
        kho.tool.collect_kernel()
        kho = killed_holders(bench, guest, kho, expected)
        kho = flipped_bit(bench, guest, kho, expected)
        kho = lost_ways(bench, guest, kho, expected)
        other_kernels(bench, guest, kho, expected)


def hop(bench: Bench, guest: rig.Guest, kho: KhoGuest, why: str, loader: str = "-s",
        vmlinuz: str = VMLINUZ, initramfs: str = INITRAMFS, extra: str = "") -> KhoGuest:
    """A kexec by hand; the registry of the guest goes with its memory."""
    bench.say(why)
    kho.keep_key()
    guest.boot_number += 1
    line = shlex.quote(guest.command_line(extra))
    guest.check(f"kexec {loader} -l {vmlinuz} --initrd={initramfs} --command-line={line}")
    guest.check("sync && umount /disk")
    guest.start_next("kexec -e")
    return KhoGuest(guest, key=kho.key)


def record_again(kho: KhoGuest, expected: dict[int, str]) -> None:
    for frame in expected:
        kho.tool.run("record", f"{frame:#x}", "--kind", "ue")


def expect_taken(kho: KhoGuest, expected: dict[int, str]) -> None:
    answer = kho.receive()
    expect((answer["taken"] or "").startswith(PRESERVED), f"no list was taken: {answer}")
    expect_conditions(kho.tool, expected)


def expect_nothing(kho: KhoGuest, what: str) -> None:
    answer = kho.receive()
    expect(answer["lists"] == [] and answer["taken"] is None, f"{what}: a list came: {answer}")


def killed_holders(bench: Bench, guest: rig.Guest, kho: KhoGuest,
                   expected: dict[int, str]) -> KhoGuest:
    # At many moments: before it has opened the device, while it preserves, after.
    for microseconds in (0, 5000, 20000, 50000, 100000, 150000, 200000, 300000, 500000):
        guest.check(f"poisonctl --registry {REGISTRY} kho hold >/run/hold.out 2>&1 & "
                    f"usleep {microseconds}; kill -9 $!; wait $!; test $? -eq 137")
    # None of them has left anything behind: the first session is free.
    said = Hold(guest).wait_for("session ")
    expect("session poisonctl-0" in said, f"a killed holder still has a session: {said}")
    second = guest.run(f"(poisonctl --registry {REGISTRY} kho hold >/run/second.out 2>&1 & "
                       "echo $! >/run/second.pid); sleep 3; cat /run/second.out; "
                       "kill $(cat /run/second.pid)")
    expect("session poisonctl-1" in second.text, f"a second holder: {second.text}")
    kho.keep_key()
    kho = hop(bench, guest, kho, "a holder that lives, after nine that were killed")
    expect_taken(kho, expected)

    hold = Hold(guest)
    hold.kill()
    kho = hop(bench, guest, kho, "the holder was killed after it had preserved")
    expect_nothing(kho, "the holder was killed")
    record_again(kho, expected)
    return kho


def flipped_bit(bench: Bench, guest: rig.Guest, kho: KhoGuest,
                expected: dict[int, str]) -> KhoGuest:
    hold = Hold(guest)
    memory = guest.check(f"for f in /proc/{hold.pid()}/fd/*; do case $(readlink $f) in "
                         "*poisonctl-list*) echo $f;; esac; done").strip()
    guest.check(f"printf '\\377' | dd of={memory} bs=1 seek=300 conv=notrunc 2>/dev/null")
    kho = hop(bench, guest, kho, "a byte of the preserved list has changed")
    answer = kho.receive(status=1)
    expect(answer["taken"] is None, f"a list with a changed byte was taken: {answer}")
    expect(any("bad-signature" in f or "poisonctl-0.0" in f for f in answer["findings"]),
           f"nothing was said of the changed byte: {answer}")
    listed = guest.run(f"poisonctl --registry {REGISTRY} list")
    expect(listed.status == 66, f"a registry was made of a list that is not believed: {listed.text}")
    record_again(kho, expected)

    # With a good list before it in the other slot, that one is taken, and the bad one is said.
    hold = Hold(guest)
    kho.tool.run("record", "0x9fc0000", "--kind", "ce")  # a suspect: another generation
    hold.wait_for_generation(kho)
    memory = guest.check(f"for f in /proc/{hold.pid()}/fd/*; do case $(readlink $f) in "
                         "*poisonctl-list*) echo $f;; esac; done").strip()
    guest.check(f"printf '\\377' | dd of={memory} bs=1 seek={65536 + 300} conv=notrunc 2>/dev/null")
    kho = hop(bench, guest, kho, "a byte of the newest list has changed, not of the one before")
    answer = kho.receive(status=1)
    expect((answer["taken"] or "").endswith(".0"), f"the good list was not taken: {answer}")
    expect_conditions(kho.tool, expected)
    return kho


def lost_ways(bench: Bench, guest: rig.Guest, kho: KhoGuest,
              expected: dict[int, str]) -> KhoGuest:
    # kexec_load knows nothing of KHO, and nobody can see how an image was loaded: the plan says so.
    plan = kho.tool.json("plan", "kho", schema="poisonctl/plan-v1", statuses=(0, 1))
    expect(any("kexec -c" in effect for effect in plan["backends"][0]["side_effects"]),
           f"the plan does not say that kexec -c loses the list: {plan}")
    Hold(guest)
    kho = hop(bench, guest, kho, "kexec -c", loader="-c")
    expect_nothing(kho, "kexec -c")
    record_again(kho, expected)

    Hold(guest)
    kho = hop(bench, guest, kho, "kho=off in the next kernel", extra="kho=off")
    expect_nothing(kho, "kho=off")
    record_again(kho, expected)
    held = guest.run(f"poisonctl --registry {REGISTRY} kho hold")
    expect(held.status == 69 and "kho=on" in held.errors,
           f"kho hold with KHO off: {held.status} {held.errors}")
    seen = guest.run("poisonctl kho inspect")
    expect(seen.status == 69 and "kho=on" in seen.errors, f"kho inspect with KHO off: {seen.errors}")

    kho = hop(bench, guest, kho, "back to KHO")
    record_again(kho, expected)
    # Somebody else has the device open: said, with what to do, and tried again it works.
    guest.check("sleep 1000 3<>/dev/liveupdate & echo $! >/run/busy.pid; sleep 0.2")
    held = guest.run(f"poisonctl --registry {REGISTRY} kho hold")
    expect(held.status == 75 and "try again" in held.errors,
           f"kho hold while the device is busy: {held.status} {held.errors}")
    guest.check("kill $(cat /run/busy.pid); sleep 0.2")

    Hold(guest)
    kho = hop(bench, guest, kho, "a kernel with another version of KHO", vmlinuz=OTHER_KHO)
    expect_nothing(kho, "another version of KHO")
    record_again(kho, expected)
    kho = hop(bench, guest, kho, "and back")
    expect_nothing(kho, "back from another version of KHO")
    record_again(kho, expected)
    return kho


def other_kernels(bench: Bench, guest: rig.Guest, kho: KhoGuest,
                  expected: dict[int, str]) -> None:
    def kexec_verb(*options: str, vmlinuz: str = OTHER_LUO, initramfs: str = INITRAMFS,
                   extra: str = "") -> str:
        return shlex.join(["poisonctl", "--registry", REGISTRY, "-v", "kexec", "--kernel", vmlinuz,
                           "--initrd", initramfs, "--append", guest.command_line(extra), *options])

    refused = guest.run(kexec_verb("--load-only"))
    expect(refused.status == 77 and "kho=off" in refused.errors,
           f"a kernel with another form of live update was not refused: {refused.status} "
           f"{refused.errors}")
    expect(guest.check("cat /sys/kernel/kexec_loaded").strip() == "0", "it was loaded all the same")
    said = guest.check(kexec_verb("--load-only", vmlinuz=NO_KHO, initramfs=NO_KHO_INITRAMFS,
                                  extra="kho=off") + " 2>&1")
    expect("initramfs alone" in said, f"nothing was said of a kernel without KHO: {said}")

    # The same build: no refusal, and this process holds the list itself.
    kho.keep_key()
    bench.say("poisonctl kexec holds the list itself")
    guest.boot_number += 1
    guest.start_next(kexec_verb(vmlinuz=VMLINUZ))
    kho = KhoGuest(guest, key=kho.key)
    answer = kho.receive()
    expect(len(answer["lists"]) == 2, f"expected a list in memory and one in the root: {answer}")
    expect((answer["taken"] or "").startswith(PRESERVED), f"no list was taken: {answer}")
    expect_conditions(kho.tool, expected)

    # Without KHO the initramfs has it.
    bench.say("poisonctl kexec to a kernel without KHO")
    kho.keep_key()
    guest.boot_number += 1
    guest.start_next(kexec_verb(vmlinuz=NO_KHO, initramfs=NO_KHO_INITRAMFS, extra="kho=off"))
    kho = KhoGuest(guest, key=kho.key)
    answer = kho.receive()
    expect(answer["taken"] == "/poisonctl/handover", f"the list of the initramfs: {answer}")
    expect_conditions(kho.tool, expected)

    # Why it was refused: the kernel does panic. Back to live update first, and told otherwise.
    kho = hop(bench, guest, kho, "back to live update")
    record_again(kho, expected)
    guest.boot_number += 1
    try:
        guest.start_next(kexec_verb("--same-luo"))
    except rig.GuestError as error:
        expect("panic" in str(error), f"expected the panic of another form of live update: {error}")
        bench.say("a kernel with another form of live update panicked, as poisonctl had said")
        return
    raise ScenarioFailure("a kernel with another form of live update booted: the refusal is wrong")
