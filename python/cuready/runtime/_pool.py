"""What a context pool does in Python: awaiting futures, mapping over requests, lending contexts."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cuready._core import ContextPool, Engine, ExecutionContext, Future

__all__ = ["Leases", "map_requests", "wait_for"]


def wait_for(future: Future) -> Generator[Any, None, dict[str, Any]]:
    """``await future``: the event loop is woken by the pool's notifier thread; nothing polls."""
    if not future.done():
        loop = asyncio.get_running_loop()
        waiter = loop.create_future()

        def wake() -> None:
            if not waiter.done():  # the awaiting task may have been cancelled
                waiter.set_result(None)

        def notify(_: Future) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(wake)

        future.add_done_callback(notify)
        yield from waiter.__await__()
    return future.result()


def map_requests(
    pool: ContextPool, requests: Iterable[Mapping[str, Any]], depth: int | None
) -> Iterator[dict[str, Any]]:
    """Results of ``requests`` in order, with at most ``depth`` of them under way."""
    limit = depth if depth is not None else 2 * int(pool.stats["contexts"])
    if limit < 1:
        raise ValueError(f"depth must be at least 1, not {depth}")
    under_way: deque[Future] = deque()
    for request in requests:
        if len(under_way) >= limit:
            yield under_way.popleft().result()
        under_way.append(pool.submit(request))
    while under_way:
        yield under_way.popleft().result()


class Leases:
    """Contexts that ``ContextPool.acquire()`` lends: at most as many as the pool has, made when
    first needed and kept for the next caller."""

    def __init__(self, engine: Engine, size: int, profile: int | None) -> None:
        self._engine = engine
        self._profile = profile
        self._free = threading.Semaphore(size)
        self._lock = threading.Lock()
        self._idle: list[ExecutionContext] = []

    @contextmanager
    def acquire(self, timeout: float | None) -> Iterator[ExecutionContext]:
        """Lend a context for the ``with`` block; TimeoutError when none comes free in time."""
        if not self._free.acquire(timeout=timeout):
            raise TimeoutError(f"no context came free within {timeout} s")
        try:
            with self._lock:
                context = self._idle.pop() if self._idle else None
            if context is None:
                context = self._engine.create_context(profile=self._profile)
            try:
                yield context
            finally:
                context.synchronize()
                with self._lock:
                    self._idle.append(context)
        finally:
            self._free.release()
