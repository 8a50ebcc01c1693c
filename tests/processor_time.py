"""How long something may take in a test, in the processor's time: other programs do not add to it.

The bounds are many times what is taken. They tell a time that grows with the square of an input,
which is minutes, from one that grows with the input; how fast something is, benchmarks say.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["at_most"]


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Fails where the block takes ``seconds`` or more."""
    begin = time.process_time()
    yield
    spent = time.process_time() - begin
    assert spent < seconds, f"{spent:.1f} s of the processor's time"
