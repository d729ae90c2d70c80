"""Each service's sandbox, tried from inside: sandbox_probe in the place of the unit's own program attempts what the
service must not do and what it needs. Outside of any sandbox all of it works, so that each refusal is the unit's."""

from __future__ import annotations

import rig
from debian_system import start, switch_initramfs, system_disk
from replay_debian import HARDWARE
from steps import Bench, build_helper, expect

PROBE = "/usr/lib/rig/sandbox_probe"

# By unit, what has to be done; the rest has to fail.
# Of /run see packaging/doc/reliability.md.
EVERYWHERE = {"unix-socket", "read-page-flags", "write-run"}
ALLOWED = {
    "poisonctl-watch.service": EVERYWHERE | {"write-state", "retire", "write-trace"},
    "poisonctl-replay.service": EVERYWHERE | {"write-state", "retire", "write-trace"},
    # update-grub mounts, and looks at the disks.
    "poisonctl-apply.service": EVERYWHERE | {"write-state", "write-etc", "write-boot", "write-exporter",
                                             "write-trace", "write-disk", "retire", "mount"},
    "poisonctl-bmc.service": EVERYWHERE | {"write-state", "inet-socket"},
    "poisonctl-metrics.service": EVERYWHERE | {"write-exporter"},
    # It has no mounts of its own: it outlives the last unmounting.
    "poisonctl-kho.service": EVERYWHERE | {"write-state", "write-etc", "write-usr", "write-boot",
                                           "write-exporter", "write-sysctl", "write-trace", "read-home",
                                           "retire"},
}


def run(bench: Bench) -> None:
    bench.machine = HARDWARE
    switch = switch_initramfs(bench)
    disk = system_disk(bench, {PROBE: build_helper("sandbox_probe", bench.results)})
    with start(bench, disk, switch, "guest") as guest:
        guest.check(f"chmod 755 {PROBE} && mkdir -p /var/lib/poisonctl /run/poisonctl /home "
                    "/var/lib/prometheus/node-exporter /mnt && echo secret >/home/secret && "
                    "systemctl start sys-kernel-tracing.mount")
        free = outcomes(guest.check(PROBE))
        refused = {name: outcome for name, outcome in free.items() if outcome != "done"}
        expect(not refused, f"outside of any sandbox something fails too, and says nothing: {refused}")
        wrong = []
        for unit, allowed in ALLOWED.items():
            seen = confined(guest, unit)
            bench.say(f"{unit}: " + " ".join(f"{name}={outcome.replace(' ', '-')}"
                                            for name, outcome in seen.items()))
            expect(set(seen) == set(free), f"{unit}: the probe said {seen}")
            wrong += [f"{unit}: {name}: {outcome}, expected " + ("done" if name in allowed else "a refusal")
                      for name, outcome in seen.items() if (outcome == "done") != (name in allowed)]
        expect(not wrong, "; ".join(wrong))
        guest.power_off()


def outcomes(text: str) -> dict[str, str]:
    return dict(line.split(" ", 1) for line in text.splitlines())


def confined(guest: rig.Guest, unit: str) -> dict[str, str]:
    """What the probe says in the place of the unit's program, all else of the unit left as it is. Conditions ask
    whether there is work, and one that is empty drops all of them."""
    guest.check(f"systemctl stop {unit}; rm -f /var/lib/poisonctl/probe* /run/poisonctl/probe /etc/probe /usr/probe "
                f"/boot/probe /var/lib/prometheus/node-exporter/probe; mkdir -p /run/systemd/system/{unit}.d")
    guest.push(("[Unit]\nConditionPathExists=\n"
                "[Service]\nType=oneshot\nRestart=no\nExecStartPre=\nExecStart=\n"
                f"ExecStart={PROBE}\nStandardOutput=truncate:/run/probe.txt\n").encode(),
               f"/run/systemd/system/{unit}.d/probe.conf")
    guest.check(f"rm -f /run/probe.txt; systemctl daemon-reload && systemctl start {unit}", timeout=300)
    return outcomes(guest.check("cat /run/probe.txt"))
