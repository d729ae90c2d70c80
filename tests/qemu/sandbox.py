"""Each service's sandbox, tried from inside: sandbox_probe in the place of the unit's own program attempts what the
service must not do and what it needs. Outside of any sandbox all of it works, so that each refusal is the unit's."""

from __future__ import annotations

import rig
from steps import Bench, build_helper, expect

PROBE = "sandbox_probe"  # of the helpers; they are in /usr/bin
DROP_IN = "/run/systemd/system/{unit}.d/probe.conf"

# By unit, what has to be done; the rest has to fail.
EVERYWHERE = {"unix-socket", "read-page-flags"}
ALLOWED = {
    "poisonctl-watch.service": EVERYWHERE | {"write-state", "write-run", "retire", "write-trace"},
    "poisonctl-replay.service": EVERYWHERE | {"write-state", "write-run", "retire", "write-trace"},
    # update-grub mounts, and looks at the disks.
    "poisonctl-apply.service": EVERYWHERE | {"write-state", "write-run", "write-etc", "write-boot",
                                             "write-exporter", "write-trace", "write-disk", "retire",
                                             "mount"},
    "poisonctl-bmc.service": EVERYWHERE | {"write-state", "inet-socket"},
    "poisonctl-metrics.service": EVERYWHERE | {"write-exporter"},
    # It has no mounts of its own: it outlives the last unmounting.
    "poisonctl-kho.service": EVERYWHERE | {"write-state", "write-run", "write-units", "write-etc",
                                           "write-usr", "write-boot", "write-exporter", "write-sysctl",
                                           "write-trace", "read-home", "retire"},
}


def add_probe(bench: Bench) -> None:
    """To be called before the disk of the guest is made."""
    bench.helpers += (build_helper(PROBE, bench.results),)


def try_sandboxes(bench: Bench, guest: rig.Guest) -> None:
    """In a guest with the units; those that are active are stopped, and start again afterwards."""
    guest.check("mkdir -p /var/lib/poisonctl /run/poisonctl /run/systemd/system /home "
                "/var/lib/prometheus/node-exporter /mnt && "
                "echo secret >/home/secret && systemctl start sys-kernel-tracing.mount")
    free = outcomes(guest.check(PROBE))
    refused = {name: outcome for name, outcome in free.items() if outcome != "done"}
    expect(not refused, f"outside of any sandbox something fails too, and says nothing: {refused}")
    active = [unit for unit in ALLOWED if guest.run(f"systemctl is-active {unit}").status == 0]
    units = " ".join(ALLOWED)
    guest.check(f"systemctl stop {units}")
    for unit in ALLOWED:
        put_probe_into(guest, unit)
    guest.check("systemctl daemon-reload")
    wrong = []
    for unit, allowed in ALLOWED.items():
        guest.check(f"{CLEAN}; systemctl start {unit}", timeout=300)
        seen = outcomes(guest.check(f"cat /run/{unit}.txt"))
        expect(set(seen) == set(free), f"{unit}: the probe said {seen}")
        wrong += [f"{unit}: {name}: {outcome}, expected " + ("done" if name in allowed else "a refusal")
                  for name, outcome in seen.items() if (outcome == "done") != (name in allowed)]
    expect(not wrong, "; ".join(wrong))
    drop_ins = " ".join(DROP_IN.format(unit=unit) for unit in ALLOWED)
    guest.check(f"{CLEAN}; rm {drop_ins} && systemctl daemon-reload && systemctl start {' '.join(active)}")
    bench.say(f"{len(ALLOWED)} services: {len(free)} attempts each, which end as they should")


# What a probe before has left.
CLEAN = ("rm -f /var/lib/poisonctl/probe* /run/poisonctl/probe /run/systemd/system/probe /etc/probe "
         "/usr/probe /boot/probe "
         "/var/lib/prometheus/node-exporter/probe")


def put_probe_into(guest: rig.Guest, unit: str) -> None:
    """In the place of the unit's program, all else of the unit left as it is. Conditions ask whether there is work,
    and one that is empty drops all of them."""
    path = DROP_IN.format(unit=unit)
    guest.check(f"mkdir -p {path.rpartition('/')[0]}")
    guest.push(("[Unit]\nConditionPathExists=\n"
                "[Service]\nType=oneshot\nRestart=no\nExecStartPre=\nExecStart=\n"
                f"ExecStart=/usr/bin/{PROBE}\nStandardOutput=truncate:/run/{unit}.txt\n").encode(), path)


def outcomes(text: str) -> dict[str, str]:
    return dict(line.split(" ", 1) for line in text.splitlines())
