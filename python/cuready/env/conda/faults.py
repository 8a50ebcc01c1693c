"""Kill points of the link phase: lets a test end both processes at a named step.

``CUREADY_ENV_KILL_AT=name`` or ``name:3`` (the third time) sends SIGKILL to cuready, and to
the engine when the point is passed in there; ``INT@name`` sends SIGINT to the whole process group,
as Ctrl-C does. Unset, a point costs one dictionary look-up.
"""

from __future__ import annotations

import os
import signal
from collections import Counter

__all__ = ["KILL_POINTS", "VARIABLE", "armed", "kill_point"]

VARIABLE = "CUREADY_ENV_KILL_AT"

# In the order in which an update passes them. The first group leaves the prefix as it was.
KILL_POINTS = (
    "index-fetched",
    "index-stored",
    "solved",
    "archives-fetched",
    "extract-begun",
    "extracted",
    "extract-published",
    "work-made",
    "journal-building",
    "clone-begun",
    "file-cloned",
    "clone-done",
    "conflict-removed",
    "view-made",
    "link-begun",
    "package-linked",
    "link-done",
    "meta-polished",
    "journal-ready",
    "old-moved",
    "new-moved",
    "entry-moved",
    "journal-swapped",
    "old-removed",
    "new-moved-back",
    "entry-moved-back",
)

_passed: Counter[str] = Counter()


def armed() -> bool:
    """Whether a kill point is named at all."""
    return VARIABLE in os.environ


def kill_point(name: str, *, engine: bool = False) -> None:
    """End here when the environment asks for it; ``engine``: this is the child, take both."""
    wanted = os.environ.get(VARIABLE)
    if not wanted:
        return
    how, _, where = wanted.rpartition("@")
    point, _, count = where.partition(":")
    if point != name:
        return
    _passed[name] += 1
    if _passed[name] < int(count or 1):
        return
    if how == "INT":
        os.kill(0, signal.SIGINT)
        return
    if engine:
        os.kill(os.getppid(), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)
