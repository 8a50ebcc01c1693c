"""Stopping downloads at any moment, also while a thread is blocked in a read."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Any

__all__ = ["CancelToken", "Cancelled"]


class Cancelled(Exception):  # noqa: N818 - it is no error: somebody asked for it
    """The work was called off. What is on disk stays resumable."""


class CancelToken:
    """Set by one thread, watched by many.

    A socket read cannot be interrupted from outside, but it ends at once when the socket is shut
    down, so threads register the sockets that they read from.
    """

    def __init__(self) -> None:
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()

    @property
    def cancelled(self) -> bool:
        """True after ``cancel``."""
        return self._event.is_set()

    def cancel(self) -> None:
        """Call everything off; returns at once."""
        self._event.set()
        with self._lock:
            sockets = list(self._sockets)
        for sock in sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def check(self) -> None:
        """Raise ``Cancelled`` after ``cancel``."""
        if self._event.is_set():
            raise Cancelled

    def sleep(self, seconds: float) -> None:
        """Wait, but not longer than until ``cancel``; raises ``Cancelled`` then."""
        if self._event.wait(seconds):
            raise Cancelled

    @contextlib.contextmanager
    def reading(self, network_stream: Any) -> Iterator[None]:
        """While inside, ``cancel`` shuts the socket of httpx's ``network_stream`` down."""
        sock = network_stream.get_extra_info("socket") if network_stream is not None else None
        if not isinstance(sock, socket.socket):
            self.check()
            yield
            return
        with self._lock:
            self._sockets.add(sock)
        try:
            self.check()
            yield
        finally:
            with self._lock:
                self._sockets.discard(sock)
