"""A change of a prefix that is either done or not: journal, swap, and what to do after a crash.

The new environment is built beside the old one, in ``.NAME.cuready-work`` in the parent's folder,
with the final path written into its scripts; two renames then put it in place. Where the parent
must not be written (or the prefix is a mount), the work folder lies inside the prefix and the
entries at its top are renamed one by one, in an order that can be taken up again at any point.

=========  ==========================================  ==========================================
state      what is so                                  after a crash
=========  ==========================================  ==========================================
building   the prefix is as it was                     rolled back: the work folder is removed
ready      the new environment is whole                finished
swapped    the new one is in place                     finished: the old one is removed
kept       the new one is in place, the old one is     rolled back, unless it is accepted with
           kept until pip and verify are done          ``discard_previous``
restoring  the old one is being put back               rolled back
foreign    conda itself is changing the prefix         rolled back to a copy
=========  ==========================================  ==========================================
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from cuready._util import write_atomically
from cuready.env.conda.faults import kill_point
from cuready.env.conda.model import Interruption
from cuready.errors import EnvError

__all__ = [
    "Journal",
    "Transaction",
    "discard_previous",
    "interrupted",
    "recover",
    "restore_previous",
]

WORK = ".cuready-work"


@dataclass(frozen=True)
class Journal:
    """What the work folder's ``journal.json`` says.

    ``old_names`` and ``new_names``: entries at the top, when they are renamed one by one.
    """

    prefix: str
    state: str
    inside: bool
    existed: bool
    keep: bool
    pid: int
    old_names: list[str] = field(default_factory=list)
    new_names: list[str] = field(default_factory=list)


class Transaction:
    """The work folder of one prefix. Only one process at a time holds it."""

    def __init__(self, work: Path, journal: Journal, lock: FileLock) -> None:
        self.work, self.journal, self._lock = work, journal, lock
        self.prefix = Path(journal.prefix)
        self.new, self.old = work / "new", work / "old"

    @classmethod
    def begin(cls, prefix: Path, *, existed: bool, keep: bool) -> Transaction:
        """Make the work folder and take it. Raises EnvError when another process has it.

        A link to the environment stays: what it leads to is replaced, on the disk where it is.
        """
        prefix = Path(os.path.realpath(prefix))
        inside = _must_be_inside(prefix)
        work = _inside(prefix) if inside else _beside(prefix)
        try:
            work.parent.mkdir(parents=True, exist_ok=True)
            work.mkdir()
        except FileExistsError:
            lock = _take(work, prefix)
            lock.release()
            hint = "`cuready env repair` finishes it or takes it back"
            message = f"{prefix}: a change of it was cut short before"
            raise EnvError(message, hint=hint) from None
        except OSError as error:
            raise EnvError(
                f"{work.parent}: cannot be written: {error.strerror or error}",
                hint="choose another path: --prefix",
            ) from None
        kill_point("work-made")
        lock = _take(work, prefix)
        made = cls(work, Journal(str(prefix), "building", inside, existed, keep, os.getpid()), lock)
        made.set_state("building")
        kill_point("journal-building")
        return made

    def set_state(self, state: str, **fields: Any) -> None:
        """Write the journal; durable where something rests on it.

        A lost ``building`` means the same as no journal, a lost ``swapped`` the same as ``ready``.
        """
        self.journal = replace(self.journal, state=state, **fields)
        path, data = self.work / "journal.json", json.dumps(asdict(self.journal)).encode()
        if state in ("building", "swapped"):
            fresh = path.with_suffix(".new")
            fresh.write_bytes(data)
            fresh.replace(path)
        else:
            write_atomically(path, data)

    def ready(self) -> None:
        """The new environment is whole: from here on it goes forward."""
        names: dict[str, list[str]] = {}
        if self.journal.inside:
            names["old_names"] = _names(self.prefix)
            names["new_names"] = _names(self.new)
        self.set_state("ready", **names)
        kill_point("journal-ready")

    def swap(self) -> None:
        """Put the new environment in the old one's place; may be called again after a crash."""
        if self.journal.inside:
            self._swap_entries()
        elif self.new.exists():
            if os.path.lexists(self.prefix) and not self.old.exists():
                self.prefix.rename(self.old)
            kill_point("old-moved")
            self.new.rename(self.prefix)
            kill_point("new-moved")
        self.set_state("kept" if self.journal.keep else "swapped")
        kill_point("journal-swapped")

    def _swap_entries(self) -> None:
        self.old.mkdir(exist_ok=True)
        for name in self.journal.old_names:
            here, there = self.prefix / name, self.old / name
            if not os.path.lexists(there) and os.path.lexists(here):
                here.rename(there)
                kill_point("entry-moved")
        for name in self.journal.new_names:
            here, there = self.new / name, self.prefix / name
            if os.path.lexists(here):
                here.rename(there)
                kill_point("entry-moved")

    def finish(self) -> None:
        """Remove what was before, and the work folder."""
        for folder in (self.new, self.old):
            remove_tree(folder)
            kill_point("old-removed")
        self.close()

    def roll_back(self) -> None:
        """Make the prefix what it was, from whatever state; may be called again."""
        state = self.journal.state
        if state in ("kept", "foreign") and self.journal.inside:
            old = self.journal.old_names or (_names(self.old) if self.old.exists() else [])
            self.set_state("restoring", new_names=_names(self.prefix), old_names=old)
        elif state in ("kept", "foreign"):
            self.set_state("restoring")
        if self.journal.state == "restoring":
            (self._restore_entries if self.journal.inside else self._restore_folder)()
        self.set_state("building")
        self.finish()

    def _restore_folder(self) -> None:
        """The rejected environment goes back to ``new``, then the old one into its place."""
        mine = self.old.exists() or not self.journal.existed
        if mine and self.prefix.exists() and not self.new.exists():
            self.prefix.rename(self.new)
            kill_point("new-moved-back")
        if self.old.exists():
            self.old.rename(self.prefix)

    def _restore_entries(self) -> None:
        """As ``_swap_entries``, the other way round: what has been moved is never moved again."""
        self.new.mkdir(exist_ok=True)
        for name in self.journal.new_names:
            here, there = self.prefix / name, self.new / name
            if os.path.lexists(here) and not os.path.lexists(there):
                here.rename(there)
                kill_point("entry-moved-back")
        for name in self.journal.old_names:
            if os.path.lexists(self.old / name):
                (self.old / name).rename(self.prefix / name)
                kill_point("entry-moved-back")

    def close(self) -> None:
        """Remove the work folder and let go of it."""
        with contextlib.suppress(FileNotFoundError):
            (self.work / "journal.json").unlink()
        remove_tree(self.work)
        self.release()

    def release(self) -> None:
        """Let go of the work folder and leave it: the previous environment is in there."""
        self._lock.release()


def _names(folder: Path) -> list[str]:
    """The entries at the top of ``folder``, the work folder left out."""
    return sorted(item.name for item in folder.iterdir() if item.name != WORK)


def _beside(prefix: Path) -> Path:
    return prefix.parent / f".{prefix.name}{WORK}"


def _inside(prefix: Path) -> Path:
    return prefix / WORK


def _must_be_inside(prefix: Path) -> bool:
    """Whether the prefix itself cannot be renamed: its parent is not ours, or it is a mount."""
    if not prefix.is_dir():
        return False
    parent = prefix.parent
    writable = os.access(parent, os.W_OK) and bool(parent.stat().st_mode & 0o222)
    return not writable or prefix.is_mount() or prefix.stat().st_dev != parent.stat().st_dev


def _take(work: Path, prefix: Path) -> FileLock:
    lock = FileLock(work / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise EnvError(
            f"{prefix}: another process is changing it now", hint="wait until it has ended"
        ) from None
    return lock


def remove_tree(folder: Path) -> None:
    """Remove a folder, read-only parts of it included; a missing one is fine."""

    def make_writable(function: Callable[[str], object], path: str, _: object) -> None:
        if isinstance(_, tuple) and isinstance(_[1], FileNotFoundError):
            return
        Path(path).parent.chmod(stat.S_IRWXU)
        if not Path(path).is_symlink():
            Path(path).chmod(stat.S_IRWXU)
        function(path)

    if folder.is_symlink() or folder.is_file():
        folder.unlink()
    elif folder.exists():
        shutil.rmtree(folder, onerror=make_writable)


# --- after a crash -----------------------------------------------------------------------------


def _works(prefix: Path) -> Iterator[Path]:
    for work in (_beside(prefix), _inside(prefix)):
        if work.is_dir():
            yield work


def _journal(work: Path, prefix: Path) -> Journal:
    """The journal; a work folder without one was made and nothing more.

    The prefix that it names is not believed: the folder above both may have been moved since.
    """
    inside = work == _inside(prefix)
    try:
        written = Journal(**json.loads((work / "journal.json").read_bytes()))
        return replace(written, prefix=str(prefix))
    except FileNotFoundError:
        return Journal(str(prefix), "building", inside, prefix.exists(), False, 0)
    except (ValueError, TypeError) as error:
        raise EnvError(
            f"{work / 'journal.json'}: cannot be read: {error}",
            hint=f"look into {work}: `old` is the previous environment, `new` the next one",
        ) from None


def interrupted(prefix: Path) -> Interruption | None:
    """Whether a change of ``prefix`` was cut short; None too while a process is at it."""
    prefix = Path(os.path.realpath(prefix.expanduser()))
    for work in _works(prefix):
        lock = FileLock(work / "lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            continue
        try:
            journal = _journal(work, prefix)
        finally:
            lock.release()
        return Interruption(prefix, journal.state, work / "journal.json", journal.pid)
    return None


def recover(prefix: Path) -> str:
    """Finish what was cut short, or take it back; see the table above.

    Returns ``finished``, ``rolled back``, or an empty string when there was nothing to do. Raises
    EnvError while another process is at it.
    """
    transaction = _resume(prefix)
    if transaction is None:
        return ""
    journal = transaction.journal
    if journal.state in ("ready", "swapped") and not journal.keep:
        transaction.swap()
        transaction.finish()
        return "finished"
    if journal.state == "ready":  # the swap may have begun: end it, then take all of it back
        transaction.swap()
    transaction.roll_back()
    return "rolled back"


def discard_previous(prefix: Path) -> bool:
    """Accept what ``apply_plan(keep_previous=True)`` made; False when nothing was kept."""
    transaction = _resume(prefix)
    if transaction is None:
        return False
    if transaction.journal.state != "kept":
        transaction.release()
        raise EnvError(f"{prefix}: is not whole: it was cut short; run `cuready env repair`")
    transaction.set_state("swapped", keep=False)
    transaction.finish()
    return True


def restore_previous(prefix: Path) -> bool:
    """Go back to what was before ``apply_plan(keep_previous=True)``; False when nothing is kept.

    An environment that was new then is removed.
    """
    transaction = _resume(prefix)
    if transaction is None:
        return False
    if transaction.journal.state == "ready":
        transaction.swap()
    transaction.roll_back()
    return True


def _resume(prefix: Path) -> Transaction | None:
    prefix = Path(os.path.realpath(prefix.expanduser()))
    for work in _works(prefix):
        lock = _take(work, prefix)
        if work.is_dir():  # else whoever had it has ended it meanwhile
            return Transaction(work, _journal(work, prefix), lock)
        lock.release()
    return None
