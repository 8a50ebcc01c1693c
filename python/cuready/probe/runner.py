"""Runs readers side by side, each on its own clock, and never longer than the whole run may take.

A reader runs in a daemon thread, because a thread that hangs in a system call can be left behind
and a thread that crashes hurts nobody. Those that enter the NVIDIA kernel driver run in a child
process instead: a thread stuck there in uninterruptible sleep would keep this process from ending.
"""

from __future__ import annotations

import dataclasses
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cuready._util import one_line
from cuready.probe import assemble, children, vendor
from cuready.probe.context import Context, Denied, Facts, Incomplete, Skip
from cuready.probe.registry import Reader
from cuready.snapshot import ReaderOutcome, Snapshot

__all__ = ["ANSWER_LIMIT_S", "TOTAL_LIMIT_S", "Budget", "run"]

TOTAL_LIMIT_S = 8.0
"""Reading a machine, in seconds."""
ANSWER_LIMIT_S = 9.5
"""Reading it and letting plugins judge it: the command has promised an answer within 10."""

Call = Callable[[Reader, Context], Facts]


def run(
    context: Context,
    readers: Sequence[Reader],
    *,
    total_limit_s: float = TOTAL_LIMIT_S,
    call: Call | None = None,
) -> Snapshot:
    """Run ``readers`` and return what they found, with one :class:`ReaderOutcome` each.

    ``call`` runs one reader; the usual one sends isolated readers to a child process. No child
    outlives the run, also when KeyboardInterrupt ends it, which passes through at once.
    """
    try:
        return _Run(context, readers, total_limit_s, call or vendor.call_reader).finish()
    finally:
        children.kill_all()


@dataclass(frozen=True)
class Budget:
    """The seconds that a command may still spend; ``clock`` counts them."""

    end: float
    clock: Callable[[], float] = time.monotonic

    @classmethod
    def of(cls, seconds: float, clock: Callable[[], float] = time.monotonic) -> Budget:
        """``seconds`` from now on."""
        return cls(clock() + seconds, clock)

    def left(self) -> float:
        """What is left; never less than zero."""
        return max(0.0, self.end - self.clock())


@dataclass(frozen=True)
class _Running:
    started: float
    deadline: float


class _Run:
    """One run: which readers wait, which run until when, and what the others found."""

    def __init__(
        self, context: Context, readers: Sequence[Reader], total_limit_s: float, call: Call
    ) -> None:
        self.context = context
        self.readers = tuple(readers)
        self.call = call
        self.end = time.monotonic() + total_limit_s
        self.waiting = list(readers)
        self.running: dict[str, _Running] = {}
        self.outcomes: dict[str, ReaderOutcome] = {}
        self.facts: dict[str, Facts] = {}
        self.done: queue.SimpleQueue[tuple[ReaderOutcome, Facts]] = queue.SimpleQueue()

    def finish(self) -> Snapshot:
        """Start every reader as soon as those that it names have ended, until none is left."""
        known = {reader.name for reader in self.readers}
        while self.waiting or self.running:
            for reader in list(self.waiting):
                if all(name in self.outcomes for name in reader.after if name in known):
                    self.waiting.remove(reader)
                    self._start(reader)
            if self.running:
                self._collect()
            else:
                self._give_up("waits for a reader that waits for this one")
        snapshot = self._overlay()
        outcomes = tuple(self.outcomes[reader.name] for reader in self.readers)
        return dataclasses.replace(snapshot, readers=snapshot.readers + outcomes)

    def _start(self, reader: Reader) -> None:
        now = time.monotonic()
        until = min(now + reader.limit_s, self.end)
        so_far = self._overlay() if reader.after else self.context.so_far
        context = dataclasses.replace(self.context, until=until, so_far=so_far)
        self.running[reader.name] = _Running(now, until)

        def work() -> None:
            self.done.put(_attempt(reader, context, self.call))

        threading.Thread(target=work, name=f"reader {reader.name}", daemon=True).start()

    def _collect(self) -> None:
        """Wait for the next result or the next deadline, whichever is first."""
        until = min(entry.deadline for entry in self.running.values())
        try:
            outcome, facts = self.done.get(timeout=max(0.0, until - time.monotonic()))
        except queue.Empty:
            self._expire(time.monotonic())
            return
        if outcome.name in self.running:  # a late answer is none: the others went on without it
            del self.running[outcome.name]
            self.outcomes[outcome.name] = outcome
            self.facts[outcome.name] = facts

    def _expire(self, now: float) -> None:
        for name, entry in list(self.running.items()):
            if entry.deadline <= now:
                spent = now - entry.started
                del self.running[name]
                reason = f"no answer within {spent:.1f} s"
                self.outcomes[name] = ReaderOutcome(name, "timeout", reason, _ms(spent))

    def _give_up(self, reason: str) -> None:
        for reader in self.waiting:
            self.outcomes[reader.name] = ReaderOutcome(reader.name, "failed", reason)
        self.waiting.clear()

    def _overlay(self) -> Snapshot:
        parts = [self.facts[r.name] for r in self.readers if r.name in self.facts]
        return assemble.overlay(self.context.so_far, parts)


def _attempt(reader: Reader, context: Context, call: Call) -> tuple[ReaderOutcome, Facts]:
    """Run one reader; whatever it raises becomes its outcome."""
    started = time.monotonic()
    facts: Facts = {}
    status, reason = "ok", ""
    try:
        facts = call(reader, context)
        assemble.check(facts)
    except Skip as skip:
        status, reason = "skipped", one_line(skip)
    except Incomplete as partial:
        facts, reason = partial.facts, one_line(partial)
    except (Denied, PermissionError) as error:
        status, reason = "denied", one_line(error)
    except TimeoutError as error:
        status, reason = "timeout", one_line(error)
    except BaseException as error:  # also SystemExit and MemoryError: it costs this reader alone
        status, reason, facts = "failed", one_line(f"{type(error).__name__}: {error}"), {}
    return ReaderOutcome(reader.name, status, reason, _ms(time.monotonic() - started)), facts


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 1)
