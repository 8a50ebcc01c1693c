"""Sends requests to an inference server from many clients at once and says how long they took.

    python load.py http://127.0.0.1:8000/infer --bytes 16 --clients 200 --seconds 60

Each client keeps one connection. With ``--rate`` the requests of all clients together are sent on
a schedule, and a request's time counts from the moment it was due: a server that stalls is not
excused from the requests that it kept from being sent. Exit codes: 0 fine, 1 errors, 2 usage.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections import Counter
from urllib.parse import urlsplit


class Load:
    """What to send, and what came of it."""

    def __init__(self, url: str, body: bytes) -> None:
        parts = urlsplit(url)
        self.host, self.port = parts.hostname or "127.0.0.1", parts.port or 80
        head = (
            f"POST {parts.path or '/'} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
            f"Content-Type: application/octet-stream\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        self.request = head.encode() + body
        self.seconds: list[float] = []
        self.errors: Counter[str] = Counter()

    async def client(self, start: float, interval: float, end: float) -> None:
        """One connection until ``end``; ``interval`` 0: the next request follows the answer."""
        try:
            reader, writer = await asyncio.open_connection(self.host, self.port)
        except OSError as error:
            self.errors[f"connect: {error}"] += 1
            return
        due = start
        try:
            while (now := time.perf_counter()) < end and due < end:
                if interval and due > now:
                    await asyncio.sleep(due - now)
                began = due if interval else now
                writer.write(self.request)
                await self.read_answer(reader)
                self.seconds.append(time.perf_counter() - began)
                due += interval
        except (OSError, EOFError, ValueError) as error:
            self.errors[f"{type(error).__name__}: {error}"] += 1
        finally:
            writer.close()

    async def read_answer(self, reader: asyncio.StreamReader) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        status = int(head.split(" ", 2)[1])
        length = int(head.split("content-length:", 1)[1].split("\r\n", 1)[0])
        body = await reader.readexactly(length)
        if status != 200:
            raise ValueError(f"HTTP {status}: {body.decode(errors='replace')}")

    async def run(self, clients: int, seconds: float, rate: float) -> dict[str, object]:
        start = time.perf_counter() + 0.2  # all clients are connected by then
        interval = clients / rate if rate else 0.0
        # Clients start one after another inside the first interval, or all at once.
        offsets = [index * interval / clients for index in range(clients)]
        await asyncio.gather(
            *(self.client(start + offset, interval, start + seconds) for offset in offsets)
        )
        return self.report(clients, time.perf_counter() - start)

    def report(self, clients: int, seconds: float) -> dict[str, object]:
        times = sorted(self.seconds)

        def milliseconds(share: float) -> float | None:
            return round(1000 * times[int(share * (len(times) - 1))], 3) if times else None

        return {
            "clients": clients,
            "requests": len(times),
            "errors": dict(self.errors),
            "per_second": round(len(times) / seconds, 1),
            "p50_ms": milliseconds(0.50),
            "p99_ms": milliseconds(0.99),
            "max_ms": milliseconds(1.0),
        }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("url")
    parser.add_argument("--bytes", type=int, default=16, help="size of the body (zeros)")
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rate", type=float, default=0.0, help="requests a second; 0: no limit")
    options = parser.parse_args()
    load = Load(options.url, bytes(options.bytes))
    report = asyncio.run(load.run(options.clients, options.seconds, options.rate))
    print(json.dumps(report))
    return 0 if report["requests"] and not report["errors"] else 1


if __name__ == "__main__":
    sys.exit(main())
