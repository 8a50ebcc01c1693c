"""What making or changing an environment means, worked out in full before anything is touched."""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from cuready._util import write_atomically
from cuready.compat.capability import parse_capability
from cuready.env import interpreters
from cuready.env.interpreters import HostPython
from cuready.env.pip.fetch import bytes_to_fetch, unpacked_estimate
from cuready.env.pip.indexes import Way, ways
from cuready.env.pip.lock import dumps, lock_name, read_lock
from cuready.env.pip.model import Pin, PipLock
from cuready.env.pip.resolve import PipRequest, resolve
from cuready.env.prefix import State, data_dir
from cuready.env.recipe import Recipe
from cuready.env.target import SUBDIRS, Decision, Target, decide
from cuready.errors import EnvError, InputError
from cuready.mirrors.net.cache import Cache

if TYPE_CHECKING:
    from cuready.env.conda import CondaSession, Plan, Solution
    from cuready.mirrors.net.progress import OnProgress

__all__ = [
    "EnvPlan",
    "LockFiles",
    "Settings",
    "keep_locks",
    "kept_locks",
    "lock_texts",
    "plan_environment",
    "save_locks",
    "target_from",
]

VENV_BYTES = 24 << 20  # a venv with its pip

# conda's names of packages that PyPI calls otherwise, for those that wheels depend on.
PYPI_NAMES = {"pytorch": "torch", "matplotlib-base": "matplotlib", "jpeg": ""}


@dataclass(frozen=True)
class Settings:
    """How to work, never what to install.

    Attributes:
        mirrors: names of the catalogue, asked before all others.
        offline: use what is in the cache; never the network.
        backend: who solves and links conda packages.
        on_progress: events of downloads.
        say: one line for people about what is being done.
    """

    mirrors: tuple[str, ...] = ()
    offline: bool = False
    backend: str = "rattler"
    on_progress: OnProgress | None = None
    say: Callable[[str], None] = lambda _: None

    @contextlib.contextmanager
    def conda(self) -> Iterator[CondaSession]:
        """The engine for the conda half, for the length of a ``with`` block."""
        from cuready.env.conda import CondaOptions, CondaSession

        options = CondaOptions(
            mirrors=self.mirrors,
            offline=self.offline,
            backend=self.backend,
            on_progress=self.on_progress,
            on_step=self.say,
        )
        with CondaSession(options) as session:
            yield session


@dataclass(frozen=True)
class LockFiles:
    """The two lock files of one environment; each may be missing where its half has nothing."""

    conda: Path
    pip: Path

    @classmethod
    def beside(cls, folder: Path, name: str) -> LockFiles:
        """``NAME.lock`` and ``pylock.NAME.toml`` in ``folder``."""
        return cls(folder / f"{name}.lock", folder / lock_name(name))


@dataclass(frozen=True)
class EnvPlan:
    """Everything that is going to happen. ``conda`` is None for a venv, ``python`` for conda."""

    name: str
    prefix: Path
    recipe: Recipe
    target: Target
    decision: Decision
    pip: PipLock
    every_way: tuple[Way, ...] = ()
    python: HostPython | None = None
    conda: Plan | None = None
    notes: tuple[str, ...] = ()
    disk_needed: Mapping[Path, int] = field(default_factory=dict)
    bytes_to_fetch: int = 0

    @property
    def kind(self) -> str:
        """``conda`` or ``venv``."""
        return "conda" if self.recipe.uses_conda else "venv"

    def to_dict(self) -> dict[str, Any]:
        """For ``--dry-run --format json``."""
        return {
            "name": self.name,
            "prefix": str(self.prefix),
            "recipe": self.recipe.name,
            "kind": self.kind,
            "python": self.pip.python or None,
            "host_python": str(self.python.path) if self.python else None,
            "decision": decision_document(self.decision),
            "conda": self.conda.to_dict() if self.conda else None,
            "pip": [pin.to_dict() for pin in self.pip.pins],
            "bytes_to_fetch": self.bytes_to_fetch,
            "disk_needed": {str(path): size for path, size in self.disk_needed.items()},
            "notes": list(self.notes),
        }


def decision_document(decision: Decision) -> dict[str, Any]:
    """A decision as JSON types."""
    return {
        "constraints": list(decision.constraints),
        "torch_tag": decision.torch_tag,
        "torch_index": decision.torch_index,
        "reasons": list(decision.reasons),
    }


def target_from(document: Mapping[str, Any]) -> Target:
    """The target that :func:`target_document` wrote down. Raises KeyError, ValueError."""
    tag = dict(SUBDIRS.values())[str(document["subdir"])]
    version = {
        name: Version(document[name]) if document.get(name) else None
        for name in ("cuda", "driver", "glibc")
    }
    capability = document.get("capability")
    return Target(
        subdir=str(document["subdir"]),
        platform_tag=tag,
        capability=parse_capability(capability) if capability else None,
        said=tuple(document.get("said", ())),
        **version,
    )


def target_document(target: Target) -> dict[str, Any]:
    """A target as JSON types."""
    names = ("cuda", "driver", "capability", "glibc")
    known = {name: getattr(target, name) for name in names}
    texts = {name: None if value is None else str(value) for name, value in known.items()}
    return {"subdir": target.subdir, "said": list(target.said), **texts}


def plan_environment(
    recipe: Recipe,
    target: Target,
    prefix: Path,
    settings: Settings,
    *,
    name: str = "",
    locks: LockFiles | None = None,
    python: str | None = None,
    session: CondaSession | None = None,
    relink: Sequence[str] = (),
) -> EnvPlan:
    """Work out what ``recipe`` means at ``prefix``. Changes nothing but caches.

    ``locks``: install exactly what they say. ``python``: the minor version of an environment
    that is there already. ``session`` is needed for a recipe with conda packages, and ``relink``
    names those to link anew. Raises what the rules, the solver and the resolver raise.
    """
    name = name or recipe.name
    if target.platform_tag.split("_")[0] != _here() and not recipe.uses_conda:
        raise InputError(f"a virtual environment for {target.subdir} cannot be made here")
    if recipe.uses_conda:
        if session is None:
            raise EnvError(f"{recipe.name} has conda packages: it needs a conda session")
        return _plan_conda(recipe, target, prefix, settings, name, locks, session, relink)
    pip_lock = _locked_pip(recipe, target, locks) if locks else None
    exactly = pip_lock.python if pip_lock else python
    host = interpreters.choose(recipe.host_python or ">=3.10", exactly=exactly)
    decision = decide(recipe, target, python=host.minor)
    index = (pip_lock.torch_index if pip_lock else decision.torch_index) or ""
    every = ways(settings.mirrors, torch_index=index, extra=recipe.extra_indexes)
    if pip_lock is None:
        pip_lock = _resolve(recipe, target, host.minor, every, settings, index, {})
    fetched, disk = _costs(pip_lock, prefix, VENV_BYTES)
    notes = (*decision.reasons, *_weights(recipe))
    return EnvPlan(name, prefix, recipe, target, decision, pip_lock, every, host, None, notes, disk,
                   fetched)  # fmt: skip


def _plan_conda(
    recipe: Recipe,
    target: Target,
    prefix: Path,
    settings: Settings,
    name: str,
    locks: LockFiles | None,
    session: CondaSession,
    relink: Sequence[str],
) -> EnvPlan:
    from cuready.env import conda

    decision = decide(recipe, target, python=(recipe.conda_python or "").strip("=*.") or None)
    if locks is None:
        solution = conda.solve_recipe(recipe, target, decision, session=session)
    else:
        virtual = target.virtual_packages()
        solution = conda.read_lock(
            locks.conda, target.subdir, session=session, name=recipe.name, virtual_packages=virtual
        )
        # What was asked for is the recipe's, whatever the lock chose: conda-meta says it to conda.
        asked = dataclasses.replace(solution.request, specs=recipe.all_specs())
        solution = dataclasses.replace(solution, request=asked)
    plan = conda.make_plan(solution, prefix, session=session, relink=relink)
    record = solution.get("python")
    minor = ".".join(record.version.split(".")[:2]) if record else ""
    every: tuple[Way, ...] = ()
    pip_lock = PipLock((), minor, target.platform_tag, recipe.name)
    if recipe.pip:
        if not minor:
            raise EnvError(f"{recipe.name} has pip requirements, and no Python to install them for")
        index = decision.torch_index or ""
        every = ways(settings.mirrors, torch_index=index, extra=recipe.extra_indexes)
        if locks is not None:
            pip_lock = _locked_pip(recipe, target, locks)
        else:
            present = python_packages(solution)
            pip_lock = _resolve(recipe, target, minor, every, settings, index, present)
    fetched, disk = _costs(pip_lock, plan.prefix, 0)
    for path, size in plan.disk_needed.items():
        disk[path] = disk.get(path, 0) + size
    notes = tuple(dict.fromkeys((*solution.notes, *decision.reasons, *_weights(recipe))))
    return EnvPlan(name, plan.prefix, recipe, target, decision, pip_lock, every, None, plan, notes,
                   disk, fetched + plan.bytes_to_fetch)  # fmt: skip


def _here() -> str:
    import sys

    return {"linux": "linux", "darwin": "macosx", "win32": "win"}.get(sys.platform, "linux")


def python_packages(solution: Solution) -> dict[str, str]:
    """The Python packages that conda brings, by PyPI's names: pip must not install them again."""
    found = {}
    for record in solution.records:
        needs = {spec.partition(" ")[0] for spec in record.depends}
        name = PYPI_NAMES.get(record.name, record.name)
        if not name or not needs & {"python", "python_abi"}:
            continue
        with contextlib.suppress(InvalidVersion):
            found[str(canonicalize_name(name))] = str(Version(record.version))
    return found


def _resolve(
    recipe: Recipe,
    target: Target,
    python: str,
    every: Sequence[Way],
    settings: Settings,
    index: str,
    present: Mapping[str, str],
) -> PipLock:
    request = PipRequest(
        recipe.pip,
        python,
        target,
        only_binary=recipe.only_binary,
        present=present,
        recipe=recipe.name,
        torch_index=index,
    )
    return resolve(request, every, offline=settings.offline, say=settings.say)


def _costs(lock: PipLock, prefix: Path, more: int) -> tuple[int, dict[Path, int]]:
    cache = Cache()
    fetched = bytes_to_fetch(lock.pins, cache)
    disk = {prefix: unpacked_estimate(lock.pins) + more}
    if fetched:
        disk[cache.root] = fetched
    return fetched, {path: size for path, size in disk.items() if size}


def _weights(recipe: Recipe) -> list[str]:
    urls = [str(item["url"]) for item in recipe.weights if item.get("url")]
    return [f"its models come separately: cuready weights fetch {url}" for url in urls]


# --- locks ---------------------------------------------------------------------------------------


def _locked_pip(recipe: Recipe, target: Target, locks: LockFiles) -> PipLock:
    """The pip lock, when it is one of this recipe and platform."""
    lock = read_lock(locks.pip)
    again = "`cuready env lock` makes it anew"
    if lock.platform_tag != target.platform_tag:
        raise EnvError(f"{locks.pip} is for {lock.platform_tag}, not for {target.platform_tag}")
    if lock.requirements != recipe.pip:
        raise EnvError(f"{locks.pip} is older than the recipe: its requirements differ", hint=again)
    return lock


def lock_texts(plan: EnvPlan, pins: Sequence[Pin], session: CondaSession | None) -> tuple[str, str]:
    """The conda lock and the pip lock of a plan, empty where that half has nothing.

    ``pins`` are the plan's own after they were fetched, which have every digest.
    """
    conda_lock = ""
    if plan.conda is not None and session is not None:
        from cuready.env import conda

        with tempfile.TemporaryDirectory(prefix="cuready-") as folder:
            path = Path(folder) / "conda.lock"
            conda.write_lock(plan.conda.solution, path, session=session)
            conda_lock = path.read_text("utf-8")
    pip_lock = dataclasses.replace(plan.pip, pins=tuple(pins))
    return conda_lock, dumps(pip_lock) if plan.recipe.pip else ""


def save_locks(files: LockFiles, conda_lock: str, pip_lock: str) -> list[Path]:
    """Write the locks that are not empty and return their paths. Raises EnvError."""
    try:
        files.pip.parent.mkdir(parents=True, exist_ok=True)
        texts = [(files.conda, conda_lock), (files.pip, pip_lock)]
        for path, text in texts:
            if text:
                write_atomically(path, text.encode())
    except OSError as error:
        where = error.filename or files.pip.parent
        raise EnvError(f"{where}: cannot be written: {error.strerror or error}") from None
    return [path for path, text in texts if text]


def kept_locks(name: str) -> LockFiles:
    """Where the locks of the environment of that name are kept, also after it is removed."""
    return LockFiles.beside(data_dir() / "kept-locks" / name, name)


def keep_locks(state: State) -> None:
    """Keep the locks of the environment that stands, and no others: what failed leaves none."""
    files = kept_locks(state.name)
    save_locks(files, state.conda_lock, state.pip_lock)
    for path, text in ((files.conda, state.conda_lock), (files.pip, state.pip_lock)):
        if not text:
            path.unlink(missing_ok=True)
