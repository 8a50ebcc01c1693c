"""Every file of a lock into the cache, through the mirrors, before anything else is touched."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Sequence
from pathlib import Path

from cuready.env.pip.build import built_wheel
from cuready.env.pip.indexes import Way, request_of
from cuready.env.pip.install import Wheel
from cuready.env.pip.model import Pin
from cuready.errors import EnvError
from cuready.mirrors.net.batch import fetch_all
from cuready.mirrors.net.cache import Cache
from cuready.mirrors.net.client import HttpClient
from cuready.mirrors.net.fetch import Fetcher
from cuready.mirrors.net.progress import OnProgress

__all__ = [
    "bytes_to_fetch",
    "cached",
    "fetch_pins",
    "missing_pins",
    "room_for",
    "unpacked_estimate",
    "wheels_of",
]

# A wheel is a zip of shared libraries and text: unpacked it is about three times as large.
UNPACKED_RATIO = 3.2
UNKNOWN_SIZE = 4 << 20


def cached(pin: Pin, cache: Cache) -> Path | None:
    """The file in the cache, its bytes not read again."""
    return cache.find(pin.sha256, check=False) if pin.sha256 else None


def missing_pins(pins: Sequence[Pin], cache: Cache) -> list[Pin]:
    """The pins whose file is not in the cache."""
    return [pin for pin in pins if cached(pin, cache) is None]


def bytes_to_fetch(pins: Sequence[Pin], cache: Cache) -> int:
    """Bytes over the wire; a file of unknown size counts as 4 MiB."""
    return sum(UNKNOWN_SIZE if pin.size is None else pin.size for pin in missing_pins(pins, cache))


def unpacked_estimate(pins: Sequence[Pin]) -> int:
    """Bytes that the files will take on disk, before they can be looked into."""
    return int(sum((pin.size or UNKNOWN_SIZE) * UNPACKED_RATIO for pin in pins))


def fetch_pins(
    pins: Sequence[Pin],
    every: Sequence[Way],
    cache: Cache,
    *,
    offline: bool = False,
    on_progress: OnProgress | None = None,
) -> list[Pin]:
    """Bring every file into the cache; the pins come back with their sha256 and size.

    Raises EnvError offline when files are missing, else what ``fetch_all`` raises.
    """
    missing = missing_pins(pins, cache)
    if offline and missing:
        names = ", ".join(pin.file_name for pin in missing[:3])
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise EnvError(
            f"not in the cache: {names}{more}", hint="run once without --offline to fetch them"
        )
    if not missing:
        return list(pins)
    cache.prepare(bytes_to_fetch(pins, cache))
    with HttpClient() as client:
        fetcher = Fetcher(client, cache, on_progress=on_progress)
        downloads = fetch_all(fetcher, [request_of(pin, every) for pin in missing])
    got = {pin.url: download for pin, download in zip(missing, downloads, strict=True)}
    return [
        dataclasses.replace(pin, sha256=got[pin.url].sha256, size=got[pin.url].size)
        if pin.url in got
        else pin
        for pin in pins
    ]


def wheels_of(
    pins: Sequence[Pin],
    cache: Cache,
    *,
    python: Path | None,
    index: str = "",
    offline: bool = False,
) -> list[Wheel]:
    """The wheels of fetched pins, their bytes checked once more; sdists are built with ``python``,
    with tools from ``index``.

    Raises EnvError when a file left the cache meanwhile, or cannot be built.
    """
    found = []
    for pin in pins:
        path = cache.find(pin.sha256)
        if path is None:
            raise EnvError(f"{pin.file_name} is not in the cache any more", hint="run it again")
        if pin.is_wheel:
            found.append(Wheel(pin, path))
        else:
            found.append(built_wheel(pin, path, cache, python=python, index=index, offline=offline))
    return found


def room_for(folder: Path, needed: int) -> None:
    """Raise EnvError when the disk of ``folder`` (or of its nearest parent) has less free."""
    from cuready._util import format_bytes

    for place in (folder, *folder.parents):
        if place.is_dir():
            free = shutil.disk_usage(place).free
            if free < needed:
                raise EnvError(
                    f"no space for {folder}: {format_bytes(needed)} needed, "
                    f"{format_bytes(free)} free",
                    hint="free some space, or choose a --prefix on another disk",
                )
            return
