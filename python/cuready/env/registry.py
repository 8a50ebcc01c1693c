"""The list of environments: those that cuready made, and those of conda that it comes across."""

from __future__ import annotations

import contextlib
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cuready._util import expand_user, parse_json, write_atomically
from cuready.env import prefix as prefix_files
from cuready.env.moved import moved_from
from cuready.errors import EnvError, InputError

__all__ = ["Entry", "everything", "find", "forget", "name_problem", "remember"]

_NAME = re.compile(r"[^\W_][\w.+-]{0,63}\Z")


@dataclass(frozen=True)
class Entry:
    """One environment.

    Attributes:
        status: ready, unfinished, missing, moved, damaged, or foreign (not made by cuready).
        moved_from: where it was made, when that is another folder.
    """

    name: str
    prefix: Path
    status: str
    recipe: str = ""
    kind: str = ""
    moved_from: str = ""

    def to_dict(self) -> dict[str, Any]:
        """For JSON output."""
        return {
            "name": self.name,
            "prefix": str(self.prefix),
            "status": self.status,
            "recipe": self.recipe,
            "kind": self.kind,
            "moved_from": self.moved_from,
        }


def name_problem(name: str) -> str:
    """Why ``name`` cannot be an environment's name; empty when it can."""
    if _NAME.match(name):
        return ""
    return "a name has letters, digits and . _ + -, begins with a letter or digit, at most 64"


def _folder() -> Path:
    return prefix_files.data_dir() / "registry"


def _file(prefix: Path) -> Path:
    return _folder() / f"{prefix_files.identity(prefix)}.json"


def remember(name: str, prefix: Path) -> None:
    """Put an environment on the list. Raises EnvError when the list cannot be written."""
    try:
        _folder().mkdir(parents=True, exist_ok=True)
        text = json.dumps({"name": name, "prefix": str(prefix)})
        write_atomically(_file(prefix), text.encode("utf-8", "surrogateescape"))
    except OSError as error:
        raise EnvError(f"{_folder()}: {error.strerror or error}") from None


def forget(prefix: Path) -> None:
    """Take an environment off the list."""
    with contextlib.suppress(OSError):
        _file(prefix).unlink(missing_ok=True)


def everything() -> list[Entry]:
    """Every environment that is known, ours first, by name."""
    ours = {entry.prefix.resolve(): entry for entry in _remembered()}
    root = prefix_files.data_dir() / "envs"
    for folder in sorted(root.iterdir()) if root.is_dir() else ():
        if folder.is_dir() and folder.resolve() not in ours and not folder.name.startswith("."):
            ours[folder.resolve()] = _entry(folder.name, folder)
    foreign = [_entry(path.name, path) for path in _of_conda() if path.resolve() not in ours]
    return sorted((*ours.values(), *foreign), key=lambda e: (e.status == "foreign", e.name))


def _remembered() -> list[Entry]:
    found = []
    for path in sorted(_folder().glob("*.json")):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            document = parse_json(path.read_bytes())
            found.append(_entry(str(document["name"]), Path(str(document["prefix"]))))
    return found


def _entry(name: str, prefix: Path) -> Entry:
    if not prefix.is_dir():
        return Entry(name, prefix, "missing")
    state = prefix_files.read_state(prefix)
    if prefix_files.read_journal(prefix) is not None:
        return Entry(name, prefix, "unfinished", state.recipe if state else "")
    if state is None and prefix_files.marked(prefix):
        return Entry(name, prefix, "damaged")
    if state is None:
        kind = "conda" if (prefix / "conda-meta").is_dir() else "venv"
        return Entry(name, prefix, "foreign", kind=kind)
    made = moved_from(prefix, state)
    status = "moved" if made else "ready"
    return Entry(state.name, prefix, status, state.recipe, state.kind, made)


def _of_conda() -> list[Path]:
    """What conda itself has on its list, ``~/.conda/environments.txt``."""
    from cuready.env.conda.history import environments_file

    try:
        lines = environments_file().read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return []
    return [Path(line.strip()) for line in lines if line.strip() and Path(line.strip()).is_dir()]


def find(what: str) -> Entry:
    """The environment of that name, or at that path. Raises InputError with a suggestion."""
    import difflib

    if os.sep in what or what in (".", "..") or (os.altsep and os.altsep in what):
        path = expand_user(what).resolve()
        if not path.is_dir():
            raise InputError(f"{what}: no such folder")
        return _entry(path.name, path)
    known = everything()
    named = [entry for entry in known if entry.name == what]
    if len(named) > 1:
        paths = ", ".join(str(entry.prefix) for entry in named)
        raise InputError(f"several environments are called {what}", hint=f"give the path: {paths}")
    if named:
        return named[0]
    close = difflib.get_close_matches(what, [entry.name for entry in known], n=1, cutoff=0.5)
    hint = f"did you mean {close[0]}?" if close else "`cuready env list` names them"
    raise InputError(f"no environment is called {what!r}", hint=hint)
