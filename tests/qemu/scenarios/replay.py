"""Replay at boot: a handover in the initramfs, frames of every kind of use, lists that must not be
believed, and a replay that is killed, repeated, forbidden or blind."""

import json

import rig
from rig import Guest
from steps import (BUDDY, FRAME, HWPOISON, INITRAMFS, MIB, REGISTRY, RESERVED, STAYS_IN_PLACE,
                   VMLINUZ, Bench, FrameFlags, Poisonctl, Range, as_ranges, choose_free_frames,
                   expect, hardware_corrupted_kib, subtract, system_ram)

# include/uapi/linux/kernel-page-flags.h
DIRTY, LRU, SLAB, WRITEBACK, MMAP, ANON, SWAPBACKED = 4, 5, 7, 8, 11, 12, 14
COMPOUND_TAIL, HUGE, THP, PGTABLE = 16, 17, 22, 26
# From 32 on: fs/proc/page.c. The kernel keeps block buffers, which are PRIVATE, in use.
UNEVICTABLE, PRIVATE = 18, 35
REPORT = "/run/poisonctl/replay.json"
# Each with what has to be found.
BAD_LISTS = {"corrupt": "bad-signature", "forged": "unknown-key", "cut": "unreadable"}


def run(bench: Bench) -> None:
    bench.replays = True
    with bench.boot(append=STAYS_IN_PLACE) as guest:
        tool = Poisonctl.in_guest(guest)
        nothing_without_a_list(guest)
        frames = choose_free_frames(guest, 30)
        tool.run("record", *(f"{frame:#x}" for frame in frames))
        guest.check("mkdir -p /disk/next/etc/poisonctl /disk/next/poisonctl")
        guest.check(f"poisonctl --registry {REGISTRY} handover key "
                    ">/disk/next/etc/poisonctl/trusted-keys")
        tool.run("handover", "make", "-o", "/disk/good")
        make_bad_lists(guest, frames[0])

        boot_with_list(bench, guest, "/disk/good")
        retired_at_boot(bench, guest, tool, frames)
        recorded_once(bench, guest, tool, frames)
        killed_and_repeated(bench, guest)
        forbidden_and_blind(bench, guest)
        every_kind_of_use(bench, guest, tool)

        lists = {name: guest.pull(f"/disk/{name}") for name in (*BAD_LISTS, "half")}
        keys = guest.pull("/disk/next/etc/poisonctl/trusted-keys")
        guest.power_off()
    for name, blob in lists.items():
        with cold_boot_with_list(bench, name, blob, keys) as guest:
            if name == "half":
                half_is_bounded(bench, guest)
            else:
                nothing_retired(bench, guest, name, BAD_LISTS[name])
            guest.power_off()


def report(guest: Guest) -> dict:
    told = json.loads(guest.check(f"cat {REPORT}"))
    expect(told["schema"] == "poisonctl/replay-v1", f"{REPORT} has schema {told['schema']}")
    return told


def states(told: dict) -> dict[int, tuple[str, str]]:
    """(state, use) of each frame."""
    return {frame: (run["state"], run["use"]) for run in told["ranges"]
            for frame in range(run["address"], run["address"] + run["size"], FRAME)}


def expect_retired(guest: Guest, frames: list[int]) -> None:
    flags = FrameFlags(guest)
    left = [flags.describe(f) for f in frames
            if not flags.has(f, HWPOISON) or flags.has(f, BUDDY)]
    expect(not left, f"expected the frames to be flagged and off the free lists: {left[:8]}")


def nothing_without_a_list(guest: Guest) -> None:
    expect(guest.run(f"test -e {REPORT}").status != 0, "a report without a list")
    said = guest.check("cat /run/replay.out")
    expect(said == "", f"without a list poison-replay said {said!r}")


def make_bad_lists(guest: Guest, frame: int) -> None:
    # The next frame instead of this one: the form stays whole, the signature does not.
    blob = guest.pull("/disk/good")
    guest.push(blob.replace(frame.to_bytes(8, "big"), (frame + FRAME).to_bytes(8, "big")),
               "/disk/corrupt")
    guest.check("head -c 100 /disk/good >/disk/cut")
    other = Poisonctl.in_guest(guest, "/disk/forger.db")
    other.run("record", f"{200 * MIB:#x}")
    other.run("handover", "make", "-o", "/disk/forged")
    # Signed with our key, and for half of the memory: what a registry makes that was filled by
    # mistake.
    guest.check(f"cp {REGISTRY}.key /disk/half.db.key")
    ours = Poisonctl.in_guest(guest, "/disk/half.db")
    ours.run("record", f"{192 * MIB:#x}+{320 * MIB:#x}")
    ours.run("handover", "make", "-o", "/disk/half", "--bounds",
             "per-mille=1000,node-per-mille=1000,hard-per-mille=1000")


def boot_with_list(bench: Bench, guest: Guest, handover: str) -> None:
    """kexec with the handover in a second archive behind the initramfs."""
    bench.say(f"kexec with {handover} in the initramfs")
    guest.check(f"cp {handover} /disk/next/poisonctl/handover && cd /disk/next && "
                "find etc poisonctl | cpio -o -H newc >/disk/list.cpio 2>/dev/null && "
                f"cat {INITRAMFS} >/disk/initramfs && "
                # An archive begins at a multiple of 4 (init/initramfs.c).
                "size=$(stat -c %s /disk/initramfs) && "
                "head -c $(((4 - size % 4) % 4)) /dev/zero >>/disk/initramfs && "
                "cat /disk/list.cpio >>/disk/initramfs")
    guest.kexec(VMLINUZ, "/disk/initramfs")


def cold_boot_with_list(bench: Bench, name: str, blob: bytes, keys: bytes) -> Guest:
    """As a boot loader does that is given two archives."""
    plain = bench.results / f"initramfs-{bench.kernel.name}"
    image = bench.results / f"initramfs-{name}"
    data = plain.read_bytes()
    image.write_bytes(data + b"\0" * (-len(data) % 4) + rig.archive(
        {"etc/poisonctl/trusted-keys": keys, "poisonctl/handover": blob}))
    bench.say(f"cold boot with the {name} list")
    return Guest(bench.kernel, image, bench.results / "disk.img", bench.results / name,
                 bench.machine, STAYS_IN_PLACE)


def retired_at_boot(bench: Bench, guest: Guest, tool: Poisonctl, frames: list[int]) -> None:
    told = report(guest)
    bench.say(f"initramfs: {told['frames']}, {told['duration_us']} us")
    expect(told["stage"] == "initramfs" and told["flags_read"], f"unexpected report {told}")
    became = states(told)
    expect(sorted(became) == sorted(frames), f"expected {len(frames)} frames, got {len(became)}")
    effective = [frame for frame, (state, _) in became.items() if state == "effective"]
    # One that the kernel has already is named; a boot takes few of 30 scattered frames.
    expect(len(effective) >= len(frames) - 3, f"expected nearly all to be effective: {became}")
    expect_retired(guest, effective)
    expect(hardware_corrupted_kib(guest) == told["orders"] * FRAME // 1024,
           "HardwareCorrupted is not what was ordered")
    level = guest.check("cat /proc/sys/kernel/printk").split()[0]
    expect(level == "4", f"the console level is {level} after the replay, expected quiet's 4")


def recorded_once(bench: Bench, guest: Guest, tool: Poisonctl, frames: list[int]) -> None:
    status, output = tool.run_with_status("--json", "replay", statuses=(0, 1))
    told = json.loads(output)
    expect(told["stage"] == "service" and told["orders"] <= 3, f"expected no new orders: {told}")
    expect(told["handovers"] and told["handovers"][0]["used"], "the initramfs' list is forgotten")
    shown = tool.json("show", f"{frames[0]:#x}", schema="poisonctl/events-v1")
    outcomes = [e for e in shown["events"] if e["kind"] == "outcome" and e["source"] == "replay"]
    expect(len(outcomes) == 1, f"expected one outcome of the initramfs, got {shown['events']}")
    before = guest.check(f"sha256sum {REGISTRY}")
    tool.run("replay", statuses=(0, 1))
    expect(guest.check(f"sha256sum {REGISTRY}") == before, "a second replay recorded something")
    status = json.loads(tool.run("--json", "status"))
    expect(status["replay"]["frames"]["already"] + status["replay"]["frames"]["taken"]
           == len(frames), f"status: {status['replay']}")
    bench.say("recorded once; the second run orders nothing")


def killed_and_repeated(bench: Bench, guest: Guest) -> None:
    tool = Poisonctl.in_guest(guest, "/disk/many.db")
    guest.check(f"cp {REGISTRY}.key /disk/many.db.key")
    frames = choose_free_frames(guest, 1500, seed=3)
    tool.run("record", *(f"{frame:#x}" for frame in frames))
    tool.run("handover", "make", "-o", "/disk/many")
    guest.check("mkdir -p /etc/poisonctl && cp /disk/next/etc/poisonctl/trusted-keys "
                "/etc/poisonctl/")
    before = hardware_corrupted_kib(guest)
    # Without a process for each look: the whole replay takes no longer than a few of them.
    guest.check("poison-replay --from /disk/many >/dev/null 2>&1 & pid=$!; "
                "while kill -0 $pid; do "
                "while read -r name kib unit; do [ $name = HardwareCorrupted: ] && break; done "
                f"</proc/meminfo; [ $((kib - {before})) -ge 80 ] && break; done; "
                "kill -9 $pid; wait $pid; true")
    done = (hardware_corrupted_kib(guest) - before) // 4
    expect(0 < done < len(frames), f"killed after {done} of {len(frames)} frames: not in between")
    guest.run("poison-replay --from /disk/many")
    told = report(guest)
    # What the first one did is flagged, and nobody knows how that ended.
    expect(abs(told["frames"]["unknown"] - done) <= 1 and not told["frames"]["pending"],
           f"after the kill at {done}: {told['frames']}")
    retired = [f for f, (state, _) in states(told).items() if state in ("effective", "unknown")]
    expect(len(retired) >= len(frames) - 3, f"expected nearly all retired: {told['frames']}")
    expect_retired(guest, retired)
    level = guest.check("cat /proc/sys/kernel/printk").split()[0]
    expect(level == "4", f"the console level is {level} after a run that was killed")
    bench.say(f"killed after {done} of {len(frames)} frames; the next run did the rest")


def forbidden_and_blind(bench: Bench, guest: Guest) -> None:
    tool = Poisonctl.in_guest(guest, "/disk/few.db")
    guest.check(f"cp {REGISTRY}.key /disk/few.db.key")
    frames = choose_free_frames(guest, 3, seed=4)
    tool.run("record", *(f"{frame:#x}" for frame in frames))
    tool.run("handover", "make", "-o", "/disk/few")
    guest.check("echo 0 >/proc/sys/vm/memory_failure_recovery")
    refused = guest.run("poison-replay --from /disk/few")
    told = report(guest)
    expect(refused.status == 1 and "panic" in told["not_replayed"] and not told["orders"],
           f"expected a refusal with memory_failure_recovery=0: {refused.status} {told}")
    guest.check("echo 1 >/proc/sys/vm/memory_failure_recovery")
    expect(all(FrameFlags(guest).free(frame) for frame in frames), "a frame was retired all the same")

    # A machine whose /proc has no kpageflags.
    files = ("iomem self/auxv cmdline sys/kernel/osrelease sys/kernel/random/boot_id "
             "sys/vm/memory_failure_recovery")
    guest.check("mkdir -p /blind/sys /blind/etc && mount -t sysfs sysfs /blind/sys && "
                "cp -r /etc/poisonctl /blind/etc/ && "
                f"for f in {files}; do mkdir -p /blind/proc/$(dirname $f); "
                "cat /proc/$f >/blind/proc/$f; done")
    guest.run("poison-replay --sysroot /blind --from /disk/few")
    told = json.loads(guest.check(f"cat /blind{REPORT}"))
    expect(told["orders"] == 3 and not told["flags_read"] and told["frames"]["unknown"] == 3,
           f"without page flags: expected 3 orders and no outcome: {told}")
    expect_retired(guest, frames)
    bench.say("refused when it would panic; blind it claims nothing")


def every_kind_of_use(bench: Bench, guest: Guest, tool: Poisonctl) -> None:
    # madvise: some kernels give huge pages to whoever has room for them.
    guest.check("echo madvise >/sys/kernel/mm/transparent_hugepage/enabled; "
                "echo 4 >/proc/sys/vm/nr_hugepages; "
                "cat /disk/boot/* /disk/good >/dev/null; sync")
    hold = "poison_memory hold {0} >/run/held.{0} & while [ ! -s /run/held.{0} ]; do :; done"
    for kind in ("anon", "file", "thp"):
        guest.check(hold.format(kind))
    held = {kind: int(guest.check(f"cat /run/held.{kind}"), 16) * FRAME
            for kind in ("anon", "file", "thp")}
    flags = FrameFlags(guest)
    data = (MMAP, ANON, DIRTY, WRITEBACK, SWAPBACKED, HWPOISON)
    ram = system_ram(guest)
    wanted = {
        "free": (choose_free_frames(guest, 1, seed=5), ("effective", "none")),
        "page cache": (flags.find([LRU], [*data, THP, UNEVICTABLE, PRIVATE], 1),
                       ("effective", "none")),
        "hugetlb": (flags.find([HUGE, COMPOUND_TAIL], [MMAP, HWPOISON], 1), ("effective", "none")),
        "slab": (flags.find([SLAB], data, 1), ("taken", "slab")),
        "page table": (flags.find([PGTABLE], data, 1), ("taken", "page-table")),
        "reserved": ([f for f in flags.find([RESERVED], data, 5000)
                      if not subtract(as_ranges([f]), ram) and f >= 16 * MIB][:1],
                     ("taken", "reserved")),
        "anonymous": ([held["anon"]], ("taken", "anonymous")),
        "file of a process": ([held["file"]], ("taken", "page-cache")),
        "transparent huge page": ([held["thp"]], ("taken", "huge")),
    }
    frames = {what: found for what, (found, _) in wanted.items() if found}
    lacking = set(wanted) - set(frames)
    expect(not lacking, f"this kernel shows no frame of the kinds {lacking}")
    uses = Poisonctl.in_guest(guest, "/disk/uses.db")
    uses.run("record", *(f"{found[0]:#x}" for found in frames.values()))
    became = states(json.loads(uses.run("--json", "replay", statuses=(0, 1))))
    for what, (found, expected) in wanted.items():
        expect(became[found[0]] == expected,
               f"a frame in use as {what}: expected {expected}, got {became[found[0]]}; before "
               f"{flags.describe(found[0])}, now {FrameFlags(guest).describe(found[0])}")
    for kind, frame in held.items():
        expect(not FrameFlags(guest).has(frame, HWPOISON), f"the {kind} frame was taken")
    guest.check("for kind in anon file thp; do pidof poison_memory >/dev/null || exit 1; done")
    expect(len(guest.check("pidof poison_memory").split()) == 3, "a process was killed")
    shown = uses.run("status")
    expect("IN USE" in shown and "emit e820" in shown, f"status names no dangerous frame: {shown}")
    in_use = json.loads(uses.run("--json", "status"))["replay"]["in_use"]
    expect(len(in_use) == 6, f"expected 6 frames in use, got {in_use}")
    # What the kernel kept stays what it is for all who look at the flags later.
    verified = dict(uses.retirements())
    for what in ("slab", "page table", "reserved"):
        frame = frames[what][0]
        expect(verified.get((frame, frame + FRAME)) == "failed", f"verify: {what} is {verified}")
    told = states(json.loads(uses.run("--json", "replay", "--take-from-processes",
                                      statuses=(0, 1))))
    expect(told[held["anon"]][0] == "effective" and told[held["file"]][0] == "effective",
           f"--take-from-processes: {told}")
    guest.run("kill -9 $(pidof poison_memory)")
    bench.say(f"{len(frames)} kinds of use told apart; no process was killed")


def nothing_retired(bench: Bench, guest: Guest, name: str, rule: str) -> None:
    expect(hardware_corrupted_kib(guest) == 0, f"a {name} list retired frames")
    told = report(guest)
    rules = [finding["rule"] for seen in told["handovers"] for finding in seen["findings"]]
    expect(rule in rules and not told["orders"] and not told["ranges"],
           f"a {name} list: expected the finding {rule} and no order, got {told}")
    bench.say(f"a {name} list: boots, nothing retired, {rules}")


def half_is_bounded(bench: Bench, guest: Guest) -> None:
    expect(hardware_corrupted_kib(guest) == 0, "a list of half the memory retired frames")
    told = report(guest)
    refused: list[Range] = [(r["address"], r["address"] + r["size"]) for r in told["refused"]]
    expect(not told["orders"] and not subtract([(192 * MIB, 512 * MIB)], refused),
           f"a list of half the memory: expected all of it refused, got {told}")
    expect("attack" in told["refused"][0]["reason"], f"no reason: {told['refused'][0]}")
    bench.say("a list of half the memory: boots, nothing retired")
