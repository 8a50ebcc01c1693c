"""The table of checks: one function an id, found by the decorator that names it.

A check is pure: it looks at a :class:`~cuready.snapshot.Snapshot` and yields findings. It reads no
file, starts no process and asks no clock. When the facts that it needs were not read it says so::

    @check("DRV01", needs=("pci", "driver"))
    def module_not_loaded(snapshot: Snapshot) -> Outcome:
        if snapshot.driver.module_loaded is None:
            return Unknown("whether the nvidia module is loaded could not be read")
        ...
        return [catalogue.finding("DRV01", cause="…", evidence=(…,), fix=(…,))]

Modules of the package ``cuready.doctor.checks`` are picked up by name; nothing lists them twice.
"""

from __future__ import annotations

import importlib
import pkgutil
import types
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from cuready.doctor.finding import Finding
from cuready.snapshot import Snapshot

__all__ = ["Check", "Outcome", "Skipped", "Unknown", "all_checks", "check"]


@dataclass(frozen=True)
class Unknown:
    """The facts that it needs are missing, or newer than our tables; ``reason`` says which."""

    reason: str


@dataclass(frozen=True)
class Skipped:
    """The question does not arise here, for example no container; ``reason`` says why."""

    reason: str


Outcome = Iterable[Finding] | Unknown | Skipped
CheckFunction = Callable[[Snapshot], Outcome]

_REGISTERED = "_cuready_check"


@dataclass(frozen=True)
class Check:
    """One check: its catalogue id, what to run, the readers it needs, the systems it is about."""

    id: str
    function: CheckFunction
    needs: tuple[str, ...] = ()
    systems: tuple[str, ...] = ("Linux",)

    @property
    def group(self) -> str:
        """``DRV`` of ``DRV01``."""
        return self.id.rstrip("0123456789")


def check(
    check_id: str, *, needs: tuple[str, ...] = (), systems: tuple[str, ...] = ("Linux",)
) -> Callable[[CheckFunction], CheckFunction]:
    """Register the decorated function as the check ``check_id``.

    ``needs`` names readers: when one of them failed, timed out or was denied, the check is not run
    and its result is *unknown* with that reader's reason. ``systems`` names the operating systems
    (``Linux``, ``Windows``, ``Darwin``) that the check is about; empty means all.
    """

    def register(function: CheckFunction) -> CheckFunction:
        setattr(function, _REGISTERED, Check(check_id, function, needs, systems))
        return function

    return register


def checks_in(module: types.ModuleType) -> list[Check]:
    """The checks that ``module`` defines, in the order of the file."""
    return [
        found
        for item in vars(module).values()
        if isinstance(found := getattr(item, _REGISTERED, None), Check)
        and found.function.__module__ == module.__name__
    ]


def all_checks() -> tuple[Check, ...]:
    """Every check of ``cuready.doctor.checks``, in catalogue order (by group, then number)."""
    from cuready.doctor import checks as package
    from cuready.doctor.catalogue import order

    found: dict[str, Check] = {}
    for info in pkgutil.iter_modules(package.__path__):
        module = importlib.import_module(f"{package.__name__}.{info.name}")
        for item in checks_in(module):
            if item.id in found:
                raise AssertionError(f"two checks are called {item.id}")
            found[item.id] = item
    return tuple(sorted(found.values(), key=lambda item: order(item.id)))
