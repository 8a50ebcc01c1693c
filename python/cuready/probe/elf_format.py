"""The ELF format in numbers: header, segments, dynamic tags. No file is opened here.

Layout: https://refspecs.linuxfoundation.org/elf/gabi4+/contents.html, and for the GNU tags
https://refspecs.linuxfoundation.org/LSB_5.0.0/LSB-Core-generic/LSB-Core-generic/sections.html.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

__all__ = ["ElfError", "Header", "Segment", "VersionNeed", "parse_header"]

MAGIC = b"\x7fELF"
CLASS32, CLASS64 = 1, 2
LITTLE, BIG = 1, 2
ET_EXEC, ET_DYN = 2, 3
MACHINES = {3: "i386", 40: "arm", 62: "x86_64", 183: "aarch64", 243: "riscv64", 21: "ppc64"}

PT_LOAD, PT_DYNAMIC, PT_INTERP, PT_NOTE = 1, 2, 3, 4
PT_GNU_STACK = 0x6474E551

DT_NEEDED, DT_PLTRELSZ, DT_HASH, DT_STRTAB, DT_SYMTAB, DT_RELA, DT_RELASZ = 1, 2, 4, 5, 6, 7, 8
DT_STRSZ, DT_SONAME, DT_RPATH, DT_SYMBOLIC, DT_REL, DT_RELSZ = 10, 14, 15, 16, 17, 18
DT_PLTREL, DT_JMPREL, DT_BIND_NOW, DT_RUNPATH, DT_FLAGS = 20, 23, 24, 29, 30
DT_GNU_HASH, DT_VERSYM, DT_RELACOUNT, DT_RELCOUNT = 0x6FFFFEF5, 0x6FFFFFF0, 0x6FFFFFF9, 0x6FFFFFFA
DT_FLAGS_1, DT_VERDEF, DT_VERDEFNUM = 0x6FFFFFFB, 0x6FFFFFFC, 0x6FFFFFFD
DT_VERNEED, DT_VERNEEDNUM = 0x6FFFFFFE, 0x6FFFFFFF
DF_1_NODEFLIB, DF_1_NOOPEN, DF_1_PIE = 0x800, 0x40, 0x08000000
VER_FLG_BASE, VER_FLG_WEAK = 1, 2


class ElfError(Exception):
    """Not an ELF file, one that is cut short, or one whose tables contradict each other."""


@dataclass(frozen=True)
class Header:
    """The ELF header. ``bits`` is 32 or 64, ``order`` the ``struct`` prefix ``<`` or ``>``."""

    bits: int
    order: str
    osabi: int
    type: int
    machine: int
    phoff: int
    phentsize: int
    phnum: int
    shoff: int
    shentsize: int
    shnum: int
    shstrndx: int

    @property
    def machine_name(self) -> str:
        """``x86_64``, or the number of a machine without a name here."""
        return MACHINES.get(self.machine, str(self.machine))


@dataclass(frozen=True)
class Segment:
    """One program header; sizes in bytes."""

    type: int
    flags: int
    offset: int
    vaddr: int
    filesz: int
    memsz: int
    align: int


@dataclass(frozen=True)
class VersionNeed:
    """One version that a file needs (Elf64_Vernaux): of which file, its name, its symbol index."""

    file: str
    name: str
    index: int
    weak: bool
    hidden: bool


def parse_header(data: bytes) -> Header:
    """Read the ELF header from the first 64 bytes of a file. Raises :class:`ElfError`."""
    if len(data) < 52 or data[:4] != MAGIC:
        raise ElfError("not an ELF file")
    bits = {CLASS32: 32, CLASS64: 64}.get(data[4])
    order = {LITTLE: "<", BIG: ">"}.get(data[5])
    if bits is None or order is None:
        raise ElfError("an ELF file of unknown class or byte order")
    layout = order + ("HHIQQQIHHHHHH" if bits == 64 else "HHIIIIIHHHHHH")
    if len(data) < 16 + struct.calcsize(layout):
        raise ElfError("the ELF header is cut short")
    (kind, machine, _, _, phoff, shoff, _, _, phentsize, phnum, shentsize, shnum, shstrndx) = (
        struct.unpack_from(layout, data, 16)
    )
    return Header(bits, order, data[7], kind, machine, phoff, phentsize, phnum,
                  shoff, shentsize, shnum, shstrndx)  # fmt: skip
