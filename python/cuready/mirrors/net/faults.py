"""Kill points: lets a test end this process at a named step, to prove that no step matters.

``CUREADY_KILL_AT=name`` or ``name:3`` (the third time) sends SIGKILL to this process when
that point is passed. Unset, a point costs one dictionary look-up.
"""

from __future__ import annotations

import os
import signal
from collections import Counter

__all__ = ["KILL_POINTS", "kill_point"]

KILL_POINTS = (
    "lock-taken",
    "before-journal",
    "journal-written",
    "part-opened",
    "request-sent",
    "response-headers",
    "before-first-write",
    "chunk-written",
    "attempt-ended",
    "before-verify",
    "verified",
    "mismatch-found",
    "part-discarded",
    "before-fsync",
    "before-publish",
    "published",
    "journal-removed",
    "before-record",
    "recorded",
    "before-place",
    "place-copied",
    "placed",
)

_passed: Counter[str] = Counter()


def kill_point(name: str) -> None:
    """End the process here when the environment asks for it."""
    wanted = os.environ.get("CUREADY_KILL_AT")
    if not wanted:
        return
    point, _, count = wanted.partition(":")
    if point != name:
        return
    _passed[name] += 1
    if _passed[name] >= int(count or 1):
        os.kill(os.getpid(), signal.SIGKILL)
