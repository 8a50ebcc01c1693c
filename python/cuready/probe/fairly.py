"""Jobs that may hang, side by side within one budget, so that none takes the time of another."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

__all__ = ["WIDTH", "run"]

T = TypeVar("T")
R = TypeVar("R")

WIDTH = 8
"""How many run at a time. Those that hang cost nothing but a place; a Python takes 20 MB."""


def run(
    items: Sequence[T],
    work: Callable[[T, float], R],
    *,
    limit_s: float,
    width: int = WIDTH,
    clock: Callable[[], float] = time.monotonic,
) -> list[R]:
    """``work(item, seconds)`` of each item, in the order of ``items``.

    Nobody gets more than what is left of ``limit_s``; where there are more than places, no more
    than leaves the same to everybody who still waits for that place. ``work`` keeps to its seconds
    by itself; what it raises ends the whole.
    """
    end = clock() + limit_s
    waiting = list(range(len(items)))
    lock, stopped = threading.Lock(), threading.Event()
    done: queue.SimpleQueue[tuple[int, R | BaseException]] = queue.SimpleQueue()

    def serve() -> None:
        while not stopped.is_set():
            with lock:
                if not waiting:
                    return
                rounds = -(-len(waiting) // width)
                place = waiting.pop(0)
                seconds = max(0.0, end - clock()) / rounds
            try:
                done.put((place, work(items[place], seconds)))
            except BaseException as error:  # it is raised again by whoever waits for the answer
                done.put((place, error))

    for _ in range(min(width, len(items))):
        threading.Thread(target=serve, name="plugin", daemon=True).start()
    results: dict[int, R] = {}
    try:
        while len(results) < len(items):
            place, answer = done.get()
            if isinstance(answer, BaseException):
                raise answer
            results[place] = answer
    finally:
        stopped.set()  # also when it was interrupted: nothing new is started
    return [results[place] for place in range(len(items))]
