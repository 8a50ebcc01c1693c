"""What conda wants to find beside the packages: who asked for what, and where environments are.

``conda-meta/history`` is where conda and mamba read which packages somebody asked for: without it
``conda env export --from-history`` names nothing and ``conda install`` may drop what was asked for
(https://github.com/conda/conda/blob/main/conda/history.py). ``~/.conda/environments.txt`` is what
``conda env list`` prints (https://github.com/conda/conda/blob/main/conda/core/envs_manager.py).
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from cuready import __version__
from cuready._util import write_atomically
from cuready.env.conda.model import Plan, Record
from cuready.env.conda.sources import CLOUD, PKGS

__all__ = ["announce", "append_history", "environments_file", "withdraw"]


def append_history(prefix: Path, plan: Plan) -> None:
    """Add what ``plan`` does to the history of ``prefix``, in conda's own form. Raises OSError.

    The time is that of the newest package, so that one lock always gives the same bytes. A package
    that is only put back (repair) is no change.
    """
    gone = {_dist(record) for record in plan.to_unlink}
    come = {_dist(record) for record in plan.to_link}
    if gone == come:
        return
    lines = [f"==> {_time_of(plan)} <==", "# cmd: cuready env", f"# cuready version: {__version__}"]
    lines += [f"-{dist}" for dist in sorted(gone - come)]
    lines += [f"+{dist}" for dist in sorted(come - gone)]
    lines.append(f"# update specs: {list(plan.solution.request.specs)!r}")
    with (prefix / "conda-meta" / "history").open("a", encoding="utf-8") as stream:
        stream.write("\n".join(lines) + "\n")


def _time_of(plan: Plan) -> str:
    stamps = [record.raw.get("timestamp") for record in plan.to_link]
    known = [stamp for stamp in stamps if isinstance(stamp, int)]  # milliseconds
    moment = max(known) / 1000 if known else time.time()
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(moment))


def _dist(record: Record) -> str:
    """``conda-forge/linux-64::numpy-1.26.4-py312_0``."""
    channel = record.channel.removeprefix(f"{CLOUD}/")
    if channel.startswith(f"{PKGS}/"):
        channel = "defaults"
    return f"{channel}/{record.subdir}::{record.dist}"


def environments_file() -> Path:
    """conda's list of environments, one path a line."""
    return Path.home() / ".conda" / "environments.txt"


def announce(prefix: Path) -> None:
    """Put ``prefix`` on conda's list. Raises OSError."""
    path = environments_file()
    listed = _listed(path)
    if str(prefix) in listed:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as stream:
        stream.write(f"{prefix}\n")


def withdraw(prefix: Path) -> None:
    """Take ``prefix`` off conda's list. Raises OSError."""
    path = environments_file()
    listed = _listed(path)
    gone = os.path.realpath(prefix)  # it may be on the list by the way through a symbolic link
    kept = [line for line in listed if os.path.realpath(line.strip()) != gone]
    if kept != listed:
        write_atomically(path, "".join(f"{line}\n" for line in kept).encode())


def _listed(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8").splitlines()
    except FileNotFoundError:
        return []
