"""Finding and running uv, which resolves requirements and builds source distributions for us.

It runs with our arguments alone: no configuration file and none of its variables, because an index
set there would be asked beside ours.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from cuready.errors import EnvError, MissingExtra
from cuready.mirrors.net.cache import default_cache_dir
from cuready.mirrors.net.trust import ca_file

__all__ = ["find_uv", "run_uv", "uv_environment"]

TIMEOUT_S = 1800.0


def find_uv() -> str:
    """The program. Raises MissingExtra with the command that installs it."""
    name = "uv.exe" if os.name == "nt" else "uv"
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.is_file() else shutil.which("uv")
    if found is None:
        raise MissingExtra(
            "to find out which wheels a recipe means, uv is needed",
            hint="python -m pip install 'cuready[env]'",
        )
    return found


def uv_environment() -> dict[str, str]:
    """This process's variables without those that would change what uv asks, and whom.

    uv trusts whom our downloads trust. Raises ConfigError for a CA file that is not there.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("UV_", "PIP_")) and name not in ("VIRTUAL_ENV", "PYTHONPATH")
    }
    if named := ca_file():
        path = named[1]
        kept.pop("SSL_CERT_FILE", None)  # it may name a folder, which uv would not take
        kept["SSL_CERT_DIR" if Path(path).is_dir() else "SSL_CERT_FILE"] = path
    return {
        **kept,
        "UV_CACHE_DIR": str(default_cache_dir().parent / "uv"),
        "UV_NO_CONFIG": "1",
        "UV_NO_PROGRESS": "1",
        "UV_PYTHON_DOWNLOADS": "never",
        "UV_HTTP_TIMEOUT": "20",
        "UV_HTTP_RETRIES": "1",
        "NO_COLOR": "1",
    }


def run_uv(
    arguments: Sequence[str], *, cwd: Path, text: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run uv in ``cwd`` with ``text`` on its standard input; the caller looks at the exit status.

    Raises MissingExtra without uv, and EnvError when it does not end within half an hour.
    """
    try:
        return subprocess.run(
            [find_uv(), *arguments],
            cwd=cwd,
            input=text,
            env=uv_environment(),
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise EnvError(f"uv {arguments[0]} did not end within {TIMEOUT_S:.0f} s") from None
    except OSError as error:
        raise EnvError(f"uv cannot be started: {error.strerror or error}") from None
