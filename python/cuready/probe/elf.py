"""ELF files as the dynamic loader looks at them: program headers and the dynamic section.

Read by hand because the loader's questions are few and the files are large: only the program
headers, the dynamic section and the tables that it names are read, with ``pread``, so that neither
a 2 GB library nor one that is cut short while we look at it costs more than an :class:`ElfError`.
Layout: https://refspecs.linuxfoundation.org/elf/gabi4+/contents.html and the System V ABI.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
from collections.abc import Sequence
from functools import cached_property
from typing import Any, TypeVar

from cuready._util import READ_LIMIT
from cuready.probe import elf_format as e
from cuready.probe.elf_format import ElfError, Header, Segment, VersionNeed, parse_header
from cuready.probe.elf_pages import PagedTable

__all__ = ["ElfError", "ElfFile", "Header", "Segment", "VersionNeed", "parse_header"]

_MAX_SEGMENTS = 4096
_MAX_DYNAMIC = 64 * 1024
_MAX_VERSIONS = 20_000
_MAX_STRING = 64 * 1024
_TINY = 32

V = TypeVar("V")


class ElfFile:
    """An open ELF file. Close it, or use it in a ``with`` block.

    ``limit``: bytes that it may cost, all tables together. Offsets in the file are checked against
    its size, and every table is read at most once. Methods and properties raise :class:`ElfError`
    for anything that does not add up.
    """

    def __init__(self, path: str | os.PathLike[str], *, limit: int = READ_LIMIT) -> None:
        self.path = os.fspath(path)
        self.limit = limit
        self.bytes_read = 0
        self.views: dict[type, Any] = {}
        self._descriptor = _open(self.path)
        try:
            self.stat = os.fstat(self._descriptor)
            if not stat.S_ISREG(self.stat.st_mode):
                raise ElfError("not a regular file")
            self.size = self.stat.st_size
            self.header = parse_header(self._head())
            self.segments = self._read_segments()
            self.dynamic = self._read_dynamic()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> ElfFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; what was read stays usable."""
        descriptor, self._descriptor = getattr(self, "_descriptor", -1), -1
        if descriptor >= 0:
            os.close(descriptor)

    def view(self, kind: type[V]) -> V:
        """``kind(self)``, made once: tables that are built over this file and kept with it."""
        found = self.views.get(kind)
        if found is None:
            found = self.views[kind] = kind(self)  # type: ignore[call-arg]
        return found

    # --- bytes ---------------------------------------------------------------------------------

    def read(self, offset: int, size: int) -> bytes:
        """``size`` bytes at file ``offset``, all of them."""
        if offset < 0 or size < 0 or offset + size > self.size:
            raise ElfError(f"a table lies outside the file ({size} bytes at {offset:#x})")
        self.bytes_read += size
        if self.bytes_read > self.limit:
            raise ElfError(f"its tables need more than {self.limit / 1e6:g} MB")
        try:
            data = os.pread(self._descriptor, size, offset)
        except OSError as error:
            raise ElfError(f"cannot be read: {error.strerror}") from None
        if len(data) != size:
            raise ElfError("the file is cut short")
        return data

    def _head(self) -> bytes:
        return self.read(0, min(64, self.size))

    def offset_of(self, address: int) -> int:
        """File offset of a virtual address."""
        for segment in self.segments:
            if segment.type == e.PT_LOAD and 0 <= address - segment.vaddr < segment.filesz:
                return segment.offset + address - segment.vaddr
        raise ElfError(f"address {address:#x} is in no segment of the file")

    def rest_of(self, address: int) -> int:
        """Bytes from a virtual address to the end of its segment in the file."""
        for segment in self.segments:
            if segment.type == e.PT_LOAD and 0 <= address - segment.vaddr < segment.filesz:
                return min(segment.vaddr + segment.filesz - address, self.size)
        raise ElfError(f"address {address:#x} is in no segment of the file")

    def at(self, address: int, size: int) -> bytes:
        """``size`` bytes at a virtual address."""
        offset = self.offset_of(address)
        if size > _TINY or offset + size > self.size:
            return self.read(offset, size)
        return self._near.get(offset, size)

    @cached_property
    def _near(self) -> PagedTable:
        """The file in pages: version tables are hundreds of records of 16 bytes in a row."""
        return PagedTable(self.read, 0, self.size)

    # --- headers ---------------------------------------------------------------------------------

    def _read_segments(self) -> tuple[Segment, ...]:
        header = self.header
        size = 56 if header.bits == 64 else 32
        if header.phnum == 0:
            return ()
        if header.phentsize != size or header.phnum > _MAX_SEGMENTS:
            raise ElfError("program headers of an unknown size")
        data = self.read(header.phoff, size * header.phnum)
        found = []
        if header.bits == 64:
            for item in struct.iter_unpack(header.order + "IIQQQQQQ", data):
                kind, flags, offset, vaddr, _, filesz, memsz, align = item
                found.append(Segment(kind, flags, offset, vaddr, filesz, memsz, align))
        else:
            for item in struct.iter_unpack(header.order + "IIIIIIII", data):
                kind, offset, vaddr, _, filesz, memsz, flags, align = item
                found.append(Segment(kind, flags, offset, vaddr, filesz, memsz, align))
        return tuple(found)

    def segment(self, kind: int) -> Segment | None:
        """The last segment of ``kind``, as the loader takes it."""
        return next((item for item in reversed(self.segments) if item.type == kind), None)

    def _read_dynamic(self) -> tuple[tuple[int, int], ...]:
        segment = self.segment(e.PT_DYNAMIC)
        if segment is None or segment.filesz == 0:
            return ()
        if self.truncated_at is not None and segment.offset + segment.filesz > self.size:
            return ()  # cut off before its dynamic section: `truncated_at` says so
        width = 16 if self.header.bits == 64 else 8
        size = min(segment.filesz, _MAX_DYNAMIC) // width * width
        layout = self.header.order + ("qQ" if width == 16 else "iI")
        found = []
        for tag, value in struct.iter_unpack(layout, self.read(segment.offset, size)):
            if tag == 0:
                break
            found.append((tag, value))
        return tuple(found)

    @cached_property
    def _tags(self) -> dict[int, int]:
        return dict(self.dynamic)

    def tag(self, tag: int) -> int | None:
        """Value of a dynamic tag (the last one, as the loader takes it), None when absent."""
        return self._tags.get(tag)

    @property
    def truncated_at(self) -> int | None:
        """Bytes that the loaded segments need when the file is shorter than that, else None."""
        end = max((s.offset + s.filesz for s in self.segments if s.type == e.PT_LOAD), default=0)
        return end if end > self.size else None

    # --- strings ---------------------------------------------------------------------------------

    @cached_property
    def _strings(self) -> PagedTable:
        """The dynamic string table, empty when there is none."""
        address, size = self.tag(e.DT_STRTAB), self.tag(e.DT_STRSZ)
        if address is None or size is None:
            return PagedTable(self.read, 0, 0)
        return PagedTable(self.read, self.offset_of(address), min(size, self.rest_of(address)))

    def raw_string(self, offset: int) -> bytes:
        """Bytes of the dynamic string at ``offset``, without the NUL."""
        table = self._strings
        if not 0 <= offset < table.size:
            raise ElfError("a name lies outside the string table")
        found = table.until_nul(offset, _MAX_STRING)
        if found is None:
            raise ElfError("a name of more than 64 KiB")
        return found

    def raw_strings(self, offsets: Sequence[int]) -> list[bytes]:
        """:meth:`raw_string` of each of ``offsets``: a library wants hundreds of names."""
        table = self._strings
        if offsets and not 0 <= min(offsets) <= max(offsets) < table.size:
            raise ElfError("a name lies outside the string table")
        found = table.all_until_nul(offsets, _MAX_STRING)
        if found is None:
            raise ElfError("a name of more than 64 KiB")
        return found

    def string(self, offset: int) -> str:
        """The dynamic string at ``offset``; bytes that are no UTF-8 are shown as ``\\xNN``."""
        return self.raw_string(offset).decode("utf-8", "backslashreplace")

    def strings_of(self, tag: int) -> tuple[str, ...]:
        """The strings of every entry of ``tag``, in file order."""
        return tuple(self.string(value) for found, value in self.dynamic if found == tag)

    def _one(self, tag: int) -> str | None:
        value = self.tag(tag)
        return None if value is None else self.string(value)

    @cached_property
    def soname(self) -> str | None:
        """DT_SONAME."""
        return self._one(e.DT_SONAME)

    @cached_property
    def needed(self) -> tuple[str, ...]:
        """DT_NEEDED entries in file order."""
        return self.strings_of(e.DT_NEEDED)

    @cached_property
    def runpath(self) -> str | None:
        """DT_RUNPATH."""
        return self._one(e.DT_RUNPATH)

    @cached_property
    def rpath(self) -> str | None:
        """DT_RPATH; None when there is a RUNPATH too, because the loader then ignores it."""
        return None if self.tag(e.DT_RUNPATH) is not None else self._one(e.DT_RPATH)

    @property
    def flags_1(self) -> int:
        """DT_FLAGS_1."""
        return self.tag(e.DT_FLAGS_1) or 0

    @cached_property
    def interpreter(self) -> str | None:
        """PT_INTERP: the dynamic loader that an executable asks for."""
        segment = self.segment(e.PT_INTERP)
        if segment is None:
            return None
        data = self.read(segment.offset, min(segment.filesz, 4096))
        return data.split(b"\0", 1)[0].decode("utf-8", "backslashreplace")

    # --- symbol versions --------------------------------------------------------------------

    @cached_property
    def version_needs(self) -> tuple[VersionNeed, ...]:
        """DT_VERNEED: versions that this file wants of others, in the loader's order."""
        address = self.tag(e.DT_VERNEED)
        found: list[VersionNeed] = []
        while address is not None:
            _, _, file, aux, following = struct.unpack(self._o("HHIII"), self.at(address, 16))
            name, place = self.string(file), address + aux
            while True:
                _, flags, other, text, more = struct.unpack(self._o("IHHII"), self.at(place, 16))
                weak, hidden = bool(flags & e.VER_FLG_WEAK), bool(other & 0x8000)
                found.append(VersionNeed(name, self.string(text), other & 0x7FFF, weak, hidden))
                _bound(found)
                if more == 0:
                    break
                place += more
            address = address + following if following else None
        return tuple(found)

    @cached_property
    def version_definitions(self) -> dict[int, str] | None:
        """DT_VERDEF: index → name, without the base definition; None without such a table."""
        address = self.tag(e.DT_VERDEF)
        if address is None:
            return None
        return {index: name for index, flags, name in self._verdef(address)
                if not flags & e.VER_FLG_BASE}  # fmt: skip

    @cached_property
    def defined_version_names(self) -> frozenset[str]:
        """Names that DT_VERDEF defines, the base definition (the file's own name) included."""
        address = self.tag(e.DT_VERDEF)
        return frozenset() if address is None else frozenset(n for *_, n in self._verdef(address))

    def _verdef(self, address: int) -> list[tuple[int, int, str]]:
        found: list[tuple[int, int, str]] = []
        while True:
            _, flags, index, _, _, aux, following = struct.unpack(
                self._o("HHHHIII"), self.at(address, 20)
            )
            (name,) = struct.unpack(self._o("I"), self.at(address + aux, 4))
            found.append((index & 0x7FFF, flags, self.string(name)))
            _bound(found)
            if following == 0:
                return found
            address += following

    def _o(self, layout: str) -> str:
        return self.header.order + layout

    # --- sections ---------------------------------------------------------------------------

    def sections(self, *names: bytes) -> list[tuple[bytes, int, int]]:
        """(name, file offset, size) of the sections called ``names``; [] without headers."""
        header = self.header
        width = 64 if header.bits == 64 else 40
        if not header.shoff or not header.shnum or header.shentsize != width:
            return []
        table = self.read(header.shoff, width * header.shnum)
        layout = self._o("IIQQQQ" if header.bits == 64 else "IIIIII")
        rows = [struct.unpack_from(layout, table, place) for place in range(0, len(table), width)]
        if header.shstrndx >= len(rows):
            raise ElfError("the section names are missing")
        _, _, _, _, place, size = rows[header.shstrndx]
        text = self.read(place, size)
        found = []
        for name, kind, _, _, offset, length in rows:
            label = text[name : max(text.find(b"\0", name), name)]
            if label in names and kind != 8:  # SHT_NOBITS occupies no bytes of the file
                found.append((label, offset, length))
        return found


def _bound(found: list[VersionNeed] | list[tuple[int, int, str]]) -> None:
    if len(found) > _MAX_VERSIONS:
        raise ElfError("version tables without an end")


def _open(path: str) -> int:
    try:
        return os.open(
            path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
        )
    except OSError as error:
        text = os.strerror(error.errno) if error.errno else str(error)
        raise ElfError(text if error.errno != errno.ENOENT else "no such file") from None
    except ValueError:
        raise ElfError("no such file") from None
