#!/usr/bin/env python3
"""Writes Common Platform Error Records by the text of the specifications: UEFI 2.10, appendix N;
ACPI 6.5, 18.3.2.7.1; CXL 3.1, 8.2.9.2.1.

    cper_encode.py records FILE    one record of each kind of section that is read, and others
    cper_encode.py bert FILE       an error region as firmware leaves it for the next boot
"""
import struct
import sys
import uuid

MEMORY_1 = "a5bc1114-6f64-4ede-b863-3e83ed7c83b1"
MEMORY_2 = "61ec04fc-48e6-d813-25c9-8daa44750b12"
CXL_MEDIA = "fbcd0a77-c260-417f-85a9-088b1621eba6"
CXL_DRAM = "601dcbb3-9c06-4eab-b8af-4e9bfb5c9624"
PCIE = "d995e954-bbc1-430f-ad91-b44dcb3c6f35"
BOOT = "3d61a466-ab40-409a-a698-f362d464b38f"
RECOVERABLE, FATAL, CORRECTED, INFORMATIONAL = range(4)
LATENT = 32
TIME = bytes([0x56, 0x34, 0x12, 0x01, 0x01, 0x03, 0x26, 0x20])  # 2026-03-01T12:34:56


def guid(text):
    return uuid.UUID(text).bytes_le


def record(sections, severity=RECOVERABLE, valid=2, flags=0, number=1):
    """sections: (type, body, severity, flags of the descriptor, FRU text or None)."""
    at = 128 + 72 * len(sections)
    descriptors = bodies = b""
    for kind, body, own_severity, section_flags, fru in sections:
        descriptors += struct.pack("<IIHBBI16s16sI20s", at, len(body), 0x0300,
                                   0 if fru is None else 2, 0, section_flags, guid(kind), b"",
                                   own_severity, (fru or "").encode())
        at += len(body)
        bodies += body
    head = struct.pack("<4sHIHIII8s", b"CPER", 0x0101, 0xFFFFFFFF, len(sections), severity, valid,
                       at, TIME)
    head += bytes(48) + guid(BOOT) + struct.pack("<QIQ12s", number, flags, 0, b"")
    return head + descriptors + bodies


def memory_1(valid, address=0, mask=0, places=(0,) * 8, kind=3, extended=0, rank=0):
    return struct.pack("<QQQQ8HQQQBBHHH", valid, 0, address, mask, *places, 0, 0, 0, kind,
                       extended, rank, 0, 0)


def memory_2(valid, address=0, mask=0, places=(0,) * 4, wide=(0,) * 5):
    return struct.pack("<QQQQ4H5I4BQQQII", valid, 0, address, mask, *places, *wide, 7, 3, 0, 0, 0,
                       0, 0, 0, 0)


def cxl(valid, dpa, descriptor, fields, rest, transaction=1, stamp=0):
    device = struct.pack("<HHBBBHHB", 0x8086, 0x0D93, 0, 3, 0x0C, 1, 0, 0)
    serial = struct.pack("<II", 0xABCD0001, 0x12)
    head = struct.pack("<BBBBHHQBB14s", 128, 2, 0, 0, 1, 0, stamp, 0, 0, b"")
    body = struct.pack("<QBBBHBB", dpa | 1, descriptor, 0, transaction, fields, 1, 2) + rest
    return struct.pack("<IQ", 144, valid) + device + serial + head + body.ljust(80, b"\0")


def bits(*numbers):
    return sum(1 << number for number in numbers)


def records():
    page = 0xFFFFFFFFFFFFF000
    all_1 = memory_1(bits(1, 2, 3, 4, 5, 6, 7, 8, 9, 14, 15, 18), 0x12345A40, page,
                     (1, 2, 3, 4, 5, 6, 7, 0), extended=2, rank=9)
    grouped = memory_1(bits(1, 2, 19, 20), 0x2000040, (1 << 64) - 64, (0, 0, 0, 0x0203, 0, 0, 0, 0))
    all_2 = memory_2(bits(1, 2, 3, 4, 5, 7, 8, 9, 10, 20, 21), 0x3000000, page,
                     (0, 1, 2, 0x0405), (6, 0x12345, 8, 9, 0))
    media = cxl(7, 0x10040, 1, bits(0, 1, 2), bytes([3, 0, 0]))
    dram = cxl(5, 0x20080, 0, bits(0, 1, 3, 4, 5, 6), bytes([0, 0, 0, 4, 5, 6, 0, 1, 8, 0]),
               stamp=1_000_000_000 * 86400)
    injected = cxl(6, 0x30000, 1, 0, b"", transaction=4)
    return b"".join((
        record([(MEMORY_1, all_1, RECOVERABLE, 1, "DIMM_A1")]),
        record([(MEMORY_1, grouped, CORRECTED, 1, "DIMM\x1b[2J"), (PCIE, bytes(208), CORRECTED, 0, None)],
               CORRECTED, number=2),
        record([(MEMORY_2, all_2, FATAL, 1, None)], FATAL, valid=0, number=3),
        record([(MEMORY_1, memory_1(bits(1), 0x4000040), RECOVERABLE, 1 | LATENT, None)], number=4),
        record([(MEMORY_1, memory_1(bits(1), 0x5000040)[:73], RECOVERABLE, 1, None)], flags=4, number=5),
        record([(MEMORY_1, memory_1(bits(3, 5), places=(1, 0, 2, 0, 0, 0, 0, 0)), CORRECTED, 1, "")],
               CORRECTED, number=6),
        record([(MEMORY_1, memory_1(bits(1, 2), 0xFFFFFFFFFFFFFFC0, page), FATAL, 1, None)], FATAL,
               number=7),
        record([(MEMORY_1, memory_1(bits(1, 2), 0x6000000, 1 << 63), FATAL, 1, None)], FATAL, number=8),
        record([(MEMORY_1, memory_1(bits(1), 0x7000000), INFORMATIONAL, 1, None)], INFORMATIONAL,
               number=9),
        record([(CXL_MEDIA, media, RECOVERABLE, 1, None)], valid=0, number=10),
        record([(CXL_DRAM, dram, CORRECTED, 1, None)], CORRECTED, valid=0, number=11),
        record([(CXL_MEDIA, injected, RECOVERABLE, 1, None)], number=12),
        record([(CXL_DRAM, cxl(3, 0, 0, 0, b""), RECOVERABLE, 1, None)], number=13),
        record([], number=14),
    ))


def bert():
    def entry(kind, severity, revision, valid, body, fru="", stamp=b""):
        head = struct.pack("<16sIHBBI16s20s", guid(kind), severity, revision, valid, 0, len(body),
                           b"", fru.encode())
        return head + stamp + body

    def block(entries, severity, raw=b""):
        data = b"".join(entries)
        return struct.pack("<IIIII", 1 | len(entries) << 4, 20 + len(data) if raw else 0, len(raw),
                           len(data), severity) + data + raw

    body = memory_1(bits(1, 2, 5), 0x1230000, 0xFFFFFFFFFFFFF000, (0, 0, 4, 0, 0, 0, 0, 0))
    first = block([entry(MEMORY_1, FATAL, 0x0300, 6, body, "DIMM_B2", TIME),
                   entry(PCIE, FATAL, 0x0300, 0, bytes(208), stamp=bytes(8))], FATAL, b"raw data")
    second = block([entry(MEMORY_1, CORRECTED, 0x0201, 0, body)], CORRECTED)
    return (first + second).ljust(4096, b"\0")


with open(sys.argv[2], "wb") as file:
    file.write({"records": records, "bert": bert}[sys.argv[1]]())
