"""Child processes of the readers: what may hang or crash, none of it outliving the run."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from cuready._util import one_line, parse_json

if TYPE_CHECKING:
    import subprocess

__all__ = ["Answer", "Ended", "call", "kill_all", "run", "watch"]

# Isolated: neither PYTHON* variables nor the working folder decide what the child imports.
_START = (
    "import sys, json; sys.path[:0] = json.loads(sys.argv[1]);"
    " from cuready.probe.child import main; main()"
)
_OUTPUT_LIMIT = 16 << 20
GRACE_S = 0.3

_live: set[subprocess.Popen[bytes]] = set()
_lock = threading.Lock()


@dataclass(frozen=True)
class Answer:
    """How a child ended. ``status``: ok, failed, timeout, crashed; ``document``: what it found."""

    status: str
    reason: str = ""
    document: Any = None


@dataclass(frozen=True)
class Ended:
    """How a process ended, and all that it wrote until then, also when its time was up."""

    code: int | None = None
    output: bytes = b""
    errors: bytes = b""
    reason: str = ""
    timed_out: bool = False


def call(
    job: str, argument: Any, *, limit_s: float, env: Mapping[str, str] | None = None
) -> Answer:
    """Run ``job`` of :mod:`cuready.probe.child` in a process of its own, at most ``limit_s``."""
    command = [sys.executable, "-I", "-c", _START, json.dumps(_import_path()), job]
    ended = run(command, json.dumps(argument).encode(), limit_s=limit_s, env=env)
    if ended.timed_out:
        return Answer("timeout", ended.reason)
    if ended.code is None:
        return Answer("failed", ended.reason)
    return _answer(ended.code, ended.output, ended.errors)


def run(
    command: list[str], data: bytes, *, limit_s: float, env: Mapping[str, str] | None = None
) -> Ended:
    """Run ``command`` with ``data`` on stdin, and end it with all that it started."""
    import subprocess

    child = _start(command, env)
    if isinstance(child, Ended):
        return child
    try:
        out, err = child.communicate(data, timeout=limit_s)
    except subprocess.TimeoutExpired as late:
        reason = f"no answer within {limit_s:.1f} s"
        return Ended(output=late.stdout or b"", reason=reason, timed_out=True)
    finally:
        _kill(child)
    return Ended(child.returncode, out, err)


def watch(
    command: list[str],
    data: bytes,
    tell: Callable[[bytes], None],
    *,
    limit_s: float,
    env: Mapping[str, str] | None = None,
) -> Ended:
    """Like :func:`run`, and ``tell`` gets each line of stdout as soon as it is there."""
    import subprocess

    child = _start(command, env)
    if isinstance(child, Ended):
        return child
    errors: list[bytes] = []

    def read(out: IO[bytes]) -> None:
        while line := out.readline(_OUTPUT_LIMIT):
            tell(line)

    def drain(err: IO[bytes]) -> None:
        while piece := os.read(err.fileno(), 1 << 16):
            errors[:] = [*errors[-1:], piece]  # the end says why

    pipes = ((read, child.stdout), (drain, child.stderr))
    readers = [threading.Thread(target=work, args=(x,), daemon=True) for work, x in pipes]
    for reader in readers:
        reader.start()
    reason = ""
    try:
        with contextlib.suppress(OSError):  # it may have ended before it read anything
            if child.stdin is not None:
                child.stdin.write(data)
                child.stdin.close()
        child.wait(limit_s)
    except subprocess.TimeoutExpired:
        reason = f"no answer within {limit_s:.1f} s"
    finally:
        _kill(child)
    for reader in readers:
        reader.join(GRACE_S)  # whoever inherited its pipes is not waited for
    return Ended(child.returncode, b"", b"".join(errors), reason, bool(reason))


def _start(command: list[str], env: Mapping[str, str] | None) -> subprocess.Popen[bytes] | Ended:
    """A child in a process group of its own, which is killed with all that it starts."""
    import subprocess  # not at the top: most machines need no child, and it costs a start

    try:
        child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=env,
            start_new_session=os.name == "posix",
        )
    except OSError as error:
        return Ended(reason=f"cannot start a child process: {error}")
    with _lock:
        _live.add(child)
    return child


def _import_path() -> list[str]:
    """Where cuready and its dependencies come from here; a tool's own paths, not the user's."""
    own = str(Path(__file__).resolve().parents[2])
    sites = [entry for entry in sys.path if entry.endswith(("site-packages", "dist-packages"))]
    return list(dict.fromkeys([own, *sites]))


def _answer(code: int, out: bytes, err: bytes) -> Answer:
    lines = err[-4000:].decode("utf-8", "replace").strip().splitlines()
    said = one_line(lines[-1] if lines else "", 200)  # of a traceback, the line that says it
    if code < 0:
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        return Answer("crashed", f"ended by {name}" + (f": {said}" if said else ""))
    if len(out) > _OUTPUT_LIMIT:
        return Answer("failed", f"its answer is longer than {_OUTPUT_LIMIT >> 20} MiB")
    try:
        return Answer("ok", document=parse_json(out))
    except ValueError:
        return Answer("crashed", f"ended with {code} and no answer" + (f": {said}" if said else ""))


def kill_all() -> None:
    """End every child that is still there: the run is over, or was interrupted."""
    with _lock:
        children = list(_live)
    for child in children:
        _kill(child)


def _kill(child: subprocess.Popen[bytes]) -> None:
    """Kill the child's process group. One that hangs in the kernel is not waited for."""
    import subprocess

    with _lock:
        _live.discard(child)
    if child.poll() is not None:
        return
    try:
        if os.name == "posix":
            os.killpg(child.pid, signal.SIGKILL)
        else:
            child.kill()
        child.wait(GRACE_S)
    except (OSError, subprocess.TimeoutExpired):
        pass
