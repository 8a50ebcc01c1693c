"""Where the readers look: one machine, one root, one environment, in that machine's own paths.

Every path that a reader handles is the diagnosed machine's own (``/proc/version``, also when the
file lies in ``/mnt/disk/proc/version``). :class:`Context` turns it into a real file only to read
it, and resolves symbolic links inside the root: an absolute link of a container image must not
lead to the host's files. Paths are strings and the calls are ``os``'s: readers make thousands.
"""

from __future__ import annotations

import errno
import fnmatch
import os
import posixpath
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cuready.probe.target import Interpreter
from cuready.snapshot import Snapshot

__all__ = ["Context", "Denied", "Facts", "Incomplete", "Skip"]

Facts = Mapping[str, Any]
"""What a reader found: ``{"platform.libc": "glibc", "gpus": (PciGpu(...),)}``.

A key is a field of :class:`~cuready.snapshot.Snapshot`, or ``section.field`` of one of them.
"""

TEXT_LIMIT = 1 << 20  # no text file that a reader wants is longer; /proc files say no size
MAX_LINKS = 40  # what the kernel allows before ELOOP
MAX_FOLDERS = 2048  # as many as PATH_MAX has room for


class Skip(Exception):  # noqa: N818 - an outcome, not an error
    """There is nothing to read here; the message says why (``no NVIDIA device``)."""


class Denied(Exception):  # noqa: N818 - an outcome, not an error
    """The operating system refused; the message names the file."""


class Incomplete(Exception):  # noqa: N818 - an outcome, not an error
    """A reader got some of its facts, and says which it did not get."""

    def __init__(self, reason: str, facts: Facts) -> None:
        super().__init__(reason)
        self.facts = facts


@dataclass(frozen=True)
class Context:
    """What readers may know. ``native``: vendor libraries of this host may be asked."""

    root: str = "/"
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str = "/"
    home: str = "/root"
    system: str = "Linux"
    prefix: str | None = None  # --prefix: an environment to read as files
    interpreter: Interpreter | None = None  # the Python under diagnosis, None when there is none
    deep: bool = False
    native: bool = True
    until: float | None = None
    """When (``time.monotonic``) the reader that has this context is given up."""
    so_far: Snapshot = field(default_factory=Snapshot)
    """The facts of the readers that this one named in ``after``."""
    memory: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)
    """What one reader of this run worked out and others need too; filled by the functions that do
    the work. Two threads may do it twice, which costs time and nothing else."""

    @property
    def rooted(self) -> bool:
        """True when the files are read below another root than this machine's."""
        return self.root != "/"

    # --- paths -------------------------------------------------------------------------------

    def path(self, path: str, *, follow_last: bool = True) -> Path:
        """The real file behind ``path``, every link resolved inside the root. It need not exist."""
        return Path(self._real(path, follow_last))

    def _real(self, path: str, follow_last: bool = True) -> str:
        return self.root + self._resolve(path, follow_last) if self.rooted else path

    def realpath(self, path: str) -> str:
        """``path`` after all symbolic links, as the diagnosed machine names it."""
        return self._resolve(path, True) if self.rooted else os.path.realpath(path)

    def seen(self, real: str | os.PathLike[str]) -> str:
        """The diagnosed machine's name of a real file: the inverse of :meth:`path`."""
        text = os.fspath(real)
        if self.rooted and (text == self.root or text.startswith(self.root + "/")):
            return text[len(self.root) :] or "/"
        return text

    def _resolve(self, path: str, follow_last: bool) -> str:
        pending = [part for part in reversed(path.split("/")) if part not in ("", ".")]
        done: list[str] = []
        links = 0
        while pending:
            part = pending.pop()
            if part == "..":
                del done[-1:]  # the parent of the root is the root
                continue
            done.append(part)
            if not pending and not follow_last:
                break
            if len(done) > MAX_FOLDERS:  # the kernel would not look at such a path
                continue
            try:
                target = os.readlink(self.root + "/" + "/".join(done))
            except (OSError, ValueError):  # no link, not there, or a name with a null byte in it
                continue
            links += 1
            if links > MAX_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
            done = [] if target.startswith("/") else done[:-1]
            pending.extend(p for p in reversed(target.split("/")) if p not in ("", "."))
        return "/" + "/".join(done)

    # --- files -------------------------------------------------------------------------------

    def stat(self, path: str, *, follow: bool = True) -> os.stat_result | None:
        """``os.stat`` of ``path``, None when it is not there. Raises PermissionError."""
        try:
            return os.stat(self._real(path, follow), follow_symlinks=follow)
        except PermissionError:
            raise
        except (OSError, ValueError):
            return None

    def exists(self, path: str) -> bool:
        """True when ``path`` is there; False when it is not, or its folder is closed to us."""
        try:
            return self.stat(path) is not None
        except PermissionError:
            return False

    def is_dir(self, path: str) -> bool:
        """True for a folder that we may look up."""
        try:
            found = self.stat(path)
        except PermissionError:
            return False
        return found is not None and stat.S_ISDIR(found.st_mode)

    def is_file(self, path: str) -> bool:
        """True for a regular file."""
        try:
            found = self.stat(path)
        except PermissionError:
            return False
        return found is not None and stat.S_ISREG(found.st_mode)

    def readlink(self, path: str) -> str | None:
        """Target of the symbolic link ``path`` as it is written, None when it is none."""
        try:
            return os.readlink(self._real(path, False))
        except OSError:
            return None

    def listdir(self, path: str) -> list[str]:
        """Sorted names in ``path``, empty when it is no folder. Raises PermissionError."""
        try:
            return sorted(os.listdir(self._real(path)))
        except PermissionError:
            raise
        except (OSError, ValueError):
            return []

    def read_bytes(self, path: str, limit: int = TEXT_LIMIT) -> bytes | None:
        """At most ``limit`` bytes of a regular file, None when it is not there.

        Raises PermissionError, and OSError when reading fails half way (a dying disk). A FIFO or
        device is not opened: it would block.
        """
        try:
            descriptor = os.open(self._real(path), _OPEN_FLAGS)
        except PermissionError:
            raise
        except (OSError, ValueError):
            return None
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                return None
            return _read_all(descriptor, limit, found.st_size)
        finally:
            os.close(descriptor)

    def read_text(self, path: str, limit: int = TEXT_LIMIT) -> str | None:
        """Like :meth:`read_bytes`, as text; bytes that are no UTF-8 become U+FFFD."""
        data = self.read_bytes(path, limit)
        return None if data is None else data.decode("utf-8", "replace")

    def first_line(self, path: str) -> str | None:
        """First line of a small file without its line end; None when missing, empty or denied."""
        try:
            text = self.read_text(path, 4096)
        except OSError:
            return None
        return text.split("\n", 1)[0].strip() or None if text else None

    def glob(self, pattern: str) -> list[str]:
        """Existing paths that match ``pattern``, wildcards in any part, sorted."""
        found = [""]
        for part in [p for p in pattern.split("/") if p]:
            if any(ch in part for ch in "*?["):
                found = [f"{base}/{n}" for base in found for n in self._names(base or "/", part)]
            else:
                found = [f"{base}/{part}" for base in found]
        return [path for path in found if self.exists(path)]

    def _names(self, folder: str, pattern: str) -> Iterator[str]:
        try:
            names = self.listdir(folder)
        except PermissionError:
            return
        yield from (name for name in names if fnmatch.fnmatchcase(name, pattern))

    def which(self, name: str) -> str | None:
        """First executable ``name`` on the diagnosed machine's PATH."""
        for folder in self.env.get("PATH", "").split(os.pathsep if not self.rooted else ":"):
            candidate = posixpath.join(folder or self.cwd, name)
            try:
                found = self.stat(candidate)
            except PermissionError:
                continue
            if found and stat.S_ISREG(found.st_mode) and found.st_mode & 0o111:
                return candidate
        return None


_OPEN_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


def _read_all(descriptor: int, limit: int, size: int) -> bytes:
    """At most ``limit`` bytes; ``size`` is what the file claims to have.

    Files below /proc claim to be empty and those below /sys to be a page, so what ends the reading
    is the end, or a file's having given all that it claimed.
    """
    chunks, left = [], limit
    while left > 0 and limit - left != (size or -1):
        chunk = os.read(descriptor, min(left, 1 << 16))
        if not chunk:
            break
        chunks.append(chunk)
        left -= len(chunk)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)
