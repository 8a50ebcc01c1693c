"""A circuit breaker per mirror: stop asking one that has just failed several times in a row."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["CircuitBreaker"]


@dataclass
class _Circuit:
    failures: int = 0
    open_until: float = 0.0
    probing: bool = False


class CircuitBreaker:
    """Shared by all files of a batch; safe to use from several threads.

    Closed: requests pass. After ``threshold`` failures in a row it opens for ``cooldown`` seconds.
    Then one request may try (half open): success closes the circuit, failure opens it again.
    """

    def __init__(
        self,
        threshold: int = 3,
        cooldown: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._threshold = threshold
        self._cooldown = cooldown
        self._clock = clock
        self._lock = threading.Lock()
        self._circuits: dict[str, _Circuit] = {}

    def allows(self, mirror: str) -> bool:
        """May ``mirror`` be asked now? In the half-open state, only the first caller gets True."""
        with self._lock:
            circuit = self._circuits.setdefault(mirror, _Circuit())
            if circuit.failures < self._threshold:
                return True
            if self._clock() < circuit.open_until or circuit.probing:
                return False
            circuit.probing = True
            return True

    def success(self, mirror: str) -> None:
        """``mirror`` answered rightly: close its circuit."""
        with self._lock:
            self._circuits[mirror] = _Circuit()

    def failure(self, mirror: str) -> None:
        """``mirror`` failed as a whole: count it, and open the circuit at the threshold."""
        with self._lock:
            circuit = self._circuits.setdefault(mirror, _Circuit())
            circuit.failures += 1
            circuit.probing = False
            if circuit.failures >= self._threshold:
                circuit.open_until = self._clock() + self._cooldown

    def release(self, mirror: str) -> None:
        """A half-open try ended without a verdict (a fault of the file, a cancellation)."""
        with self._lock:
            self._circuits.setdefault(mirror, _Circuit()).probing = False

    def is_open(self, mirror: str) -> bool:
        """True while ``mirror`` is being left alone."""
        with self._lock:
            circuit = self._circuits.get(mirror)
            return (
                circuit is not None
                and circuit.failures >= self._threshold
                and self._clock() < circuit.open_until
            )
