"""Indexes of channels: fetched through the mirrors, kept, renewed after a while, usable offline."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from cuready._util import write_atomically
from cuready.env.conda.faults import kill_point
from cuready.env.conda.session import CondaSession
from cuready.env.conda.sources import sources_of
from cuready.errors import EnvError, MirrorError
from cuready.mirrors.net.cache import disk_error
from cuready.mirrors.net.causes import Cause
from cuready.mirrors.net.request import Download, DownloadRequest, FileKind

__all__ = ["Index", "indexes"]

# The .zst is a tenth of the size; mirrors that are made by older scripts have only the plain file.
NAMES = ("repodata.json.zst", "repodata.json")
_GONE = {Cause.HTTP_NOT_FOUND.value, Cause.MISSING_FILE.value}


@dataclass(frozen=True)
class Index:
    """One part of one channel on disk. ``path`` is empty where a channel has no such part."""

    channel: str
    subdir: str
    path: Path | None
    note: str = ""


def indexes(channels: Sequence[str], subdir: str, session: CondaSession) -> list[Index]:
    """The indexes of every channel for ``subdir`` and ``noarch``, in the channels' order.

    Raises MirrorError when one cannot be had and no older copy is there; EnvError offline.
    """
    session.engine.require()
    wanted = [(channel, part) for channel in channels for part in dict.fromkeys((subdir, "noarch"))]
    found = [_kept(channel, part, session) for channel, part in wanted]
    missing = [pair for pair, index in zip(wanted, found, strict=True) if index is None]
    if missing:
        fresh = {pair: _renew(*pair, session) for pair in missing}
        found = [index or fresh[pair] for pair, index in zip(wanted, found, strict=True)]
    return [index for index in found if index is not None]


def _kept(channel: str, subdir: str, session: CondaSession) -> Index | None:
    """What is on disk, when it is fresh enough or nothing else may be used."""
    folder = session.index_folder(channel, subdir)
    state = _state(folder)
    path = folder / "repodata.json"
    if session.options.offline:
        if state is None:
            raise EnvError(
                f"the index of {channel}/{subdir} is not in the cache, and --offline was said",
                hint="run it once without --offline, or use a lock file (--locked)",
            )
        return Index(channel, subdir, path if state["size"] else None)
    if state is None or session.options.refresh:
        return None
    age = time.time() - state["fetched"]
    if not 0 <= age < session.options.index_ttl:
        return None
    return Index(channel, subdir, path if state["size"] else None)


def _state(folder: Path) -> dict[str, Any] | None:
    """What was recorded about a kept index; None when it is not whole."""
    try:
        state = json.loads((folder / "state.json").read_bytes())
        size = (folder / "repodata.json").stat().st_size if state["size"] else 0
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return state if size == state["size"] else None


def _renew(channel: str, subdir: str, session: CondaSession) -> Index:
    """Fetch and unpack one index. One process at a time: the others find it done."""
    folder = session.index_folder(channel, subdir)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise disk_error(error, folder) from error
    began = time.time()
    with FileLock(folder / "lock"):
        state = _state(folder)
        if state is not None and state["fetched"] >= began:
            return Index(channel, subdir, folder / "repodata.json" if state["size"] else None)
        try:
            return _renew_locked(channel, subdir, folder, session)
        except MirrorError as error:
            if state is None:
                raise
            when = time.strftime("%Y-%m-%d %H:%M", time.localtime(state["fetched"]))
            note = f"the index of {channel}/{subdir} is that of {when}: {error.message}"
            return Index(channel, subdir, folder / "repodata.json" if state["size"] else None, note)


def _renew_locked(channel: str, subdir: str, folder: Path, session: CondaSession) -> Index:
    from cuready.mirrors.net.batch import fetch_one  # brings the HTTP client: not for a warm cache

    failures: list[MirrorError] = []
    for name in NAMES:
        sources = list(sources_of(channel, f"{subdir}/{name}", session))
        while sources:
            request = DownloadRequest(
                tuple(sources),
                kind=FileKind.METADATA,
                canonical_url=f"{channel}/{subdir}/{name}",
                name=f"{channel.rsplit('/', 1)[-1]}/{subdir}/{name}",
            )
            try:
                download = fetch_one(session.fetcher, request)
            except MirrorError as error:
                failures.append(error)
                break
            kill_point("index-fetched")
            try:
                return _store(channel, subdir, folder, download, session)
            except EnvError as error:  # whole by its length, and yet no index: ask the others
                failures.append(_rejected(request, download, error))
                sources = [item for item in sources if item.mirror != download.mirror]
    if subdir != "noarch" and all(_says_gone(error) for error in failures):
        return _record(channel, subdir, folder, 0, "")  # a channel without this platform
    raise _joined(channel, subdir, failures)


def _store(
    channel: str, subdir: str, folder: Path, download: Download, session: CondaSession
) -> Index:
    target = folder / "repodata.json"
    (folder / "state.json").unlink(missing_ok=True)
    try:
        done = session.engine.call("unpack_index", source=str(download.path), target=str(target))
    finally:
        download.path.unlink(missing_ok=True)  # an index has no digest to be found by again
    kill_point("index-stored")
    return _record(channel, subdir, folder, done["size"], download.mirror)


def _record(channel: str, subdir: str, folder: Path, size: int, mirror: str) -> Index:
    state = {
        "channel": channel,
        "subdir": subdir,
        "size": size,
        "mirror": mirror,
        "fetched": time.time(),
    }
    write_atomically(folder / "state.json", json.dumps(state).encode())
    return Index(channel, subdir, folder / "repodata.json" if size else None)


def _rejected(request: DownloadRequest, download: Download, error: EnvError) -> MirrorError:
    line = f"{download.mirror}: {Cause.WRONG_CONTENT.value}: {error.message}"
    attempt = {"mirror": download.mirror, "cause": Cause.WRONG_CONTENT.value}
    details = {"url": request.canonical_url, "attempts": [{**attempt, "detail": error.message}]}
    return MirrorError(f"{request.name}: {error.message}", messages=[line], details=details)


def _says_gone(error: MirrorError) -> bool:
    """Every mirror answered, and none has it."""
    attempts = error.details.get("attempts", [])
    return bool(attempts) and all(attempt["cause"] in _GONE for attempt in attempts)


def _joined(channel: str, subdir: str, failures: Sequence[MirrorError]) -> MirrorError:
    lines = list(dict.fromkeys(line for error in failures for line in error.messages))
    attempts = [item for error in failures for item in error.details.get("attempts", [])]
    gone = all(_says_gone(error) for error in failures)
    return MirrorError(
        f"no mirror gives the index of {channel}/{subdir}",
        operation=f"fetch {channel}/{subdir}/repodata.json",
        messages=lines,
        hint=f"is there a channel called {channel.rsplit('/', 1)[-1]}?"
        if gone
        else failures[-1].hint,
        details={"channel": channel, "subdir": subdir, "attempts": attempts},
    )
