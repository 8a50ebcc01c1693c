"""What is in the place where weights shall go: nobody's file is replaced unasked."""

from __future__ import annotations

import stat
from pathlib import Path

from cuready.errors import InputError
from cuready.mirrors.net.cache import ELSEWHERE, Cache, disk_error, hash_file

__all__ = ["check_free", "holds"]

_OTHER_PLACE = "choose another --for, or another --name"


def check_free(place: Path) -> None:
    """See that ``place`` can become a file at all. Raises InputError for a folder."""
    if place.is_dir():
        raise InputError(f"{place} is there already, and is a folder", hint=_OTHER_PLACE)


def holds(cache: Cache, place: Path, sha256: str, *, prefix: str = "", force: bool = False) -> bool:
    """Whether ``place`` holds the file with this digest already.

    What else is there may be replaced with ``force``, and where nothing is lost: its bytes are in
    the cache (so they were put there by us), or its own name, which says how the digest begins
    (``prefix``), calls it damaged. Raises InputError otherwise.
    """
    check_free(place)
    try:
        place.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise disk_error(error, place, remedy=ELSEWHERE) from error
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
