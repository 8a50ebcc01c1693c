"""Machines as Snapshots, healthy and broken, made from a few bases by small edits.

``python -m tests.zoo`` prints both tables: no errors on any healthy machine, and for each fault its
own finding and no other error. Add a healthy machine to a function of ``healthy*.py`` marked with
``@healthy``; a fault, or a near miss, to ``broken*.py`` with ``@fault("ID")`` or ``@near_miss("ID")``.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass

from cuready.snapshot import Snapshot

Build = Callable[[], Snapshot]


@dataclass(frozen=True)
class Exhibit:
    """One machine. ``id``: the finding that its fault gives, or must not give; "" for a healthy one."""

    kind: str  # "healthy", "fault" or "near miss"
    id: str
    name: str
    about: str
    build: Build


_EXHIBITS: list[Exhibit] = []


def _add(kind: str, check_id: str) -> Callable[[Build], Build]:
    def register(build: Build) -> Build:
        about = " ".join((build.__doc__ or "").split())
        _EXHIBITS.append(Exhibit(kind, check_id, build.__name__, about, build))
        return build

    return register


def healthy(build: Build) -> Build:
    """Mark a function that builds a machine with nothing wrong."""
    return _add("healthy", "")(build)


def fault(check_id: str) -> Callable[[Build], Build]:
    """Mark a function that builds a machine with the one fault ``check_id``."""
    return _add("fault", check_id)


def near_miss(check_id: str) -> Callable[[Build], Build]:
    """Mark a function that builds a machine close to ``check_id`` on which it must not fire."""
    return _add("near miss", check_id)


def exhibits(kind: str) -> list[Exhibit]:
    """All exhibits of ``kind``; every module of this package is imported once."""
    for info in pkgutil.iter_modules(__path__):
        if info.name != "__main__":
            importlib.import_module(f"{__name__}.{info.name}")
    return [item for item in _EXHIBITS if item.kind == kind]
