"""An ASGI application without an engine: what the HTTP server costs. See benchmarks/asgi.py."""

from __future__ import annotations

from typing import Any

ANSWER = bytes(40)
HEADERS = [(b"content-type", b"application/octet-stream"), (b"content-length", b"40")]


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Reads the whole body, answers 40 bytes."""
    if scope["type"] == "lifespan":
        for state in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{state}.complete"})
        return
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": ANSWER})
