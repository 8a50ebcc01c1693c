"""The HTTP client under everything: httpx, with the environment's proxy and CA settings."""

from __future__ import annotations

import contextlib
import re
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx

from cuready._util import one_line
from cuready.errors import ConfigError
from cuready.mirrors.net.cancel import CancelToken
from cuready.mirrors.net.causes import Cause
from cuready.mirrors.net.classify import cause_of_exception
from cuready.mirrors.net.options import NetOptions
from cuready.mirrors.net.trust import ssl_context

__all__ = ["Failure", "HttpClient", "Reply"]

_LENGTH = re.compile(r"[0-9]{1,19}")  # a longer number is no size, and int() may refuse it


class Failure(Exception):  # noqa: N818 - a signal inside, always turned into an Attempt
    """A try failed for a known cause."""

    def __init__(
        self,
        cause: Cause,
        detail: str = "",
        *,
        status: int | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(f"{cause.value}: {detail}")
        self.cause = cause
        self.detail = detail
        self.status = status
        self.retry_after = retry_after


@dataclass(frozen=True)
class Reply:
    """The last answer of a chain of redirects, its body not read yet."""

    response: httpx.Response
    first: httpx.Response
    hops: int

    @property
    def status(self) -> int:
        """HTTP status of the last answer."""
        return self.response.status_code

    @property
    def content_length(self) -> int | None:
        """``Content-Length`` when it is a number and the body is not encoded."""
        value = self.response.headers.get("content-length", "")
        return int(value) if _LENGTH.fullmatch(value) else None


class HttpClient:
    """One connection pool; may be used from several threads. Use as a context manager.

    ``verify`` replaces the environment's CA settings (tests, and callers with a context of their
    own).
    """

    def __init__(self, options: NetOptions | None = None, *, verify: ssl.SSLContext | None = None):
        self.options = options or NetOptions()
        self.ssl_context = verify or ssl_context()
        try:
            self._client = self._make()
        except (ImportError, ValueError, httpx.InvalidURL) as error:
            raise ConfigError(
                f"a proxy in the environment cannot be used: {one_line(error)}",
                hint="write HTTP_PROXY, HTTPS_PROXY and ALL_PROXY as http://host:port",
            ) from error

    def _make(self) -> httpx.Client:
        return httpx.Client(
            verify=self.ssl_context,
            trust_env=True,
            follow_redirects=False,
            timeout=httpx.Timeout(self.options.stall_timeout, connect=self.options.connect_timeout),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=16),
            headers={
                "User-Agent": self.options.user_agent,
                "Accept": "*/*",
                # A length and a hash are those of the bytes on the wire.
                "Accept-Encoding": "identity",
            },
        )

    def __enter__(self) -> HttpClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection."""
        self._client.close()

    @contextlib.contextmanager
    def open(
        self,
        url: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        cancel: CancelToken | None = None,
        timeout: float | None = None,
    ) -> Iterator[Reply]:
        """Send a request, follow redirects, and yield the answer with its body unread.

        Raises Failure with the cause when no answer is had; HTTP errors are answers.
        """
        token = cancel or CancelToken()
        token.check()
        extra = {} if timeout is None else {"timeout": httpx.Timeout(timeout)}
        try:
            request = self._client.build_request(method, url, headers=dict(headers or {}), **extra)  # type: ignore[arg-type]
        except (httpx.InvalidURL, ValueError) as error:
            raise Failure(Cause.INVALID_URL, str(error)) from error
        reply = self._follow(request, token)
        try:
            with token.reading(reply.response.extensions.get("network_stream")):
                yield reply
        finally:
            reply.response.close()

    def _follow(self, request: httpx.Request, token: CancelToken) -> Reply:
        seen: list[str] = []
        first: httpx.Response | None = None
        while True:
            url = str(request.url)
            try:
                response = self._client.send(request, stream=True)
            except Exception as error:
                token.check()
                raise Failure(*cause_of_exception(error, url)) from error
            first = first or response
            if not response.has_redirect_location:
                return Reply(response, first, len(seen))
            response.close()
            token.check()
            seen.append(url)
            request = _next_request(response, seen, self.options.max_redirects)


def _next_request(response: httpx.Response, seen: list[str], limit: int) -> httpx.Request:
    following = response.next_request
    status = response.status_code
    if following is None:
        raise Failure(Cause.BAD_REDIRECT, f"HTTP {status} without a target", status=status)
    target = str(following.url)
    if urlsplit(target).scheme not in ("http", "https"):
        raise Failure(Cause.BAD_REDIRECT, f"to {target}", status=status)
    if target in seen or len(seen) >= limit:
        again = "again" if target in seen else f"after {limit} redirects"
        raise Failure(Cause.REDIRECT_LOOP, f"HTTP {status} to {target} {again}", status=status)
    return following
