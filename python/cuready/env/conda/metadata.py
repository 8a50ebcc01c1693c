"""Indexes of channels as they are kept on disk: fresh for a while, usable offline."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cuready._util import write_atomically
from cuready.env.conda.session import CondaSession
from cuready.errors import EnvError

__all__ = ["Index", "index_in", "indexes", "record_index", "state_of"]


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
        from cuready.env.conda.renew import renew  # brings the download layer

        fresh = {pair: renew(*pair, session) for pair in missing}
        found = [index or fresh[pair] for pair, index in zip(wanted, found, strict=True)]
    return [index for index in found if index is not None]


def _kept(channel: str, subdir: str, session: CondaSession) -> Index | None:
    """What is on disk, when it is fresh enough or nothing else may be used."""
    folder = session.index_folder(channel, subdir)
    state = state_of(folder)
    if session.options.offline:
        if state is None:
            raise EnvError(
                f"the index of {channel}/{subdir} is not in the cache, and --offline was said",
                hint="run it once without --offline, or use a lock file (--locked)",
            )
        return index_in(folder, state)
    if state is None or session.options.refresh:
        return None
    age = time.time() - state["fetched"]
    if not 0 <= age < session.options.index_ttl:
        return None
    return index_in(folder, state)


def state_of(folder: Path) -> dict[str, Any] | None:
    """What was recorded about a kept index; None when it is not whole."""
    try:
        state = json.loads((folder / "state.json").read_bytes())
        size = (folder / "repodata.json").stat().st_size if state["size"] else 0
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return state if size == state["size"] else None


def record_index(channel: str, subdir: str, folder: Path, size: int, mirror: str) -> Index:
    state = {
        "channel": channel,
        "subdir": subdir,
        "size": size,
        "mirror": mirror,
        "fetched": time.time(),
    }
    write_atomically(folder / "state.json", json.dumps(state).encode())
    return index_in(folder, state)


def index_in(folder: Path, state: dict[str, Any], note: str = "") -> Index:
    """The index that ``state`` describes; without a path where the channel has no such part."""
    path = folder / "repodata.json" if state["size"] else None
    return Index(state["channel"], state["subdir"], path, note)
