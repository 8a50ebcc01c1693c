"""What is in the place where weights shall go: nobody's file is replaced unasked."""

from __future__ import annotations

import stat
from pathlib import Path

from cuready.errors import InputError
from cuready.mirrors.net.cache import ELSEWHERE, Cache, disk_error, hash_file

__all__ = ["holds", "occupied"]

_OTHER_PLACE = "choose another --for, or another --name"


def occupied(place: Path) -> bool:
    """Whether a file or a link is at ``place``. Raises InputError for what is never replaced."""
    try:
        mode = place.lstat().st_mode
        folder = stat.S_ISDIR(mode) or (stat.S_ISLNK(mode) and place.is_dir())
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise disk_error(error, place, remedy=ELSEWHERE) from error
    if folder:
        raise InputError(f"{place} is there already, and is a folder", hint=_OTHER_PLACE)
    if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):  # a device, a pipe
        raise InputError(f"{place} is there already, and is no file", hint=_OTHER_PLACE)
    return True


def holds(cache: Cache, place: Path, sha256: str, *, prefix: str = "", force: bool = False) -> bool:
    """Whether ``place`` holds the file with this digest already.

    What else is there may be replaced with ``force``, and where nothing is lost: its bytes are in
    the cache (so they were put there by us), or its own name, which says how the digest begins
    (``prefix``), calls it damaged. Raises InputError otherwise.
    """
    if not occupied(place):
        return False
    found = _digest(place)
    if found == sha256:
        return True
    lost = not found or (found.startswith(prefix) and cache.find(found) is None)
    if lost and not force:
        raise InputError(
            f"{place} is there already, and is another file",
            hint=f"--force replaces it; else {_OTHER_PLACE}",
        )
    return False


def _digest(place: Path) -> str:
    """sha256 of a plain file, also behind a link; empty for what is none or cannot be read."""
    try:
        return hash_file(place) if stat.S_ISREG(place.stat().st_mode) else ""
    except OSError:
        return ""
