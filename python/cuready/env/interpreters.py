"""Which Python of this machine a virtual environment is made from."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from packaging.specifiers import SpecifierSet
from packaging.version import Version

from cuready.env.ranges import version_range
from cuready.errors import EnvError

__all__ = ["PYTHON_LIKE", "HostPython", "ask", "choose"]

# Distributions take the wheel out of ensurepip and keep it in WHEEL_PKG_DIR (Debian, Fedora).
ASK = """
import glob, json, os, platform, sys, sysconfig
wheel = ""
try:
    import ensurepip, venv
    bundled = ensurepip.version()
    own = os.path.join(os.path.dirname(ensurepip.__file__), "_bundled")
    for folder in (sysconfig.get_config_var("WHEEL_PKG_DIR"), own):
        found = glob.glob(os.path.join(folder, "pip-" + bundled + "-*.whl")) if folder else []
        wheel = wheel or (found[0] if found else "")
except ImportError:
    bundled = ""
print(json.dumps({
    "version": platform.python_version(),
    "implementation": sys.implementation.name,
    "free_threaded": bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
    "bits": 64 if sys.maxsize > 2**32 else 32,
    "base": getattr(sys, "_base_executable", "") or sys.executable,
    "pip": bundled,
    "wheel": wheel,
}))
"""
PYTHON_LIKE = ">=3.10,<3.14"
NEWEST_MINOR, OLDEST_MINOR = 16, 8


@dataclass(frozen=True)
class HostPython:
    """An interpreter that answered.

    ``pip``: the version that its ensurepip brings, or empty; ``pip_wheel``: where that lies.
    """

    path: Path
    version: Version
    pip: str = ""
    pip_wheel: Path | None = None

    @property
    def minor(self) -> str:
        """``3.12``."""
        return f"{self.version.major}.{self.version.minor}"


def ask(path: str) -> HostPython | None:
    """Start an interpreter and ask what it is; None when it is not a usable 64-bit CPython."""
    try:
        done = subprocess.run(
            [path, "-I", "-c", ASK], capture_output=True, text=True, timeout=20, check=False
        )
        answer = json.loads(done.stdout)
        if (
            answer["implementation"] != "cpython"
            or answer["bits"] != 64
            or answer["free_threaded"]  # GPU packages have no wheels for it
        ):
            return None
        wheel = Path(answer["wheel"]) if answer["wheel"] else None
        return HostPython(Path(answer["base"]), Version(answer["version"]), answer["pip"], wheel)
    except (OSError, subprocess.TimeoutExpired, ValueError, KeyError, TypeError):
        return None


def candidates() -> Iterator[str]:
    """Interpreters to ask: this one, those on PATH from new to old, then those that uv keeps."""
    yield sys.executable
    for minor in range(NEWEST_MINOR, OLDEST_MINOR - 1, -1):
        found = shutil.which(f"python3.{minor}")
        if found:
            yield found
    for name in ("python3", "python"):
        found = shutil.which(name)
        if found:
            yield found
    data = os.environ.get("UV_PYTHON_INSTALL_DIR")
    home = Path(data) if data else Path.home() / ".local" / "share" / "uv" / "python"
    yield from map(str, sorted(home.glob("cpython-*/bin/python3"), reverse=True))


def choose(wanted: str, *, exactly: str | None = None) -> HostPython:
    """The first candidate that the range ``wanted`` takes, one with ensurepip before one without.

    ``exactly`` is a minor version (``"3.12"``) that a lock was made for. Raises EnvError that lists
    what is there, and for a Python without ensurepip the Debian package that has it; RecipeError
    when ``wanted`` is no range.
    """
    allowed = version_range(wanted, "python.version", like=PYTHON_LIKE)
    seen: dict[Path, HostPython] = {}
    for path in candidates():
        found = ask(path)
        if found is None or found.path in seen:
            continue
        seen[found.path] = found
        if _fits(found, allowed, exactly) and found.pip:
            return found
    bare = [item for item in seen.values() if _fits(item, allowed, exactly)]
    if bare:
        minor = bare[0].minor
        raise EnvError(
            f"{bare[0].path} (Python {bare[0].version}) cannot make virtual environments: "
            "it has no ensurepip",
            hint=f"on Debian and Ubuntu: sudo apt install python{minor}-venv",
        )
    there = ", ".join(f"{item.version} at {item.path}" for item in seen.values()) or "none"
    asked = f"Python {exactly}" if exactly else f"a Python {wanted}"
    newest = exactly or next(
        (f"3.{n}" for n in range(14, 7, -1) if allowed.contains(f"3.{n}")), "3.12"
    )
    raise EnvError(
        f"{asked} is needed; found: {there}",
        hint=f"install one, such as: uv python install {newest}",
    )


def _fits(found: HostPython, allowed: SpecifierSet, exactly: str | None) -> bool:
    if exactly is not None and found.minor != exactly:
        return False
    return allowed.contains(found.version, prereleases=True)
