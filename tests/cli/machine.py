#!/usr/bin/env python3
"""Writes a small x86 machine as a folder, for --sysroot: 64 MiB, 4 KiB pages, one node."""
import pathlib
import struct
import sys

LRU, SLAB, BUDDY, HEAD, TAIL, HUGE, POISON, RESERVED = (
    1 << bit for bit in (5, 7, 10, 15, 16, 17, 19, 32))

FILES = {
    "etc/machine-id": "0123456789abcdef0123456789abcdef\n",
    "proc/cmdline": "ro quiet\n",
    "proc/iomem": """\
00000000-00000fff : Reserved
00001000-0009fbff : System RAM
0009fc00-0009ffff : Reserved
00100000-03ffffff : System RAM
  01000000-01bfffff : Kernel code
  02000000-022fffff : Kernel data
04000000-0400ffff : ACPI Tables
05000000-05ffffff : Persistent Memory
fd000000-fdffffff : PCI Bus 0000:00
""",
    "proc/meminfo": "MemTotal: 65536 kB\nHardwareCorrupted:    20 kB\n",
    "proc/sys/kernel/arch": "x86_64\n",
    "proc/sys/kernel/osrelease": "7.2.13-test\n",
    "proc/sys/kernel/random/boot_id": "11111111-2222-3333-4444-555555555555\n",
    "proc/sys/vm/memory_failure_recovery": "1\n",
    "sys/class/dmi/id/product_uuid": "99999999-8888-7777-6666-555555555555\n",
    "sys/devices/system/memory/block_size_bytes": "1000000\n",
    "sys/devices/system/memory/hard_offline_page": "",
}
FIRMWARE = [
    (0x0, 0x9fbff, "System RAM"),
    (0x100000, 0x3ffffff, "System RAM"),
    (0x4000000, 0x400ffff, "ACPI Tables"),
]
FRAMES = 0x4010
FLAGS = {
    0x0800: POISON | HUGE | HEAD,  # a huge page of 2 MiB; which frame is bad is not known
    0x2800: POISON,                # in the middle of free memory
    0x3000: POISON,
    0x3001: POISON | SLAB,         # flagged, and the kernel goes on using it
    0x3400: BUDDY,
}


def main(folder):
    root = pathlib.Path(folder)
    files = {name: text.encode() for name, text in FILES.items()}
    files["proc/self/auxv"] = struct.pack("<4Q", 6, 4096, 0, 0)
    for number, (start, end, kind) in enumerate(FIRMWARE):
        entry = f"sys/firmware/memmap/{number}"
        files[f"{entry}/start"] = f"{start:#x}\n".encode()
        files[f"{entry}/end"] = f"{end:#x}\n".encode()
        files[f"{entry}/type"] = f"{kind}\n".encode()
    for block in range(4):
        files[f"sys/devices/system/memory/memory{block}/state"] = b"online\n"
        files[f"sys/devices/system/node/node0/memory{block}"] = b""
    words = [LRU] * 0x4000 + [RESERVED] * (FRAMES - 0x4000)
    for frame in range(0x801, 0xa00):
        words[frame] = POISON | HUGE | TAIL  # as the head: fs/proc/page.c, Linux 7.2
    for frame, flags in FLAGS.items():
        words[frame] = flags
    files["proc/kpageflags"] = struct.pack(f"<{FRAMES}Q", *words)
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


if __name__ == "__main__":
    main(sys.argv[1])
