"""What the tests of conda environments share."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from servers import Behaviour, Exchange, Handler, Mirror

from cuready.env.conda.model import Solution, SolveRequest
from cuready.env.conda.session import CondaSession
from cuready.env.conda.solve import solve
from cuready.mirrors.net import NetOptions

CHANNEL = "https://conda.anaconda.org/made-up"

QUICK = NetOptions(
    connect_timeout=2.0,
    stall_timeout=1.0,
    min_rate=0,
    rate_window=1.0,
    retries=0,
    backoff=0.0,
    diagnose=False,
)


class Serves(Behaviour):
    """A channel called ``made-up`` at ``/made-up``: paths below it, with ranges."""

    def answer(self, handler: Handler, exchange: Exchange) -> None:
        path = handler.path.partition("?")[0].removeprefix("/made-up/")
        data = self.files.get(path)
        if data is None:
            handler.reply(404, b"not here")
            return
        self.give(handler, data)


@dataclass
class Channel:
    """A running channel."""

    mirror: Mirror
    files: dict[str, bytes]

    @property
    def url(self) -> str:
        """For ``mirrors``."""
        return self.mirror.base

    @property
    def requests(self) -> list[str]:
        """The paths that were asked for."""
        return [exchange.path for exchange in self.mirror.log]


def tree_of(folder: Path) -> dict[str, str]:
    """Every file below a folder with its sha256 and mode, and links with where they point."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = f"-> {path.readlink()}"
        elif path.is_file():
            mode = path.stat().st_mode & 0o777
            found[name] = f"{mode:o} {hashlib.sha256(path.read_bytes()).hexdigest()}"
    return found


def request(*specs: str, **fields: Any) -> SolveRequest:
    fields.setdefault("virtual_packages", {"__unix": "0", "__linux": "0", "__glibc": "2.31"})
    return SolveRequest(channels=(CHANNEL,), specs=specs, subdir="linux-64", **fields)


def solved(session: CondaSession, *specs: str, **fields: Any) -> Solution:
    return solve(request(*(specs or ("tool", "pure", "python")), **fields), session)
