"""What a repair has to remember so that it can be undone: written before the first change, and
brought up to date around each command, so that later changes of others can be told from its own.

One JSON file a repair, in the user's state folder, named by its time; readable by people.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from platformdirs import user_state_path

from cuready._codec import CodecError, from_json, to_json
from cuready._util import parse_json, write_atomically
from cuready.errors import InputError
from cuready.snapshot import CondaPackage, Distribution, Snapshot

__all__ = ["Entry", "Record", "folder", "latest", "start"]

SCHEMA_VERSION = 2  # 1 did not say what was installed afterwards

_BEGUN = ("running", "interrupted", "done", "failed")


@dataclass(frozen=True)
class Entry:
    """One command of the repair and how it ended; ``pending`` until it was reached.

    What is still ``running`` when nobody runs it was killed.
    """

    command: str
    status: str = "pending"
    exit_code: int | None = None


@dataclass(frozen=True)
class Record:
    """One repair: the environment, what was installed before and after, and each step.

    ``after`` and ``conda_after`` are None while a command runs, and where nobody saw how it ended.
    """

    schema_version: int = SCHEMA_VERSION
    taken_at: str = ""
    python: str | None = None
    prefix: str | None = None
    before: tuple[Distribution, ...] = ()
    conda_before: tuple[CondaPackage, ...] = ()
    after: tuple[Distribution, ...] | None = None
    conda_after: tuple[CondaPackage, ...] | None = None
    steps: tuple[Entry, ...] = ()
    undone: bool = False
    path: str = field(default="")

    def save(self) -> None:
        """Write the record to its file. Raises InputError when the folder cannot be written."""
        document: dict[str, Any] = to_json(self)
        document.pop("path", None)
        target = Path(self.path)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(target, (json.dumps(document, indent=1) + "\n").encode(), mode=0o600)
        except OSError as error:
            raise InputError(
                f"{target}: {error.strerror or error}",
                hint="a repair that cannot be undone is not started; set XDG_STATE_HOME elsewhere",
            ) from None

    def mark(self, index: int, status: str, exit_code: int | None = None) -> Record:
        """The record with what became of step ``index``, saved."""
        steps = list(self.steps)
        steps[index] = replace(steps[index], status=status, exit_code=exit_code)
        marked = replace(self, steps=tuple(steps))
        marked.save()
        return marked

    def seen(self, now: Snapshot | None) -> Record:
        """The record with what is installed ``now``; None: nobody knows. It is not saved yet."""
        if now is None:
            return replace(self, after=None, conda_after=None)
        return replace(
            self,
            after=tuple(map(_kept, now.python.distributions)),
            conda_after=tuple(map(_kept_conda, now.python.conda_packages)),
        )


def folder() -> Path:
    """Where the records are."""
    return user_state_path("cuready") / "repairs"


def start(snapshot: Snapshot, commands: Sequence[str]) -> Record:
    """Save what is installed now, before the first of ``commands`` runs."""
    stamp = "".join(ch if ch.isalnum() else "-" for ch in snapshot.taken_at) or "repair"
    record = Record(
        taken_at=snapshot.taken_at,
        python=snapshot.python.executable,
        prefix=snapshot.python.prefix,
        before=tuple(map(_kept, snapshot.python.distributions)),
        conda_before=tuple(map(_kept_conda, snapshot.python.conda_packages)),
        steps=tuple(Entry(command) for command in commands),
        path=str(folder() / f"{stamp}-{os.getpid()}.json"),
    )
    record.save()
    return record


def _kept(item: Distribution) -> Distribution:
    """What going back needs of a distribution, and no more."""
    return Distribution(
        name=item.name,
        version=item.version,
        location=item.location,
        installer=item.installer,
        direct_url=item.direct_url,
    )


def _kept_conda(item: CondaPackage) -> CondaPackage:
    return CondaPackage(item.name, item.version, item.build, item.channel)


def latest(prefix: str | None = None) -> Record:
    """The last repair that changed something and was not undone, of ``prefix`` where it is given.

    Raises InputError when there is none.
    """
    for path in sorted(folder().glob("*.json"), reverse=True):
        record = _read(path)
        if prefix is not None and record.prefix != prefix:
            continue
        if not record.undone and any(step.status in _BEGUN for step in record.steps):
            return record
    where = f" in {prefix}" if prefix is not None else ""
    raise InputError(f"no repair to undo{where}", hint=f"cuready keeps its records in {folder()}")


def _read(path: Path) -> Record:
    try:
        return replace(from_json(Record, parse_json(path.read_bytes())), path=str(path))
    except (OSError, ValueError, CodecError) as error:
        raise InputError(f"{path}: not a record of a repair: {error}") from None
