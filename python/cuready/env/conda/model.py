"""What the conda half of an environment is made of: records, solutions, plans. Frozen values.

How the phases call each other::

    with CondaSession(CondaOptions()) as session:
        solution = solve_recipe(recipe, target, decide(recipe, target), session=session)
        write_lock(solution, Path("pytorch.lock"), session=session)
        plan = make_plan(solution, prefix, session=session)     # pure: reads the prefix, no network
        fetch_plan(plan, session=session)                       # everything verified in the cache
        done = apply_plan(plan, session=session, keep_previous=True)    # no network from here on
        ...                                                     # pip phase, verify
        discard_previous(prefix)                                # or restore_previous(prefix)

``read_lock(path, target, session=session)`` gives a Solution too. ``interrupted(prefix)`` says
whether a run died in the link phase; ``recover(prefix)`` finishes it or rolls it back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cuready.errors import IncompleteError

__all__ = [
    "Applied",
    "Installed",
    "Interruption",
    "Plan",
    "Record",
    "Solution",
    "SolveRequest",
    "text_of_change",
]


@dataclass(frozen=True)
class Record:
    """One conda package.

    Attributes:
        url: the canonical address, whatever mirror serves it.
        channel: canonical address of its channel, without a last slash.
        sha256, md5: hexadecimal digits; md5 may be empty.
        size: bytes of the archive; None when the index does not say.
        noarch: ``"python"``, ``"generic"`` or empty.
        raw: the record as the index has it, with ``fn``, ``url`` and ``channel``.
    """

    name: str
    version: str
    build: str
    subdir: str
    url: str
    channel: str
    sha256: str
    md5: str = ""
    size: int | None = None
    depends: tuple[str, ...] = ()
    noarch: str = ""
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Record:
        """A record from the form that the engine and ``conda-meta`` share.

        Raises IncompleteError when a field is missing that everything here rests on.
        """
        try:
            url = str(raw["url"])
            return cls(
                name=str(raw["name"]),
                version=str(raw["version"]),
                build=str(raw["build"]),
                subdir=str(raw.get("subdir") or url.split("/")[-2]),
                url=url,
                channel=url.rsplit("/", 2)[0],
                sha256=str(raw.get("sha256") or "").lower(),
                md5=str(raw.get("md5") or "").lower(),
                size=raw.get("size"),
                depends=tuple(raw.get("depends") or ()),
                noarch=str(raw.get("noarch") or ""),
                raw=dict(raw),
            )
        except (KeyError, TypeError, IndexError) as error:
            message = f"a package record lacks {error.args[0] if error.args else 'a field'}"
            raise IncompleteError(message) from None

    @property
    def file_name(self) -> str:
        """``numpy-2.1.0-py312_0.conda``."""
        return urlsplit(self.url).path.rsplit("/", 1)[-1]

    @property
    def dist(self) -> str:
        """``numpy-2.1.0-py312_0``: how conda names an extracted package."""
        return f"{self.name}-{self.version}-{self.build}"

    def same_as(self, other: Record) -> bool:
        """Whether both are the same bytes; where an old record has no digest, the same name."""
        if self.sha256 and other.sha256:
            return self.sha256 == other.sha256
        return self.dist == other.dist and self.subdir == other.subdir

    def to_dict(self) -> dict[str, Any]:
        """For JSON output."""
        return {
            "name": self.name,
            "version": self.version,
            "build": self.build,
            "subdir": self.subdir,
            "channel": self.channel,
            "url": self.url,
            "sha256": self.sha256,
            "size": self.size,
        }


@dataclass(frozen=True)
class Installed(Record):
    """A package that a prefix holds, with the file in ``conda-meta`` that says so.

    ``files``: what it owns below the prefix, as conda writes it (``/`` between the parts).
    """

    meta: str = ""
    files: tuple[str, ...] = field(default=(), repr=False, compare=False)


@dataclass(frozen=True)
class SolveRequest:
    """What is asked of the solver.

    Attributes:
        channels: canonical addresses, the first one wins (strict channel priority).
        specs, constraints: conda match specs; a constraint binds only what is there anyway.
        virtual_packages: conda's own names (``__cuda``) with versions.
        subdir: the platform; ``noarch`` is always looked at too.
        locked: records to be kept where the specs allow it (update without unrelated changes).
        pinned: names among ``locked`` that must not move.
    """

    channels: tuple[str, ...]
    specs: tuple[str, ...]
    subdir: str
    constraints: tuple[str, ...] = ()
    virtual_packages: Mapping[str, str] = field(default_factory=dict)
    locked: tuple[Record, ...] = ()
    pinned: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Solution:
    """What the solver chose, in an order in which it can be linked.

    ``notes`` are one-line remarks for the reader: an index that could not be renewed, a rule that
    put a constraint in.
    """

    name: str
    request: SolveRequest
    records: tuple[Record, ...]
    notes: tuple[str, ...] = ()

    def get(self, name: str) -> Record | None:
        """The record of one package."""
        return next((record for record in self.records if record.name == name), None)


@dataclass(frozen=True)
class Plan:
    """What has to happen to a prefix. Nothing has happened yet.

    Attributes:
        prefix: absolute, symbolic links resolved: the path is burned into scripts.
        to_fetch: records whose archive is not in the cache.
        to_unlink: what goes, or is replaced by the record of that name in ``to_link``.
        bytes_to_fetch: over the wire, from the index.
        disk_needed: bytes by the path of a folder whose disk needs them (cache and prefix).
        exists: whether the prefix is an environment already.
    """

    prefix: Path
    solution: Solution
    to_fetch: tuple[Record, ...]
    to_link: tuple[Record, ...]
    to_unlink: tuple[Installed, ...]
    unchanged: tuple[Installed, ...]
    bytes_to_fetch: int
    disk_needed: Mapping[Path, int]
    exists: bool

    @property
    def empty(self) -> bool:
        """True when the prefix is what was asked for already."""
        return self.exists and not self.to_link and not self.to_unlink

    def to_dict(self) -> dict[str, Any]:
        """For ``--dry-run --format json``."""
        return {
            "prefix": str(self.prefix),
            "to_fetch": [record.to_dict() for record in self.to_fetch],
            "to_link": [record.to_dict() for record in self.to_link],
            "to_unlink": [record.to_dict() for record in self.to_unlink],
            "unchanged": len(self.unchanged),
            "bytes_to_fetch": self.bytes_to_fetch,
            "disk_needed": {str(path): size for path, size in self.disk_needed.items()},
            "notes": list(self.solution.notes),
        }


@dataclass(frozen=True)
class Applied:
    """What the link phase did. ``previous`` is the old prefix, when it was kept beside."""

    prefix: Path
    linked: int
    unlinked: int
    previous: Path | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Interruption:
    """A link phase that somebody's death cut short.

    ``state``: ``building`` (the old prefix is untouched: roll back), ``ready`` (the new one is
    whole: finish), ``swapped`` (only tidying is left), ``kept`` (done, but pip or verify had not
    finished: the previous environment is still beside).
    """

    prefix: Path
    state: str
    journal: Path
    pid: int


def text_of_change(plan: Plan) -> list[str]:
    """One line a package for people: ``+ new``, ``- gone``, ``~ old → new``."""
    gone = {record.name: record for record in plan.to_unlink}
    lines = []
    for record in sorted(plan.to_link, key=lambda item: item.name):
        old = gone.pop(record.name, None)
        now = f"{record.version} {record.build}"
        if old is None:
            lines.append(f"+ {record.name} {now}")
        else:
            lines.append(f"~ {record.name} {old.version} {old.build} → {now}")
    lines += [f"- {record.name} {record.version} {record.build}" for record in gone.values()]
    return lines
