"""Ids that plugins give: what is known of them before one runs, and what is to be said of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cuready.doctor import plugins

if TYPE_CHECKING:
    from cuready.doctor.explain import Explanation
    from cuready.probe.plugins import EntryPoint
    from cuready.snapshot import Snapshot

__all__ = ["explanation", "installed", "named", "run", "whose"]


def installed() -> list[EntryPoint]:
    """The plugins here that bring checks; finding them runs nothing of theirs."""
    from cuready.probe import plugins as runner

    return [item for item in runner.own() if item.group == runner.CHECKS]


def whose(word: str, found: Sequence[EntryPoint]) -> list[EntryPoint]:
    """Those of ``found`` that are named for the id or group ``word``."""
    return [item for item in found if plugins.named_for(item.name, word)]


def named(found: Sequence[EntryPoint]) -> str:
    """``tools (acme:check, from acme-tools)``, one after the other."""
    return ", ".join(f"{item.name} ({item.value}, from {item.distribution})" for item in found)


def run(snapshot: Snapshot, limit_s: float | None = None) -> Snapshot:
    """Let the plugins that bring checks look at ``snapshot``; also at one from a file."""
    from cuready.probe import plugins as runner

    answers = runner.run_checks(snapshot, runner.TIME_LIMIT_S if limit_s is None else limit_s)
    if not answers:
        return snapshot
    known = [x for x in plugins.outcomes(snapshot) if x["group"] != runner.CHECKS]
    added = {plugins.OUTCOMES: [*known, *answers]}
    return dataclasses.replace(snapshot, plugin_facts={**snapshot.plugin_facts, **added})


def explanation(word: str, snapshot: Snapshot | None) -> Explanation | None:
    """What is known of the id ``word`` of a plugin; None when that is nothing.

    Its words come with the finding: with ``snapshot``, one that the plugins have looked at, they
    are told where there is one; else by which plugin the id is given.
    """
    from cuready.doctor.explain import Explanation

    check_id = word.strip().upper()
    if not plugins.is_id(check_id):
        return None
    check = f"cuready doctor --only {check_id}"
    told = {} if snapshot is None else plugins.findings_of(snapshot)
    for finding in told.get(check_id, ())[:1]:
        steps = tuple("; ".join(fix.commands) or fix.note for fix in finding.fix)
        return Explanation(
            finding.id, finding.title, finding.cause, check, steps, finding.links, here=finding
        )
    found = whose(check_id, installed())
    if not found:
        return None
    return Explanation(
        check_id,
        "A finding of a plugin",
        f"It is given by {named(found)}. The plugin's own words come with the finding.",
        check,
        (f"{check} --verbose",),
        (),
    )
