"""Small PE files with a version resource, an import table and a linker version."""

from __future__ import annotations

import struct


def dll(
    version: str = "1.0.0.0", *, linker: tuple[int, int] = (14, 39), imports: tuple[str, ...] = ()
) -> bytes:
    """A PE32+ image of one section; ``version`` "" leaves the resources out."""
    section, start, raw = 0x1000, 0x80, 0x400
    body = bytearray()
    rows, names = b"", b""
    table_size = 20 * (len(imports) + 1)
    for name in imports:
        rows += struct.pack("<IIIII", 0, 0, 0, section + table_size + len(names), 0)
        names += name.encode() + b"\0"
    body += (rows + bytes(20) + names) if imports else b""
    resource_at, resource = section + len(body), b""
    if version:
        a, b, c, d = map(int, version.split("."))
        resource = b"\0" * 40 + struct.pack("<IIII", 0xFEEF04BD, 0x10000, a << 16 | b, c << 16 | d)
    body += resource
    directories = [(0, 0)] * 16
    if imports:
        directories[1] = (section, table_size)
    if resource:
        directories[2] = (resource_at, len(resource))
    optional = struct.pack("<HBB", 0x20B, *linker) + bytes(104) + struct.pack("<I", 16)
    optional += b"".join(struct.pack("<II", *item) for item in directories)
    coff = struct.pack("<HHIIIHH", 0x8664, 1, 0, 0, 0, len(optional), 0x2022)
    header = struct.pack("<8sIIII", b".rdata", len(body), section, len(body), raw) + bytes(16)
    head = b"MZ" + bytes(0x3A) + struct.pack("<I", start)
    head = head.ljust(start, b"\0") + b"PE\0\0" + coff + optional + header
    return head.ljust(raw, b"\0") + bytes(body)
