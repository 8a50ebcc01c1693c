"""No file, however long, costs a reader more than 64 MB for one answer."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from tests.fuzz.targets import binaries, machine
from tests.fuzz.targets._support import READ_LIMIT, bounded_reading, memory_file

from cuready import snapshot
from cuready.errors import CureadyError
from cuready.probe import fatbin, pe, torch_build
from cuready.probe.context import Context
from cuready.probe.elf import ElfError

LONG = 3 * READ_LIMIT  # a hole: it takes no place on the disk


def test_the_count_itself_can_fail() -> None:
    reading = pytest.raises(AssertionError, match="bytes read")
    with memory_file(b"", LONG) as path, reading, bounded_reading():
        Path(path).read_bytes()


# SQLite reads pages where they are, and a hole has none: the fuzz target covers that one.
FILES = [
    file
    for file in (*machine.SYSTEM, *machine.ENVIRONMENT, *machine.PROJECT)
    if not file[0].endswith(".sqlite")
]


@pytest.mark.parametrize("file", FILES, ids=[path for path, _ in FILES])
def test_files_of_a_machine_an_environment_and_a_project(file: machine.File) -> None:
    _read_long(*file)


def _read_long(path: str, readers: Sequence[machine.Reader]) -> None:
    place = machine.root() / path[1:]
    usual = place.read_bytes() if place.exists() else None
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        with place.open("wb") as stream:
            os.truncate(stream.fileno(), LONG)
        for reader in readers:
            machine.read(reader, machine.context(path))
    finally:
        if usual is None:
            place.unlink()
        else:
            place.write_bytes(usual)


@pytest.mark.parametrize(
    "read",
    [
        lambda path: torch_build.arch_literal(Context(), path),
        lambda path: pe._one(Context(), path, {}),
        fatbin.scan_file,
        lambda path: snapshot.load(Path(path)),
        binaries.ask_all,
    ],
    ids=["arch list", "DLL", "GPU code", "snapshot", "ELF"],
)
@pytest.mark.parametrize("begin", [b"", b"MZ", b"\x7fELF\x02\x01\x01", b"{"])
def test_long_files(read: Callable[[str], object], begin: bytes) -> None:
    with memory_file(begin, LONG) as path, bounded_reading():
        try:
            read(path)
        except (CureadyError, ElfError, ValueError) as error:
            assert str(error)
