"""What changed between two snapshots, and which findings came or went with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cuready.doctor.engine import diagnose
from cuready.doctor.finding import Finding
from cuready.snapshot import Snapshot

__all__ = ["Change", "Difference", "compare"]

# How the members of a list are told apart, so that one installed package is one change and not a
# shift of every later line. First key that a member has wins.
IDENTITIES = ("name", "address", "soname", "index", "tool", "path")

# Facts that differ between any two runs and say nothing.
NOISE = frozenset({"taken_at", "readers", "tool_version", "ms", "mtime", "metadata_path"})


@dataclass(frozen=True)
class Change:
    """One difference. ``kind``: added, removed, changed; ``path`` names the fact."""

    kind: str
    path: str
    before: Any = None
    after: Any = None

    def to_dict(self) -> dict[str, Any]:
        return {"kind": self.kind, "path": self.path, "before": self.before, "after": self.after}


@dataclass(frozen=True)
class Difference:
    """Changed facts, in the snapshot's own order, and the findings that appeared and went."""

    changes: tuple[Change, ...]
    appeared: tuple[Finding, ...]
    gone: tuple[Finding, ...]

    def to_dict(self) -> dict[str, Any]:
        return {
            "changes": [change.to_dict() for change in self.changes],
            "findings": {
                "appeared": [finding.to_dict() for finding in self.appeared],
                "gone": [finding.to_dict() for finding in self.gone],
            },
        }


def compare(before: Snapshot, after: Snapshot) -> Difference:
    """The difference between two snapshots of the same machine, or of two machines."""
    old = {(item.id, item.subject): item for item in diagnose(before).findings}
    new = {(item.id, item.subject): item for item in diagnose(after).findings}
    return Difference(
        changes=tuple(_changes("", before.to_dict(), after.to_dict())),
        appeared=tuple(item for key, item in new.items() if key not in old),
        gone=tuple(item for key, item in old.items() if key not in new),
    )


def _changes(path: str, before: Any, after: Any) -> Iterator[Change]:
    if before == after:
        return
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        yield from _mapping_changes(path, before, after)
    elif isinstance(before, list) and isinstance(after, list):
        left, right = _by_identity(before), _by_identity(after)
        if left is None or right is None:
            yield Change("changed", path, before, after)
        else:
            yield from _member_changes(path, left, right)
    else:
        yield Change("changed", path, before, after)


def _mapping_changes(
    path: str, before: Mapping[str, Any], after: Mapping[str, Any]
) -> Iterator[Change]:
    for key in dict.fromkeys((*before, *after)):
        if key in NOISE:
            continue
        where = f"{path}.{key}" if path else str(key)
        if key in before and key in after:
            yield from _changes(where, before[key], after[key])
        elif _is_container(before.get(key, after.get(key))):
            # A whole section that one side lacks is told member by member.
            other: Any = {} if isinstance(before.get(key, after.get(key)), Mapping) else []
            yield from _changes(where, before.get(key, other), after.get(key, other))
        elif key in before:
            yield Change("removed", where, before[key])
        else:
            yield Change("added", where, None, after[key])


def _member_changes(
    path: str, before: Mapping[str, Any], after: Mapping[str, Any]
) -> Iterator[Change]:
    for name in dict.fromkeys((*before, *after)):
        where = f"{path}[{name}]"
        if name not in after:
            yield Change("removed", where, before[name])
        elif name not in before:
            yield Change("added", where, None, after[name])
        else:
            yield from _changes(where, before[name], after[name])


def _is_container(value: Any) -> bool:
    return isinstance(value, (Mapping, list))


def _by_identity(members: list[Any]) -> dict[str, Any] | None:
    """Members by what names them; None when they cannot be told apart."""
    named: dict[str, Any] = {}
    for member in members:
        if isinstance(member, str):
            name = member
        elif isinstance(member, Mapping):
            key = next((key for key in IDENTITIES if key in member), None)
            if key is None:
                return None
            name = str(member[key])
        else:
            return None
        if name in named:
            return None
        named[name] = member
    return named
