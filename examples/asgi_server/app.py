"""Serves one TensorRT plan over HTTP as a plain ASGI application: no framework, one thread.

    pip install 'cuready[runtime]' 'uvicorn[standard]'
    CUREADY_PLAN=model.plan uvicorn app:app        # or: granian --interface asgi app:app

``POST /infer`` takes the bytes of the engine's input in C order and answers with those of its
output; an input whose first extent is dynamic takes as many rows as the bytes hold. ``GET /stats``
says what the pool has done. The engine must have one input and one output.
"""

from __future__ import annotations

import asyncio
import gc
import json
import math
import os
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np

import cuready.runtime as rt
from cuready.errors import CureadyError, ShapeError

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

MAX_WAITING = 1024  # requests beyond this are told to come back later
CONTEXTS = 2


class RequestError(Exception):
    """A request that is answered with an error."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Model:
    """An engine with one input and one output, behind a pool."""

    def __init__(self, plan: str) -> None:
        engine = rt.Runtime().load(plan)
        if len(engine.inputs) != 1 or len(engine.outputs) != 1:
            raise ValueError(
                f"{plan}: this server takes engines with one input and one output, not "
                f"{list(engine.inputs)} and {list(engine.outputs)}"
            )
        (self.input,) = engine.inputs.values()
        (self.output,) = engine.outputs.values()
        self.dtype = np.dtype(self.input.dtype)
        self.is_open = -1 in self.input.shape
        profiles = self.input.profiles
        self.largest: tuple[int, ...] = profiles[-1][2] if profiles else self.input.shape
        self.max_bytes = math.prod(self.largest) * self.dtype.itemsize
        self.row_bytes = math.prod(self.largest[1:]) * self.dtype.itemsize
        # submit() would block the event loop while the queue is full: `waiting` keeps it from
        # ever being so.
        self.pool = engine.create_pool(CONTEXTS, max_pending=MAX_WAITING, spin=False)
        self.waiting = 0

    def array(self, body: bytes | bytearray) -> np.ndarray:
        """The request's bytes as the input array, not copied."""
        if self.is_open:
            rows, rest = divmod(len(body), self.row_bytes)
            if rest or not rows:
                raise RequestError(
                    400, f"{len(body)} bytes are not a whole number of rows of {self.row_bytes}"
                )
            shape = (rows, *self.largest[1:])
        elif len(body) == self.max_bytes:
            shape = self.largest
        else:
            raise RequestError(400, f"{len(body)} bytes, but the input has {self.max_bytes}")
        return np.frombuffer(body, self.dtype).reshape(shape)

    async def infer(self, body: bytes | bytearray) -> bytes:
        array = self.array(body)
        if self.waiting >= MAX_WAITING:
            raise RequestError(503, "too many requests are waiting")
        self.waiting += 1
        try:
            result = await self.pool.submit({self.input.name: array})
        except ShapeError as error:
            raise RequestError(400, str(error)) from error
        finally:
            self.waiting -= 1
        answer: bytes = result[self.output.name].tobytes()
        return answer


class App:
    """The ASGI application. The model is loaded when the server starts, not on import."""

    def __init__(self) -> None:
        self.model: Model | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.live(receive, send)
        elif scope["type"] == "http":
            try:
                status, kind, body = await self.answer(scope, receive)
            except RequestError as error:
                status, kind, body = error.status, b"text/plain; charset=utf-8", str(error).encode()
            except CureadyError as error:  # the engine's fault, not the client's
                status, kind, body = 500, b"text/plain; charset=utf-8", str(error).encode()
            length = str(len(body)).encode()
            headers = [(b"content-type", kind), (b"content-length", length)]
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": body})

    async def live(self, receive: Receive, send: Send) -> None:
        await receive()  # lifespan.startup
        try:
            # In a thread: loading takes seconds, and the loop has signals to answer.
            self.model = await asyncio.to_thread(Model, os.environ["CUREADY_PLAN"])
        except KeyError:
            message = "CUREADY_PLAN is not set: it names the plan to serve"
            await send({"type": "lifespan.startup.failed", "message": message})
            return
        except (CureadyError, ValueError) as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        gc.collect()
        gc.freeze()  # what is loaded stays: no collection has to walk over it in a request's time
        await send({"type": "lifespan.startup.complete"})
        await receive()  # lifespan.shutdown
        await asyncio.to_thread(self.model.pool.close)
        await send({"type": "lifespan.shutdown.complete"})

    async def answer(self, scope: Scope, receive: Receive) -> tuple[int, bytes, bytes]:
        assert self.model is not None, "the server has not sent lifespan.startup"
        route = (scope["method"], scope["path"])
        if route == ("POST", "/infer"):
            body = await read_body(receive, self.model.max_bytes)
            return 200, b"application/octet-stream", await self.model.infer(body)
        if route == ("GET", "/stats"):
            return 200, b"application/json", json.dumps(self.model.pool.stats).encode()
        raise RequestError(404, "there is POST /infer and GET /stats")


async def read_body(receive: Receive, limit: int) -> bytes | bytearray:
    """The whole body, unless it is longer than the engine's largest input."""
    body: bytes | bytearray = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise RequestError(400, "the client went away")
        part: bytes = message.get("body", b"")
        if len(body) + len(part) > limit:
            raise RequestError(413, f"the engine takes at most {limit} bytes")
        if not body:
            body = part  # most requests come in one piece, which is not copied
        elif isinstance(body, bytearray):
            body += part
        else:
            body = bytearray(body) + part
        if not message.get("more_body"):
            return body


app = App()
