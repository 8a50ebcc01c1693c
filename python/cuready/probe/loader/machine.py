"""What is fixed about a machine's dynamic loader: its version, default folders, CPU folders, cache.

glibc's ``ld.so`` has its search folders compiled in, and every distribution compiles in its own.
They stand in the file as text, so we read them there instead of guessing by distribution.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from cuready.probe import ldcache
from cuready.probe.context import Context
from cuready.probe.elf import ElfError, parse_header

__all__ = ["Interpreter", "read_interpreter"]

_READ_LIMIT = 4 << 20  # ld.so is 200 KB to 1.5 MB
_VERSION = re.compile(
    rb"(?:ld\.so|GNU C Library) \([^)\n]{0,200}\) [a-z]{1,20} release version (\d{1,3})\.(\d{1,4})"
)
_FOLDER = re.compile(rb"(?<![\w./+-])([\w./+-]*/)\0")
_MULTIARCH = re.compile(rb"\0(lib/[a-z0-9_]+-linux-gnu[a-z0-9_]*)\0")
_NEEDED_FLAGS = {  # x86-64 micro-architecture levels, by the names in /proc/cpuinfo
    "x86-64-v2": {"cx16", "lahf_lm", "popcnt", "pni", "sse4_1", "sse4_2", "ssse3"},
    "x86-64-v3": {"avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe", "xsave"},
    "x86-64-v4": {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"},
}
# https://gitlab.com/x86-psABIs/x86-64-ABI (psABI, "Micro-Architecture Levels"), as of 2026-01

# FLAG_ELF_LIBC6 with the architecture's own flag, and the bit that says "a glibc-hwcaps folder":
# sysdeps/generic/ldconfig.h and dl-cache.h of glibc. Keys: (e_machine, word size).
_CACHE_FLAGS = {(62, 64): 0x0303, (183, 64): 0x0A03, (3, 32): 0x0003}
_HWCAP_EXTENSION = 1 << 62
_LEVEL = re.compile(r"/glibc-hwcaps/([^/]+)/")

_FALLBACK = {
    "x86_64": ("/lib64/ld-linux-x86-64.so.2", ("/lib64/", "/usr/lib64/")),
    "aarch64": ("/lib/ld-linux-aarch64.so.1", ("/lib64/", "/usr/lib64/")),
}


@dataclass(frozen=True)
class Interpreter:
    """The loader ``path`` and what it brings along.

    ``version`` is glibc's (None when the file does not say), ``default_dirs`` end in a slash,
    ``lib`` and ``platform`` are what ``$LIB`` and ``$PLATFORM`` stand for. ``subdirs`` are the
    CPU-specific folders tried below each search folder, in order, the folder itself (``""``) last.
    """

    path: str
    machine: int
    bits: int
    order: str
    version: tuple[int, int] | None = None
    musl: bool = False
    default_dirs: tuple[str, ...] = ("/lib64/", "/usr/lib64/")
    lib: str = "lib64"
    platform: str = "x86_64"
    subdirs: tuple[str, ...] = ("",)
    levels: tuple[str, ...] = ()
    context: Context = field(default_factory=Context, repr=False, compare=False)

    @cached_property
    def cache(self) -> Mapping[str, tuple[tuple[str, str], ...]]:
        """soname → ((path, CPU level or ""), …) of ld.so.cache, for this loader's own kind.

        Empty when there is no cache, or one that the loader would not take either.
        """
        found: dict[str, list[tuple[str, str]]] = {}
        try:
            entries = ldcache.cached_entries(self.context) or ()
        except ldcache.CacheError:
            entries = ()
        wanted = _CACHE_FLAGS.get((self.machine, self.bits))
        for entry in entries:
            if entry.flags != wanted:
                continue
            level = _LEVEL.search(entry.path) if entry.hwcap & _HWCAP_EXTENSION else None
            if entry.hwcap and level is None:
                continue  # a legacy hwcaps folder: no CPU of the last ten years has one of its own
            found.setdefault(entry.soname, []).append((entry.path, level[1] if level else ""))
        return {name: tuple(paths) for name, paths in found.items()}

    def cached(self, name: str) -> str | None:
        """The path that ld.so.cache gives for ``name``: best CPU level first, then plain."""
        plain: str | None = None
        best: tuple[int, str] | None = None
        for path, level in self.cache.get(name, ()):
            if not level:
                plain = plain or path
            elif level in self.levels:
                rank = self.levels.index(level)
                best = (rank, path) if best is None or rank < best[0] else best
        return best[1] if best else plain


def read_interpreter(context: Context, path: str | None) -> Interpreter:
    """Read the loader ``path`` (an executable's PT_INTERP), or this machine's usual one.

    Raises :class:`~cuready.probe.elf.ElfError` when there is none or it is not ELF.
    """
    for candidate in [path] if path else [entry[0] for entry in _FALLBACK.values()]:
        data = _read(context, candidate)
        if data is not None:
            return _from_bytes(context, candidate, data)
    raise ElfError(f"no dynamic loader: {path or 'neither x86-64 nor AArch64 glibc'} is not there")


def _read(context: Context, path: str) -> bytes | None:
    try:
        return context.read_bytes(path, _READ_LIMIT)
    except OSError as error:
        raise ElfError(f"{path}: {error.strerror}") from None


def _system_dirs(data: bytes) -> tuple[str, ...]:
    """The first two or more folders of libraries that stand behind each other, a NUL after each."""
    found: list[str] = []
    end = -1
    for folder in _FOLDER.finditer(data):
        text = folder[1]
        if folder.start() != end or not text.startswith(b"/") or b"lib" not in text:
            if len(found) > 1:
                break
            found = []
            text = text[text.index(b"/") :]  # what stands before the first one may look like a name
        end = folder.end()
        if b"lib" in text:
            found.append(text.decode())
    return tuple(found) if len(found) > 1 else ()


def _from_bytes(context: Context, path: str, data: bytes) -> Interpreter:
    header = parse_header(data[:64])
    machine = header.machine_name
    version = _VERSION.search(data)
    number = (int(version[1]), int(version[2])) if version else None
    dirs = _system_dirs(data) or _FALLBACK.get(machine, ("", ("/lib/", "/usr/lib/")))[1]
    multiarch = _MULTIARCH.search(data)
    lib = multiarch[1].decode() if multiarch else "lib64" if "/lib64/" in dirs else "lib"
    levels = _levels(context, machine) if number is None or number >= (2, 33) else ()
    hwcaps = tuple(f"glibc-hwcaps/{level}/" for level in levels)
    legacy = _legacy_subdirs(machine) if number is not None and number < (2, 37) else ()
    return Interpreter(
        path=path,
        machine=header.machine,
        bits=header.bits,
        order=header.order,
        version=number,
        musl="ld-musl" in path or b"musl libc" in data,
        default_dirs=dirs,
        lib=lib,
        platform=machine,
        subdirs=(*hwcaps, *legacy, ""),
        levels=levels,
        context=context,
    )


def _levels(context: Context, machine: str) -> tuple[str, ...]:
    """Micro-architecture levels of this CPU, best first; each includes those below it."""
    if machine != "x86_64":
        return ()
    text = context.read_text("/proc/cpuinfo", 65536) or ""
    line = next((row for row in text.splitlines() if row.startswith("flags")), "")
    flags, found = set(line.partition(":")[2].split()), []
    for level, needed in _NEEDED_FLAGS.items():
        if not needed <= flags:
            break
        found.append(level)
    return tuple(reversed(found))


def _legacy_subdirs(machine: str) -> tuple[str, ...]:
    """The folders that glibc before 2.37 tried for old "hwcaps": subsets of tls and the CPU's name.

    https://sourceware.org/glibc/wiki/Release/2.37 dropped them.
    """
    names = ["tls", machine, machine] if machine == "x86_64" else ["tls", machine]
    found = []
    for bits in range((1 << len(names)) - 1, 0, -1):
        chosen = [n for i, n in enumerate(names) if bits >> (len(names) - 1 - i) & 1]
        found.append("/".join(chosen) + "/")
    return tuple(dict.fromkeys(found))
