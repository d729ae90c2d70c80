"""What scenarios with CXL memory devices share: the hardware, regions, what the kernel traces."""

from __future__ import annotations

import re
from typing import Sequence

import rig

TRACE = "/sys/kernel/debug/tracing/instances/check"
BUSES = (12, 60, 100)  # of host bridges; each has room for its ports behind it

# The decoder of an endpoint, by the serial number of its device (Documentation/ABI/testing/
# sysfs-bus-cxl).
MAKE_REGION = """
set -e
cd /sys/bus/cxl/devices
decoder_of() {
  for port in endpoint*; do
    [ $(($(cat $port/uport/serial))) = $(($1)) ] || continue
    echo decoder${port#endpoint}.0
    return
  done
}
region=$(cat ROOT/create_ram_region)
echo $region >ROOT/create_ram_region
echo 256 >$region/interleave_granularity
echo WAYS >$region/interleave_ways
for serial in SERIALS; do
  endpoint=$(decoder_of $serial)
  echo ram >$endpoint/mode
  echo SHARE >$endpoint/dpa_size
done
echo $((SHARE * WAYS)) >$region/size
position=0
for serial in SERIALS; do
  echo $(decoder_of $serial) >$region/target$position
  position=$((position + 1))
done
echo 1 >$region/commit
echo $region
"""


def hardware(bridges: Sequence[Sequence[int]]) -> tuple[str, ...]:
    """QEMU arguments for devices by their serial numbers, behind host bridges `cxl.0`, `cxl.1` and
    so on, in this order: the kernel numbers them by it. Each has 512 MiB."""
    words = []
    for bridge in range(len(bridges)):
        words += ["-device", f"pxb-cxl,bus_nr={BUSES[bridge]},bus=pcie.0,id=cxl.{bridge}"]
    places = [(bridge, serial) for bridge, serials in enumerate(bridges) for serial in serials]
    for slot, (bridge, serial) in enumerate(places):
        words += ["-object", f"memory-backend-ram,id=cells{slot},share=on,size=512M",
                  "-device", f"cxl-rp,port={slot},bus=cxl.{bridge},id=port{slot},chassis=0,"
                             f"slot={slot + 2}",
                  "-device", f"cxl-type3,bus=port{slot},volatile-memdev=cells{slot},"
                             f"id=memory-{serial:x},sn={serial:#x}"]
    return tuple(words)


def path_of(serial: int) -> str:
    """What QMP calls a device."""
    return f"/machine/peripheral/memory-{serial:x}"


def inject_poison(guest: rig.Guest, serial: int, line: int) -> None:
    guest.qmp("cxl-inject-poison", path=path_of(serial), start=line, length=64)


def make_region(guest: rig.Guest, root: str, serials: Sequence[int], share: int) -> str:
    """In the window of a root decoder, of `share` bytes of each device, in the order of their
    positions; its name. It is not given to the kernel as memory: see watch_cxl.py."""
    script = MAKE_REGION.replace("ROOT", root)
    script = script.replace("WAYS", str(len(serials))).replace("SHARE", str(share))
    return guest.check(script.replace("SERIALS", " ".join(map(hex, serials)))).strip()


def trace(guest: rig.Guest) -> None:
    guest.check(f"mkdir {TRACE} && echo 1 >{TRACE}/events/cxl/cxl_poison/enable")


def addresses_of_kernel(guest: rig.Guest) -> dict[tuple[int, int], int]:
    """By serial number and device address, as the kernel traced them last."""
    traced = guest.check(f"cat {TRACE}/trace")
    found = re.findall(r"serial=(\d+).*?hpa=(0x[0-9a-f]+).*? dpa=(0x[0-9a-f]+)", traced)
    return {(int(serial), int(device, 16)): int(host, 16) for serial, host, device in found}
