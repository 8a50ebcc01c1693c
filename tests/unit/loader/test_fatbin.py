"""GPU code scan over libraries that are made here, byte by byte."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import pytest

from cuready.probe.fatbin import FLAG_A, FLAG_F, format_arch, scan_file

LZ4, ZSTD = 0x2011, 0x8011


def entry(kind: int, sm: int, flags: int = 0x11, size: int = 256, header: int = 64) -> bytes:
    head = struct.pack("<HHIQQIIIIQQQ", kind, 0x101, header, size, 0, 0x10008, sm, 0, 0,
                       flags, 0, size * 3)  # fmt: skip
    head = struct.pack("<HHIQ", kind, 0x101, header, size)
    head += bytes(12) + struct.pack("<I", sm) + bytes(8) + struct.pack("<Q", flags) + bytes(8)
    head += struct.pack("<Q", size * 3)
    return head.ljust(header, b"\0") + b"\xaa" * size


def container(entries: Sequence[bytes], *, magic: int = 0xBA55ED50, version: int = 1) -> bytes:
    body = b"".join(entries)
    return struct.pack("<IHHQ", magic, version, 16, len(body)) + body


def library(section: bytes, *, name: bytes = b".nv_fatbin", kind: int = 1) -> bytes:
    """A minimal ELF64 file with one section besides that of the names."""
    names = b"\0" + name + b"\0.shstrtab\0"
    start = 64
    names_at = start + len(section)
    headers_at = names_at + len(names)

    def header(label: int, what: int, offset: int, size: int) -> bytes:
        return struct.pack("<IIQQQQIIQQ", label, what, 0, 0, offset, size, 0, 0, 1, 0)

    table = bytes(64) + header(1, kind, start, len(section))
    table += header(len(name) + 2, 3, names_at, len(names))
    elf = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    elf += struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, 0, 0, headers_at, 0, 64, 56, 0, 64, 3, 2)
    return elf + section + names + table


def scan(tmp_path: Path, data: bytes) -> tuple[tuple[str, ...], tuple[str, ...], str, str]:
    path = tmp_path / "lib.so"
    path.write_bytes(data)
    found = scan_file(path)
    return found.sass, found.ptx, found.status, found.reason


def test_architectures_are_sorted_as_numbers(tmp_path: Path) -> None:
    code = container([entry(2, 120), entry(2, 75), entry(2, 100), entry(1, 120)])
    assert scan(tmp_path, library(code))[:3] == (("7.5", "10.0", "12.0"), ("12.0",), "ok")


@pytest.mark.parametrize("flags", [0x11, LZ4, ZSTD])
def test_compression_does_not_matter(flags: int, tmp_path: Path) -> None:
    code = container([entry(2, 86, flags), entry(1, 86, flags)])
    assert scan(tmp_path, library(code))[:3] == (("8.6",), ("8.6",), "ok")


def test_suffixes_of_architecture_and_family(tmp_path: Path) -> None:
    code = container([entry(2, 90, ZSTD | FLAG_A), entry(2, 90), entry(2, 100, FLAG_F),
                      entry(1, 90, FLAG_A)])  # fmt: skip
    assert scan(tmp_path, library(code))[:2] == (("9.0", "9.0a", "10.0f"), ("9.0a",))
    assert format_arch(121, FLAG_A) == "12.1a"


def test_longer_entry_headers_and_padding_between_containers(tmp_path: Path) -> None:
    code = container([entry(2, 100, header=104)]) + bytes(40) + container([entry(2, 86)]) + bytes(8)
    assert scan(tmp_path, library(code))[0] == ("8.6", "10.0")


def test_relocatable_code_counts_too(tmp_path: Path) -> None:
    code = library(container([entry(2, 80)]), name=b"__nv_relfatbin")
    assert scan(tmp_path, code)[0] == ("8.0",)


def test_empty_ptx_stubs_do_not_count(tmp_path: Path) -> None:
    code = container([entry(2, 86), entry(1, 52, size=64)])
    assert scan(tmp_path, library(code))[:2] == (("8.6",), ())


def test_entries_of_other_kinds_are_passed_over(tmp_path: Path) -> None:
    assert scan(tmp_path, library(container([entry(2, 86), entry(0x40, 7)])))[0] == ("8.6",)


def test_a_library_without_gpu_code(tmp_path: Path) -> None:
    assert scan(tmp_path, library(b"text", name=b".text"))[2] == "none"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (container([entry(2, 86)], version=2), "version 2"),
        (container([entry(2, 86)], magic=0x12345678), "unknown kind"),
        (container([entry(2, 86)])[:-8], "do not know"),
        (container([entry(2, 5000)]), "numbered 5000"),
        (container([struct.pack("<HHIQ", 2, 1, 8, 16).ljust(80, b"\0")]), "leaves its container"),
        (container([struct.pack("<HHIQ", 2, 1, 64, 1 << 40).ljust(80, b"\0")]), "leaves"),
    ],
)
def test_an_unknown_layout_is_unknown_not_a_guess(data: bytes, reason: str, tmp_path: Path) -> None:
    sass, ptx, status, why = scan(tmp_path, library(data))
    assert (sass, ptx, status) == ((), (), "unknown")
    assert reason in why


def test_a_file_that_is_no_library(tmp_path: Path) -> None:
    assert scan(tmp_path, b"hello")[2] == "unknown"
    assert scan_file(tmp_path / "nothing").status == "unknown"
