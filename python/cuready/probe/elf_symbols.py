"""Dynamic symbols of an ELF file: which it defines (by hash table), which its relocations need.

The loader fails on the first relocation whose symbol nobody defines, so what counts here is the
order of relocations, not the symbol table. Layouts: System V gABI (DT_HASH), and for DT_GNU_HASH
https://sourceware.org/legacy-ml/binutils/2006-10/msg00377.html.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Hashable
from functools import cached_property, lru_cache
from typing import NamedTuple

from cuready.probe import elf_format as e
from cuready.probe.elf import ElfError, ElfFile
from cuready.probe.elf_pages import PagedTable

__all__ = ["Provider", "References", "Wanted", "gnu_hash", "sysv_hash"]

_MAX_SYMBOLS = 2_000_000
_MAX_CHAIN = 100_000
_NATIVE = "<" if sys.byteorder == "little" else ">"
STB_GLOBAL, STB_WEAK, STB_GNU_UNIQUE = 1, 2, 10
STT_ALLOWED = 1 << 0 | 1 << 1 | 1 << 2 | 1 << 5 | 1 << 6 | 1 << 10
STT_TLS, SHN_ABS = 6, 0xFFF1


class Wanted(NamedTuple):
    """An undefined symbol that a relocation refers to, with the version it was linked against."""

    name: bytes
    version: str | None = None
    version_file: str | None = None
    version_hidden: bool = False
    weak: bool = False

    @property
    def text(self) -> str:
        """The name for people; bytes that are no UTF-8 are shown as ``\\xNN``."""
        return self.name.decode("utf-8", "backslashreplace")


@lru_cache(maxsize=1 << 14)  # every library wants malloc, free and their like
def gnu_hash(name: bytes) -> int:
    """The hash of DT_GNU_HASH (djb2, 32 bits)."""
    value = 5381
    for byte in name:
        value = (value * 33 + byte) & 0xFFFFFFFF
    return value


def sysv_hash(name: bytes) -> int:
    """The hash of DT_HASH and of symbol versions (System V gABI)."""
    value = 0
    for byte in name:
        value = (value << 4) + byte
        high = value & 0xF0000000
        value = (value ^ (high >> 24)) & ~high & 0xFFFFFFFF
    return value


def _words(data: bytes, code: str, order: str) -> array[int]:
    """``data`` as an array of ``code``, in the file's byte order."""
    values: array[int] = array(code)
    values.frombytes(data[: len(data) // values.itemsize * values.itemsize])
    if order != _NATIVE:
        values.byteswap()
    return values


class _Table:
    """What both sides need of one file: symbol entries, their versions, their names."""

    def __init__(self, file: ElfFile) -> None:
        self.file = file
        self.wide = file.header.bits == 64
        self.order = file.header.order
        self.entry = 24 if self.wide else 16
        self.layout = struct.Struct(self.order + ("IBBHQ" if self.wide else "IIIBBH"))

    def symbols(self, count: int) -> PagedTable:
        """The first ``count`` entries of DT_SYMTAB."""
        address = self.file.tag(e.DT_SYMTAB)
        if address is None or count > _MAX_SYMBOLS:
            raise ElfError("a symbol table that is missing or too long")
        place, size = self.file.offset_of(address), count * self.entry
        if place + size > self.file.size:
            raise ElfError("a symbol table that lies outside the file")
        return PagedTable(self.file.read, place, size)

    def symbol(self, index: int, table: PagedTable) -> tuple[int, int, int, int]:
        """(name offset, info, section index, value) of entry ``index`` of ``table``."""
        place = index * self.entry
        if place + self.entry > table.size:
            raise ElfError("a symbol index outside the symbol table")
        fields = self.layout.unpack_from(table.get(place, self.entry))
        if self.wide:
            name, info, _, section, value = fields
        else:
            name, value, _, info, _, section = fields
        return name, info, section, value

    def versions(self, count: int) -> array[int] | None:
        """The first ``count`` entries of DT_VERSYM, None when the file has none."""
        address = self.file.tag(e.DT_VERSYM)
        if address is None:
            return None
        return _words(self.file.at(address, 2 * count), "H", self.order)


class References(_Table):
    """The undefined symbols that the relocations of one file refer to."""

    def __init__(self, file: ElfFile) -> None:
        super().__init__(file)
        self.satisfied: dict[Hashable, frozenset[ElfFile]] = {}
        """What was asked of this file → files that together define all of it."""

    @cached_property
    def relocated(self) -> array[int]:
        """Symbol index of every relocation with a symbol, in the loader's order, data first."""
        found: array[int] = array("I")
        for address, size, skip, addend in self._tables():
            step = (24 if addend else 16) if self.wide else (12 if addend else 8)
            if skip * step < size:  # the relative ones come first and name no symbol
                data = self.file.at(address + skip * step, size - skip * step)
                found.extend(self._indexes(data, addend))
        return found

    def _tables(self) -> list[tuple[int, int, int, bool]]:
        """(address, size, relative relocations to skip, with addend) of each table, in order."""
        tag, found = self.file.tag, []
        for where, size_tag, count_tag, addend in (
            (e.DT_REL, e.DT_RELSZ, e.DT_RELCOUNT, False),
            (e.DT_RELA, e.DT_RELASZ, e.DT_RELACOUNT, True),
        ):
            address, size = tag(where), tag(size_tag)
            if address is not None and size:
                found.append((address, size, tag(count_tag) or 0, addend))
        address, size = tag(e.DT_JMPREL), tag(e.DT_PLTRELSZ)
        if address is not None and size:
            found.append((address, size, 0, tag(e.DT_PLTREL) == e.DT_RELA))
        return found

    def _indexes(self, data: bytes, addend: bool) -> array[int]:
        if self.wide:
            # r_offset, r_info (symbol in the high half), r_addend: six 32-bit words, or four.
            stride = 6 if addend else 4
            words = memoryview(_words(data, "I", self.order))
            first = 3 if self.order == "<" else 2
            return array("I", words[first::stride].tolist())
        stride = 3 if addend else 2
        words = memoryview(_words(data, "I", self.order))
        return array("I", [info >> 8 for info in words[1::stride].tolist()])

    @cached_property
    def undefined(self) -> dict[int, Wanted]:
        """Symbol index → what is wanted, for every undefined symbol that a relocation may name.

        Linkers put undefined symbols before those of the hash table, so the table's first index
        bounds them; a library has a hundred thousand relocations and far fewer of these. Where it
        says nothing, the relocations are asked. :attr:`relocated` decides in the end.
        """
        bound = self._first_hashed()
        if bound > _MAX_SYMBOLS or bound * self.entry > self.file.size:
            raise ElfError("a hash table that begins beyond the symbol table")
        wanted = set(range(1, bound)) if bound > 1 else set(self.relocated)
        wanted.discard(0)
        if not wanted:
            return {}
        count = max(wanted) + 1
        table = self.symbols(count)
        versions = self.versions(count)
        needs = {need.index: need for need in self.file.version_needs} if versions else {}
        rows = [row for row in self._undefined_of(sorted(wanted), table) if row[2] >> 4]
        names = self.file.raw_strings([row[1] for row in rows])
        tails = {index: (need.name, need.file, need.hidden) for index, need in needs.items()}
        bare, make, found = (None, None, False), Wanted._make, {}
        for (index, _, info), name in zip(rows, names, strict=True):
            tail = bare if versions is None else tails.get(versions[index] & 0x7FFF, bare)
            found[index] = make((name, *tail, info >> 4 == STB_WEAK))
        return found

    def _undefined_of(self, wanted: list[int], table: PagedTable) -> list[tuple[int, int, int]]:
        """(index, name offset, info) of the undefined ones: tens of thousands, so in bulk."""
        if not self.wide:
            entries = [(index, *self.symbol(index, table)) for index in wanted]
            return [(index, name, info) for index, name, info, section, _ in entries if not section]
        data = table.get(0, table.size)  # columns of entries of 24 bytes
        names = memoryview(_words(data, "I", self.order))[0::6].tolist()
        sections = memoryview(_words(data, "H", self.order))[3::12].tolist()
        infos = data[4::24]
        return [(index, names[index], infos[index]) for index in wanted if not sections[index]]

    def _first_hashed(self) -> int:
        """``symoffset`` of DT_GNU_HASH, 0 without one. A table of no symbols says 1."""
        address = self.file.tag(e.DT_GNU_HASH)
        if address is None:
            return 0
        return int(struct.unpack(self.order + "IIII", self.file.at(address, 16))[1])


class Provider(_Table):
    """What one file defines, looked up as ``do_lookup_x`` of glibc does."""

    def __init__(self, file: ElfFile) -> None:
        super().__init__(file)
        self._answers: dict[Wanted, bool] = {}

    @cached_property
    def _gnu(self) -> tuple[array[int], int, array[int], int, int, array[int]] | None:
        """(bloom words, shift, buckets, first symbol, symbol count, chains) of DT_GNU_HASH."""
        address = self.file.tag(e.DT_GNU_HASH)
        if address is None:
            return None
        head = struct.unpack(self.order + "IIII", self.file.at(address, 16))
        buckets_count, first, bloom_count, shift = head
        word = 8 if self.wide else 4
        if not buckets_count or not bloom_count or buckets_count > _MAX_SYMBOLS:
            raise ElfError("a hash table without buckets")
        rest = self.file.rest_of(address)
        if bloom_count * word + buckets_count * 4 > rest or shift > 63:
            raise ElfError("a hash table larger than its segment")
        bloom = _words(self.file.at(address + 16, bloom_count * word),
                       "Q" if self.wide else "I", self.order)  # fmt: skip
        place = address + 16 + bloom_count * word
        buckets = _words(self.file.at(place, buckets_count * 4), "I", self.order)
        chains = self._chains(place + buckets_count * 4, max(buckets), first)
        return bloom, shift, buckets, first, first + len(chains), chains

    def _chains(self, address: int, last: int, first: int) -> array[int]:
        """The hash values of all symbols from ``first`` on: up to the end of the last chain."""
        if last < first:
            return array("I")
        sure = last - first + 1
        if sure > _MAX_SYMBOLS:
            raise ElfError("a hash table without an end")
        values = _words(self.file.at(address, sure * 4), "I", self.order)
        while not values[-1] & 1:
            if len(values) - sure > _MAX_CHAIN:
                raise ElfError("a hash chain without an end")
            following = self.file.at(address + len(values) * 4, 4)
            values.extend(_words(following, "I", self.order))
        return values

    @cached_property
    def _sysv(self) -> tuple[array[int], array[int]] | None:
        address = self.file.tag(e.DT_HASH)
        if address is None:
            return None
        buckets, chains = struct.unpack(self.order + "II", self.file.at(address, 8))
        if not buckets or buckets > _MAX_SYMBOLS or chains > _MAX_SYMBOLS:
            raise ElfError("a hash table without buckets")
        words = _words(self.file.at(address + 8, 4 * (buckets + chains)), "I", self.order)
        return words[:buckets], words[buckets:]

    @cached_property
    def _ready(self) -> tuple[PagedTable, array[int] | None, dict[int, str]]:
        """(symbols, version indexes, version index → name), as many as the hash table reaches."""
        gnu = self._gnu
        count = gnu[4] if gnu else len(self._sysv[1]) if self._sysv else 0
        versions = self.versions(count) if count else None
        names = dict(self.file.version_definitions or {})
        for need in self.file.version_needs if versions is not None else ():
            names.setdefault(need.index, need.name)
        symbols = self.symbols(count) if count else PagedTable(self.file.read, 0, 0)
        return symbols, versions, names

    def defines(self, wanted: Wanted, gnu: int | None = None) -> bool:
        """Whether the loader would take ``wanted`` from this file. ``gnu``: its hash, if known."""
        known = self._answers.get(wanted)
        if known is None:
            known = self._answers[wanted] = self._defines(wanted, gnu)
        return known

    def _defines(self, wanted: Wanted, gnu: int | None) -> bool:
        if self._gnu is not None:
            candidates = self._gnu_candidates(gnu_hash(wanted.name) if gnu is None else gnu)
        elif self._sysv is not None:
            candidates = self._sysv_candidates(sysv_hash(wanted.name))
        else:
            return False
        return bool(candidates) and self._match(wanted, candidates)

    def _gnu_candidates(self, value: int) -> list[int]:
        assert self._gnu is not None  # noqa: S101 - the caller looked
        bloom, shift, buckets, first, _, chains = self._gnu
        bits = 64 if self.wide else 32
        word = bloom[(value // bits) % len(bloom)]
        mask = 1 << (value % bits) | 1 << ((value >> shift) % bits)
        if word & mask != mask:
            return []
        index = buckets[value % len(buckets)]
        if index < first:
            return []
        found = []
        for place in range(index - first, len(chains)):
            if (chains[place] ^ value) >> 1 == 0:
                found.append(place + first)
            if chains[place] & 1:
                break
        return found

    def _sysv_candidates(self, value: int) -> list[int]:
        assert self._sysv is not None  # noqa: S101 - the caller looked
        buckets, chains = self._sysv
        found: list[int] = []
        index = buckets[value % len(buckets)]
        while index != 0 and len(found) < _MAX_CHAIN:
            if index >= len(chains):
                raise ElfError("a hash chain that leaves its table")
            found.append(index)
            index = chains[index]
        return found

    def _match(self, wanted: Wanted, candidates: list[int]) -> bool:
        """glibc's check_match() over ``candidates``, which share a hash value."""
        table, versions, names = self._ready
        unversioned = 0
        for index in candidates:
            name, info, section, value = self.symbol(index, table)
            kind = info & 15
            if section == 0 or info >> 4 not in (STB_GLOBAL, STB_WEAK, STB_GNU_UNIQUE):
                continue
            if value == 0 and section != SHN_ABS and kind != STT_TLS:
                continue
            if not STT_ALLOWED >> kind & 1 or self.file.raw_string(name) != wanted.name:
                continue
            if versions is None:
                return True
            hidden, version = versions[index] & 0x8000, versions[index] & 0x7FFF
            if wanted.version is None:
                if version < 3:
                    return True
                unversioned += not hidden
                continue
            named = names.get(version)
            if named == wanted.version:
                return True
            if named is None and not hidden and not wanted.version_hidden:
                return True
        return unversioned == 1

    def names(self) -> list[bytes]:
        """Names of all symbols that the hash table reaches and that are defined."""
        table, _, _ = self._ready
        found = []
        for index in range(table.size // self.entry):
            name, info, section, _value = self.symbol(index, table)
            if section != 0 and info >> 4 != 0:
                found.append(self.file.raw_string(name))
        return found
