"""The engine's process: ``main`` serves one JSON object a line each way.

In:  ``{"id": 1, "op": "solve", "args": {…}}``
Out: ``{"id": 1, "event": {…}}`` any number of times, then ``{"id": 1, "result": …}`` or
``{"id": 1, "error": {"kind": …, "message": …, "lines": […]}}``.

It ends when its stdin does, at once and also in the middle of an operation, so that it cannot
outlive cuready. It ends by ``os._exit``: py-rattler 0.28 can crash while the interpreter is torn
down, with the work long done.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable, Coroutine
from types import ModuleType
from typing import Any

__all__ = ["main"]


class _Wire:
    """What used to be stdout. Several threads write to it: the reporter's and the main one."""

    def __init__(self) -> None:
        self._stream = os.fdopen(os.dup(1), "w", encoding="utf-8", newline="\n")
        os.dup2(2, 1)  # whatever a library prints must not come between our lines
        self._lock = threading.Lock()

    def send(self, message: dict[str, Any]) -> None:
        line = json.dumps(message, ensure_ascii=True, separators=(",", ":"))
        with self._lock:
            self._stream.write(line + "\n")
            self._stream.flush()


def main() -> None:
    """Serve until stdin ends."""
    gc.disable()  # a short life with few cycles: the collector would only lengthen the start
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the group; cuready ends us
    wire = _Wire()
    requests: queue.Queue[dict[str, Any] | None] = queue.Queue()
    busy = threading.Event()
    threading.Thread(target=_read, args=(requests, busy), daemon=True).start()
    _asyncio()
    from cuready.env.conda import operations  # while the first request is on its way

    while (request := requests.get()) is not None:
        busy.set()
        wire.send({"id": request["id"], **_serve(operations, request, wire)})
        busy.clear()
        operations.get_ready(request["op"], request["args"])
    sys.stderr.flush()
    os._exit(0)


def _asyncio() -> ModuleType:
    """asyncio without OpenSSL, which it loads when it can: rattler brings its own TLS."""
    if "asyncio" not in sys.modules:
        sys.modules["ssl"] = None  # type: ignore[assignment]
        importlib.import_module("asyncio")
        del sys.modules["ssl"]
    return sys.modules["asyncio"]


def _read(requests: queue.Queue[dict[str, Any] | None], busy: threading.Event) -> None:
    for line in sys.stdin.buffer:
        requests.put(json.loads(line))
    if busy.is_set():
        os._exit(1)
    requests.put(None)


def _serve(operations: ModuleType, request: dict[str, Any], wire: _Wire) -> dict[str, Any]:
    def tell(event: dict[str, Any]) -> None:
        wire.send({"id": request["id"], "event": event})

    operation: Callable[..., Coroutine[Any, Any, Any]] = operations.OPERATIONS[request["op"]]
    extra = {"tell": tell} if request["op"] in operations.TELLING else {}
    try:
        return {"result": _asyncio().run(operation(**request["args"], **extra))}
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a Rust panic is a BaseException
        described: dict[str, Any] = operations.describe(error)
        return {"error": described}
