"""PE files (Windows DLLs): which DLLs they import, and which of those are nowhere to be found.

``OSError: [WinError 126]`` names the DLL that could not be loaded, never the one that it lacked.
The import table is walked instead. Layout: PE Format,
https://learn.microsoft.com/en-us/windows/win32/debug/pe-format.
"""

from __future__ import annotations

import os
import posixpath
import struct
from collections.abc import Iterable
from mmap import mmap

from cuready._util import READ_LIMIT
from cuready.probe.context import Context, Facts, Skip
from cuready.snapshot import LibraryFile, Resolution

__all__ = ["PeError", "delayed", "image", "imports", "read"]

_MAX_SECTIONS, _MAX_IMPORTS = 96, 2000
_PE32, _PE32_PLUS = 0x10B, 0x20B
_IMPORT, _DELAY = 1, 13
_LIBRARY_LIMIT = 60

# DLLs that every Windows has, or that it makes up itself (API sets).
_API_SETS = ("api-ms-win-", "ext-ms-")


class PeError(ValueError):
    """Not a PE file, or one whose tables leave it."""


class _Image:
    """A PE image: its sections and its data directories."""

    def __init__(self, data: bytes | mmap) -> None:
        self.data = data
        if data[:2] != b"MZ":
            raise PeError("not a Windows program")
        (start,) = self.unpack("<I", 0x3C)
        if self.slice(start, 4) != b"PE\0\0":
            raise PeError("not a PE file")
        _, count, _, _, _, optional, _ = self.unpack("<HHIIIHH", start + 4)
        if count > _MAX_SECTIONS:
            raise PeError("more sections than Windows loads")
        magic, major, minor = self.unpack("<HBB", start + 24)
        self.linker = f"{major}.{minor}"
        if magic not in (_PE32, _PE32_PLUS):
            raise PeError("an optional header of an unknown kind")
        directories = start + 24 + (112 if magic == _PE32_PLUS else 96)
        (self.directory_count,) = self.unpack("<I", directories - 4)
        self.directories = directories
        table = start + 24 + optional
        self.sections = [self.unpack("<8sIIII", table + 40 * i) for i in range(count)]

    def slice(self, offset: int, size: int) -> bytes:
        """``size`` bytes at ``offset``, all of them."""
        if offset < 0 or offset + size > len(self.data):
            raise PeError("a table lies outside the file")
        return self.data[offset : offset + size]

    def unpack(self, layout: str, offset: int) -> tuple[int, ...]:
        """``struct.unpack`` at a file offset."""
        return struct.unpack(layout, self.slice(offset, struct.calcsize(layout)))

    def offset(self, address: int) -> int:
        """File offset of a relative virtual address."""
        for _, virtual_size, start, raw_size, raw in self.sections:
            if start <= address < start + max(virtual_size, raw_size):
                return raw + address - start
        raise PeError(f"address {address:#x} is in no section")

    def directory(self, index: int) -> tuple[int, int]:
        """(file offset, size) of a data directory. Raises :class:`PeError` without one."""
        if index >= self.directory_count:
            raise PeError("a data directory that is not there")
        address, size = self.unpack("<II", self.directories + 8 * index)
        if not address or not size:
            raise PeError("a data directory that is empty")
        return self.offset(address), size

    def text(self, address: int) -> str:
        """The NUL-terminated name at an address."""
        start = self.offset(address)
        end = self.data.find(b"\0", start, start + 512)
        if end < 0:
            raise PeError("a name without an end")
        return self.data[start:end].decode("ascii", "backslashreplace")

    def names(self, directory: int, row_size: int, name_at: int) -> list[str]:
        """DLL names of an import directory: rows of ``row_size`` until one of zeros."""
        if directory >= self.directory_count:
            return []
        address, size = self.unpack("<II", self.directories + 8 * directory)
        if not address or not size:
            return []
        place = self.offset(address)
        found: list[str] = []
        while len(found) < _MAX_IMPORTS:
            row = self.slice(place, row_size)
            (name,) = struct.unpack_from("<I", row, name_at)
            if not name:
                return list(dict.fromkeys(found))
            found.append(self.text(name))
            place += row_size
        raise PeError("an import table without an end")


def image(data: bytes | mmap) -> _Image:
    """The headers of a PE file. Raises :class:`PeError`."""
    return _Image(data)


def imports(data: bytes) -> list[str]:
    """DLLs that Windows loads together with this one. Raises :class:`PeError`."""
    return _Image(data).names(_IMPORT, 20, 12)


def delayed(data: bytes) -> list[str]:
    """DLLs that are loaded when first called. Raises :class:`PeError`."""
    return _Image(data).names(_DELAY, 32, 4)


def read(context: Context) -> Facts:
    """torch's DLLs in a Windows environment, and what none of its folders has."""
    from cuready.probe import targets

    if context.system != "Windows" and not context.so_far.platform.system == "Windows":
        raise Skip("DLLs are a matter of Windows")
    folder = targets.module_folder(context, "torch")
    if folder is None:
        raise Skip("no torch here")
    folders = _folders(context, folder)
    have = {
        name.lower(): f"{place}/{name}"
        for place in reversed(folders)
        for name in _dlls(context, place)
    }
    found = []
    for name in _dlls(context, f"{folder}/lib")[:_LIBRARY_LIMIT]:
        library = _one(context, f"{folder}/lib/{name}", have)
        if library is not None:
            found.append(library)
    return {"libraries": tuple(found)}


def _folders(context: Context, torch: str) -> list[str]:
    """Where Windows looks for torch's DLLs, in torch's own order (``_load_dll_libraries``)."""
    prefix = context.so_far.python.prefix or ""
    base = context.so_far.python.base_prefix or prefix
    windows = context.env.get("SystemRoot", "C:/Windows").replace("\\", "/")
    windows = "/Windows" if context.rooted else windows
    named = [f"{torch}/lib", f"{prefix}/Library/bin", f"{base}/Library/bin", base, prefix]
    system = [f"{windows}/System32", windows]
    path = context.env.get("PATH", "").replace("\\", "/").split(";")
    return list(dict.fromkeys(item.rstrip("/") for item in [*named, *system, *path] if item))


def _dlls(context: Context, folder: str) -> list[str]:
    try:
        return [name for name in context.listdir(folder) if name.lower().endswith(".dll")]
    except OSError:
        return []


def _one(context: Context, path: str, have: dict[str, str]) -> LibraryFile | None:
    try:
        needed = imports(_bytes(context, path))
    except (OSError, PeError) as error:
        return LibraryFile(path, role="torch", unknown=str(error))
    missing = [name for name in needed if not _there(name, have)]
    text = (
        "[WinError 126] The specified module could not be found. "
        f'Error loading "{path}" or one of its dependencies.'
    )
    return LibraryFile(
        path,
        role="torch",
        needed=tuple(needed),
        missing=tuple(Resolution(name, path) for name in missing),
        error_text=text if missing else None,
    )


def _bytes(context: Context, path: str) -> bytes:
    """The start of a DLL: its import table lies within the first 64 MB, or is not looked at."""
    with open(context.path(path), "rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        return stream.read(min(size, READ_LIMIT))


def _there(name: str, have: dict[str, str]) -> bool:
    return name.lower() in have or name.lower().startswith(_API_SETS)


def missing_names(libraries: Iterable[LibraryFile]) -> list[str]:
    """Names of the DLLs that are missing, each once."""
    return list(dict.fromkeys(posixpath.basename(m.soname) for x in libraries for m in x.missing))
