"""An environment's own folder ``.cuready``: what was made, from what, and what is under way.

``env.json`` is the done marker: it is written last. ``journal.json`` stands there while something
is under way, and holds all that is needed to finish it or to take it back; a run that was killed
leaves it behind, and the next command that comes by acts on it.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import shlex
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import platformdirs
from filelock import FileLock, Timeout

from cuready._util import one_line, parse_json, write_atomically
from cuready.env.state import SCHEMA_VERSION, State
from cuready.errors import EnvError, InputError

__all__ = [
    "FOLDER",
    "JOURNAL",
    "STATE",
    "State",
    "check_path",
    "check_place",
    "clear_journal",
    "data_dir",
    "default_prefix",
    "held",
    "identity",
    "marked",
    "python_of",
    "read_journal",
    "read_state",
    "remove_tree",
    "require_python",
    "require_readable",
    "write_journal",
    "write_state",
]

FOLDER, STATE, JOURNAL = ".cuready", "env.json", "journal.json"

# Package files lie up to this far below the prefix (torch's longest path has about 200 bytes).
DEEPEST = 300
LONGEST_NAME = 220  # file systems have 255; names of work folders are made from it


# --- places --------------------------------------------------------------------------------------


def data_dir() -> Path:
    """Where environments without a ``--prefix`` live, and the list of all."""
    return platformdirs.user_data_path("cuready", appauthor=False)


def default_prefix(name: str) -> Path:
    """The place of an environment that is named only."""
    return data_dir() / "envs" / name


def python_of(prefix: Path) -> Path:
    """The interpreter of a venv or conda prefix."""
    if os.name == "nt":
        inner = prefix / "Scripts" / "python.exe"
        return inner if inner.exists() else prefix / "python.exe"
    return prefix / "bin" / "python"


def require_python(prefix: Path) -> None:
    """See that a venv still has its interpreter, which no package of it brings back.

    Raises EnvError: the Python that it was made with was removed, or the link to it.
    """
    python = python_of(prefix)
    if python.exists():
        return
    link = f": {python} leads to {os.path.realpath(python)}" if python.is_symlink() else ""
    command = f"cuready env clone {shlex.quote(str(prefix))} --name NEW"
    raise EnvError(
        f"{prefix}: its Python is gone{link}",
        hint=f"`{command}` makes it anew from its locks",
    )


def identity(prefix: Path) -> str:
    """The same for every path that leads to ``prefix``, be it through symbolic links."""
    return hashlib.sha256(os.fsencode(os.path.realpath(prefix))).hexdigest()[:24]


def check_path(prefix: Path) -> None:
    """See that ``prefix`` can be a path of an environment at all. Raises InputError."""
    text = str(prefix)
    if os.pathsep in text or not text.isprintable():
        bad = repr(os.pathsep) if os.pathsep in text else "a control character"
        raise InputError(f"{one_line(text)!r} has {bad} in it: PATH could not name it")
    length = len(os.fsencode(text))
    longest = 4096 if os.name != "nt" else 260
    part = max((len(os.fsencode(item)) for item in prefix.parts), default=0)
    if length + DEEPEST > longest or part > LONGEST_NAME:
        what = f"the path is {length} bytes long, its longest part {part}"
        raise InputError(
            f"{what}: too long, files below it could not be opened",
            hint="choose a shorter --prefix",
        )


def check_place(prefix: Path) -> None:
    """See that an environment can be made at ``prefix``, before anything is changed.

    A folder that is empty, or holds only what a killed run left, is fine. Raises EnvError or
    InputError with what is in the way.
    """
    check_path(prefix)
    outer = next((item for item in prefix.resolve().parents if marked(item)), None)
    if outer is not None:  # whoever removes or moves that one would take this one with it
        raise EnvError(
            f"{prefix} is inside of the environment {outer}", hint="choose another --prefix"
        )
    try:
        if prefix.is_symlink() or prefix.exists():
            if not prefix.is_dir():
                raise EnvError(f"{prefix} is a file", hint="choose another --prefix")
            inside = {item.name for item in prefix.iterdir()} - {FOLDER}
            if read_state(prefix) is not None:
                raise EnvError(
                    f"{prefix} is an environment already",
                    hint="`cuready env update` changes it, `cuready env remove` removes it",
                )
            require_readable(prefix)
            if inside and read_journal(prefix) is None:
                raise EnvError(f"{prefix} is not empty", hint="choose another --prefix")
        _writable(prefix)
    except OSError as error:
        raise EnvError(f"{prefix}: {error.strerror or error}", hint=_hint(error)) from None


def _writable(prefix: Path) -> None:
    """Raise OSError when nothing can be made at ``prefix``; leaves nothing behind."""
    place = next(item for item in (prefix, *prefix.parents) if item.exists())
    probe = place / f".cuready-{os.getpid()}"
    probe.mkdir()
    probe.rmdir()


def _hint(error: OSError) -> str:
    if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM, errno.ENOENT):
        return "choose a --prefix in a folder that you may write to"
    return "choose a shorter --prefix" if error.errno == errno.ENAMETOOLONG else ""


@contextlib.contextmanager
def held(prefix: Path) -> Iterator[None]:
    """Work on ``prefix`` alone. Raises EnvError when another process does already."""
    folder = data_dir() / "locks"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / f"{identity(prefix)}.lock")
        lock.acquire(timeout=0.1, poll_interval=0.05)
    except Timeout:
        raise EnvError(
            f"another cuready is working on {prefix}", hint="wait until it has ended"
        ) from None
    except OSError as error:
        raise EnvError(f"{folder}: {error.strerror or error}") from None
    try:
        yield
    finally:
        lock.release()


# --- the done marker and the journal -------------------------------------------------------------


def read_state(prefix: Path) -> State | None:
    """What the environment is; None when it was not made by cuready, or not finished.

    None too when its marker cannot be read: see :func:`marked`.
    """
    document = _read(prefix / FOLDER / STATE)
    try:
        return State.from_dict(document) if document is not None else None
    except (TypeError, ValueError):
        return None


def marked(prefix: Path) -> bool:
    """Whether an environment of ours was finished here, be its marker one that cannot be read."""
    known = (prefix / "pyvenv.cfg").is_file() or (prefix / "conda-meta").is_dir()
    return known and (prefix / FOLDER / STATE).is_file()


def require_readable(prefix: Path) -> None:
    """Raise EnvError for a done marker that cannot be read: nobody knows what is there."""
    if marked(prefix) and read_state(prefix) is None:
        raise EnvError(
            f"{prefix / FOLDER / STATE} cannot be read: it is damaged, or of another cuready",
            hint=f"`cuready env remove {shlex.quote(str(prefix))}`, then make it again",
        )


def write_state(prefix: Path, state: State) -> None:
    """Write the done marker; atomic."""
    _write(prefix / FOLDER / STATE, state.to_dict())


def read_journal(prefix: Path) -> dict[str, Any] | None:
    """What was under way when a run ended; None when nothing was."""
    return _read(prefix / FOLDER / JOURNAL)


def write_journal(prefix: Path, entry: Mapping[str, Any]) -> None:
    """Record what begins now: ``operation`` and all that is needed to finish it."""
    _write(prefix / FOLDER / JOURNAL, {"schema_version": SCHEMA_VERSION, **entry})


def clear_journal(prefix: Path) -> None:
    """What was begun is done."""
    (prefix / FOLDER / JOURNAL).unlink(missing_ok=True)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        document = parse_json(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _write(path: Path, document: Mapping[str, Any]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(document, indent=1, ensure_ascii=False)
        write_atomically(path, text.encode("utf-8", "surrogatepass"))  # as json reads it
    except OSError as error:
        raise EnvError(f"{path}: {error.strerror or error}", hint=_hint(error)) from None


def remove_tree(prefix: Path) -> None:
    """Delete an environment. It is renamed first, so that no half of it answers to its name.

    What an earlier removal left when it was cut short goes too. The caller holds the prefix.
    Raises EnvError naming the file that cannot be removed.
    """
    doomed = _half_removed(prefix)
    try:
        if prefix.exists():
            unique = f".{prefix.name}.{os.getpid()}.{time.monotonic_ns()}.removed"
            doomed.append(prefix.rename(prefix.with_name(unique)))
        for folder in doomed:
            shutil.rmtree(folder)
    except OSError as error:
        name = error.filename or prefix
        raise EnvError(f"{name}: cannot be removed: {error.strerror or error}") from None


def _half_removed(prefix: Path) -> list[Path]:
    """What is left of removals of ``prefix`` that were cut short."""
    name = re.compile(rf"\.{re.escape(prefix.name)}\.\d+\.\d+\.removed\Z")
    with contextlib.suppress(OSError):
        return [item for item in prefix.parent.iterdir() if name.match(item.name)]
    return []
