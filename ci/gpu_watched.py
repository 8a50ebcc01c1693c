"""`cuready engine build`, with all that TensorRT logs on stderr as it comes.

Run by the Python that the builder's binding is for, with the command's own arguments. TensorRT
works in this very process, so that /proc and a kill find it; `--timeout` ends it with what its
threads were at. Every line of TensorRT's begins with "| " and the seconds since the start.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

from cuready.cli.main import main
from cuready.selftest import builder, builder_child

BEGIN = time.monotonic()


def show(kind: str, text: str) -> None:
    for line in text.splitlines():
        print(f"| {time.monotonic() - BEGIN:7.2f} {kind} {line}", file=sys.stderr, flush=True)


class Watched(builder_child.Build):
    """A build that shows each message at once, and keeps what `engine build` tells in the end."""

    def __init__(self, request: Mapping[str, Any], outcome: builder.Outcome) -> None:
        self.outcome = outcome
        show("WATCH", f"import {request['module']}")
        super().__init__(request, sys.stderr)

    def say(self, event: str, **message: Any) -> None:
        if event == "progress":
            kind = "VERBOSE" if message["done"] else "PHASE"
            show(kind, "{phase}: {done} of {total}".format(**message))
            return
        severity, text = message["severity"], message["text"]
        show(severity.upper(), text)
        if severity in ("error", "internal_error"):
            self.outcome.errors.append(text)
        elif severity == "warning":
            self.outcome.warnings.append(text)

    def _make_logger(self) -> Any:
        base, say = self.trt.ILogger, self.say

        class Logger(base):  # type: ignore[misc,valid-type]
            def __init__(self) -> None:
                base.__init__(self)

            def log(self, severity: Any, message: str) -> None:
                say("log", severity=severity.name.lower(), text=message)

        return Logger()

    def _make_builder(self) -> Any:
        show("WATCH", f"{self.name}: making the builder")
        made = super()._make_builder()
        show("WATCH", "the builder is made")
        return made


@contextlib.contextmanager
def stdout_is_stderr() -> Iterator[None]:
    """TensorRT prints where it likes; the command's stdout is JSON."""
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def build_here(request: Mapping[str, Any], *, limit_s: float, **_: object) -> builder.Outcome:
    """In place of `run_child`."""
    faulthandler.dump_traceback_later(limit_s, exit=True)
    outcome = builder.Outcome(ok=False)
    with stdout_is_stderr():
        try:
            outcome.facts = Watched(request, outcome).run()
            outcome.ok = True
        except builder_child.RefusedError as refused:
            outcome.reason, outcome.hint = str(refused), refused.hint
        except Exception as error:  # the bindings raise TypeError and RuntimeError
            outcome.reason = f"{type(error).__name__}: {error}"
    faulthandler.cancel_dump_traceback_later()
    outcome.seconds = time.monotonic() - BEGIN
    if not outcome.ok and not outcome.hint:
        outcome.reason, outcome.hint = builder.readable(
            outcome.reason, outcome.errors, outcome.warnings
        )
    return outcome


if __name__ == "__main__":
    builder.run_child = build_here
    sys.argv[1:1] = ["engine", "build"]
    code = main()
    sys.stdout.flush()
    os._exit(code)  # TensorRT's destructors need a GPU that may be gone
