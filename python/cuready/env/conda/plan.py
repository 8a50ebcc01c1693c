"""The difference between a prefix and a solution, and what closing it costs. Changes nothing."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cuready._util import format_bytes
from cuready.env.conda.model import Installed, Plan, Record, Solution
from cuready.env.conda.session import CondaSession
from cuready.errors import EnvError

__all__ = ["check_disk", "check_prefix", "installed_records", "make_plan"]

# An archive beside what is extracted from it: packages grow to three or four times their size.
GROWTH = 4
# Where the index does not say how large an archive is.
UNKNOWN_SIZE = 20 << 20
LINK_SLACK = 32 << 20  # scripts with the prefix in them are copies, conda-meta is new
# The placeholder that conda-build writes into packages has 255 bytes, the longest prefix that fits
# (https://docs.conda.io/projects/conda-build/en/stable/resources/make-relocatable.html).
LONGEST_PREFIX = 255


def installed_records(prefix: Path) -> tuple[Installed, ...]:
    """What ``conda-meta`` says is in ``prefix``, by name; empty when there is no such folder.

    Raises EnvError naming the file that cannot be read.
    """
    found = []
    for path in sorted((prefix / "conda-meta").glob("*.json")):
        try:
            raw: dict[str, Any] = json.loads(path.read_bytes())
            files = tuple(raw.pop("files", ()))
            for bulky in ("paths_data", "link", "requested_specs", "requested_spec"):
                raw.pop(bulky, None)
            base = Record.from_json(raw)
        except (OSError, ValueError, AttributeError) as error:
            raise EnvError(
                f"{path}: cannot be read: {error}",
                hint=f"reinstall the package: `cuready env repair {prefix}`",
            ) from None
        found.append(Installed(**vars(base), meta=path.name, files=files))
    return tuple(sorted(found, key=lambda record: record.name))


def make_plan(
    solution: Solution, prefix: Path, *, session: CondaSession, relink: Iterable[str] = ()
) -> Plan:
    """What has to be fetched, linked and unlinked so that ``prefix`` is ``solution``.

    ``relink``: names of packages to be linked anew although they seem to be in place (repair).
    Raises EnvError when the prefix cannot become an environment: see :func:`check_prefix`.
    """
    prefix = Path(os.path.realpath(prefix.expanduser()))
    exists = check_prefix(prefix)
    have = {record.name: record for record in (installed_records(prefix) if exists else ())}
    again = set(relink) | _of_another_python(solution, have)
    to_link, unchanged = [], []
    for record in solution.records:
        old = have.get(record.name)
        if old is not None and old.same_as(record) and record.name not in again:
            unchanged.append(old)
        else:
            to_link.append(record)
    kept = {record.name for record in unchanged}
    to_unlink = tuple(record for name, record in have.items() if name not in kept)
    to_fetch = tuple(
        record
        for record in to_link
        if not session.store.has(record) and session.cache.find(record.sha256, check=False) is None
    )
    return Plan(
        prefix=prefix,
        solution=solution,
        to_fetch=to_fetch,
        to_link=tuple(to_link),
        to_unlink=to_unlink,
        unchanged=tuple(unchanged),
        bytes_to_fetch=sum(_size(record) for record in to_fetch),
        disk_needed=_disk(prefix, to_fetch, to_link, session),
        exists=exists,
    )


def _of_another_python(solution: Solution, have: dict[str, Installed]) -> set[str]:
    """noarch Python packages lie in lib/python3.X: they move when X does."""
    old, new = have.get("python"), solution.get("python")
    if old is None or new is None or _minor(old.version) == _minor(new.version):
        return set()
    return {record.name for record in solution.records if record.noarch == "python"}


def _minor(version: str) -> list[str]:
    return version.split(".")[:2]


def check_prefix(prefix: Path) -> bool:
    """Whether ``prefix`` is an environment already; False when it can become one.

    Raises EnvError, with nothing changed: it is a file, a folder with something else in it, is
    frozen or read-only, or its path is too long.
    """
    if len(os.fsencode(prefix)) > LONGEST_PREFIX:
        raise EnvError(
            f"{prefix}: the path has {len(os.fsencode(prefix))} bytes, "
            f"and packages have room for {LONGEST_PREFIX}",
            hint="choose a shorter path: --prefix",
        )
    if "\n" in str(prefix) or "\0" in str(prefix):
        raise EnvError(f"{str(prefix)!r}: a path with a line break cannot stand in a script")
    exists = prefix.is_dir() and any(prefix.iterdir())
    if prefix.exists() and not prefix.is_dir():
        raise EnvError(f"{prefix}: is a file", hint="choose another path: --prefix")
    if exists and not (prefix / "conda-meta").is_dir():
        raise EnvError(
            f"{prefix}: is a folder with something else in it",
            hint="choose a new path: --prefix; nothing of it was touched",
        )
    frozen = prefix / "conda-meta" / "frozen"  # CEP 22: https://conda.org/learn/ceps/cep-0022
    if frozen.exists():
        raise EnvError(f"{prefix}: is frozen: its owner wants it not to be changed ({frozen})")
    _check_writable(prefix)
    return exists


def _check_writable(prefix: Path) -> None:
    place = prefix
    while not place.exists():
        place = place.parent
    readonly = bool(os.statvfs(place).f_flag & os.ST_RDONLY) if hasattr(os, "statvfs") else False
    # Root may write where the mode says nobody may: the mode is somebody's will all the same.
    if readonly or not os.access(place, os.W_OK) or not place.stat().st_mode & 0o222:
        raise EnvError(
            f"{place}: is read-only; nothing was changed",
            hint="choose another path: --prefix, or make it writable",
        )


def _size(record: Record) -> int:
    return record.size if record.size is not None else UNKNOWN_SIZE


def _disk(
    prefix: Path, to_fetch: Iterable[Record], to_link: Iterable[Record], session: CondaSession
) -> dict[Path, int]:
    """Bytes by folder. Hard links cost nothing, so the prefix counts when it is another disk."""
    to_link = list(to_link)
    archives = sum(_size(record) for record in to_fetch)
    extracted = sum(GROWTH * _size(record) for record in to_link if not session.store.has(record))
    needed = {session.base: archives + extracted}
    same = _device(prefix) == _device(session.base)
    linked = 0 if same else sum(GROWTH * _size(record) for record in to_link)
    if to_link:
        needed[prefix] = linked + LINK_SLACK
    return {path: size for path, size in needed.items() if size}


def _device(path: Path) -> int:
    while not path.exists():
        path = path.parent
    return path.stat().st_dev


def check_disk(plan: Plan) -> None:
    """Raise EnvError when a disk has less free than ``plan.disk_needed``, folders of one disk taken
    together."""
    by_device: dict[int, tuple[Path, int]] = {}
    for path, size in plan.disk_needed.items():
        device = _device(path)
        first, before = by_device.get(device, (path, 0))
        by_device[device] = (first, before + size)
    for path, size in by_device.values():
        place = path
        while not place.exists():
            place = place.parent
        free = shutil.disk_usage(place).free
        if free < size:
            raise EnvError(
                f"not enough space on the disk of {path}: {format_bytes(size)} needed, "
                f"{format_bytes(free)} free; nothing was fetched",
                hint="free some space, choose another --prefix, or set CUREADY_CACHE_DIR",
                details={"path": str(path), "needed_bytes": size, "free_bytes": free},
            )
