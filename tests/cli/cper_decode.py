#!/usr/bin/env python3
"""Decodes Common Platform Error Records by the text of the UEFI Specification 2.10, appendix N.

    cper_decode.py FILE

Prints a line for each memory error section: the id of its record, severity, time, FRU text, then what
it says is valid. Ends with 1 for what is no such record.
"""
import struct
import sys
import uuid

MEMORY = uuid.UUID("a5bc1114-6f64-4ede-b863-3e83ed7c83b1")
NAMES = {3: "node", 4: "card", 5: "module", 6: "bank", 7: "device", 8: "row", 9: "column"}


def bcd(byte):
    return byte // 16 * 10 + byte % 16


def memory_error(section):
    bits, _, address, mask = struct.unpack_from("<QQQQ", section)
    words = [f"address={address:#x}"] * (bits >> 1 & 1) + [f"mask={mask:#x}"] * (bits >> 2 & 1)
    fields = struct.unpack_from("<8H", section, 32)
    # The specification has module, then bank, then device; bit positions follow the same order.
    words += [f"{name}={fields[bit - 3]}" for bit, name in NAMES.items() if bits >> bit & 1]
    if bits >> 15 & 1:
        words.append(f"rank={struct.unpack_from('<H', section, 74)[0]}")
    return words


def main():
    with open(sys.argv[1], "rb") as file:
        data = file.read()
    at = 0
    while at < len(data):
        (signature, _revision, end, sections, severity, valid, length) = struct.unpack_from(
            "<4sHIHIII", data, at)
        if (signature, end) != (b"CPER", 0xFFFFFFFF) or valid & ~7 or sections == 0:
            sys.exit(f"offset {at}: no record")
        second, minute, hour, _, day, month, year, century = map(bcd, data[at + 24:at + 32])
        number, flags = struct.unpack_from("<QI", data, at + 96)
        when = f"{century:02}{year:02}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z"
        after = at + 128 + 72 * sections
        for index in range(sections):
            descriptor = at + 128 + 72 * index
            offset, size, _, descriptor_valid, _, _ = struct.unpack_from("<IIHBBI", data, descriptor)
            if uuid.UUID(bytes_le=data[descriptor + 16:descriptor + 32]) != MEMORY or at + offset != after:
                sys.exit(f"offset {descriptor}: no memory error section behind the one before")
            after += size
            text = data[descriptor + 52:descriptor + 72].split(b"\0")[0].decode("ascii")
            print(number, ["recoverable", "fatal", "corrected", "informational"][severity], when,
                  text if descriptor_valid & 2 and text else "-", f"flags={flags}",
                  *memory_error(data[at + offset:at + offset + size]))
        if after != at + length:
            sys.exit(f"offset {at}: the record does not end with its last section")
        at += length


main()
