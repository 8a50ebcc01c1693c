"""Mirrors that misbehave, on 127.0.0.1 and a free port each: a library for tests.

    with MirrorFarm() as farm:
        bad = farm.add(Captive())
        good = farm.add(Good(files))
        bad.url("pkg-1.0.conda")

Each behaviour is a class with one method; ``Mirror.log`` holds every request and ``Mirror.sent``
the body bytes that left the server, so that a test can count what a retry cost. Nothing here sleeps
to synchronise: a server that hangs waits for an event that the farm sets on exit.
"""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import trustme

LOGIN_PAGE = b"""<!DOCTYPE html><html><head><title>Campus login</title></head>
<body><form method="post"><input type="password"></form></body></html>"""


@dataclass
class Exchange:
    """One request as the server saw it."""

    method: str
    path: str
    headers: dict[str, str]
    sent: int = 0


class Handler(BaseHTTPRequestHandler):
    """Hands each request to the mirror's behaviour."""

    protocol_version = "HTTP/1.1"
    server: _Server
    timeout = 30

    def log_message(self, *args: Any) -> None:
        return

    def _serve(self) -> None:
        mirror = self.server.mirror
        exchange = Exchange(
            self.command, self.path, {k.lower(): v for k, v in self.headers.items()}
        )
        mirror.log.append(exchange)
        with contextlib.suppress(OSError):
            mirror.behaviour.answer(self, exchange)

    do_GET = do_HEAD = _serve

    # --- what behaviours are made of ---------------------------------------------------------

    def reply(self, status: int, body: bytes = b"", **headers: str) -> None:
        """A whole, honest answer."""
        self.head(status, len(body), **headers)
        self.body(body)

    def head(self, status: int, length: int | None, **headers: str) -> None:
        """Status line and headers; names are written with ``_`` for ``-``."""
        self.send_response(status)
        if length is not None:
            self.send_header("Content-Length", str(length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def body(self, data: bytes) -> None:
        """Send body bytes and count them."""
        if self.command == "HEAD":
            return
        for start in range(0, len(data), 64 * 1024):
            chunk = data[start : start + 64 * 1024]
            self.wfile.write(chunk)
            self.server.mirror.log_sent(len(chunk))

    def wanted(self, data: bytes, *, ranges: bool = True) -> tuple[int, bytes, dict[str, str]]:
        """(status, body, headers) for ``data`` under the request's Range."""
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if not ranges or match is None:
            return 200, data, {}
        start = int(match[1])
        if start >= len(data):
            return 416, b"", {"Content_Range": f"bytes */{len(data)}"}
        end = min(int(match[2] or len(data) - 1), len(data) - 1)
        return 206, data[start : end + 1], {"Content_Range": f"bytes {start}-{end}/{len(data)}"}

    def cut(self) -> None:
        """Reset the connection (RST, not FIN)."""
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    def hang_up(self) -> None:
        """Close in the middle (FIN)."""
        self.wfile.flush()
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.partition("?")[0].rpartition("/")[2]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, mirror: Mirror, context: ssl.SSLContext | None) -> None:
        self.mirror = mirror
        self._context = context
        super().__init__(("127.0.0.1", 0), Handler)

    def get_request(self) -> tuple[socket.socket, Any]:
        sock, address = super().get_request()
        if self._context is not None:
            sock.settimeout(10)
            sock = self._context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        return sock, address

    def handle_error(self, request: Any, client_address: Any) -> None:
        return  # clients that leave, and handshakes that fail, are what the tests are about


# --- behaviours -------------------------------------------------------------------------------


class Behaviour:
    """Base: knows the files, and answers metadata honestly."""

    def __init__(self, files: dict[str, bytes] | None = None) -> None:
        self.files = dict(files or {})
        self.released = threading.Event()

    def answer(self, handler: Handler, exchange: Exchange) -> None:
        data = self.files.get(handler.name)
        if data is None:
            handler.reply(404, b"not here")
            return
        self.give(handler, data)

    def give(self, handler: Handler, data: bytes) -> None:
        status, body, headers = handler.wanted(data)
        handler.reply(status, body, Content_Type="application/octet-stream", **headers)


class Good(Behaviour):
    """Answers rightly, with ranges and, when asked to, an ETag that If-Range is compared with."""

    def __init__(self, files: dict[str, bytes] | None = None, *, etag: str = "") -> None:
        super().__init__(files)
        self.etag = etag

    def give(self, handler: Handler, data: bytes) -> None:
        condition = handler.headers.get("If-Range")
        ranges = condition is None or condition == self.etag
        status, body, headers = handler.wanted(data, ranges=ranges)
        if self.etag:
            headers["ETag"] = self.etag
        handler.reply(status, body, Content_Type="application/octet-stream", **headers)


class NoRanges(Behaviour):
    """Always sends the whole file, as Python's own http.server does."""

    def give(self, handler: Handler, data: bytes) -> None:
        handler.reply(200, data)


class Status(Behaviour):
    """One status for everything: 404, 403, 500, 429…"""

    def __init__(self, status: int, **headers: str) -> None:
        super().__init__()
        self.status, self.headers = status, headers

    def answer(self, handler: Handler, exchange: Exchange) -> None:
        handler.reply(self.status, b"no", **self.headers)


class FlakyStatus(Good):
    """A status the first ``times`` times, then good."""

    def __init__(self, files: dict[str, bytes], status: int, times: int) -> None:
        super().__init__(files)
        self.status, self.left = status, times

    def answer(self, handler: Handler, exchange: Exchange) -> None:
        if self.left:
            self.left -= 1
            handler.reply(self.status, b"busy")
            return
        super().answer(handler, exchange)


class RefusesAgent(Good):
    """A firewall: 403 to every User-Agent that ``pattern`` finds."""

    def __init__(self, files: dict[str, bytes], pattern: str) -> None:
        super().__init__(files)
        self.pattern = re.compile(pattern)

    def answer(self, handler: Handler, exchange: Exchange) -> None:
        if self.pattern.search(exchange.headers.get("user-agent", "")):
            handler.reply(403, b"Forbidden")
            return
        super().answer(handler, exchange)


class Captive(Behaviour):
    """A network's login page for everything, with status 200."""

    def __init__(self, content_type: str = "text/html; charset=utf-8") -> None:
        super().__init__()
        self.content_type = content_type

    def answer(self, handler: Handler, exchange: Exchange) -> None:
        handler.reply(200, LOGIN_PAGE, Content_Type=self.content_type)


class MissingPackage(Good):
    """The index is there, the packages are not."""

    def answer(self, handler: Handler, exchange: Exchange) -> None:
        if handler.name.endswith((".json", ".zst")) or handler.path.endswith("/"):
            handler.reply(200, b'{"packages": {}}', Content_Type="application/json")
            return
        handler.reply(404, b"not here")


class WrongBytes(Good):
    """Same length and first bytes, one other byte at ``position`` (negative: from the end)."""

    def __init__(self, files: dict[str, bytes], position: int = -1) -> None:
        changed = {}
        for name, data in files.items():
            copy = bytearray(data)
            if len(copy) > abs(position):
                copy[position] ^= 0xFF
            changed[name] = bytes(copy)
        super().__init__(changed)


class Truncated(Behaviour):
    """Promises everything and closes when half of the file is out; never gives the second half."""

    def give(self, handler: Handler, data: bytes) -> None:
        status, body, headers = handler.wanted(data)
        handler.head(status, len(body), **headers)
        handler.body(body[: max(0, len(body) - (len(data) - len(data) // 2))])
        self.leave(handler)

    def leave(self, handler: Handler) -> None:
        handler.hang_up()


class Reset(Truncated):
    """As ``Truncated``, but with a TCP reset."""

    def leave(self, handler: Handler) -> None:
        handler.cut()


class TruncatedClean(Behaviour):
    """Holds only the first half, and says so honestly."""

    def give(self, handler: Handler, data: bytes) -> None:
        status, body, headers = handler.wanted(data[: len(data) // 2])
        handler.reply(status, body, **headers)


class BreaksOften(Behaviour):
    """Closes after half of what was asked for, the first ``times`` times."""

    def __init__(self, files: dict[str, bytes], times: int) -> None:
        super().__init__(files)
        self.left = times

    def give(self, handler: Handler, data: bytes) -> None:
        status, body, headers = handler.wanted(data)
        handler.head(status, len(body), **headers)
        if not self.left:
            handler.body(body)
            return
        self.left -= 1
        handler.body(body[: len(body) // 2])
        handler.hang_up()


class Trickle(Behaviour):
    """``rate`` bytes a second, in small pieces."""

    def __init__(self, files: dict[str, bytes], rate: int = 10_000, tick: float = 0.05) -> None:
        super().__init__(files)
        self.piece, self.tick = max(1, int(rate * tick)), tick

    def give(self, handler: Handler, data: bytes) -> None:
        status, body, headers = handler.wanted(data)
        handler.head(status, len(body), **headers)
        for start in range(0, len(body), self.piece):
            handler.body(body[start : start + self.piece])
            if self.released.wait(self.tick):
                return


class Stall(Behaviour):
    """Sends ``first`` bytes of the body, then nothing."""

    def __init__(self, files: dict[str, bytes], first: int = 1000) -> None:
        super().__init__(files)
        self.first = first
        self.stalled = threading.Event()

    def give(self, handler: Handler, data: bytes) -> None:
        status, body, headers = handler.wanted(data)
        handler.head(status, len(body), **headers)
        handler.body(body[: self.first])
        handler.wfile.flush()
        self.stalled.set()
        self.released.wait()


class RedirectLoop(Behaviour):
    """Sends the client back and forth between two paths."""

    def answer(self, handler: Handler, exchange: Exchange) -> None:
        there = handler.path.endswith("?again")
        handler.reply(302, Location=handler.path.partition("?")[0] + ("" if there else "?again"))


class RedirectTo(Behaviour):
    """Redirects every file to ``target`` (a URL ending in ``/``) with ``headers`` added."""

    def __init__(self, target: str, **headers: str) -> None:
        super().__init__()
        self.target, self.headers = target, headers

    def answer(self, handler: Handler, exchange: Exchange) -> None:
        handler.reply(302, Location=self.target + handler.name, **self.headers)


class Pages(Behaviour):
    """Fixed answers by path: (content type, body)."""

    def __init__(self, pages: dict[str, tuple[str, bytes]], date: str = "") -> None:
        super().__init__()
        self.pages, self.date = pages, date

    def answer(self, handler: Handler, exchange: Exchange) -> None:
        page = self.pages.get(handler.path.partition("?")[0])
        if page is None:
            handler.reply(404, b"not here")
            return
        status, body, headers = handler.wanted(page[1])
        handler.reply(status, body, Content_Type=page[0], **headers)


class Proxy(Behaviour):
    """A forward proxy that answers CONNECT and everything else with ``status``."""

    def __init__(self, status: int) -> None:
        super().__init__()
        self.status = status

    def answer(self, handler: Handler, exchange: Exchange) -> None:
        handler.reply(self.status, b"proxy")


class Tunnel(Behaviour):
    """A working proxy: every CONNECT leads to ``port`` on 127.0.0.1, whatever host it names."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self.port = port

    def answer(self, handler: Handler, exchange: Exchange) -> None:
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as there:
            handler.send_response_only(200)
            handler.end_headers()
            handler.wfile.flush()
            back = threading.Thread(
                target=_pump, args=(there, handler.connection), name="back", daemon=True
            )
            back.start()
            _pump(handler.connection, there)
            back.join(10)
        handler.close_connection = True


def _pump(source: socket.socket, sink: socket.socket) -> None:
    """Copy until ``source`` ends, then tell ``sink``."""
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


Handler.do_CONNECT = Handler._serve  # type: ignore[attr-defined]


# --- mirrors ----------------------------------------------------------------------------------


@dataclass
class Mirror:
    """A running server."""

    behaviour: Behaviour
    scheme: str = "http"
    port: int = 0
    log: list[Exchange] = field(default_factory=list)
    sent: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def log_sent(self, count: int) -> None:
        with self._lock:
            self.sent += count

    @property
    def base(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    @property
    def name(self) -> str:
        return f"127.0.0.1:{self.port}"

    def url(self, name: str, folder: str = "conda-forge/noarch") -> str:
        return f"{self.base}/{folder}/{name}" if folder else f"{self.base}/{name}"

    def gets(self, name: str = "") -> list[Exchange]:
        """The GET requests, of one file name or of all."""
        return [e for e in self.log if e.method == "GET" and e.path.endswith(name)]


class MirrorFarm:
    """Starts mirrors and stops them all on exit."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self.authority = trustme.CA(organization_name="Loopback Test CA")

    def __enter__(self) -> MirrorFarm:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def add(self, behaviour: Behaviour, *, tls: ssl.SSLContext | None = None) -> Mirror:
        """A running mirror with this behaviour; over TLS with ``tls``."""
        mirror = Mirror(behaviour, "https" if tls else "http")
        server = _Server(mirror, tls)
        mirror.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()

        def stop() -> None:
            behaviour.released.set()
            server.shutdown()
            server.server_close()

        self._stack.callback(stop)
        return mirror

    def dead(self) -> Mirror:
        """A port where nothing listens."""
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            port = sock.getsockname()[1]
        return Mirror(Behaviour(), "http", port)

    def black_hole(self) -> Mirror:
        """A port that takes connections and never says a word."""
        sock = socket.socket()
        sock.bind(("127.0.0.1", 0))
        sock.listen(64)
        self._stack.callback(sock.close)
        return Mirror(Behaviour(), "http", sock.getsockname()[1])

    def plain_port_as_https(self) -> Mirror:
        """An HTTP server that is called with https://."""
        mirror = self.add(Good())
        mirror.scheme = "https"
        return mirror

    def trust(self) -> ssl.SSLContext:
        """A client context that trusts the farm's own authority and nothing else."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.authority.configure_trust(context)
        return context

    def server_context(
        self, *names: str, authority: trustme.CA | None = None, **kwargs: Any
    ) -> ssl.SSLContext:
        """A server context with a certificate for ``names`` (default 127.0.0.1)."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        issuer = authority or self.authority
        issuer.issue_cert(*(names or ("127.0.0.1",)), **kwargs).configure_cert(context)
        return context


def http_date(timestamp: float) -> str:
    """A timestamp as HTTP writes it."""
    return formatdate(timestamp, usegmt=True)


@contextlib.contextmanager
def mirrors(*behaviours: Behaviour) -> Iterator[list[Mirror]]:
    """Shorthand: plain mirrors for some behaviours."""
    with MirrorFarm() as farm:
        yield [farm.add(behaviour) for behaviour in behaviours]
