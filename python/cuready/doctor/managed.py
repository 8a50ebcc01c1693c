"""Checks of environments that `cuready env` made. They run only where the Snapshot has one."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from cuready.doctor.finding import Evidence, Finding, Fix, Severity
from cuready.doctor.registry import Check, Outcome, check
from cuready.snapshot import Snapshot

__all__ = ["GROUP", "IDS", "checks_for"]

GROUP = "ENV"
IDS = ("ENV01", "ENV02", "ENV03", "ENV04")
SHOWN = 6


def checks_for(snapshot: Snapshot) -> tuple[Check, ...]:
    """The checks, when the environment under diagnosis is one of ours."""
    return CHECKS if snapshot.managed else ()


def _where(managed: Mapping[str, Any]) -> str:
    return f"{managed.get('prefix')}/.cuready/env.json"


def _command(prefix: Any, name: str, *more: str) -> str:
    return " ".join(("cuready env", name, shlex.quote(str(prefix)), *more))


@check("ENV01", needs=("managed",), systems=())
def drifted(snapshot: Snapshot) -> Outcome:
    """Packages of the lock that are gone, replaced or changed, and packages that came later."""
    drift = snapshot.managed.get("drift") or {}
    name, prefix = snapshot.managed.get("name"), snapshot.managed.get("prefix")
    lost = [
        f"{words}: {item}"
        for kind, words in (("missing", "gone"), ("replaced", "replaced"), ("changed", "changed"))
        for item in drift.get(kind, ())
    ]
    added = [f"added: {item}" for item in drift.get("added", ())]
    if not lost and not added:
        return ()
    told = [*lost, *added]
    more = f" and {len(told) - SHOWN} more" if len(told) > SHOWN else ""
    found = Finding(
        id="ENV01",
        severity=Severity.WARNING if lost else Severity.INFO,
        title="The environment is not what was installed any more",
        cause=f"{name} differs from its lock: {'; '.join(told[:SHOWN])}{more}",
        evidence=tuple(Evidence(_where(snapshot.managed), item) for item in told[:20]),
        fix=(Fix((_command(prefix, "repair"),), "puts back what the lock says"),) if lost else (),
        subject=str(prefix),
    )
    return (found,)


@check("ENV02", needs=("managed",), systems=())
def unfinished(snapshot: Snapshot) -> Outcome:
    """A run of cuready that was killed in the middle."""
    if snapshot.managed.get("finished", True):
        return ()
    prefix = snapshot.managed.get("prefix")
    found = Finding(
        id="ENV02",
        severity=Severity.ERROR,
        title="The environment was not finished",
        cause=f"a cuready that was making or changing {prefix} was killed",
        evidence=(Evidence(f"{prefix}/.cuready/journal.json", "is there"),),
        fix=(Fix((_command(prefix, "repair"),), "finishes it, or takes it back"),),
        subject=str(prefix),
    )
    return (found,)


@check("ENV03", needs=("managed",), systems=())
def unproved(snapshot: Snapshot) -> Outcome:
    """Proofs of the recipe that failed when they were last run."""
    failed = (snapshot.managed.get("proofs") or {}).get("failed", 0)
    if not failed:
        return ()
    prefix = snapshot.managed.get("prefix")
    found = Finding(
        id="ENV03",
        severity=Severity.WARNING,
        title="The environment has not proved what its recipe promises",
        cause=f"{failed} of its proofs failed when it was made or changed",
        evidence=(Evidence(_where(snapshot.managed), f"verified: {failed} failed"),),
        fix=(Fix((_command(prefix, "verify"),), "runs them again, and says why they fail"),),
        subject=str(prefix),
    )
    return (found,)


@check("ENV04", needs=("managed",), systems=())
def moved(snapshot: Snapshot) -> Outcome:
    """An environment whose scripts name another folder than the one that it is in."""
    made, prefix = snapshot.managed.get("made_at"), snapshot.managed.get("prefix")
    if snapshot.managed.get("made_here") is not False:  # None: nobody knows
        return ()
    anew = _command(prefix, "clone", "--name NAME")
    found = Finding(
        id="ENV04",
        severity=Severity.ERROR,
        title="The environment was moved or copied",
        cause=f"{prefix} was made at {made}, and its scripts still lead there",
        evidence=(Evidence(_where(snapshot.managed), f"made at {made}"),),
        explains=("ENV01", "ENV03"),
        fix=(Fix((anew,), f"makes it anew from its locks; or move it back to {made}"),),
        subject=str(prefix),
    )
    return (found,)


def _registered(function: Any) -> Check:
    found = function._cuready_check
    assert isinstance(found, Check)  # noqa: S101 - the decorator put it there
    return found


CHECKS: tuple[Check, ...] = tuple(map(_registered, (drifted, unfinished, unproved, moved)))
