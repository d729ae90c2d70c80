"""'watch' records what a CXL memory device reports: where in the host's memory, and where in the
device."""

import dataclasses
import re

from steps import Bench, Poisonctl, Watch, expect

SERIAL = 0xabcd0001
DEVICE = "/machine/peripheral/memory"
REGION_SIZE = 256 << 20
HARDWARE = (
    "-object", "memory-backend-ram,id=cells,share=on,size=512M",
    "-device", "pxb-cxl,bus_nr=12,bus=pcie.0,id=cxl.1",
    "-device", "cxl-rp,port=0,bus=cxl.1,id=root-port,chassis=0,slot=2",
    "-device", f"cxl-type3,bus=root-port,volatile-memdev=cells,id=memory,sn={SERIAL:#x}")

# Documentation/ABI/testing/sysfs-bus-cxl. The region is not given to the kernel as memory: emulated
# processors run programs from such memory very slowly, and QEMU has been seen to crash.
MAKE_REGION = f"""
set -e
cd /sys/bus/cxl/devices
for endpoint in decoder2.0 decoder1.0; do [ ! -e $endpoint/dpa_size ] || break; done
region=$(cat decoder0.0/create_ram_region)
echo $region >decoder0.0/create_ram_region
echo 256 >$region/interleave_granularity
echo 1 >$region/interleave_ways
echo ram >$endpoint/mode
echo {REGION_SIZE} >$endpoint/dpa_size
echo {REGION_SIZE} >$region/size
echo $endpoint >$region/target0
echo 1 >$region/commit
cat $region/resource
"""


def run(bench: Bench) -> None:
    bench.machine = dataclasses.replace(
        bench.machine, qemu=bench.fetched_program("qemu-cxl"), extra=HARDWARE,
        # The kernel makes no region where it cannot flush caches, as in a virtual machine.
        cpu="Skylake-Server,-hypervisor",
        kind="q35,cxl=on,cxl-fmw.0.targets.0=cxl.1,cxl-fmw.0.size=4G")
    with bench.boot() as guest:
        tool = Poisonctl.in_guest(guest)
        start = int(guest.check(MAKE_REGION), 16)
        bench.say(f"CXL region at {start:#x}")
        watch = Watch(guest)

        guest.qmp("cxl-inject-poison", path=DEVICE, start=0x1000, length=64)
        guest.check("echo 1 >/sys/bus/cxl/devices/mem0/trigger_poison_list")
        record = {"path": DEVICE, "log": "failure", "flags": 1, "descriptor": 1, "type": 0,
                  "transaction-type": 1, "channel": 3, "rank": 17}
        guest.qmp("cxl-inject-dram-event", dpa=0x2000, bank=11, row=2, column=77,
                  **record, **{"bank-group": 7})
        guest.qmp("cxl-inject-general-media-event", dpa=0x3000, device=5, **record)

        expect_event(watch, tool, start + 0x1000, "media", "")
        expect_event(watch, tool, start + 0x2000, "ue",
                     "channel=3 rank=17 bank_group=7 bank=11 row=2 column=77")
        expect_event(watch, tool, start + 0x3000, "ue", "channel=3 rank=17 device=5")

        bench.say("a device address that no region has")
        guest.qmp("cxl-inject-poison", path=DEVICE, start=REGION_SIZE + 0x1000, length=64)
        guest.check("echo 1 >/sys/bus/cxl/devices/mem0/trigger_poison_list")
        watch.wait_for(f"media without a place, on cxl serial {SERIAL:#x} "
                       f"dpa {REGION_SIZE + 0x1000:#x}")
        watch.stop()
        guest.power_off()


def expect_event(watch: Watch, tool: Poisonctl, address: int, kind: str, dram: str) -> None:
    event = watch.wait_for_events(tool, address, 1)[0]
    expect((event["kind"], event["address"], event["size"]) == (kind, address, 64),
           f"expected {kind} at the 64 bytes of {address:#x}, got {event}")
    expect(event["dram"] == dram, f"expected {dram!r}, got {event['dram']!r}")
    expect(re.search(rf"serial {SERIAL:#x}\b", event["label"]) is not None,
           f"label is {event['label']!r}")
