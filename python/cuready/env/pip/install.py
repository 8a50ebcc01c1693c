"""Wheels from the cache into a prefix: no network, no index, every digest checked before.

PyPA's ``installer`` unpacks them, in this process and for the prefix's own Python, so that an
environment needs no pip of its own. Nothing is compiled: two installs of one lock are the same
bytes. Scripts get a ``/bin/sh`` line where the interpreter's path is too long or has spaces.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import warnings
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cuready._util import one_line
from cuready.env.pip.model import Pin
from cuready.errors import EnvError, MissingExtra
from cuready.mirrors.net.faults import kill_point

if TYPE_CHECKING:
    from installer.destinations import SchemeDictionaryDestination

__all__ = [
    "Wheel",
    "install_wheels",
    "remove_files",
    "require_installer",
    "scheme_of",
    "unpacked_size",
]

INSTALLER = b"cuready\n"
ASK_SCHEME = (
    "import json, sys, sysconfig; "
    "print(json.dumps({'paths': sysconfig.get_paths(), 'executable': sys.executable}))"
)


@dataclass(frozen=True)
class Wheel:
    """A pin and where its wheel lies in the cache."""

    pin: Pin
    path: Path


def scheme_of(python: Path) -> dict[str, str]:
    """Where ``python`` keeps what, as ``sysconfig`` of that interpreter says it.

    Raises EnvError when it does not start.
    """
    try:
        done = subprocess.run(
            [str(python), "-I", "-c", ASK_SCHEME],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        answer = json.loads(done.stdout)
        return {str(key): str(value) for key, value in answer["paths"].items()}
    except (OSError, subprocess.TimeoutExpired, ValueError, KeyError) as error:
        raise EnvError(f"{python} does not start: {one_line(error)}") from None


def unpacked_size(wheels: Iterable[Path]) -> int:
    """Bytes that the files of the wheels take on a disk."""
    total = 0
    for path in wheels:
        with zipfile.ZipFile(path) as archive:
            total += sum(item.file_size + 2048 for item in archive.infolist())
    return total


def install_wheels(
    wheels: Sequence[Wheel],
    prefix: Path,
    python: Path,
    *,
    root: Path | None = None,
    on_package: Callable[[str], None] = lambda _: None,
) -> None:
    """Unpack ``wheels`` for the environment at ``prefix``, whose interpreter is ``python``.

    ``root`` is where the files are written when that is not ``prefix`` yet: a copy that will take
    its place, so that the scripts name the final path. What stands there is replaced.

    Raises MissingExtra without ``installer``, EnvError naming the wheel that cannot be installed.
    """
    if not wheels:
        return
    require_installer()
    place = prefix if root is None else root
    scheme = _moved(scheme_of(python), prefix, place)
    for number, wheel in enumerate(wheels, 1):
        on_package(f"{number}/{len(wheels)} {wheel.pin.name} {wheel.pin.version}")
        kill_point("wheel-begun")
        _install(wheel, place, python, scheme)
        kill_point("wheel-installed")


def require_installer() -> None:
    """Raise MissingExtra unless wheels can be unpacked; imports nothing."""
    import importlib.util

    if importlib.util.find_spec("installer") is None:
        raise MissingExtra(
            "to unpack wheels, the library installer is needed",
            hint="python -m pip install 'cuready[env]'",
        )


def _moved(scheme: Mapping[str, str], prefix: Path, root: Path) -> dict[str, str]:
    """The scheme with ``root`` in place of the prefix; folders outside of it are refused."""
    real = os.path.realpath(prefix)
    moved = {}
    for key, folder in scheme.items():
        inside = os.path.relpath(os.path.realpath(folder), real)
        if key in ("purelib", "platlib", "scripts", "data") and inside.startswith(".."):
            raise EnvError(f"{prefix}: its Python installs into {folder}, outside of it")
        moved[key] = str(root) if inside == "." else str(root / inside)
    return moved


def _install(wheel: Wheel, prefix: Path, python: Path, scheme: Mapping[str, str]) -> None:
    from installer import install
    from installer.exceptions import InstallerError
    from installer.sources import WheelFile

    folders = {key: scheme[key] for key in ("purelib", "platlib", "scripts", "data")}
    # `include` of a venv is its base Python's; headers of packages go below the venv itself.
    folders["headers"] = str(prefix / "include" / "site" / wheel.pin.name)
    metadata = {"INSTALLER": INSTALLER}
    try:
        with zipfile.ZipFile(wheel.path) as archive:
            # WheelFile takes name and version from the file's name; in the cache it is a digest.
            archive.filename = wheel.pin.file_name
            source = WheelFile(archive)
            with warnings.catch_warnings():  # compiled files in a wheel are left out: as it should
                warnings.filterwarnings("ignore", "Skip installing .*__pycache__")
                install(source, _destination(folders, str(python), prefix), metadata)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile, InstallerError) as error:
        raise EnvError(f"{wheel.pin.file_name} cannot be installed: {one_line(error)}") from error


def _destination(folders: dict[str, str], python: str, prefix: Path) -> SchemeDictionaryDestination:
    from installer.destinations import SchemeDictionaryDestination

    inside = str(prefix) + os.sep

    class Fresh(SchemeDictionaryDestination):
        """Each file is a new one: what stands there may be a hard link into somebody's cache."""

        def write_to_fs(self, scheme: Any, path: str, stream: Any, is_executable: bool) -> Any:
            target = Path(os.path.normpath(Path(self.scheme_dict[scheme]) / path))
            if not str(target).startswith(inside):
                raise ValueError(f"{path} would be written outside of the environment")
            with contextlib.suppress(FileNotFoundError):
                target.unlink()
            kill_point("wheel-file")
            return super().write_to_fs(scheme, path, stream, is_executable)

    kind = "win-amd64" if os.name == "nt" else "posix"
    return Fresh(folders, python, kind, overwrite_existing=True)  # type: ignore[arg-type]


def remove_files(files: Iterable[Path], prefix: Path) -> None:
    """Delete files of ``prefix``, the compiled ones beside them, and folders that became empty."""
    folders: set[Path] = set()
    for file in files:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            file.unlink()
        kill_point("file-removed")
        if file.suffix == ".py":
            for compiled in (file.parent / "__pycache__").glob(f"{file.stem}.*.pyc"):
                compiled.unlink(missing_ok=True)
            folders.add(file.parent / "__pycache__")
        folders.add(file.parent)
    for folder in sorted(folders, key=lambda item: -len(item.parts)):
        current = folder
        while current != prefix and current.is_relative_to(prefix):
            try:
                current.rmdir()  # only an empty one goes
            except OSError:
                break
            current = current.parent
