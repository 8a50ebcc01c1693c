"""The engine as cuready sees it: a child process that is started when it is first needed.

A crash of the engine, and the memory it takes for an index of 300,000 records, stay over there.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import IO, Any

from cuready.errors import CureadyError, EnvError, IncompleteError, MissingExtra, SolveError

__all__ = ["EXTRA", "Engine", "OnEvent"]

EXTRA = "pip install 'cuready[conda]'"
OnEvent = Callable[[dict[str, Any]], None]

_NEEDED = ("rattler", "zstandard")
_PACKAGE_ROOT = os.path.abspath(__file__).rsplit(os.sep, 4)[0]  # noqa: PTH100 - no pathlib yet
_ERRORS: dict[str, type[CureadyError]] = {
    "solve": SolveError,
    "input": EnvError,
    "disk": EnvError,
    "link": EnvError,
    "content": EnvError,
}


class Engine:
    """One child for the operations of one command. Use as a context manager.

    Whoever is in a hurry starts it before importing anything else, and hands it to a CondaSession.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._stderr: IO[bytes] | None = None
        self._number = 0

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @staticmethod
    def require() -> None:
        """Raise MissingExtra unless the engine's packages are installed; imports none of them."""
        missing = Engine._missing()
        if missing:
            raise MissingExtra(
                "conda packages need py-rattler and zstandard, which are not installed here",
                hint=EXTRA,
                details={"missing": missing},
            )

    @staticmethod
    def available() -> bool:
        """Whether the engine's packages are installed."""
        return not Engine._missing()

    @staticmethod
    def _missing() -> list[str]:
        return [name for name in _NEEDED if importlib.util.find_spec(name) is None]

    def call(self, operation: str, on_event: OnEvent | None = None, **args: Any) -> Any:
        """Run one operation and return its result; ``args`` must be JSON.

        Raises SolveError or EnvError as the operation says, and IncompleteError when the engine
        dies. Whatever interrupts the wait (Ctrl-C) ends the engine with it.
        """
        return self.ask(operation, **args)(on_event)

    def ask(self, operation: str, **args: Any) -> Callable[[OnEvent | None], Any]:
        """Begin one operation. What comes back waits for its result, and raises as ``call`` does.

        In between the caller can do something else; it must not ask for a second operation.
        """
        process = self._running() or self.start()
        self._number += 1
        request = {"id": self._number, "op": operation, "args": args}
        with self._speaking(operation):
            assert process.stdin is not None  # noqa: S101 - a pipe was asked for
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()

        def answer(on_event: OnEvent | None = None) -> Any:
            with self._speaking(operation):
                return self._answer(process, on_event)

        return answer

    @contextlib.contextmanager
    def _speaking(self, operation: str) -> Iterator[None]:
        try:
            yield
        except (BrokenPipeError, EOFError, json.JSONDecodeError):
            raise self._dead(operation) from None
        except CureadyError:
            raise
        except BaseException:
            self.kill()
            raise

    def _running(self) -> subprocess.Popen[bytes] | None:
        """The child, when it still listens."""
        process = self._process
        if process is not None and process.stdin is not None and process.stdin.closed:
            self.close()
            return None
        return process

    def _answer(self, process: subprocess.Popen[bytes], on_event: OnEvent | None) -> Any:
        assert process.stdout is not None  # noqa: S101 - a pipe was asked for
        while line := process.stdout.readline():
            message = json.loads(line)
            if message.get("id") != self._number:
                continue
            if "event" in message:
                if on_event is not None:
                    on_event(message["event"])
            elif "error" in message:
                raise _error_of(message["error"])
            else:
                return message["result"]
        raise EOFError

    def start(self) -> subprocess.Popen[bytes]:
        """Start the child unless it runs, without waiting for it. Raises MissingExtra."""
        if self._process is not None:
            return self._process
        self.require()
        environment = {**os.environ, "RUST_BACKTRACE": "0", "PYTHONUTF8": "1"}
        self._stderr = _scratch_file()  # closed in `kill` and `close`
        # Started in the package's own root: Python looks there first, and not in whatever folder
        # the user stands in. Every path that is sent over is absolute.
        self._process = subprocess.Popen(
            [sys.executable, "-c", "from cuready.env.conda.child import main; main()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            cwd=_PACKAGE_ROOT,
            env=environment,
        )
        return self._process

    def _dead(self, operation: str) -> IncompleteError:
        """What to say when the child went away without an answer."""
        process, said = self._process, self._last_words()
        code = None
        if process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = process.wait(timeout=5)
        self.kill()
        how = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
        return IncompleteError(
            f"the package engine died ({how}) during {operation}",
            operation=operation,
            messages=said,
            hint="nothing of the environment was changed; run the command again"
            + ("; it may have been killed for memory" if code == -9 else ""),
        )

    def _last_words(self) -> list[str]:
        from cuready._util import one_line

        if self._stderr is None:
            return []
        self._stderr.seek(0)
        lines = self._stderr.read().decode("utf-8", "replace").splitlines()
        return [one_line(line) for line in lines if line.strip()][-6:]

    def dismiss(self) -> None:
        """Tell the child to end, without waiting for it: its memory is free for what follows.

        Another ``call`` starts a new one.
        """
        process = self._process
        if process is None or process.stdin is None:
            return
        with contextlib.suppress(OSError):
            process.stdin.close()

    def kill(self) -> None:
        """End the child now."""
        if self._process is not None:
            self._process.kill()
        self._forget()

    def close(self) -> None:
        """Let the child end by itself."""
        process = self._process
        if process is not None and process.stdin is not None:
            with contextlib.suppress(OSError):
                process.stdin.close()
            try:
                process.wait(timeout=5)
            except (subprocess.TimeoutExpired, KeyboardInterrupt):
                process.kill()
        self._forget()

    def _forget(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    with contextlib.suppress(OSError):
                        stream.close()
            process.wait()
        if self._stderr is not None:
            self._stderr.close()
            self._stderr = None


def _scratch_file() -> IO[bytes]:
    """A file without a name; in memory where that can be had without importing anything."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("cuready-engine"), "w+b")
    tempfile = importlib.import_module("tempfile")
    made: IO[bytes] = tempfile.TemporaryFile()
    return made


def _error_of(error: dict[str, Any]) -> CureadyError:
    kind = _ERRORS.get(error["kind"], IncompleteError)
    return kind(error["message"], messages=error.get("lines", ()), hint=error.get("hint", ""))
