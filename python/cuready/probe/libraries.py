"""Works out how the loader treats the frameworks' libraries here: torch and everything built on it.

Only what a diagnosis needs is walked: what ``import torch`` opens, extensions of distributions that
require it, the CUDA parts of onnxruntime, TensorRT, JAX and TensorFlow. The rules are those of
:mod:`cuready.probe.loader`; this module picks the files and turns outcomes into facts.
"""

from __future__ import annotations

import ast
import posixpath
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from cuready._util import one_line
from cuready.probe import targets
from cuready.probe.context import Context, Facts, Incomplete, Skip
from cuready.probe.elf import ElfError
from cuready.probe.elf_symbols import Wanted
from cuready.probe.loader import (
    LinkMap,
    LoadFailure,
    Opened,
    Process,
    SymbolFailure,
    VersionFailure,
)  # fmt: skip
from cuready.probe.loader.extension import import_extension
from cuready.probe.loader.torch import import_torch
from cuready.probe.owners import Owners
from cuready.snapshot import LibraryFile, Resolution, UnresolvedSymbol

__all__ = ["Survey", "ctypes_module", "describe", "read", "start_process"]

TIME_LIMIT_S = 4.0
"""A default run stops adding libraries after this; what was not looked at is said."""

_UNRESOLVED_LIMIT = 20
_SYSTEM_RULES = ("ld.so.cache", "default", "the loader itself", "program", "path")


def read(context: Context) -> Facts:
    """Every framework here, each in a simulated process of the diagnosed interpreter."""
    if context.system != "Linux":
        raise Skip(f"the loader's rules are those of Linux, not of {context.system}")
    if not context.so_far.python.sys_path:
        raise Skip("no Python under diagnosis")
    survey = Survey(context, full=context.deep)
    try:
        found = tuple(survey.run())
    except ElfError as error:
        raise Skip(str(error)) from None
    facts: Facts = {"libraries": found}
    if survey.left_out:
        raise Incomplete(f"no time left for {', '.join(survey.left_out)}", facts)
    return facts


def start_process(
    context: Context,
    symbols: Callable[[LinkMap, Wanted], bool] | None = None,
    wants_shadows: Callable[[str], bool] | None = None,
) -> Process:
    """The diagnosed interpreter, just started. Raises :class:`ElfError` when not on glibc."""
    executable = targets.executable(context)
    process = Process(context, executable, symbols=symbols, wants_shadows=wants_shadows)
    if process.interpreter.musl:
        raise ElfError("this Python runs on musl, whose loader has rules of its own")
    return process


def ctypes_module(process: Process) -> LinkMap | None:
    """The module that calls ``dlopen`` for ctypes: its search path counts for bare names."""
    path = targets.ctypes_extension(process.context)
    if path is not None:
        opened = process.dlopen(path)
        if opened.error is None and opened.map is not None:
            return opened.map
    return process.main


@dataclass
class Survey:
    """Goes through the targets. ``full``: look up every symbol, not only those that break most."""

    context: Context
    full: bool = False
    left_out: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.owners = Owners(self.context)
        self.started = time.monotonic()

    def run(self) -> Iterator[LibraryFile]:
        """One :class:`LibraryFile` for each library that a framework opens."""
        started = start_process(
            self.context, None if self.full else _tends_to_break, _worth_comparing
        )
        caller = ctypes_module(started)
        torch = targets.module_folder(self.context, "torch")
        with_torch: Process | None = None
        if torch is not None:
            with_torch = started.fork()
            yield from self._torch(with_torch, torch, caller)
        for role, path, opener in targets.frameworks(self.context):
            if self._late(path):
                continue
            process = started.fork()
            for earlier in opener:
                process.dlopen(earlier, caller=caller, to_global="providers_shared" in earlier)
            yield self._one(process, role, path)
        for path, needs_torch in targets.extensions(self.context):
            if self._late(path):
                continue
            base = with_torch if needs_torch and with_torch is not None else started
            yield self._one(base.fork(), "extension", path)

    def _late(self, path: str) -> bool:
        late = not self.full and time.monotonic() - self.started > TIME_LIMIT_S
        if late:
            self.left_out.append(posixpath.basename(path))
        return late

    def _torch(
        self, process: Process, folder: str, caller: LinkMap | None
    ) -> Iterator[LibraryFile]:
        says = self._syntax_error(folder)
        outcome = import_torch(process, folder, self.context.so_far.python.sys_path, caller)
        opened = [step for step in outcome.steps if step.map is not None or step.error]
        broken = any(step.error for step in opened)
        for step in opened[:1] + opened[-1:] if len(opened) > 1 else opened:
            final = step is opened[-1]
            failed = step.error is not None and outcome.error is not None
            text = (outcome.error if final else step.error) if failed or final else None
            yield describe(process, step, "torch", self.owners, error_text=text if broken else None)
        if says is None and not broken:
            says = outcome.error  # it fails after its libraries, or before the first
        if says is not None:
            path = f"{folder}/__init__.py"
            yield LibraryFile(path, self.owners.of(path), "torch", error_text=says)

    def _syntax_error(self, folder: str) -> str | None:
        """What Python says of an ``__init__.py`` that differs from the one that was installed.

        Read by our own parser, which an older one may differ from: not for a newer Python.
        """
        python, path = self.context.so_far.python, f"{folder}/__init__.py"
        altered = any(
            problem.kind == "altered" and f"{item.location}/{problem.path}" == path
            for item in python.distributions
            for problem in item.problems
        )
        minor = re.match(r"3\.(\d{1,3})", python.version or "")
        if not altered or minor is None or int(minor[1]) > sys.version_info.minor:
            return None
        try:
            ast.parse(self.context.read_text(path) or "")
        except SyntaxError as error:
            return f"{type(error).__name__}: {error.msg} (__init__.py, line {error.lineno})"
        except (ValueError, RecursionError, MemoryError) as error:
            return f"{type(error).__name__}: {one_line(error)}"
        return None

    def _one(self, process: Process, role: str, path: str) -> LibraryFile:
        name = posixpath.basename(path)
        is_module = role == "extension" and ("cpython-" in name or ".abi3." in name)
        opened = import_extension(process, path) if is_module else process.dlopen(path)
        return describe(process, opened, role, self.owners, error_text=opened.error)


def _worth_comparing(name: str) -> bool:
    """Whose other copies matter: CUDA's, the frameworks', and the C++ runtime's."""
    return targets.is_cuda(name) or name.startswith("libstdc++")


def _tends_to_break(item: LinkMap, symbol: Wanted) -> bool:
    """Symbols worth looking up in a default run.

    torch's own libraries come from one wheel, whose files are compared with its RECORD: the tens
    of thousands of C++ names between them are left to ``--deep``. C names and versioned ones lead
    to other packages' libraries, and are looked up.
    """
    if symbol.version is not None or not symbol.name.startswith(b"_Z"):
        return True
    return "/torch/lib/" not in item.path and "/torch/_C" not in item.path


def describe(
    process: Process, opened: Opened, role: str, owners: Owners, *, error_text: str | None
) -> LibraryFile:
    """An outcome as facts for the Snapshot."""
    top = opened.map
    path = top.path if top is not None else opened.name
    failures = opened.failures
    unknown = next((f.text for f in failures if f.kind == "damaged"), None)
    tree = list(top.searchlist or [top]) if top is not None else []
    return LibraryFile(
        path=path,
        owner=owners.of(path),
        role=role,
        soname=top.file.soname if top is not None else None,
        needed=_quietly(lambda: top.file.needed, ()) if top is not None else (),
        resolutions=tuple(_resolutions(tree)),
        missing=tuple(_missing(failures)),
        unresolved=tuple(_unresolved(failures, tree))[:_UNRESOLVED_LIMIT],
        error_text=error_text if unknown is None else None,
        dlopens=tuple(_dlopens(process, tree)) if not failures else (),
        unknown=unknown,
    )


def _quietly(read_it: Callable[[], tuple[str, ...]], default: tuple[str, ...]) -> tuple[str, ...]:
    try:
        return read_it()
    except ElfError:
        return default


def _resolutions(tree: Iterable[LinkMap]) -> Iterator[Resolution]:
    """What is worth reporting: everything but the system's own libraries found in the usual way."""
    for item in tree:
        if item.kind == "main" or item.rule == "path":
            continue
        if item.rule in _SYSTEM_RULES and not item.shadows and not targets.is_cuda(item.path) \
                and "libstdc++" not in item.path:  # fmt: skip
            continue
        name = next(iter(sorted(item.names)), posixpath.basename(item.path))
        wanted_by = item.loader.path if item.loader is not None else ""
        yield Resolution(item.file.soname or name, wanted_by, item.path, item.rule,
                         item.entry, item.shadows)  # fmt: skip


def _missing(failures: Iterable[LoadFailure]) -> Iterator[Resolution]:
    for failure in failures:
        if failure.kind in ("missing", "class", "file"):
            yield Resolution(failure.name, failure.wanted_by)


def _unresolved(failures: Iterable[LoadFailure], tree: list[LinkMap]) -> Iterator[UnresolvedSymbol]:
    for failure in failures:
        if isinstance(failure, VersionFailure):
            yield UnresolvedSymbol(failure.name, failure.wanted_by, failure.provider, failure.name)
        elif isinstance(failure, SymbolFailure):
            provider = failure.provider or _likely_provider(failure.symbol, tree)
            yield UnresolvedSymbol(failure.name, failure.wanted_by, provider,
                                   failure.symbol.version)  # fmt: skip


def _likely_provider(symbol: Wanted, tree: list[LinkMap]) -> str | None:
    """The library that should have an unversioned symbol, by the name that its family shares."""
    for prefix, stem in targets.SYMBOL_HOMES:
        if symbol.name.startswith(prefix):
            return next((m.path for m in tree if posixpath.basename(m.path).startswith(stem)), None)
    return None


def _dlopens(process: Process, tree: list[LinkMap]) -> Iterator[Resolution]:
    """Libraries that members of the tree open by name later on."""
    for item in tree:
        for soname in targets.opened_later(process.context, item.path):
            yield _opened_later(process, soname, item, tree)


def _opened_later(process: Process, soname: str, item: LinkMap, tree: list[LinkMap]) -> Resolution:
    """What ``dlopen(soname)`` gives in ``item``, or in a library beside it that may call it."""
    loaded = process.find(soname)
    if loaded is not None:
        return Resolution(soname, item.path, loaded.path, "already loaded")
    folder = posixpath.dirname(item.path)
    for caller in [item, *(m for m in tree if posixpath.dirname(m.path) == folder)]:
        try:
            found = process.search.find(soname, caller, process.main)
        except LoadFailure:
            continue
        return Resolution(soname, item.path, found.path, found.rule, found.entry)
    return Resolution(soname, item.path)
