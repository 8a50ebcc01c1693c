"""What happens while files come in: events for programs, a bar per file for terminals."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from types import TracebackType
from typing import TYPE_CHECKING

from cuready.mirrors.net.request import Attempt

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

__all__ = ["OnProgress", "ProgressEvent", "ProgressKind", "TerminalProgress", "Throttle"]


class ProgressKind(str, Enum):
    """What an event tells."""

    STARTED = "started"
    WAITING = "waiting"  # another process is fetching the same file
    BYTES = "bytes"
    ATTEMPT_FAILED = "attempt-failed"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True)
class ProgressEvent:
    """One event of one file.

    Attributes:
        name, key: the file; ``key`` is unique in a batch.
        have: bytes on disk, those of an earlier run included.
        total: size in bytes when known.
        rate: bytes a second, smoothed over the last seconds.
        mirror: who is sending.
        attempt: the try that failed, for ATTEMPT_FAILED.
    """

    kind: ProgressKind
    name: str
    key: str
    have: int = 0
    total: int | None = None
    rate: float = 0.0
    mirror: str = ""
    attempt: Attempt | None = None


OnProgress = Callable[[ProgressEvent], None]


class Throttle:
    """Turns a byte count per chunk into at most ten events a second, with a smoothed rate."""

    def __init__(
        self,
        send: Callable[[int, int | None, float], None],
        clock: Callable[[], float] = time.monotonic,
        every: float = 0.1,
    ) -> None:
        self._send = send
        self._clock = clock
        self._every = every
        self._last_time: float | None = None
        self._last_have = 0
        self._rate = 0.0

    def __call__(self, have: int, total: int | None) -> None:
        """``have`` of ``total`` bytes are there."""
        now = self._clock()
        if self._last_time is None:
            self._last_time, self._last_have = now, have
            return
        passed = now - self._last_time
        if passed < self._every and have != total:
            return
        fresh = max(0, have - self._last_have) / passed if passed > 0 else self._rate
        self._rate = fresh if self._rate == 0 else 0.7 * self._rate + 0.3 * fresh
        self._last_time, self._last_have = now, have
        self._send(have, total, self._rate)


class TerminalProgress:
    """A bar per file on stderr, shown once the work has taken a second; silent when not a terminal.

    Use as a context manager and pass as ``on_progress``.
    """

    def __init__(self, console: Console | None = None, *, delay: float = 1.0) -> None:
        from rich.console import Console as RichConsole

        self._console = console or RichConsole(stderr=True)
        self._delay = delay
        self._began = time.monotonic()
        self._lock = threading.Lock()
        self._progress: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._active = self._console.is_terminal

    def __enter__(self) -> TerminalProgress:
        self._began = time.monotonic()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._lock:
            if self._progress is not None:
                self._progress.stop()
            self._active = False

    def __call__(self, event: ProgressEvent) -> None:
        """Draw ``event``."""
        with self._lock:
            if not self._active or time.monotonic() - self._began < self._delay:
                return
            progress = self._progress or self._start()
            self._update(progress, event)

    def _start(self) -> Progress:
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        self._progress = Progress(
            TextColumn("{task.description}", table_column=None),
            BarColumn(bar_width=None),
            DownloadColumn(binary_units=True),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[mirror]}"),
            console=self._console,
            transient=True,
        )
        self._progress.start()
        return self._progress

    def _update(self, progress: Progress, event: ProgressEvent) -> None:
        if event.kind is ProgressKind.ATTEMPT_FAILED and event.attempt is not None:
            progress.console.print(
                f"{event.name}: {event.attempt.line()}", markup=False, style="dim"
            )
            return
        task = self._tasks.get(event.key)
        if task is None:
            task = progress.add_task(event.name, total=event.total, completed=event.have, mirror="")
            self._tasks[event.key] = task
        if event.kind in (ProgressKind.DONE, ProgressKind.FAILED):
            progress.update(task, visible=False)
            return
        mirror = (
            "another process fetches it" if event.kind is ProgressKind.WAITING else event.mirror
        )
        progress.update(task, completed=event.have, total=event.total, mirror=mirror)
