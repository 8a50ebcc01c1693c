"""ELF, GPU code, the loader's cache, PE, TensorRT plans, rpm headers: what is not text."""

from __future__ import annotations

import struct
from contextlib import suppress

from tests.fuzz.targets._support import Target, bounded_reading, memory_file, scratch

from cuready.probe import driver_userland, fatbin, ldcache, pe, project, torch_build, windows
from cuready.probe.context import Context, Skip
from cuready.probe.elf import ElfError, ElfFile
from cuready.probe.elf_symbols import Provider, References, Wanted
from cuready.probe.loader.machine import Interpreter
from cuready.probe.loader.process import Process

__all__ = ["TARGETS", "ask_all"]

_HUGE = 1 << 30  # a table whose size is a lie can be as long as the file


def elf(data: bytes) -> None:
    """Headers, dynamic section, names, versions, sections, symbols, relocations."""
    for size in (None, _HUGE):
        with memory_file(data, size) as path, suppress(ElfError), bounded_reading():
            ask_all(path)


def ask_all(path: str) -> None:
    """Everything that is asked of an ELF file. Raises ElfError when it is none."""
    with ElfFile(path) as file:
        _ask(file)


def _ask(file: ElfFile) -> None:
    for ask in (
        lambda: file.needed, lambda: file.soname, lambda: file.rpath, lambda: file.runpath,
        lambda: file.interpreter, lambda: file.version_needs, lambda: file.flags_1,
        lambda: file.version_definitions, lambda: file.defined_version_names,
        lambda: file.sections(*fatbin.SECTIONS), lambda: References(file).undefined,
        lambda: len(References(file).relocated), lambda: Provider(file).names(),
        lambda: Provider(file).defines(Wanted(b"malloc", "GLIBC_2.2.5", "libc.so.6")),
    ):  # fmt: skip
        with suppress(ElfError):
            ask()


def fatbins(data: bytes) -> None:
    """A whole library with GPU code in it."""
    for size in (None, _HUGE):
        with memory_file(data, size) as path, bounded_reading():
            _check_architectures(fatbin.scan_file(path))


def fatbin_section(data: bytes) -> None:
    """The bytes of a section of GPU code alone, in a library that is in order."""
    with memory_file(_library(data)) as path, bounded_reading():
        _check_architectures(fatbin.scan_file(path))


def _check_architectures(found: fatbin.Architectures) -> None:
    assert found.status in ("ok", "none", "unknown")
    assert found.status == "ok" or not (found.sass or found.ptx), "half a list"
    assert found.status != "unknown" or found.reason


def _library(section: bytes) -> bytes:
    """A 64-bit ELF file whose one named section is ``.nv_fatbin`` with these bytes."""
    names = b"\0.nv_fatbin\0.shstrtab\0"
    place = 64
    table = place + len(section) + len(names)
    header = struct.pack("<4sBBBB8xHHIQQQIHHHHHH", b"\x7fELF", 2, 1, 1, 0, 3, 62, 1,
                         0, 0, table, 0, 64, 56, 0, 64, 3, 2)  # fmt: skip
    rows = [(0, 0, 0, 0), (1, 1, place, len(section)), (12, 3, place + len(section), len(names))]
    heads = b"".join(struct.pack("<IIQQQQIIQQ", name, kind, 0, 0, at, size, 0, 0, 1, 0)
                     for name, kind, at, size in rows)  # fmt: skip
    return header + section + names + heads


class _Bare(Process):
    """A process of nothing, in which a file can be opened."""

    def __post_init__(self) -> None:
        from cuready.probe.loader.search import Search

        self.main = None
        self.interpreter = Interpreter("/ld.so", 62, 64, "<", (2, 36), default_dirs=("/none/",))
        self.search = Search(self.context, self.interpreter)


def dlopen(data: bytes) -> None:
    """The whole prediction over one file."""
    for size in (None, _HUGE):
        with memory_file(data, size) as path, bounded_reading():
            opened = _Bare(Context(env={}, cwd="/")).dlopen(path)
            assert opened.error is None or isinstance(opened.error, str)


def ld_so_cache(data: bytes) -> None:
    """/etc/ld.so.cache."""
    with suppress(ldcache.CacheError):
        ldcache.parse(data)


def windows_dll(data: bytes) -> None:
    """PE imports, delayed imports, file version, linker."""
    for read in (pe.imports, pe.delayed):
        with suppress(pe.PeError):
            read(data)
    with memory_file(data) as path, bounded_reading():
        for question in (windows.file_version, windows.toolset):
            found = question(Context(), path)
            assert found is None or isinstance(found, str)


def plan_header(data: bytes) -> None:
    """The first bytes of a TensorRT plan."""
    folder = scratch("plan")
    (folder / "model.plan").write_bytes(data)
    with suppress(Skip), bounded_reading(1 << 16):  # a plan has gigabytes; its header is enough
        project.read_plans(Context(cwd=str(folder)))


def rpm_header(data: bytes) -> None:
    """A header out of rpm's database."""
    with suppress(driver_userland.RpmError):
        name, version = driver_userland.rpm_header(data)
        assert isinstance(name, str)
        assert version


def arch_literal(data: bytes) -> None:
    """The arch list compiled into libtorch_python.so."""
    path = scratch("arch") / "libtorch_python.so"
    path.write_bytes(data)
    with bounded_reading():
        for word in torch_build.arch_literal(Context(), str(path)):
            assert word.startswith(("sm_", "compute_"))


TARGETS: dict[str, Target] = {
    "elf": elf,
    "dlopen": dlopen,
    "fatbin": fatbins,
    "fatbin_section": fatbin_section,
    "ldcache": ld_so_cache,
    "pe": windows_dll,
    "plan": plan_header,
    "rpm": rpm_header,
    "arch_literal": arch_literal,
}
