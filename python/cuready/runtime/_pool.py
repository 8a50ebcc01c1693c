"""What a context pool does in Python: awaiting futures, mapping over requests, lending contexts."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from cuready._core import _Completions

if TYPE_CHECKING:
    from cuready._core import ContextPool, Engine, ExecutionContext, Future

__all__ = ["Leases", "map_requests", "wait_for"]


class _Awaited:
    """The requests that one event loop awaits.

    The pool's threads push the numbers of those that are done behind a descriptor which the loop
    watches. So no thread but the loop's runs Python: nothing waits for the GIL or hands it over,
    and requests that end together wake the loop once.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._completions = _Completions()
        self._numbers = itertools.count()
        self._waiters: dict[int, asyncio.Future[None]] = {}
        loop.add_reader(self._completions.fileno(), self._wake)

    def wait(self, future: Future, waiter: asyncio.Future[None]) -> Generator[Any, None, None]:
        if not self._waiters:
            # Nothing else is under way: launching takes less than waking a thread that does it.
            # Under load the loop has better to do, and the pool's threads are awake anyway.
            future._start()
        number = next(self._numbers)
        self._waiters[number] = waiter
        try:
            future._push_when_done(self._completions, number)
            yield from waiter
        finally:  # also of a task that was cancelled, or left behind by its loop
            del self._waiters[number]

    def _wake(self) -> None:
        for number in self._completions.drain():
            waiter = self._waiters.get(number)
            if waiter is not None and not waiter.done():
                waiter.set_result(None)


_awaited: WeakKeyDictionary[asyncio.AbstractEventLoop, _Awaited] = WeakKeyDictionary()


def wait_for(future: Future) -> Generator[Any, None, dict[str, Any]]:
    """``await future``: the pool wakes the event loop; nothing polls."""
    if not future.done():
        loop = asyncio.get_running_loop()
        awaited = _awaited.get(loop)
        if awaited is None:
            awaited = _awaited[loop] = _Awaited(loop)
        yield from awaited.wait(future, loop.create_future())
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
