"""A process as the dynamic loader sees it: what is loaded, and what ``dlopen`` would do or say.

Nothing is loaded. Source of the rules: elf/rtld.c, dl-open.c, dl-deps.c, dl-object.c of glibc.
"""

from __future__ import annotations

import copy
import posixpath
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from cuready.probe import elf_format as elf
from cuready.probe.context import Context
from cuready.probe.elf import ElfError, ElfFile
from cuready.probe.loader.linkmap import LinkMap, LoadFailure
from cuready.probe.loader.machine import Interpreter, read_interpreter
from cuready.probe.loader.order import sort_maps
from cuready.probe.loader.search import Search
from cuready.probe.loader.symbols import SymbolFilter, check_relocations, check_versions

__all__ = ["Opened", "Process"]

_MAX_OBJECTS = 4096
_PAGE = 4096


@dataclass(frozen=True)
class Opened:
    """The outcome of one ``dlopen``. ``failures``: the first one is what the loader says.

    ``map`` is None when the file itself was refused. ``new`` lists the objects that the call would
    bring in, in breadth-first order.
    """

    name: str
    map: LinkMap | None
    failures: tuple[LoadFailure, ...] = ()
    new: tuple[LinkMap, ...] = ()

    @property
    def error(self) -> str | None:
        """``dlerror``'s text, None when the call succeeds."""
        return self.failures[0].text if self.failures else None


@dataclass
class Process:
    """A program that was started, and what it opened since.

    ``executable`` is the program's path; None gives a bare process with only libc in it, for
    questions about a library without a program. ``symbols`` decides which undefined symbols are
    looked up: all of them by default. ``wants_shadows`` says for which names the search goes on
    after the first hit, to find the copies that it hides.
    """

    context: Context
    executable: str | None = None
    symbols: SymbolFilter | None = None
    wants_shadows: Callable[[str], bool] | None = None
    maps: list[LinkMap] = field(default_factory=list)
    scope: list[LinkMap] = field(default_factory=list)
    start_errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.main: LinkMap | None = None
        self.interpreter: Interpreter
        program = self._open_program()
        wanted = program.interpreter if program is not None else None
        self.interpreter = read_interpreter(self.context, wanted)
        self.search = Search(self.context, self.interpreter)
        self._start(program)

    # --- start-up ------------------------------------------------------------------------------

    def _open_program(self) -> ElfFile | None:
        if self.executable is None:
            return None
        return ElfFile(self.context.path(self.executable))

    def _start(self, program: ElfFile | None) -> None:
        """Map the program, what LD_PRELOAD names, and their dependencies."""
        rtld = self._rtld()
        if program is None or self.executable is None:
            self._bare(rtld)
            return
        real = self.context.realpath(self.executable)
        main = LinkMap("", program, self.executable, kind="main", rule="program",
                       origin=posixpath.dirname(real))  # fmt: skip
        self.main = main
        self.maps = [main, rtld]
        preloaded = [
            item for name, where in self._preloads() if (item := self._preload(name, where))
        ]
        failures = self._map_dependencies(main, preloaded, kind="library")
        self.scope = main.searchlist or [main]
        shown = self.executable
        self.start_errors = [
            f"{shown}: error while loading shared libraries: {failure.text}" for failure in failures
        ] or [
            f"{shown}: {failure.text}"
            for failure in check_versions([main, *self.scope[1:]], self.maps)
        ]
        self._settle(self.maps)

    def _bare(self, rtld: LinkMap) -> None:
        """A process with the loader and libc only."""
        self.maps = [rtld]
        try:
            self._load("libc.so.6", None, kind="library")
        except LoadFailure as failure:
            self.start_errors = [failure.text]
        self.scope = list(self.maps)
        self._settle(self.maps)

    def _rtld(self) -> LinkMap:
        path = self.interpreter.path
        file = ElfFile(self.context.path(path))
        names = {posixpath.basename(path), *([file.soname] if file.soname else [])}
        return LinkMap(path, file, path, names=names, kind="library", rule="the loader itself",
                       versions_checked=True, relocated=True, needed=[], searchlist=[])  # fmt: skip

    def _preloads(self) -> list[tuple[str, str]]:
        variable = self.context.env.get("LD_PRELOAD", "").replace(":", " ")
        found = [(name, "LD_PRELOAD") for name in variable.split()]
        text = self.context.read_text("/etc/ld.so.preload") or ""
        lines = (line.split("#", 1)[0] for line in text.splitlines())
        names = " ".join(lines).replace(":", " ").split()
        return found + [(name, "/etc/ld.so.preload") for name in names]

    def _preload(self, name: str, where: str) -> LinkMap | None:
        try:
            item = self._load(name, self.main, kind="library")
        except LoadFailure as failure:
            reason = failure.text.removeprefix(f"{name}: ")
            reason = reason.replace("cannot open shared object file: No such file or directory",
                                    "cannot open shared object file")  # fmt: skip
            self.warnings.append(f"ERROR: ld.so: object '{name}' from {where} cannot be preloaded "
                                 f"({reason}): ignored.")  # fmt: skip
            return None
        item.rule = where
        return item

    def _settle(self, maps: Sequence[LinkMap]) -> None:
        for item in maps:
            item.versions_checked = item.relocated = True

    # --- mapping ---------------------------------------------------------------------------------

    def _load(self, name: str, loader: LinkMap | None, *, kind: str = "loaded") -> LinkMap:
        """glibc's ``_dl_map_object``. Raises :class:`LoadFailure`."""
        for item in self.maps:
            if item.needs_map(name):
                item.names.add(name)
                return item
        found = self.search.find(name, loader, self.main)
        item = LinkMap(found.name, found.file, found.path, names={name}, kind=kind, loader=loader,
                       rule=found.rule, entry=found.entry)  # fmt: skip
        for other in self.maps:
            if other.identity == item.identity:
                other.names.add(name)
                return other
        self._openable(item)
        if len(self.maps) >= _MAX_OBJECTS:
            raise LoadFailure(
                f"{name}: more than {_MAX_OBJECTS} objects", kind="damaged", name=name
            )
        item.origin = posixpath.dirname(self._absolute(found.name)) or "/"
        if self.wants_shadows is not None and "/" not in name and self.wants_shadows(name):
            item.shadows = self.search.shadowed(name, loader, self.main, found)
        self.maps.append(item)
        return item

    def _absolute(self, name: str) -> str:
        return name if name.startswith("/") else posixpath.join(self.context.cwd, name)

    def _openable(self, item: LinkMap) -> None:
        """Refuse executables, and files that the kernel could map only in part."""

        def fail(text: str) -> LoadFailure:
            return LoadFailure(f"{item.name}: {text}", kind="file", name=item.name)

        if item.file.header.type == elf.ET_EXEC:
            raise fail("cannot dynamically load executable")
        if item.file.flags_1 & elf.DF_1_PIE:
            raise fail("cannot dynamically load position-independent executable")
        stack = item.file.segment(elf.PT_GNU_STACK)
        version = self.interpreter.version
        if stack is not None and stack.flags & 1 and version is not None and version >= (2, 41):
            raise fail("cannot enable executable stack as shared object requires: Invalid argument")
        short = item.file.truncated_at
        if short is not None and (short - 1) // _PAGE > (item.file.size - 1) // _PAGE:
            # Touching a mapped page beyond the end of the file raises SIGBUS.
            raise LoadFailure("Bus error", kind="crash", name=item.path)

    def _map_dependencies(
        self, top: LinkMap, extra: Sequence[LinkMap] = (), *, kind: str
    ) -> list[LoadFailure]:
        """``_dl_map_object_deps``: breadth first, in NEEDED order. Returns what was not found.

        The loader stops at the first failure; we go on, to be able to name them all.
        """
        failures: list[LoadFailure] = []
        listed, queue = {id(top)}, [top]
        for item in extra:
            if id(item) not in listed:
                listed.add(id(item))
                queue.append(item)
        for item in queue:
            direct: list[LinkMap] = []
            item.linked = []
            for name in self._needed(item, failures):
                dependency = self._one_dependency(name, item, kind, failures)
                item.linked.append((name, dependency))
                if dependency is None:
                    continue
                direct.append(dependency)
                if id(dependency) not in listed:
                    listed.add(id(dependency))
                    queue.append(dependency)
            if item.needed is None:
                item.needed = direct
        top.searchlist = queue
        top.ordered = sort_maps(queue, self.interpreter.version)
        return failures

    def _needed(self, item: LinkMap, failures: list[LoadFailure]) -> tuple[str, ...]:
        try:
            return item.file.needed
        except ElfError as error:
            failures.append(LoadFailure(f"{item.shown}: {error}", kind="damaged", name=item.path))
            return ()

    def _one_dependency(
        self, name: str, item: LinkMap, kind: str, failures: list[LoadFailure]
    ) -> LinkMap | None:
        try:
            return self._load(name, item, kind=kind)
        except LoadFailure as failure:
            failure.wanted_by = item.path
            failure.name = name
            failures.append(failure)
        except ElfError as error:
            failures.append(LoadFailure(f"{name}: {error}", kind="damaged", name=name,
                                        wanted_by=item.path))  # fmt: skip
        return None

    # --- dlopen -------------------------------------------------------------------------------

    def dlopen(
        self, name: str, *, caller: LinkMap | None = None, to_global: bool = False
    ) -> Opened:
        """What ``dlopen(name, RTLD_NOW)`` does here; ``to_global`` adds RTLD_GLOBAL.

        ``caller`` is the object that calls it: its RPATH and RUNPATH count when ``name`` has no
        slash. A call that fails leaves the process as it was.
        """
        before = list(self.maps)
        try:
            top = self._load(name, caller if "/" not in name or "$" in name else None)
        except LoadFailure as failure:
            failure.name = name
            return Opened(name, None, (failure,))
        except ElfError as error:
            return Opened(name, None, (LoadFailure(f"{name}: {error}", kind="damaged", name=name),))
        if top.searchlist is not None:
            self._globalise(top, to_global)
            return Opened(name, top)
        if top not in before:
            top.loader = None  # the caller only lent its search path
        failures = self._map_dependencies(top, kind="loaded")
        new = tuple(item for item in self.maps if item not in before)
        if not failures:
            failures = self._link(top)
        if failures:
            self.maps = before
            if top in before:
                top.searchlist = None
        else:
            self._settle(new)
            self._globalise(top, to_global)
        return Opened(name, top, tuple(failures), new)

    def fork(self) -> Process:
        """Another process that stands where this one stands now; files stay open in both."""
        other = copy.copy(self)
        other.maps, other.scope = list(self.maps), list(self.scope)
        return other

    def _link(self, top: LinkMap) -> list[LoadFailure]:
        """Symbol versions, then relocations, in the loader's order."""
        assert top.searchlist is not None  # noqa: S101 - _map_dependencies set it
        fresh = [item for item in top.searchlist if not item.versions_checked]
        failures = check_versions(fresh, self.maps, self.symbols)
        if failures:
            return failures
        pending = [item for item in reversed(top.ordered) if not item.relocated]
        local = top.searchlist
        return check_relocations(pending, self.scope, local, self.symbols)

    def _globalise(self, top: LinkMap, to_global: bool) -> None:
        if to_global:
            present = {id(item) for item in self.scope}
            extra = [item for item in top.searchlist or [top] if id(item) not in present]
            self.scope = [*self.scope, *extra]

    def find(self, soname: str) -> LinkMap | None:
        """The loaded object that answers to ``soname``."""
        return next((item for item in self.maps if item.needs_map(soname)), None)
