"""Replace a configuration file so that a crash at any instant leaves the old bytes or the new ones.

The new bytes go to a temporary file in the same folder, are flushed to the disk, and take the old
file's place by one rename. Permissions, owner, group and extended attributes stay; a symbolic link
stays a link, and the file it points to is replaced.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
import os
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from cuready._util import one_line
from cuready.errors import ConfigError

__all__ = ["FileRefusedError", "FileState", "check_writable", "read", "remove", "sha256", "write"]

# More than any configuration: a file of this size at such a path is something else.
MAX_BYTES = 4 * 1024 * 1024


class FileRefusedError(ConfigError):
    """A file could not be written, or must not be: nothing was changed."""

    exit_code = 1


@dataclass(frozen=True)
class FileState:
    """What a path held when it was read. ``data`` is None when nothing was there."""

    path: Path
    target: Path
    data: bytes | None
    mode: int | None = None

    @property
    def digest(self) -> str:
        """sha256 of the bytes, empty when there was no file."""
        return "" if self.data is None else sha256(self.data)


def sha256(data: bytes) -> str:
    """Hexadecimal digest."""
    return hashlib.sha256(data).hexdigest()


def read(path: Path) -> FileState:
    """The file at ``path``, through symbolic links.

    Raises ConfigError for what is no regular file, is too large, or must not be read.
    """
    target = Path(os.path.realpath(path))
    try:
        status = target.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ConfigError(f"{path}: not a regular file")
        if status.st_size > MAX_BYTES:
            raise ConfigError(f"{path}: {status.st_size} bytes are no configuration file")
        return FileState(path, target, target.read_bytes(), stat.S_IMODE(status.st_mode))
    except FileNotFoundError:
        return FileState(path, target, None)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {_why(error)}") from None


def write(state: FileState, data: bytes, *, mode: int | None = None) -> None:
    """Put ``data`` where ``state`` was read.

    Raises FileRefusedError, with nothing changed, when the file is read-only, when it is no longer
    what ``state`` says, or when the folder cannot be written. ``mode`` is for a new file.
    The caller holds the journal's lock: temporary files that a killed run left are cleared away.
    """
    check_writable(state)
    folder = state.target.parent
    temporary: Path | None = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        prefix = f".{state.target.name}.cuready-"
        for leftover in folder.glob(f"{glob.escape(prefix)}*"):  # of a run that was killed
            leftover.unlink(missing_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=prefix, dir=folder)
        temporary = Path(name)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            _dress(temporary, state, 0o644 if mode is None else mode)
            os.fsync(stream.fileno())
        _refuse_changed(state)
        temporary.replace(state.target)
        temporary = None
        sync_folder(folder)
    except OSError as error:
        hint = "run this as the file's owner, or choose --scope user" if _is_right(error) else ""
        raise FileRefusedError(
            f"{state.path}: cannot be written: {_why(error)}", hint=hint
        ) from None
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def remove(state: FileState) -> None:
    """Take away a file that was not there before. Raises FileRefusedError like :func:`write`."""
    check_writable(state)
    _refuse_changed(state)
    try:
        state.target.unlink()
        sync_folder(state.target.parent)
    except OSError as error:
        raise FileRefusedError(f"{state.path}: cannot be removed: {_why(error)}") from None


def check_writable(state: FileState) -> None:
    """Refuse a file that its owner made read-only: a rename would go round that."""
    if state.mode is not None and not state.mode & 0o222:
        raise FileRefusedError(
            f"{state.path}: is read-only; nothing was changed", hint=f"chmod u+w {state.path}"
        )


def sync_folder(folder: Path) -> None:
    """Flush a rename to the disk, where the system can open a folder."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some network file systems cannot
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _dress(temporary: Path, state: FileState, mode: int) -> None:
    """Give the new file the old one's owner, rights and extended attributes.

    Raises OSError when the owner cannot be kept: a file that changes hands is not the same file.
    """
    if state.mode is None:
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(mode & ~umask)
        return
    if os.name == "posix":
        old, new = state.target.stat(), temporary.stat()
        if (old.st_uid, old.st_gid) != (new.st_uid, new.st_gid):
            os.chown(temporary, old.st_uid, old.st_gid)
    temporary.chmod(state.mode)
    if hasattr(os, "listxattr"):
        with contextlib.suppress(OSError):  # a file system without them
            for name in os.listxattr(state.target):
                os.setxattr(temporary, name, os.getxattr(state.target, name))


def _refuse_changed(state: FileState) -> None:
    if read(state.path).digest != state.digest:
        raise FileRefusedError(
            f"{state.path}: was changed by another program just now; nothing was written",
            hint="run the command again",
        )


def _is_right(error: OSError) -> bool:
    return isinstance(error, PermissionError) or error.errno == errno.EROFS


def _why(error: OSError) -> str:
    return one_line(error.strerror or error)
