"""Fixtures that every suite shares: real wheels by exact version, fetched once per machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock
from platformdirs import user_cache_path

# Downloads of the tests live here. Read at import: the fixture below hides the user's cache.
DOWNLOADS = Path(os.environ.get("CUREADY_TEST_CACHE") or user_cache_path("cuready-tests"))

# A shell's background job ignores SIGINT, and so would every program that a test starts there.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

LINUX = ("manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux_2_17_x86_64",
         "manylinux2014_x86_64", "manylinux1_x86_64", "any")  # fmt: skip
PYTHON = "3.12"  # whose wheels are taken, unless a test says another


def fetch_wheel(requirement: str, python: str = PYTHON, platforms: tuple[str, ...] = LINUX) -> Path:
    """Download one wheel with pip, without its dependencies: for x86-64 Linux, or ``platforms``.

    ``requirement`` is exact (``name==version``), so that a cached file is the right one. Raises
    when the package index cannot be reached: a test that needs a real wheel must not pass
    without it.
    """
    folder = DOWNLOADS / "wheels" / requirement.replace("==", "-").replace("/", "_")
    if python != PYTHON:
        folder = folder.with_name(f"{folder.name}-{python}")
    if platforms != LINUX:
        folder = folder.with_name(f"{folder.name}-{platforms[0]}")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        ready = sorted(folder.glob("*.whl"))
        if ready:
            return ready[0]
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps",
                   "--only-binary=:all:", "--python-version", python, "--implementation", "cp",
                   *(f"--platform={name}" for name in platforms),
                   "--dest", f"{folder}.part", requirement]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
        assert done.returncode == 0, f"pip could not fetch {requirement}:\n{done.stderr}"
        Path(f"{folder}.part").rename(folder)
        return next(folder.glob("*.whl"))


def unpack_wheel(requirement: str, python: str = PYTHON) -> Path:
    """A folder with the wheel's files, unpacked once. Treat it as read-only: tests share it."""
    wheel = fetch_wheel(requirement, python)
    target = wheel.parent / "unpacked"
    with FileLock(f"{target}.lock"):
        if not target.is_dir():
            part = wheel.parent / "unpacked.part"
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(part)
            part.rename(target)
    return target


@pytest.fixture(scope="session")
def pypi_wheel() -> Callable[..., Path]:
    """``pypi_wheel("name==version")`` → the path of the real wheel."""
    return fetch_wheel


@pytest.fixture(scope="session")
def pypi_unpacked() -> Callable[..., Path]:
    """``pypi_unpacked("name==version")`` → a shared, read-only folder with the wheel's files."""
    return unpack_wheel


@pytest.fixture(autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the configuration of whoever runs it."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    for name in ("CONFIG", "CACHE", "DATA", "STATE"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(home / f".{name.lower()}"))
