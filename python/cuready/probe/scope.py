"""The place under diagnosis: options of the command line in, the readers' Context out."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path

from cuready import __version__
from cuready.errors import InputError
from cuready.probe.context import Context
from cuready.snapshot import Scope, Snapshot

__all__ = ["make_context"]


def make_context(
    *,
    root: str | None = None,
    prefix: str | None = None,
    python: str | None = None,
    cwd: str | None = None,
    env: Mapping[str, str] | None = None,
    deep: bool = False,
) -> Context:
    """The context that :func:`cuready.probe.take` hands to the readers. Raises like it."""
    if root is not None and not Path(root).is_dir():
        raise InputError(f"{root}: no such directory", hint="--root takes a folder")
    below = os.path.realpath(root) if root is not None else "/"
    scope = Scope(
        kind="root" if root is not None else "prefix" if prefix is not None else "host",
        root=below if root is not None else None,
        prefix=prefix,
        python=python,
        cwd=cwd or os.getcwd(),
        deep=deep,
    )
    blank = Snapshot(
        tool_version=__version__,
        taken_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        scope=scope,
    )
    return Context(
        root=below,
        env=dict(os.environ if env is None else env),
        cwd=scope.cwd or "/",
        home=os.path.expanduser("~"),
        system="Linux" if root is not None else platform.system(),
        prefix=prefix,
        python=python,
        deep=deep,
        native=root is None,
        so_far=blank,
    )
