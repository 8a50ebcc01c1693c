"""Lock files: rattler's own format, with canonical addresses and digests and no mirror in them.

``NAME.lock`` holds the conda packages and opens in every tool that reads rattler's format (version
7, the dialect of ``pixi.lock``). That format keeps no digests of Python requirements that were
installed by pip, so those stand beside it in ``NAME.pip.lock``, in the form that
``pip install --require-hashes -r`` takes; :func:`pip_lock_of` gives its path.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from cuready.env.conda.model import Record, Solution, SolveRequest
from cuready.env.conda.session import CondaSession
from cuready.errors import EnvError

__all__ = ["pip_lock_of", "read_lock", "write_lock"]


def pip_lock_of(lock: Path) -> Path:
    """``pytorch.lock`` → ``pytorch.pip.lock``."""
    return lock.with_name(f"{lock.stem}.pip.lock")


def write_lock(solution: Solution, path: Path, *, session: CondaSession) -> None:
    """Write ``solution`` to ``path``; whoever reads it meanwhile sees the old file or the new.

    Raises EnvError when it cannot be written.
    """
    target = Path(os.path.realpath(path))
    request = solution.request
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        os.close(descriptor)
    except OSError as error:
        raise EnvError(f"{path}: cannot be written: {error.strerror or error}") from None
    temporary = Path(name)
    try:
        session.engine.call(
            "write_lock",
            path=str(temporary),
            channels=list(request.channels),
            subdir=request.subdir,
            virtual=dict(request.virtual_packages),
            records=[dict(record.raw) for record in solution.records],
        )
        temporary.chmod(0o644)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def read_lock(
    path: Path,
    subdir: str,
    *,
    session: CondaSession,
    name: str = "",
    virtual_packages: Mapping[str, str] | None = None,
    specs: Sequence[str] = (),
) -> Solution:
    """The packages that ``path`` locks for ``subdir``.

    ``specs`` is what was asked for once (``recipe.all_specs()``): ``conda-meta`` keeps it.
    With ``virtual_packages`` (those of the machine) each package's own demands on it are looked
    at: a lock made for a newer driver or glibc is refused here and not when it runs. Raises
    EnvError when it is no lock file, has nothing for this platform, or cannot be verified.
    """
    if not path.is_file():
        hint = "`cuready env lock` writes one"
        raise EnvError(f"{path}: there is no such lock file", hint=hint)
    document = session.engine.call("read_lock", path=str(path.absolute()))
    platform = document["platforms"].get(subdir)
    if platform is None or not platform["records"]:
        known = ", ".join(document["platforms"]) or "nothing"
        raise EnvError(
            f"{path}: locks nothing for {subdir}",
            hint=f"it is for {known}; `cuready env lock` makes one for this machine",
        )
    records = tuple(Record.from_json(item) for item in platform["records"])
    for record in records:
        if not record.sha256:
            raise EnvError(f"{path}: {record.file_name} has no sha256: it could not be verified")
    if virtual_packages is not None:
        _fits(path, records, virtual_packages, session)
    request = SolveRequest(
        channels=tuple(document["channels"]),
        specs=tuple(specs),
        subdir=subdir,
        virtual_packages=platform["virtual"],
        locked=records,
    )
    return Solution(name or path.stem, request, records)


def _fits(
    path: Path,
    records: tuple[Record, ...],
    virtual_packages: Mapping[str, str],
    session: CondaSession,
) -> None:
    unmet = session.engine.call(
        "unmet",
        demands=[
            [record.dist, demand, kind]
            for record in records
            for kind, demands in (
                ("depends", record.depends),
                ("constrains", record.raw.get("constrains") or ()),
            )
            for demand in demands
            if demand.startswith("__")
        ],
        virtual=dict(virtual_packages),
    )
    if unmet:
        raise EnvError(
            f"{path}: was locked for another machine: {unmet[0]}",
            messages=unmet[1:],
            hint="`cuready env lock` makes one for this machine",
        )
