"""A channel's index anew: fetched through the mirrors, seen to be whole, kept."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock

from cuready.env.conda.faults import kill_point
from cuready.env.conda.metadata import Index, index_in, record_index, state_of
from cuready.env.conda.session import CondaSession
from cuready.env.conda.sources import sources_of
from cuready.errors import EnvError, MirrorError
from cuready.mirrors.net.batch import fetch_one
from cuready.mirrors.net.cache import disk_error
from cuready.mirrors.net.causes import Cause
from cuready.mirrors.net.request import Download, DownloadRequest, FileKind

__all__ = ["renew"]

# The .zst is a tenth of the size; mirrors that are made by older scripts have only the plain file.
NAMES = ("repodata.json.zst", "repodata.json")
_GONE = {Cause.HTTP_NOT_FOUND.value, Cause.MISSING_FILE.value}


def renew(channel: str, subdir: str, session: CondaSession) -> Index:
    """Fetch and unpack one index. One process at a time: the others find it done."""
    folder = session.index_folder(channel, subdir)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise disk_error(error, folder) from error
    began = time.time()
    with FileLock(folder / "lock"):
        state = state_of(folder)
        if state is not None and state["fetched"] >= began:
            return index_in(folder, state)
        try:
            return _renew_locked(channel, subdir, folder, session)
        except MirrorError as error:
            if state is None:
                raise
            when = time.strftime("%Y-%m-%d %H:%M", time.localtime(state["fetched"]))
            note = f"the index of {channel}/{subdir} is that of {when}: {error.message}"
            return index_in(folder, state, note)


def _renew_locked(channel: str, subdir: str, folder: Path, session: CondaSession) -> Index:
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
        return record_index(channel, subdir, folder, 0, "")  # a channel without this platform
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
    return record_index(channel, subdir, folder, done["size"], download.mirror)


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
