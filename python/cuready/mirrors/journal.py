"""What cuready replaced in configuration files, so that every edit can be taken back byte for byte.

One folder an operation below the state folder: ``operation.json`` and the replaced bytes of each
file. All of it is on the disk before the first configuration file changes. Whether an edit took
place is read from the file itself (its sha256 is the one before, the one after, or another), so a
crash between two steps needs no repair.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import platformdirs

from cuready._util import one_line, parse_json
from cuready.errors import ConfigError, IncompleteError
from cuready.mirrors import atomic

__all__ = ["Edit", "Journal", "Operation", "default_root"]

FORMAT = 1
LOCK_SECONDS = 10.0


@dataclass(frozen=True)
class Edit:
    """One file of an operation. ``blob`` holds its bytes before; empty when there was no file.

    ``restored`` is set once the edit was taken back, so that it is not taken back twice.
    """

    tool: str
    path: str
    before: str
    after: str
    blob: str
    mode: int | None
    restored: bool = False

    def state(self) -> Literal["before", "after", "changed"]:
        """Which of the two versions the file holds now, or neither."""
        digest = atomic.read(Path(self.path)).digest
        if digest == self.after:
            return "after"
        return "before" if digest == self.before else "changed"


@dataclass(frozen=True)
class Operation:
    """One command's edits."""

    id: str
    command: str
    time: str
    edits: tuple[Edit, ...]


def default_root() -> Path:
    """The journal's folder below the user's state folder."""
    return Path(platformdirs.user_state_dir("cuready", appauthor=False)) / "mirror-journal"


class Journal:
    """The operations under ``root``, oldest first. One process writes at a time."""

    def __init__(self, root: Path | None = None) -> None:
        self.root = default_root() if root is None else root

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the journal for one command. Raises IncompleteError when another one has it."""
        import filelock

        self._make_root()
        lock = filelock.FileLock(self.root / "lock", timeout=LOCK_SECONDS)
        try:
            with lock:
                yield
        except filelock.Timeout:
            raise IncompleteError(
                "another cuready changes the configuration of mirrors",
                hint=f"wait for it; the lock is {self.root / 'lock'}",
            ) from None

    def begin(
        self, command: str, states: Sequence[tuple[str, atomic.FileState, bytes | None]]
    ) -> Operation:
        """Keep what is about to be replaced: (tool, state before, bytes after or None) a file."""
        self._make_root()
        now = datetime.datetime.now(datetime.timezone.utc)
        name = f"{now:%Y%m%dT%H%M%S%f}-{uuid.uuid4().hex[:8]}"
        folder = self.root / name
        edits = []
        try:
            folder.mkdir(mode=0o700)
            for number, (tool, state, after) in enumerate(states):
                blob = "" if state.data is None else f"before-{number}"
                if state.data is not None:
                    _write(folder / blob, state.data)
                digest = "" if after is None else atomic.sha256(after)
                edits.append(Edit(tool, str(state.path), state.digest, digest, blob, state.mode))
            operation = Operation(name, command, now.isoformat(timespec="seconds"), tuple(edits))
            self._save(operation)
        except OSError as error:
            raise ConfigError(
                f"{folder}: the backup cannot be written: {one_line(error.strerror or error)}",
                hint="nothing was changed; free space there or set XDG_STATE_HOME",
            ) from None
        return operation

    def operations(self) -> list[Operation]:
        """All that are complete, oldest first; a folder that a crash left unfinished is passed."""
        if not self.root.is_dir():
            return []
        found = []
        for folder in sorted(self.root.iterdir()):
            operation = self._load(folder)
            if operation is not None:
                found.append(operation)
        return found

    def before(self, operation: Operation, edit: Edit) -> bytes | None:
        """The bytes that ``edit`` replaced, None when there was no file.

        Raises ConfigError when they are no longer what was kept.
        """
        if not edit.blob:
            return None
        path = self.root / operation.id / edit.blob
        try:
            data = path.read_bytes()
        except OSError as error:
            raise ConfigError(f"{path}: the backup cannot be read: {one_line(error)}") from None
        if atomic.sha256(data) != edit.before:
            raise ConfigError(f"{path}: the backup is damaged; nothing was changed")
        return data

    def mark_restored(self, operation: Operation, edits: Sequence[Edit]) -> None:
        """Remember that ``edits`` of ``operation`` were taken back."""
        marked = tuple(
            replace(edit, restored=True) if edit in edits else edit for edit in operation.edits
        )
        self._save(replace(operation, edits=marked))

    def _make_root(self) -> None:
        try:
            self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise ConfigError(
                f"{self.root}: the backup folder cannot be made: "
                f"{one_line(error.strerror or error)}",
                hint="nothing was changed; set XDG_STATE_HOME to a folder that can be written",
            ) from None

    def _save(self, operation: Operation) -> None:
        document = {"format": FORMAT, **asdict(operation)}
        folder = self.root / operation.id
        temporary = folder / ".operation.json"
        _write(temporary, json.dumps(document, indent=1).encode())
        temporary.replace(folder / "operation.json")
        atomic.sync_folder(folder)
        atomic.sync_folder(self.root)

    @staticmethod
    def _load(folder: Path) -> Operation | None:
        path = folder / "operation.json"
        try:
            document: Any = parse_json(path.read_text(encoding="utf-8"))
            edits = tuple(Edit(**edit) for edit in document["edits"])
            return Operation(
                id=folder.name,
                command=str(document["command"]),
                time=str(document["time"]),
                edits=edits,
            )
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{path}: not a journal entry: {one_line(error)}") from None


def _write(path: Path, data: bytes) -> None:
    """Create ``path``, readable by its owner alone: configuration may hold tokens."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
