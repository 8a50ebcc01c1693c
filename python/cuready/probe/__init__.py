"""Readers: each returns facts about the machine, or says why it could not. They never judge.

``take()`` runs them all. Nothing is imported before: the child processes that ask the vendor's
libraries live in this package too, and should start at once.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cuready.probe.registry import Reader
    from cuready.snapshot import Snapshot

__all__ = ["take"]


def take(
    *,
    root: str | None = None,
    prefix: str | None = None,
    python: str | None = None,
    cwd: str | None = None,
    env: Mapping[str, str] | None = None,
    deep: bool = False,
    readers: Sequence[Reader] | None = None,
    total_limit_s: float | None = None,
) -> Snapshot:
    """Read this machine, or the one whose files lie below ``root``.

    ``prefix``: a conda or venv prefix, read without running anything in it (below ``root`` when
    both are given). ``python``: another interpreter to diagnose; it is asked where it looks, and
    imports nothing. ``env``: its environment variables instead of this process's own.
    ``readers`` and ``total_limit_s`` (seconds) replace the registry and the limit of a whole run.

    Raises :class:`~cuready.errors.InputError` when one of the places does not exist or is not what
    it should be, and :class:`~cuready.errors.IncompleteError` when ``python`` does not answer.
    """
    from cuready.probe import runner
    from cuready.probe.registry import READERS
    from cuready.probe.scope import make_context

    started = time.monotonic()
    context = make_context(root=root, prefix=prefix, python=python, cwd=cwd, env=env, deep=deep)
    limit = runner.TOTAL_LIMIT_S if total_limit_s is None else total_limit_s
    return runner.run(
        context,
        READERS if readers is None else readers,
        total_limit_s=limit - (time.monotonic() - started),
    )
