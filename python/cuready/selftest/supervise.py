"""Runs the stages in child processes: a hang, a crash or a lost GPU ends a child, never us."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from typing import IO, Any

from cuready.selftest.model import StageResult, Status
from cuready.selftest.stages import Options, Stage, limit

__all__ = ["Supervisor"]

KILL_WAIT_S = 5.0
LAST_WORDS_BYTES = 4000
Watcher = Callable[[str, Mapping[str, Any]], None]


class Supervisor:
    """One run. ``on_event(stage, message)`` hears of starts, progress and ends as they happen."""

    def __init__(self, options: Options, on_event: Watcher | None = None) -> None:
        self.options = options
        self.on_event = on_event or (lambda _stage, _message: None)
        self.results: dict[str, StageResult] = {}

    def run(self, stages: list[Stage]) -> list[StageResult]:
        """Every stage once; what stands on a stage that did not pass is skipped with the reason."""
        waiting = list(stages)
        while waiting:
            batch = self._next_batch(waiting)
            if batch:
                self._run_child(batch)
            waiting = [stage for stage in waiting if stage.id not in self.results]
        return [self.results[stage.id] for stage in stages]

    def _next_batch(self, waiting: list[Stage]) -> list[Stage]:
        """The next stages that one process may run; stages that cannot run are skipped here."""
        batch: list[Stage] = []
        for stage in waiting:
            blocker = self._blocker(stage)
            if blocker is not None:
                self._skip(stage, blocker)
                continue
            if stage.alone:
                if not batch:
                    return [stage]
                break
            batch.append(stage)
        return batch

    def _blocker(self, stage: Stage) -> StageResult | None:
        for need in stage.needs:
            result = self.results.get(need)
            if result is not None and result.status is not Status.PASSED:
                return result
        return None

    def _skip(self, stage: Stage, blocker: StageResult) -> None:
        verb = "failed" if blocker.status is Status.FAILED else "was skipped"
        reason = f"stands on “{blocker.title}”, which {verb}"
        result = StageResult(stage.id, stage.title, Status.SKIPPED, reason)
        self._finish(result)

    def _finish(self, result: StageResult) -> None:
        self.results[result.id] = result
        self.on_event(result.id, {"event": "end", "status": result.status.value})

    def _run_child(self, batch: list[Stage]) -> None:
        table = {stage.id: stage for stage in batch}
        with tempfile.TemporaryFile() as words, _Child(batch, self.options, words) as child:
            current, deadline = batch[0], time.monotonic() + limit(batch[0], self.options)
            while True:
                message = child.next_message(deadline - time.monotonic())
                if message is None:
                    self._ended(current, child, words, hung=child.running())
                    return
                stage = table[message["stage"]]
                if message["event"] == "start":
                    current, deadline = stage, time.monotonic() + limit(stage, self.options)
                elif message["event"] == "end":
                    self._finish(StageResult.from_wire(stage.title, message))
                    if self._settles(stage, table):
                        return
                    continue
                self.on_event(stage.id, message)

    def _settles(self, stage: Stage, table: Mapping[str, Stage]) -> bool:
        """Whether this end is the child's last word: it stops at a failure and after its list."""
        result = self.results[stage.id]
        if result.status is Status.FAILED:
            return True
        done = all(name in self.results for name in table)
        blocked = any(self._blocker(other) is not None for other in table.values()
                      if other.id not in self.results)  # fmt: skip
        return done or blocked

    def _ended(self, stage: Stage, child: _Child, words: IO[bytes], *, hung: bool) -> None:
        """The child said no more: it hangs, or it died in this stage."""
        child.stop()
        last = _tail(words)
        allowed = limit(stage, self.options)
        if hung:
            reason = f"no answer within {allowed:g} s; the process was stopped"
            error: dict[str, Any] = {"kind": "hang", "limit_s": allowed}
            if not child.gone:
                reason += " and does not go away: it waits inside the kernel driver"
        else:
            reason = f"the process ended without an answer: {_death(child.code)}"
            error = {"kind": "crash", "exit_code": child.code}
        if last:
            error["messages"] = last
        elapsed = allowed * 1000 if hung else 0.0
        self._finish(
            StageResult(stage.id, stage.title, Status.FAILED, reason, error=error, ms=elapsed)
        )


class _Child:
    """A child process and the JSON lines that it writes."""

    def __init__(self, batch: list[Stage], options: Options, words: IO[bytes]) -> None:
        environment = {**os.environ, **options.environment}
        paths = [path for path in sys.path if path]
        environment["PYTHONPATH"] = os.pathsep.join(paths)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "cuready.selftest.child"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=words,
            env=environment, start_new_session=True,
        )  # fmt: skip
        self.gone = False
        self.code: int | None = None
        self._lines: queue.Queue[bytes | None] = queue.Queue()
        request = {"stages": [stage.id for stage in batch], "options": options.to_wire()}
        self._write(json.dumps(request).encode())
        threading.Thread(target=self._read, daemon=True).start()

    def _write(self, data: bytes) -> None:
        assert self.process.stdin is not None  # noqa: S101 - a pipe was asked for
        with contextlib.suppress(BrokenPipeError), self.process.stdin as pipe:
            pipe.write(data)

    def _read(self) -> None:
        assert self.process.stdout is not None  # noqa: S101
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def next_message(self, seconds: float) -> dict[str, Any] | None:
        """The next line, or None when none comes in time or the process has ended."""
        try:
            line = self._lines.get(timeout=max(0.0, seconds))
        except queue.Empty:
            return None
        if line is None:
            # Its pipe is closed: it is ending, and its exit code is what matters now.
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(KILL_WAIT_S)
            return None
        return dict(json.loads(line))

    def running(self) -> bool:
        return self.process.poll() is None

    def stop(self) -> None:
        """Kill the process and its children. One that is stuck in the kernel is left behind."""
        if self.gone:
            return
        self.code = self.process.poll()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = self.process.wait(KILL_WAIT_S)
            self.code = code if self.code is None else self.code
            self.gone = True

    def __enter__(self) -> _Child:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()


def _tail(words: IO[bytes]) -> list[str]:
    """The last lines that the child and its libraries wrote to stderr."""
    words.seek(0, os.SEEK_END)
    words.seek(max(0, words.tell() - LAST_WORDS_BYTES))
    text = words.read().decode(errors="replace")
    return [line for line in text.splitlines() if line.strip()][-5:]


def _death(code: int | None) -> str:
    if code is None:
        return "it could not be stopped"
    if code < 0:
        with contextlib.suppress(ValueError):
            return f"signal {signal.Signals(-code).name}"
        return f"signal {-code}"
    return f"exit code {code}"
