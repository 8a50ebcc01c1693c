"""Conda channels made by hand: packages with real scripts, binaries and entry points in them.

A channel is a mapping from path (``linux-64/repodata.json``) to bytes, so that any loopback server
can serve it.
"""

from __future__ import annotations

import bz2
import hashlib
import io
import json
import tarfile
import zipfile
from dataclasses import dataclass, field
from typing import Any

import zstandard

# What conda-build puts where the prefix will stand: 255 bytes.
PLACEHOLDER = ("/opt/anaconda1anaconda2anaconda3" + "_placehold" * 30)[:255]


def _tar(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = (
                len(data),
                0o755 if name.startswith(("bin/", "python-scripts/")) else 0o644,
            )
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


@dataclass
class Package:
    """One package: its index record and its files."""

    name: str
    version: str = "1.0"
    build: str = "0"
    depends: tuple[str, ...] = ()
    constrains: tuple[str, ...] = ()
    files: dict[str, bytes] = field(default_factory=dict)
    noarch: str = ""
    subdir: str = ""
    build_number: int = 0
    entry_points: tuple[str, ...] = ()
    tar_bz2: bool = False
    track_features: str = ""
    timestamp: int = 1_700_000_000_000  # milliseconds

    def __post_init__(self) -> None:
        self.subdir = self.subdir or ("noarch" if self.noarch else "linux-64")

    @property
    def file_name(self) -> str:
        ending = ".tar.bz2" if self.tar_bz2 else ".conda"
        return f"{self.name}-{self.version}-{self.build}{ending}"

    def index(self) -> dict[str, Any]:
        document: dict[str, Any] = {
            "name": self.name,
            "version": self.version,
            "build": self.build,
            "build_number": self.build_number,
            "depends": list(self.depends),
            "constrains": list(self.constrains),
            "subdir": self.subdir,
            "license": "MIT",
            "timestamp": self.timestamp,
        }
        if self.noarch:
            document["noarch"] = self.noarch
        if self.track_features:
            document["track_features"] = self.track_features
        return document

    def archive(self) -> bytes:
        """The package as a file."""
        paths = [_path(name, data) for name, data in self.files.items()]
        info = {
            "info/index.json": json.dumps(self.index()).encode(),
            "info/paths.json": json.dumps({"paths_version": 1, "paths": paths}).encode(),
            "info/files": "\n".join(self.files).encode(),
        }
        if self.entry_points or self.noarch == "python":
            noarch = {"type": "python", "entry_points": list(self.entry_points)}
            link = {"package_metadata_version": 1, "noarch": noarch}
            info["info/link.json"] = json.dumps(link).encode()
        if self.tar_bz2:
            return bz2.compress(_tar({**info, **self.files}))
        stem = self.file_name.removesuffix(".conda")
        out = io.BytesIO()
        press = zstandard.ZstdCompressor()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
            for name, data in (
                ("metadata.json", b'{"conda_pkg_format_version": 2}'),
                (f"pkg-{stem}.tar.zst", press.compress(_tar(self.files))),
                (f"info-{stem}.tar.zst", press.compress(_tar(info))),
            ):
                archive.writestr(zipfile.ZipInfo(name), data)
        return out.getvalue()


def _path(name: str, data: bytes) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "_path": name,
        "path_type": "hardlink",
        "sha256": hashlib.sha256(data).hexdigest(),
        "size_in_bytes": len(data),
    }
    if PLACEHOLDER.encode() in data:
        entry["prefix_placeholder"] = PLACEHOLDER
        entry["file_mode"] = "binary" if b"\0" in data else "text"
    return entry


def channel(*packages: Package, zst: bool = True) -> dict[str, bytes]:
    """The files of a channel."""
    indexes: dict[str, dict[str, Any]] = {}
    files: dict[str, bytes] = {}
    for subdir in ("noarch", "linux-64"):
        indexes[subdir] = {"info": {"subdir": subdir}, "packages": {}, "packages.conda": {}}
    for package in packages:
        data = package.archive()
        files[f"{package.subdir}/{package.file_name}"] = data
        key = "packages" if package.tar_bz2 else "packages.conda"
        indexes[package.subdir][key][package.file_name] = {
            **package.index(),
            "sha256": hashlib.sha256(data).hexdigest(),
            "md5": hashlib.md5(data).hexdigest(),
            "size": len(data),
        }
    for subdir, index in indexes.items():
        data = json.dumps(index).encode()
        files[f"{subdir}/repodata.json"] = data
        if zst:
            files[f"{subdir}/repodata.json.zst"] = zstandard.compress(data)
    return files


# --- packages that stand for the real ones --------------------------------------------------------


def python(version: str = "3.12.7", build: str = "h1_0_cpython") -> Package:
    """A `python` that hands its arguments to the one that runs the tests."""
    script = b'#!/bin/sh\nexec "${TEST_PYTHON:-python3}" "$@"\n'
    minor = ".".join(version.split(".")[:2])
    files = {
        "bin/python": script,
        f"bin/python{minor}": script,
        f"lib/python{minor}/os.py": b"# the standard library\n",
    }
    return Package("python", version, build, files=files)


def tool(version: str = "1.0", build: str = "0", **fields: Any) -> Package:
    """A script with a shebang, a binary with the prefix in it, and data."""
    files = {
        "bin/tool": f"#!{PLACEHOLDER}/bin/python -s\nprint('tool {version}')\n".encode(),
        "lib/libtool.so": b"\x7fELF\0" + PLACEHOLDER.encode() + b"\0" + version.encode(),
        f"share/tool/{version}.txt": b"data of " + version.encode(),
    }
    return Package("tool", version, build, files=files, **fields)


def pure(version: str = "1.0", **fields: Any) -> Package:
    """A noarch Python package with a command."""
    files = {
        "site-packages/pure/__init__.py": f"version = {version!r}\n".encode(),
        "site-packages/pure/cli.py": b"def main():\n    print('pure runs')\n",
    }
    return Package(
        "pure",
        version,
        "pyhd8_0",
        depends=("python >=3.9",),
        noarch="python",
        files=files,
        entry_points=("pure = pure.cli:main",),
        **fields,
    )
