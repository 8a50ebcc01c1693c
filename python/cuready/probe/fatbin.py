"""GPU code inside a library: the architectures of its fatbins, read from headers alone.

nvcc puts device code into the section ``.nv_fatbin`` (``__nv_relfatbin`` for relocatable code) as
containers, each a row of entries with a header of its own; the code itself, often compressed, is
skipped. The layout is not published; what is used here was read off libraries of CUDA 10 to 13 and
agrees with ``cuobjdump --list-elf --list-ptx`` on the libraries that the tests name:

    container  u32 0xBA55ED50, u16 version 1, u16 header size, u64 size of all entries
    entry      u16 kind (1 PTX, 2 cubin), u16, u32 header size, u64 size, …,
               u32 SM number at 28, u64 flags at 40 (bit 20: ``sm_90a``, bit 21: ``sm_100f``;
               bits 13 and 15: compressed), u64 uncompressed size at 56

Anything else gives ``unknown``: a list that is half right would be worse than none.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass

from cuready.probe.elf import ElfError, ElfFile

__all__ = ["SECTIONS", "Architectures", "FatbinError", "format_arch", "scan", "scan_file"]

SECTIONS = (b".nv_fatbin", b"__nv_relfatbin")
MAGIC = 0xBA55ED50
PTX, CUBIN = 1, 2
FLAG_A, FLAG_F = 1 << 20, 1 << 21

_CONTAINER = struct.Struct("<IHHQ")
_ENTRY = struct.Struct("<HHIQ12xI8xQ8xQ")  # 64 bytes; longer headers go on with options
_COMPRESSED = 1 << 13 | 1 << 15  # LZ4 up to CUDA 12, Zstandard since 13
_EMPTY_PTX = 80
"""Bytes of a PTX module with nothing but .version, .target and .address_size in it. Linkers leave
such stubs behind; counted as code they would claim that every later GPU is served."""
_MAX_PADDING = 4096
_MAX_ENTRIES = 500_000


class FatbinError(Exception):
    """The section is not laid out as we know it."""


@dataclass(frozen=True)
class Architectures:
    """What a library carries. ``sass`` and ``ptx`` hold ``"8.6"``, ``"9.0a"``; sorted."""

    sass: tuple[str, ...] = ()
    ptx: tuple[str, ...] = ()
    status: str = "ok"  # "ok", "none" (no GPU code section) or "unknown"
    reason: str = ""


def format_arch(number: int, flags: int = 0) -> str:
    """SM number and entry flags as text: (90, FLAG_A) → ``9.0a``."""
    suffix = "a" if flags & FLAG_A else "f" if flags & FLAG_F else ""
    return f"{number // 10}.{number % 10}{suffix}"


def scan_file(path: str | os.PathLike[str]) -> Architectures:
    """Architectures in the library ``path``. Never raises: what cannot be read is ``unknown``."""
    try:
        with ElfFile(path) as file:
            return scan(file)
    except ElfError as error:
        return Architectures(status="unknown", reason=str(error))


def scan(file: ElfFile) -> Architectures:
    """Architectures in an open library; see :func:`scan_file`."""
    found: set[tuple[int, int, int]] = set()
    try:
        sections = file.sections(*SECTIONS)
        if not sections:
            bare = not file.header.shoff
            return Architectures(status="unknown" if bare else "none",
                                 reason="it has no section headers" if bare else "")  # fmt: skip
        for _, offset, size in sections:
            _walk_section(file, offset, size, found)
    except (ElfError, FatbinError) as error:
        return Architectures(status="unknown", reason=str(error))
    return Architectures(sass=_names(found, CUBIN), ptx=_names(found, PTX))


def _names(found: set[tuple[int, int, int]], kind: int) -> tuple[str, ...]:
    rows = sorted((number, flags) for what, number, flags in found if what == kind)
    return tuple(dict.fromkeys(format_arch(number, flags) for number, flags in rows))


def _walk_section(file: ElfFile, offset: int, size: int, found: set[tuple[int, int, int]]) -> None:
    if size < 0 or offset + size > file.size:
        raise FatbinError("the section of GPU code is cut short")
    place, end, entries = offset, offset + size, 0
    while place + _CONTAINER.size <= end:
        magic, version, header, length = _CONTAINER.unpack(file.read(place, _CONTAINER.size))
        if magic != MAGIC:
            place = _skip_padding(file, place, end)
            continue
        if version != 1 or header < _CONTAINER.size or place + header + length > end:
            raise FatbinError(f"a fatbin container of version {version} that we do not know")
        entries += _walk_container(file, place + header, place + header + length, found)
        if entries > _MAX_ENTRIES:
            raise FatbinError("more GPU code entries than any library has")
        place += header + length


def _skip_padding(file: ElfFile, place: int, end: int) -> int:
    """The next container after zero bytes. Raises when there is something else."""
    data = file.read(place, min(_MAX_PADDING, end - place))
    rest = data.lstrip(b"\0")
    if len(data) - len(rest) < 4 and rest:
        raise FatbinError(f"GPU code of an unknown kind at {place:#x}")
    return place + ((len(data) - len(rest)) & ~7 or 8)


def _walk_container(file: ElfFile, place: int, end: int, found: set[tuple[int, int, int]]) -> int:
    count = 0
    while place + _ENTRY.size <= end:
        kind, _, header, size, number, flags, plain = _ENTRY.unpack(file.read(place, _ENTRY.size))
        if header < _ENTRY.size or place + header + size > end:
            raise FatbinError(f"a fatbin entry that leaves its container at {place:#x}")
        if kind in (PTX, CUBIN):
            if not 10 <= number < 1000:
                raise FatbinError(f"GPU code for an architecture numbered {number}")
            length = plain if flags & _COMPRESSED else size
            if kind == CUBIN or length > _EMPTY_PTX:
                found.add((kind, number, flags & (FLAG_A | FLAG_F)))
        place += header + size
        count += 1
    return count
