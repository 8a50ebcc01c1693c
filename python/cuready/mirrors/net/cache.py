"""The content-addressed cache: a file is named by its sha256, and only once it is whole.

Layout under the root (``$CUREADY_CACHE_DIR``, else the platform's cache folder)::

    sha256/ab/abcd…     whole, verified files, read-only; written by rename alone
    partial/KEY.part    downloads under way or cut short, with KEY.json as their journal
    partial/KEY.lock    held (flock) while a process works on KEY; the kernel frees it at any death
    seen/HASH.json      which digest a URL had when it was fetched with no digest known
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import platformdirs
from filelock import FileLock, Timeout

from cuready._util import expand_user, format_bytes, parse_json, write_atomically
from cuready.errors import IncompleteError
from cuready.mirrors.net.cancel import CancelToken
from cuready.mirrors.net.faults import kill_point

__all__ = [
    "CACHE_VARIABLE",
    "ELSEWHERE",
    "Cache",
    "CacheError",
    "default_cache_dir",
    "disk_error",
    "hash_file",
]

CACHE_VARIABLE = "CUREADY_CACHE_DIR"
_FULL = {errno.ENOSPC, errno.EDQUOT}
_READ_ONLY = {errno.EROFS, errno.EACCES, errno.EPERM}
ELSEWHERE = "choose another folder, by --for or by the framework's own variable"
_SLACK = 16 * 1024 * 1024  # room for journals and for whoever else writes


class CacheError(IncompleteError):
    """The cache cannot be used: no space, read-only, no folder. Nothing is left half done."""


def default_cache_dir() -> Path:
    """``$CUREADY_CACHE_DIR/downloads``, else ``downloads`` in cuready's own cache folder."""
    named = os.environ.get(CACHE_VARIABLE)
    base = expand_user(named) if named else platformdirs.user_cache_path("cuready")
    return base / "downloads"


def hash_file(path: Path, hasher: Any = None) -> str:
    """sha256 of a file as hexadecimal digits; with ``hasher``, its bytes are fed to that one."""
    digest = hasher or hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(1024 * 1024):
            digest.update(chunk)
    return str(digest.hexdigest())


def disk_error(
    error: OSError, path: Path, needed: int | None = None, *, remedy: str = ""
) -> CacheError:
    """What to tell the user about an OSError while writing under ``path``.

    ``remedy`` says how to choose another place; by default that of the cache.
    """
    where = remedy or f"set {CACHE_VARIABLE} to a folder on another disk"
    if error.errno in _FULL:
        free = _free_bytes(path)
        want = f"{needed} bytes ({format_bytes(needed)}) needed" if needed else "more is needed"
        return CacheError(
            f"no space left in {path}: {want}, {free} bytes ({format_bytes(free)}) free",
            hint=f"free some space, or {where}",
            details={"needed_bytes": needed, "free_bytes": free, "path": str(path)},
        )
    if error.errno in _READ_ONLY:
        return CacheError(f"cannot write to {path}: {error.strerror}", hint=where)
    return CacheError(f"cannot use {path}: {error.strerror or error}", hint=where)


def _free_bytes(path: Path) -> int:
    """Free bytes on the disk of ``path`` or of its nearest parent that exists."""
    for place in (path, *path.parents):
        with contextlib.suppress(OSError):
            return shutil.disk_usage(place).free
    return 0


class Cache:
    """Shared by threads and processes. Reading needs no write permission and takes no lock."""

    def __init__(self, root: Path | None = None) -> None:
        self.root = (root or default_cache_dir()).absolute()
        self.partial_dir = self.root / "partial"
        self._seen_dir = self.root / "seen"

    def path_of(self, sha256: str) -> Path:
        """Where the file with this digest is, or would be."""
        return self.root / "sha256" / sha256[:2] / sha256

    def find(self, sha256: str, *, check: bool = True) -> Path | None:
        """The file with this digest, or None.

        With ``check`` its bytes are hashed again: a disk can rot, and a hard link can be written
        through. A file that no longer has its own name is removed, so that it is fetched again.
        """
        path = self.path_of(sha256)
        try:
            if not check:
                return path if path.is_file() else None
            if hash_file(path) == sha256:
                return path
        except FileNotFoundError:
            return None
        except OSError as error:
            raise disk_error(error, path) from error
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise disk_error(error, path) from error
        return None

    def prepare(self, needed: int | None = None) -> None:
        """Make the folders, and see that ``needed`` more bytes fit. Raises CacheError."""
        try:
            for folder in (self.partial_dir, self._seen_dir, self.root / "sha256"):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise disk_error(error, self.root) from error
        if needed is not None and _free_bytes(self.root) < needed + _SLACK:
            full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            raise disk_error(full, self.root, needed + _SLACK)

    @contextlib.contextmanager
    def lock(
        self, key: str, cancel: CancelToken, on_wait: Callable[[], None] = lambda: None
    ) -> Iterator[None]:
        """Hold ``key`` against other threads and processes; waits, and can be cancelled.

        ``on_wait`` is called when somebody else holds it, again every fifth of a second.
        """
        lock = FileLock(self.partial_dir / f"{key}.lock")
        while True:
            cancel.check()
            try:
                lock.acquire(timeout=0.2, poll_interval=0.05)
                break
            except Timeout:
                on_wait()
            except OSError as error:
                raise disk_error(error, self.partial_dir) from error
            except NotImplementedError as error:
                raise CacheError(
                    f"{self.root} is on a file system without file locks",
                    hint=f"set {CACHE_VARIABLE} to a folder on a local disk",
                ) from error
        try:
            kill_point("lock-taken")
            yield
        finally:
            lock.release()

    def publish(self, part: Path, sha256: str) -> Path:
        """Give a verified file its name; atomic, and durable before it is visible."""
        target = self.path_of(sha256)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            part.chmod(0o444)
            kill_point("before-fsync")
            _fsync(part)
            kill_point("before-publish")
            part.replace(target)
            _fsync(target.parent)
        except OSError as error:
            raise disk_error(error, target) from error
        kill_point("published")
        return target

    def remember(self, url: str, sha256: str, size: int) -> None:
        """Record what ``url`` was when nothing was known about it beforehand."""
        record = {"url": url, "sha256": sha256, "size": size, "as_of": time.strftime("%Y-%m-%d")}
        kill_point("before-record")
        try:
            self._seen_dir.mkdir(parents=True, exist_ok=True)
            write_atomically(self._seen(url), json.dumps(record).encode())
        except OSError as error:
            raise disk_error(error, self._seen_dir) from error
        kill_point("recorded")

    def recall(self, url: str) -> dict[str, Any] | None:
        """What ``remember`` recorded for ``url``: ``sha256``, ``size``, ``as_of``; else None."""
        try:
            record = parse_json(self._seen(url).read_bytes())
        except (OSError, ValueError):
            return None
        good = isinstance(record, dict) and record.get("url") == url
        digest = record.get("sha256") if good else None
        return record if isinstance(digest, str) and len(digest) == 64 else None

    def forget(self, url: str) -> None:
        """Drop the record of ``url``."""
        with contextlib.suppress(FileNotFoundError):
            self._seen(url).unlink()

    def _seen(self, url: str) -> Path:
        return self._seen_dir / f"{hashlib.sha256(url.encode()).hexdigest()[:40]}.json"

    def place(self, sha256: str, destination: Path, *, link: bool = False) -> Path:
        """Put a cached file where somebody else looks for it, under its own name; atomic.

        A copy by default, because frameworks may write to their caches; ``link`` makes a hard link
        where the disk allows (nobody may write to it then). The folder is made. Raises CacheError.
        """
        source = self.path_of(sha256)
        temporary: Path | None = None
        kill_point("before-place")
        try:
            destination.parent.mkdir(parents=True, exist_ok=True)
            temporary = _copy_beside(source, destination, link)
            kill_point("place-copied")
            temporary.replace(destination)
            _fsync(destination.parent)
        except OSError as error:
            needed = source.stat().st_size if source.exists() else None
            raise disk_error(error, destination.parent, needed, remedy=ELSEWHERE) from error
        finally:
            if temporary is not None:
                temporary.unlink(missing_ok=True)
        kill_point("placed")
        return destination


def _copy_beside(source: Path, destination: Path, link: bool) -> Path:
    """A temporary name in the destination's folder that holds the source's bytes."""
    descriptor, name = tempfile.mkstemp(prefix=".cuready-", suffix=".tmp", dir=destination.parent)
    os.close(descriptor)
    temporary = Path(name)
    try:
        if link:
            temporary.unlink()
            with contextlib.suppress(OSError):
                os.link(source, temporary)
                return temporary
        shutil.copyfile(source, temporary)
        temporary.chmod(0o644)
        _fsync(temporary)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return temporary


def _fsync(path: Path) -> None:
    """Flush a file or a folder to the disk; folders cannot be opened on Windows."""
    if os.name == "nt" and path.is_dir():
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
