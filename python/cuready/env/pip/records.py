"""What pip-style packages a prefix holds, read from RECORD files, and whether they are still so."""

from __future__ import annotations

import base64
import csv
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from packaging.utils import canonicalize_name

__all__ = [
    "Distribution",
    "Drift",
    "check",
    "files_of",
    "installed",
    "record_digest",
    "site_folders",
]

# Rewritten by whoever installs, so their bytes say nothing about the package.
_OWN_FILES = frozenset({"RECORD", "INSTALLER", "REQUESTED", "direct_url.json"})


@dataclass(frozen=True)
class Distribution:
    """One ``.dist-info`` folder. ``installer``: who wrote it, as it says itself."""

    name: str
    version: str
    folder: Path
    installer: str = ""

    @property
    def record(self) -> Path:
        """Its list of files."""
        return self.folder / "RECORD"


@dataclass(frozen=True)
class Drift:
    """How one package differs from its own RECORD: paths relative to the site folder."""

    name: str
    version: str
    missing: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()


def site_folders(prefix: Path) -> list[Path]:
    """The ``site-packages`` of a venv or conda prefix."""
    found = [prefix / "Lib" / "site-packages"]
    found += sorted(prefix.glob("lib/python3.*/site-packages"))
    return [folder for folder in found if folder.is_dir()]


def installed(prefix: Path) -> dict[str, Distribution]:
    """The packages by canonical name; broken folders (no RECORD, no name) are passed over."""
    found = {}
    for site in site_folders(prefix):
        for folder in sorted(site.glob("*.dist-info")):
            name, _, version = folder.name.removesuffix(".dist-info").partition("-")
            if not version or not (folder / "RECORD").is_file():
                continue
            try:
                installer = (folder / "INSTALLER").read_text("utf-8").strip()
            except (OSError, UnicodeDecodeError):
                installer = ""
            key = str(canonicalize_name(name))
            found[key] = Distribution(key, version, folder, installer)
    return found


def _rows(distribution: Distribution) -> Iterator[tuple[str, str]]:
    """(path, hash) of each line of RECORD."""
    try:
        with distribution.record.open(encoding="utf-8", newline="") as stream:
            for row in csv.reader(stream):
                if row and row[0]:
                    yield row[0], row[1] if len(row) > 1 else ""
    except (OSError, UnicodeDecodeError, csv.Error):
        return


def files_of(distribution: Distribution, prefix: Path) -> list[Path]:
    """Every file that RECORD names inside ``prefix``, RECORD itself included."""
    site, found = distribution.folder.parent, []
    inside = str(prefix.absolute()) + os.sep
    for path, _ in _rows(distribution):
        absolute = Path(os.path.normpath(site / path))
        if str(absolute).startswith(inside):
            found.append(absolute)
    return [*dict.fromkeys((*found, distribution.record))]


def check(distribution: Distribution) -> Drift:
    """Compare the files with RECORD. Compiled files and what installers rewrite are left out."""
    missing, changed = [], []
    for path, expected in _rows(distribution):
        name = path.rsplit("/", 1)[-1]
        if path.endswith(".pyc") or name in _OWN_FILES:
            continue
        file = distribution.folder.parent / path
        if not file.is_file():
            missing.append(path)
        elif expected.startswith("sha256=") and _digest(file) != expected[7:]:
            changed.append(path)
    return Drift(distribution.name, distribution.version, tuple(missing), tuple(changed))


def _digest(path: Path) -> str:
    """sha256 as RECORD writes it: urlsafe base64 without padding."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as stream:
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
    except OSError:
        return ""
    return base64.urlsafe_b64encode(digest.digest()).decode().rstrip("=")


def record_digest(distribution: Distribution) -> str:
    """sha256 of RECORD as hexadecimal digits: one line that stands for the whole package."""
    try:
        return hashlib.sha256(distribution.record.read_bytes()).hexdigest()
    except OSError:
        return ""
