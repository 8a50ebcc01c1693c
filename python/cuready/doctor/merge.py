"""From what every check found to what is wrong: root causes swallow their symptoms.

Two rules, in this order. What was seen to work outranks what tables predict: when the CUDA driver
answered in a child process, a finding that says it cannot is dropped. Then a finding that explains
others keeps them out of the report, so that one fault gives one error: those of the ids that it
names, as far as they are about things that it reaches. What has another cause stays.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from cuready.doctor import catalogue
from cuready.doctor.facts import same_address
from cuready.doctor.finding import Finding, Severity
from cuready.snapshot import NativeProbe, Snapshot

__all__ = ["Merged", "merge", "seen_to_work"]

_RANK = {Severity.ERROR: 0, Severity.WARNING: 1, Severity.INFO: 2}
_ASKED_OF = {"libcuda.so.1": "cuda", "libnvidia-ml.so.1": "nvml"}
_PCI_ADDRESS = re.compile(r"^[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-9]$", re.IGNORECASE)


@dataclass(frozen=True)
class Merged:
    """What stays (most severe first) and, by id, why other findings went away."""

    findings: tuple[Finding, ...]
    explained: dict[str, str]
    disproved: dict[str, str]


def merge(findings: Iterable[Finding], snapshot: Snapshot) -> Merged:
    """Drop what is disproved, then what another finding explains. Pure."""
    standing, disproved = [], {}
    for item in findings:
        proof = seen_to_work(item, snapshot)
        if proof:
            disproved[item.id] = proof
        else:
            standing.append(item)
    standing.sort(key=_sort_key)
    explained_by = _explanations(standing)
    roots = [
        replace(item, explains=_symptoms(index, explained_by, standing))
        for index, item in enumerate(standing)
        if index not in explained_by
    ]
    explained = {
        standing[index].id: f"explained by {standing[root].id}"
        for index, root in explained_by.items()
        if all(other.id != standing[index].id for other in roots)
    }
    return Merged(tuple(roots), explained, disproved)


def seen_to_work(item: Finding, snapshot: Snapshot) -> str | None:
    """Why ``item`` cannot be true: what it says fails was seen to work. None: it can be."""
    here = item.id in catalogue.IDS and not item.image
    known = catalogue.entry(item.id).disproved_by if here else ()
    for name in known:
        if _ASKED_OF.get(item.subject, name) != name:
            continue  # what is said of one of the two libraries, the other cannot disprove
        probe = snapshot.cuda if name == "cuda" else snapshot.nvml
        if probe.status == "ok" and _covers(probe, item.subject):
            library = "the CUDA driver" if name == "cuda" else "NVML"
            return f"{library} was asked and listed {len(probe.devices)} working device(s)"
    return None


def _covers(probe: NativeProbe, subject: str) -> bool:
    """Whether the answer of ``probe`` says something about ``subject``, one GPU or all of them."""
    working = [device for device in probe.devices if not device.error]
    if not _PCI_ADDRESS.match(subject):
        return bool(working)
    return any(same_address(device.pci_address, subject) for device in working)


def _sort_key(item: Finding) -> tuple[int, tuple[int, str], str]:
    return (_RANK[item.severity], catalogue.order(item.id), item.subject)


def _explanations(standing: list[Finding]) -> dict[int, int]:
    """Place of each swallowed finding → place of the root that swallows it.

    A finding is not swallowed by a milder one: a warning must not hide an error. Symptoms of a
    symptom belong to the root. Where two explain each other, the one that comes first stands.
    """
    causes = [
        [place for place, root in enumerate(standing) if _may_explain(root, item)]
        for item in standing
    ]
    root_of: dict[int, int] = {}
    # Those that nothing explains come first, so that a chain is told from its beginning.
    waiting = []
    for place, item in enumerate(standing):
        if _explained_by(item, causes[place], standing) is None:
            root_of[place] = place
        else:
            waiting.append(place)
    while waiting:
        for place in waiting:
            told = [cause for cause in causes[place] if cause in root_of]
            cause = _explained_by(standing[place], told, standing)
            if cause is not None:
                root_of[place] = root_of[cause]
                break
        else:
            place = waiting[0]
            root_of[place] = place
        waiting.remove(place)
    return {place: root for place, root in root_of.items() if place != root}


def _explained_by(item: Finding, causes: list[int], standing: list[Finding]) -> int | None:
    """The first of ``causes`` that reach all that ``item`` is about, alone or together.

    One that says that two libraries are missing, for example, has two broken wheels for a cause.
    """
    for cause in causes:
        if not item.about or not standing[cause].reach:
            return cause
    reached = frozenset().union(*(standing[cause].reach for cause in causes))
    if not causes or not all(thing & reached for thing in item.about):
        return None
    return next(c for c in causes if any(thing & standing[c].reach for thing in item.about))


def _may_explain(root: Finding, item: Finding) -> bool:
    """Whether ``root`` names the id of ``item``, is of the same machine, and is not milder."""
    return (
        item.id != root.id
        and item.image == root.image
        and item.id in root.explains
        and _RANK[item.severity] >= _RANK[root.severity]
    )


def _symptoms(root: int, explained_by: dict[int, int], standing: list[Finding]) -> tuple[str, ...]:
    """The ids among the findings here that the one at ``root`` makes moot."""
    ids = [standing[place].id for place, index in explained_by.items() if index == root]
    return tuple(sorted(set(ids), key=catalogue.order))
