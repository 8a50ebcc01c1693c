"""One name, traced through the loader: a tree of libraries with their owners."""

from __future__ import annotations

import dataclasses
import posixpath
import re
from collections.abc import Sequence
from dataclasses import dataclass

from cuready.errors import InputError
from cuready.probe import targets
from cuready.probe.context import Context
from cuready.probe.elf import ElfError
from cuready.probe.libraries import ctypes_module, start_process
from cuready.probe.loader import LinkMap, Opened, Process
from cuready.probe.loader.extension import import_extension
from cuready.probe.loader.torch import import_torch
from cuready.probe.owners import Owners

__all__ = ["Explanation", "Node", "Step", "UnknownNameError", "explain"]

_SONAME = re.compile(r"^lib[\w.+-]+\.so(?:\.[\w.]+)?$|^[\w.+-]+\.so$")
_READERS = ("python", "distributions", "modules")
_EXTENSIONS_SHOWN = 30
_DEPTH_SHOWN = 100


class UnknownNameError(InputError):
    """No package, library or file is called that here."""


_PROVIDER = "libonnxruntime_providers_"
_PRELOADED = (
    "traced as after onnxruntime.preload_dlls() (1.21 and newer) or `import torch`: without one of "
    "them the libraries of the nvidia wheels are on no search path"
)


def _seen(path: str, error: str) -> tuple[str, str]:
    """(text, exception) that a user sees when the package's library ``path`` does not load.

    ONNX Runtime opens its providers when a session asks for one: it logs the path (releases up to
    1.21 the name alone), and goes on without.
    """
    if posixpath.basename(path).startswith(_PROVIDER):
        return f"Failed to load library {path} with error: {error}", ""
    return error, "ImportError"


@dataclass(frozen=True)
class Node:
    """A library in the tree. ``path`` None: it is not found. ``again``: shown before."""

    name: str
    path: str | None
    rule: str = ""
    entry: str | None = None
    owner: str = ""
    shadows: tuple[str, ...] = ()
    system: bool = False
    again: bool = False
    children: tuple[Node, ...] = ()


@dataclass(frozen=True)
class Step:
    """One library that is opened. ``problems``: all that would go wrong, the first as said."""

    path: str
    owner: str
    tree: Node
    error: str | None
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class Explanation:
    """The answer. ``error`` is what the user sees; None when all of it loads."""

    name: str
    kind: str  # "package", "path" or "soname"
    location: str
    python: str | None
    error: str | None
    exception: str
    steps: tuple[Step, ...]
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def explain(context: Context, name: str) -> Explanation:
    """Trace ``name`` (a package, a path, a soname) in the diagnosed Python.

    Raises :class:`UnknownNameError` when there is no such thing, and
    :class:`~cuready.errors.InputError` when the interpreter is not one whose loader we know.
    """
    if not name.strip():
        raise UnknownNameError("an empty name", hint="give a path, a soname or a package")
    context = _with_facts(context)
    try:
        process = start_process(context, wants_shadows=lambda _: True)
    except ElfError as error:
        where = targets.executable(context) or "this system"
        raise InputError(f"{where}: {error}", hint="name another one with --python") from None
    trace = _Trace(context, process)
    if "/" in name or context.is_file(posixpath.join(context.cwd, name)):
        return trace.path(name)
    if _SONAME.match(name):
        return trace.soname(name)
    return trace.package(name)


def _with_facts(context: Context) -> Context:
    """``context`` with what is known of the Python: three readers of the usual run."""
    from cuready.probe import runner
    from cuready.probe.registry import READERS

    wanted = [reader for reader in READERS if reader.name in _READERS]
    return dataclasses.replace(context, so_far=runner.run(context, wanted))


class _Trace:
    """One question. A process that failed to start says so instead of opening anything."""

    def __init__(self, context: Context, process: Process) -> None:
        self.context = context
        self.process = process
        self.owners = Owners(context, system=True)
        self.caller = ctypes_module(process)

    # --- kinds of names ----------------------------------------------------------------------

    def path(self, name: str) -> Explanation:
        """A file, opened as an extension when it is named like one."""
        path = name if name.startswith("/") else posixpath.join(self.context.cwd, name)
        path = posixpath.normpath(path)
        if not self.context.exists(path):
            raise UnknownNameError(
                f"{name}: no such file", hint="give a path, a soname or a package"
            )
        if self.context.is_dir(path):
            raise UnknownNameError(f"{name}: is a folder", hint="name the library in it")
        is_module = "cpython-" in path or ".abi3." in path
        opened = import_extension(self.process, path) if is_module else self._open(path)
        exception = "ImportError" if is_module else "OSError"
        return self._answer(name, "path", path, [self._step(opened)], opened.error, exception)

    def soname(self, name: str) -> Explanation:
        """A bare library name, as ``ctypes.CDLL(name)`` would look for it."""
        opened = self._open(name)
        if opened.map is None and self._nobody_wants(name):
            raise UnknownNameError(
                f"{name}: not on any search path here, and nothing installed needs it",
                hint="give a path, or a package such as torch",
            )
        location = opened.map.path if opened.map else ""
        return self._answer(name, "soname", location, [self._step(opened)], opened.error, "OSError")

    def package(self, name: str) -> Explanation:
        """An importable package: what importing it opens, then its own extension modules."""
        folder = targets.module_folder(self.context, name) or self._any_folder(name)
        if folder is None:
            raise UnknownNameError(
                f"{name}: neither a package here nor a library", hint=self._hint(name)
            )
        if name == "torch":
            return self._torch(folder)
        preloaded, libraries = self._libraries_of(name, folder)
        if not libraries:
            note = (f"{folder} has no shared libraries: the loader plays no part in importing it",)
            return self._answer(name, "package", folder, [], None, "ImportError", note)
        for path in preloaded:
            self._open(path)
        steps: list[Step] = []
        first: tuple[str, str] | None = None
        for path in libraries[:_EXTENSIONS_SHOWN]:
            is_module = "cpython-" in path or ".abi3." in path
            process = self.process.fork()
            opened = (
                import_extension(process, path)
                if is_module
                else process.dlopen(path, caller=self.caller)
            )
            steps.append(self._step(opened))
            if first is None and opened.error:
                first = path, opened.error
        left = len(libraries) - _EXTENSIONS_SHOWN
        notes = [f"{left} more libraries of this package were not looked at"] if left > 0 else []
        if name == "onnxruntime" and any(
            posixpath.basename(p).startswith(_PROVIDER) for p in libraries
        ):
            notes.append(_PRELOADED)
        error, exception = _seen(*first) if first else (None, "")
        return self._answer(name, "package", folder, steps, error, exception, tuple(notes))

    def _torch(self, folder: str) -> Explanation:
        sys_path = self.context.so_far.python.sys_path
        outcome = import_torch(self.process, folder, sys_path, self.caller)
        steps = [self._step(step) for step in outcome.steps]
        last = outcome.steps[-1] if outcome.steps else None
        from_ctypes = last is not None and "libtorch_global_deps" in last.name
        exception = "OSError" if from_ctypes else "ImportError"
        if outcome.error and " not found in the system path " in outcome.error:
            exception = "ValueError"
        notes = tuple(
            f"torch helps itself out of: {failure.text}" for failure in outcome.healed[:1]
        )
        return self._answer("torch", "package", folder, steps, outcome.error, exception, notes)

    # --- helpers -------------------------------------------------------------------------------

    def _open(self, name: str) -> Opened:
        return self.process.dlopen(name, caller=self.caller)

    def _libraries_of(self, name: str, folder: str) -> tuple[tuple[str, ...], list[str]]:
        """(what is opened before, the package's own libraries)."""
        known = {
            "tensorrt": ("tensorrt",),
            "onnxruntime": ("onnxruntime",),
            "tensorflow": ("tensorflow",),
            "jax": ("jax",),
        }.get(name)
        if known:
            rows = [row for row in targets.frameworks(self.context) if row[0] in known]
            if rows:
                return rows[0][2], [path for _, path, _ in rows]
        if folder.endswith(".so"):
            return (), [folder]
        item = next((d for d in self.context.so_far.python.distributions
                     if d.name.replace("-", "_").lower() == name.lower()), None)  # fmt: skip
        owned = targets.payload(self.context, item) if item else []
        found = owned or self.context.glob(f"{folder}/*.so") + self.context.glob(f"{folder}/*/*.so")
        return (), [path for path in found if ".libs/" not in path]

    def _any_folder(self, name: str) -> str | None:
        """A namespace package, or an extension module at the top of site-packages."""
        if not re.match(r"^\w+$", name):
            return None
        for entry in self.context.so_far.python.sys_path:
            found = self.context.glob(f"{entry}/{name}.*.so")
            if found:
                return found[0]
            if self.context.is_dir(f"{entry}/{name}") and self.context.glob(f"{entry}/{name}/*"):
                return f"{entry}/{name}"
        return None

    def _hint(self, name: str) -> str:
        import difflib

        known = [origin.name for origin in self.context.so_far.python.origins]
        known += [item.name for item in self.context.so_far.python.distributions]
        close = difflib.get_close_matches(name, known, n=1, cutoff=0.7)
        if close:
            return f"did you mean {close[0]}?"
        return "is it installed in this Python? another one is named with --python"

    def _nobody_wants(self, soname: str) -> bool:
        """Whether no library of the installed frameworks opens or needs ``soname``."""
        return not targets.is_cuda(soname)

    def _answer(
        self, name: str, kind: str, location: str, steps: Sequence[Step], error: str | None,
        exception: str, notes: tuple[str, ...] = (),
    ) -> Explanation:  # fmt: skip
        start = self.process.start_errors
        return Explanation(
            name=name,
            kind=kind,
            location=location,
            python=self.process.executable,
            error=start[0] if start else error,
            exception="" if start or error == "Bus error" else exception,
            steps=tuple(steps),
            warnings=tuple(self.process.warnings),
            notes=notes,
        )

    def _step(self, opened: Opened) -> Step:
        top = opened.map
        if top is None:
            tree = Node(opened.name, None)
            return Step(opened.name, "", tree, opened.error, (opened.error or "",))
        tree = self._node(posixpath.basename(top.path), top, set())
        problems = tuple(dict.fromkeys(failure.text for failure in opened.failures))
        return Step(top.path, self.owners.of(top.path), tree, opened.error, problems)

    def _node(self, name: str, item: LinkMap, shown: set[int], depth: int = 0) -> Node:
        system = item.rule in ("ld.so.cache", "default", "the loader itself") and not item.shadows
        again = id(item) in shown
        shown.add(id(item))
        children = []
        for needed, dependency in () if again or depth > _DEPTH_SHOWN else item.linked:
            if dependency is None:
                children.append(Node(needed, None))
            elif dependency.kind != "main":
                children.append(self._node(needed, dependency, shown, depth + 1))
        return Node(
            name=name,
            path=item.path,
            rule=item.rule,
            entry=item.entry,
            owner="" if again else self.owners.of(item.path),
            shadows=item.shadows,
            system=system and not targets.is_cuda(item.path),
            again=again and bool(item.linked),
            children=tuple(children),
        )
