"""One function a parser: bytes in, nothing out; only the parser's own error may escape it.

``fuzz.py`` drives them with coverage guidance, ``tests/unit/loader/test_fuzz_corpus.py`` with the kept
corpus and simple mutations, so that every run of the tests covers a little of it.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cuready.probe import distributions, fatbin, ldcache, pe, project, records
from cuready.probe.context import Context, Skip
from cuready.probe.elf import READ_LIMIT, ElfError, ElfFile
from cuready.probe.elf_symbols import Provider, References, Wanted
from cuready.probe.loader.machine import Interpreter
from cuready.probe.loader.process import Process
from cuready.probe.loader.tokens import search_dirs

__all__ = ["TARGETS"]

Target = Callable[[bytes], None]
_FOLDER = "/dev/shm" if Path("/dev/shm").is_dir() else None


@contextmanager
def _file(data: bytes) -> Iterator[str]:
    descriptor = os.memfd_create("fuzz")
    try:
        os.write(descriptor, data)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def elf(data: bytes) -> None:
    """Headers, dynamic section, names, versions, sections, symbols, relocations."""
    with _file(data) as path, suppress(ElfError), ElfFile(path) as file:
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
        assert file.bytes_read <= READ_LIMIT + len(data)


def fatbins(data: bytes) -> None:
    """A whole library with GPU code in it."""
    with _file(data) as path:
        found = fatbin.scan_file(path)
        assert found.status in ("ok", "none", "unknown")


def record(data: bytes) -> None:
    """RECORD of a wheel."""
    with suppress(records.RecordError):
        for entry in records.parse_payload(data):
            assert entry.path


def ld_so_cache(data: bytes) -> None:
    """/etc/ld.so.cache."""
    with suppress(ldcache.CacheError):
        ldcache.parse(data)


def windows_dll(data: bytes) -> None:
    """PE imports."""
    with suppress(pe.PeError):
        pe.imports(data)
    with suppress(pe.PeError):
        pe.delayed(data)


def plan_header(data: bytes) -> None:
    """The first bytes of a TensorRT plan."""
    with tempfile.TemporaryDirectory(dir=_FOLDER) as folder:
        (Path(folder) / "model.plan").write_bytes(data)
        with suppress(Skip):
            project.read_plans(Context(cwd=folder))


def metadata(data: bytes) -> None:
    """METADATA of a wheel."""
    with tempfile.TemporaryDirectory(dir=_FOLDER) as folder:
        (Path(folder) / "METADATA").write_bytes(data)
        for everything in (False, True):
            distributions._metadata(Context(), f"{folder}/METADATA", everything)


def search_path(data: bytes) -> None:
    """RPATH, RUNPATH, LD_LIBRARY_PATH."""
    text = data.decode("utf-8", "replace")
    for folder, _ in search_dirs(text, ":;", origin="/o", lib="lib64", platform="x86_64"):
        assert folder == "" or folder.endswith("/")


class _Bare(Process):
    """A process of nothing, in which a file can be opened."""

    def __post_init__(self) -> None:
        from cuready.probe.loader.search import Search

        self.main = None
        self.interpreter = Interpreter("/ld.so", 62, 64, "<", (2, 36), default_dirs=("/none/",))
        self.search = Search(self.context, self.interpreter)


def dlopen(data: bytes) -> None:
    """The whole prediction over one file."""
    with _file(data) as path:
        process = _Bare(Context(env={}, cwd="/"))
        opened = process.dlopen(path)
        assert opened.error is None or isinstance(opened.error, str)


TARGETS: dict[str, Target] = {
    "elf": elf,
    "fatbin": fatbins,
    "record": record,
    "ldcache": ld_so_cache,
    "pe": windows_dll,
    "plan": plan_header,
    "metadata": metadata,
    "search_path": search_path,
    "dlopen": dlopen,
}
