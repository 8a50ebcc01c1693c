"""The dynamic loader's own tables: ``/etc/ld.so.cache``, ``/etc/ld.so.conf``, its built-in folders.

Layout of the cache as glibc's ``sysdeps/generic/dl-cache.h`` defines it: an optional old part
(``ld.so-1.7.0``), then the part that counts since 2.2 (``glibc-ld.so.cache1.1``), whose string
offsets are relative to its own start. Nothing is run: ``ldconfig -p`` may be missing or foreign.
"""

from __future__ import annotations

import posixpath
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from cuready.probe.context import Context

__all__ = [
    "CACHE_PATH",
    "CacheEntry",
    "CacheError",
    "cached_paths",
    "conf_dirs",
    "default_dirs",
    "find_library",
    "library_path",
    "machine",
    "parse",
]

CACHE_PATH = "/etc/ld.so.cache"
CACHE_LIMIT = 16 << 20  # a cache of ten thousand libraries is about one MiB

_OLD_MAGIC = b"ld.so-1.7.0\0"
_NEW_MAGIC = b"glibc-ld.so.cache1.1"
_OLD_HEADER, _OLD_ENTRY = struct.Struct("<12sI"), 12
_NEW_HEADER, _NEW_ENTRY = struct.Struct("<20sIIB3xI12x"), struct.Struct("<iIIIQ")

# FLAG_ELF_LIBC6 with the architecture's required flag, of the same header.
_FLAGS = {"x86_64": 0x0303, "aarch64": 0x0A03, "i686": 0x0003, "ppc64le": 0x0503, "s390x": 0x0403}

MAX_INCLUDES = 64  # ld.so.conf.d of a big host holds a dozen; a loop of includes holds no end


class CacheError(ValueError):
    """The bytes are no ld.so.cache, or one cut short."""


@dataclass(frozen=True)
class CacheEntry:
    """One line of ``ldconfig -p``. ``hwcap`` is 0 for a library that any CPU may use."""

    soname: str
    path: str
    flags: int
    hwcap: int = 0


def parse(data: bytes) -> tuple[CacheEntry, ...]:
    """Entries of a cache, in its order. Raises :class:`CacheError`."""
    start = 0
    if data.startswith(_OLD_MAGIC):
        if len(data) < _OLD_HEADER.size:
            raise CacheError("cut short in the old header")
        count = _OLD_HEADER.unpack_from(data)[1]
        start = (_OLD_HEADER.size + count * _OLD_ENTRY + 7) & ~7
    if data[start : start + len(_NEW_MAGIC)] != _NEW_MAGIC:
        raise CacheError("no glibc-ld.so.cache1.1 in it")
    if len(data) < start + _NEW_HEADER.size:
        raise CacheError("cut short in the header")
    count = _NEW_HEADER.unpack_from(data, start)[1]
    first = start + _NEW_HEADER.size
    if first + count * _NEW_ENTRY.size > len(data):
        raise CacheError(f"cut short: {count} entries promised")
    entries = []
    for offset in range(first, first + count * _NEW_ENTRY.size, _NEW_ENTRY.size):
        flags, key, value, _, hwcap = _NEW_ENTRY.unpack_from(data, offset)
        entries.append(
            CacheEntry(_string(data, start + key), _string(data, start + value), flags, hwcap)
        )
    return tuple(entries)


def _string(data: bytes, offset: int) -> str:
    end = data.find(b"\0", offset)
    if offset >= len(data) or end < 0:
        raise CacheError("a string lies outside the file")
    text = data[offset:end]
    try:
        return text.decode()
    except UnicodeDecodeError:
        return text.decode("utf-8", "surrogateescape").encode("utf-8", "replace").decode()


def cached_entries(context: Context) -> tuple[CacheEntry, ...] | None:
    """Entries of this machine's cache, None where there is none. Raises :class:`CacheError`.

    Three readers ask, and a desktop's cache has thousands of entries: it is parsed once.
    """
    known: tuple[CacheEntry, ...] | None = context.memory.get(CACHE_PATH)
    if known is None:
        data = context.read_bytes(CACHE_PATH, CACHE_LIMIT)
        if data is None:
            return None
        known = context.memory[CACHE_PATH] = parse(data)
    return known


def cached_paths(context: Context) -> Mapping[str, tuple[str, ...]] | None:
    """soname → paths for this machine's architecture, best first. None where there is no cache.

    Raises :class:`CacheError` when there is one that cannot be read.
    """
    entries = cached_entries(context)
    if entries is None:
        return None
    wanted = _FLAGS.get(machine(context))
    found: dict[str, list[str]] = {}
    for entry in entries:
        if wanted is None or entry.flags & 0xFFFF == wanted:
            found.setdefault(entry.soname, []).append(entry.path)
    return {soname: tuple(dict.fromkeys(paths)) for soname, paths in found.items()}


def machine(context: Context) -> str:
    """Architecture of the diagnosed machine as ``uname -m`` names it."""
    if context.rooted:
        for loader, name in _LOADERS.items():
            if context.stat(loader) is not None:
                return name
    import platform

    return {"AMD64": "x86_64", "arm64": "aarch64"}.get(platform.machine(), platform.machine())


_LOADERS = {
    "/lib64/ld-linux-x86-64.so.2": "x86_64",
    "/lib/ld-linux-aarch64.so.1": "aarch64",
    "/lib/ld-musl-x86_64.so.1": "x86_64",
    "/lib/ld-musl-aarch64.so.1": "aarch64",
}


def conf_dirs(context: Context, path: str = "/etc/ld.so.conf") -> tuple[str, ...]:
    """Folders that ``/etc/ld.so.conf`` and its includes name, in ldconfig's order."""
    folders: dict[str, None] = {}
    pending, seen = [path], 0
    while pending and seen < MAX_INCLUDES:
        current = pending.pop(0)
        seen += 1
        included: list[str] = []
        try:
            text = context.read_text(current) or ""
        except OSError:
            continue
        for raw in text.splitlines():
            words = raw.split("#", 1)[0].replace(":", " ").replace(",", " ").split()
            if words[:1] == ["include"]:
                base = posixpath.dirname(current)
                for pattern in words[1:]:
                    included += context.glob(posixpath.join(base, pattern))
            elif words[:1] != ["hwcap"]:
                folders.update((posixpath.normpath(word.split("=")[0]), None) for word in words)
        pending[:0] = included
    return tuple(folders)


def default_dirs(context: Context) -> tuple[str, ...]:
    """Folders that the loader searches last, which are compiled into it."""
    name = machine(context)
    for musl in (f"/etc/ld-musl-{name}.path",):
        text = context.first_line(musl)
        if text:
            return tuple(part for part in text.replace("\n", ":").split(":") if part)
    if context.exists(f"/lib/ld-musl-{name}.so.1"):
        return ("/lib", "/usr/local/lib", "/usr/lib")
    if context.is_dir(f"/usr/lib/{name}-linux-gnu"):
        triple = f"{name}-linux-gnu"
        return (f"/lib/{triple}", f"/usr/lib/{triple}", "/lib", "/usr/lib")
    return ("/lib64", "/usr/lib64", "/lib", "/usr/lib")


def library_path(context: Context, variable: str = "LD_LIBRARY_PATH") -> tuple[str, ...]:
    """Entries of LD_LIBRARY_PATH. An empty one means the working folder, as the loader reads it."""
    text = context.env.get(variable, "")
    return (
        tuple(entry or context.cwd for entry in text.replace(";", ":").split(":")) if text else ()
    )


def find_library(
    context: Context, soname: str, cache: Mapping[str, tuple[str, ...]] | None
) -> tuple[str, str] | None:
    """``(path, rule)`` for a ``dlopen(soname)`` from a program without RPATH, None when not found.

    The rules in ``ld.so(8)``'s order: LD_LIBRARY_PATH, ld.so.cache, default folders.
    """
    for folder in library_path(context):
        candidate = posixpath.join(folder, soname)
        if context.is_file(candidate):
            return candidate, "LD_LIBRARY_PATH"
    for path in (cache or {}).get(soname, ()):
        if context.is_file(path):
            return path, "ld.so.cache"
    for folder in default_dirs(context):
        candidate = posixpath.join(folder, soname)
        if context.is_file(candidate):
            return candidate, "default"
    return None
