#!/usr/bin/env python3
"""Writes an SMBIOS table with memory modules into a machine of machine.py.

    dmi.py MACHINE SLOT:SERIAL:FIRST_MIB:LAST_MIB...

Each module answers its range alone (types 17 and 20 of DSP0134); an empty SERIAL is not told.
"""
import pathlib
import struct
import sys


def structure(kind, handle, body, texts=()):
    head = struct.pack("<BBH", kind, 4 + len(body), handle)
    return head + body + (b"".join(text.encode() + b"\0" for text in texts) or b"\0") + b"\0"


def main(machine, *modules):
    table = b""
    for number, module in enumerate(modules, start=1):
        slot, serial, first, last = module.split(":")
        size = int(last) - int(first)
        device = struct.pack("<HHHHHBBBBBHHBBBBBIH", 0x1000, 0xfffe, 64, 64, size, 9, 0, 1, 2, 0x1a, 0,
                             3200, 3, 4, 0, 5, 0, 0, 3200)
        table += structure(17, number, device, (slot, "BANK", "Maker", serial or "Unknown", "P-1"))
        mapped = struct.pack("<IIHHBBB", int(first) * 1024, int(last) * 1024 - 1, number, 0x1300, 1, 0, 1)
        table += structure(20, 0x1400 + number, mapped)
    table += structure(127, 0xfeff, b"")
    path = pathlib.Path(machine) / "sys/firmware/dmi/tables/DMI"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(table)


if __name__ == "__main__":
    main(*sys.argv[1:])
