"""A copy of an environment by hard links, without the packages that are about to go."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from cuready.env.conda.faults import kill_point
from cuready.env.conda.model import Installed, Record
from cuready.env.conda.session import PackageStore
from cuready.env.conda.transaction import WORK
from cuready.errors import EnvError

__all__ = ["clone_tree", "paths_of", "remove_conflicts"]

_CANNOT_LINK = {errno.EXDEV, errno.EMLINK, errno.EPERM, errno.ENOTSUP}


def clone_tree(
    source: Path, target: Path, without: Iterable[Installed] = (), *, copy: bool = False
) -> None:
    """Hard-link ``source`` to ``target``, leaving out what the packages ``without`` own.

    With ``copy`` the files are copied: for programs that may write into a file that is there.
    What is written to in place (``conda-meta``) is copied, so that the source cannot change.
    A folder that held nothing but left-out files is left out too.
    """
    gone = list(without)
    dropped = {path for record in gone for path in record.files}
    dropped |= {f"conda-meta/{record.meta}" for record in gone}
    compiled = {_compiled_prefix(path) for path in dropped if path.endswith(".py")}
    target.mkdir(parents=True, exist_ok=True)
    _clone_folder(source, target, "", dropped, compiled, copy)


def _compiled_prefix(path: str) -> str:
    """``a/b.py`` → ``a/__pycache__/b.``: what Python made of it at its first import."""
    folder, _, name = path.rpartition("/")
    return f"{folder}/__pycache__/{name.removesuffix('.py')}."


def _clone_folder(
    source: Path, target: Path, below: str, dropped: set[str], compiled: set[str], copy: bool
) -> bool:
    """Returns whether anything was left out in here."""
    left_out = False
    for entry in sorted(os.scandir(source), key=lambda item: item.name):
        path = f"{below}{entry.name}"
        there = target / entry.name
        if path == WORK:
            continue
        if path in dropped or (
            entry.name.endswith(".pyc") and f"{below}{entry.name.split('.')[0]}." in compiled
        ):
            left_out = True
        elif entry.is_symlink():
            there.symlink_to(Path(entry.path).readlink())
        elif entry.is_dir():
            there.mkdir()
            inner = _clone_folder(Path(entry.path), there, f"{path}/", dropped, compiled, copy)
            if inner and not any(there.iterdir()):
                there.rmdir()
                left_out = True
            else:
                shutil.copystat(entry.path, there)
        elif entry.is_file():
            _link(Path(entry.path), there, copy=copy or below == "conda-meta/")
            kill_point("file-cloned")
    return left_out


def _link(source: Path, target: Path, *, copy: bool) -> None:
    if not copy:
        try:
            os.link(source, target)
            return
        except OSError as error:
            if error.errno not in _CANNOT_LINK:
                raise
    shutil.copy2(source, target)


def paths_of(record: Record, store: PackageStore, python: str) -> list[str]:
    """Where a package's files will lie below a prefix whose Python is ``python`` (``3.12``)."""
    info = store.folder(record) / "info"
    document = json.loads((info / "paths.json").read_bytes())
    paths = [str(item["_path"]) for item in document["paths"]]
    if record.noarch != "python":
        return paths
    packages = f"lib/python{python}/site-packages/"
    moved = [
        packages + path.removeprefix("site-packages/")
        if path.startswith("site-packages/")
        else f"bin/{path.removeprefix('python-scripts/')}"
        if path.startswith("python-scripts/")
        else path
        for path in paths
    ]
    link = info / "link.json"
    if link.is_file():
        entries = json.loads(link.read_bytes()).get("noarch", {}).get("entry_points", ())
        moved += [f"bin/{entry.split('=')[0].strip()}" for entry in entries]
    return moved


def remove_conflicts(
    staging: Path, records: Iterable[Record], store: PackageStore, python: str
) -> list[str]:
    """Take away files of nobody that ``records`` bring too, and return their paths.

    They are hard links to files of the old environment: writing into one would change that. What
    lies behind a link that leads out of ``staging`` is none of them. Raises EnvError for a package
    with a path that leads out of it.
    """
    removed = []
    root = os.path.realpath(staging)
    for record in records:
        for path in paths_of(record, store, python):
            if path.startswith("/") or ".." in PurePosixPath(path).parts:
                raise EnvError(
                    f"{record.file_name} holds a file outside of the environment: {path!r}",
                    hint="do not install it, and tell whoever runs its channel",
                )
            there = staging / path
            if not (there.is_symlink() or there.is_file()):
                continue
            if f"{os.path.realpath(there.parent)}/".startswith(f"{root}/"):
                there.unlink()
                removed.append(path)
                kill_point("conflict-removed")
    return removed
