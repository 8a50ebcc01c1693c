"""What a test holds against a hang.

A time that grows with the square of an input, or with all that the input refers to, is minutes for
the inputs of these tests and a moment when it is right. The limit is no measure of speed, which is
for ``benchmarks``; it is there so that the suite says where it hangs instead of standing still.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["no_hang"]

LIMIT_S = 30
"""Of the processor's time, which other programs do not add to."""


@contextmanager
def no_hang() -> Iterator[None]:
    """Stops the block after ``LIMIT_S`` and fails the test. For the main thread, on Unix."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise AssertionError(f"still at it after {LIMIT_S} s of the processor's time")

    previous = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, LIMIT_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, previous)
