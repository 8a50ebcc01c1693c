"""The way back from a repair: what it changed, told apart from what was changed afterwards.

Three states are compared: before the repair, after it, and now. What the repair did not touch is
none of our business; what it touched and somebody changed again since is theirs, and only named.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from cuready._util import normalize
from cuready.doctor.installers import (
    Installer,
    can_be_run,
    for_environment,
    for_package,
    index_of,
)
from cuready.doctor.repair.journal import Record
from cuready.doctor.repair.plan import Step, why_manual
from cuready.doctor.repair.programs import Lacking, nothing
from cuready.snapshot import CondaPackage, Distribution, Snapshot

__all__ = ["Return", "plan_return"]

T = TypeVar("T", bound=Distribution | CondaPackage)

UNSURE = (
    "the repair was cut short in the middle of a command, so nobody can tell its changes from "
    "later ones: run it if this was not yours"
)
PIXI = "pixi installs what its manifest and lock say: bring both back as they were before, first"


@dataclass(frozen=True)
class Return:
    """The commands that undo a repair, and a line for each thing that is left as it is."""

    steps: tuple[Step, ...]
    left: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Change(Generic[T]):
    """What the repair made of one name, and it is so still: every copy before it, and now."""

    name: str
    before: tuple[T, ...]
    now: tuple[T, ...]


def plan_return(record: Record, now: Snapshot, *, lacking: Lacking = nothing) -> Return:
    """What takes back the changes of the repair in ``record`` and leaves later ones alone.

    Conda's packages go first, because they may hold the interpreter. Added ones are removed, then
    the old versions come back without their dependencies: those are in the record themselves.
    Where nobody saw how the repair ended, every difference is a candidate and none is run.
    """
    python = now.python
    known = record.after is not None and record.conda_after is not None
    after = record.after if record.after is not None else python.distributions
    conda_after = record.conda_after if record.conda_after is not None else python.conda_packages
    by_conda = {
        normalize(item.name)
        for item in (*record.conda_before, *conda_after, *python.conda_packages)
    }

    def others(items: Iterable[Distribution]) -> list[Distribution]:
        return [item for item in items if not _is_conda(item, by_conda)]

    conda, conda_left = _split(record.conda_before, conda_after, python.conda_packages, _build)
    changes, left = _split(
        others(record.before), others(after), others(python.distributions), _copy
    )
    steps, lost = _distribution_steps(changes, now)
    return Return(
        tuple(
            replace(step, manual=step.manual or _why_manual(step, known, lacking))
            for step in (*_conda_steps(conda, now), *steps)
        ),
        (*conda_left, *left, *lost),
    )


def _why_manual(step: Step, known: bool, lacking: Lacking) -> str:
    return why_manual(step.command, lacking) if known else UNSURE


# --- what was changed, and by whom ----------------------------------------------------------------

# The version as it is told to people, and what else makes it the same one.
Identity = tuple[str, ...]


def _build(item: CondaPackage) -> Identity:
    return (f"{item.version}={item.build}",)


def _copy(item: Distribution) -> Identity:
    """A copy in the user's site is another than the environment's."""
    return (item.version, item.location)


def _is_conda(item: Distribution, by_conda: Collection[str]) -> bool:
    """Whether conda owns the distribution: its dist-info came with a conda package."""
    return item.installer == "conda" or (
        item.installer is None and normalize(item.name) in by_conda
    )


def _split(
    before: Iterable[T], after: Iterable[T], now: Iterable[T], identity: Callable[[T], Identity]
) -> tuple[list[_Change[T]], list[str]]:
    """The repair's changes that still stand, and a line for each that was changed again."""
    befores, afters, nows = _by_name(before), _by_name(after), _by_name(now)
    stand: list[_Change[T]] = []
    left: list[str] = []
    for key in sorted({*befores, *afters}):
        old, made, here = befores.get(key, ()), afters.get(key, ()), nows.get(key, ())
        was, became, present = (sorted(map(identity, items)) for items in (old, made, here))
        if was in (became, present):
            continue  # not the repair's doing; or it was taken back already
        name = (old or made)[0].name
        if present == became and _origins(here) == _origins(made):
            stand.append(_Change(name, old, here))
        else:
            left.append(
                f"{name}: the repair made it {_told(became)} ({_told(was)} before), "
                f"and it was changed again since: {_told(present)} now"
            )
    return stand, left


def _by_name(items: Iterable[T]) -> dict[str, tuple[T, ...]]:
    found: dict[str, tuple[T, ...]] = {}
    for item in items:
        # Conda's names have no other spelling, and `_libgcc_mutex` is none that pip would take.
        key = item.name if isinstance(item, CondaPackage) else normalize(item.name)
        found[key] = (*found.get(key, ()), item)
    return found


def _told(copies: Sequence[Identity]) -> str:
    return " and ".join(copy[0] for copy in copies) or "not installed"


def _origins(items: Iterable[Distribution | CondaPackage]) -> list[str]:
    """Where they came from: the same version from elsewhere is another one."""
    return sorted(item.direct_url or "" for item in items if isinstance(item, Distribution))


# --- the commands ---------------------------------------------------------------------------------


def _conda_steps(changes: Sequence[_Change[CondaPackage]], now: Snapshot) -> list[Step]:
    """One command each way, with exact builds: conda's own solver then has nothing to decide."""
    installer = for_environment(now)
    if changes and installer.manager == "pixi":
        return [Step("pixi install", note="the packages that were there", manual=PIXI)]
    steps = []
    added = [item.name for item in changes if not item.before]
    if added:
        steps.append(Step(installer.uninstall_exactly(added), note="was not there before"))
    changed = [item.before[0] for item in changes if item.before]
    if changed:
        specs = [f"{item.name}={item.version}={item.build}" for item in changed]
        channels = list(dict.fromkeys(item.channel for item in changed if item.channel))
        command = installer.install_exactly(specs, channels)
        steps.append(Step(command, note="the builds that were there"))
    return steps


def _distribution_steps(
    changes: Sequence[_Change[Distribution]], now: Snapshot
) -> tuple[list[Step], list[str]]:
    """Removals by installer, then each version that was there; and what no command brings back."""
    removals: dict[str, tuple[Installer, list[str]]] = {}
    installs: list[Step] = []
    lost: list[str] = []
    for change in changes:
        for location in dict.fromkeys(item.location for item in (*change.before, *change.now)):
            old = [item for item in change.before if item.location == location]
            here = [item for item in change.now if item.location == location]
            if sorted(map(_copy, old)) == sorted(map(_copy, here)):
                continue
            if not old:
                owner = _installer(now, here[0])
                removals.setdefault(owner.manager, (owner, []))[1].append(normalize(change.name))
            elif len(old) > 1:
                lost.append(f"{change.name}: no installer can install it twice, as it was")
            elif not _installs_to(location, now):
                lost.append(f"{change.name}: {old[0].version} was in {location}, not this Python's")
            else:
                was = f"is {here[0].version} now" if here else "is gone"
                installs.append(Step(_install(old[0], now), note=f"was {old[0].version}, {was}"))
    steps = [Step(owner.uninstall(names), note="was not there before")
             for owner, names in removals.values()]  # fmt: skip
    return [*steps, *installs], lost


def _installs_to(location: str, now: Snapshot) -> bool:
    """Whether pip puts what it installs there: the environment's folders, or the user's site."""
    python = now.python
    prefix = (python.prefix or "").rstrip("/\\")
    return location == python.user_site or location.startswith((f"{prefix}/", f"{prefix}\\"))


def _installer(now: Snapshot, item: Distribution) -> Installer:
    """Who removes ``item`` or brings it back: whoever installed it, if that can be run here."""
    owner = for_package(now, item.name)
    told = (item.installer or "").lower()
    return can_be_run(now, replace(owner, manager=told)) if told in ("pip", "uv") else owner


def _install(item: Distribution, now: Snapshot) -> str:
    url = item.direct_url or ""
    requirement = [f"{item.name}=={item.version}"]
    if url.startswith("editable+file:"):
        requirement = ["-e", url.removeprefix("editable+")]
    elif url and not url.startswith("file:"):
        requirement = [f"{item.name} @ {url}"]
    return _installer(now, item).install(
        requirement,
        index_url=index_of(item.version),
        dependencies=False,
        user=item.location == now.python.user_site,
    )
