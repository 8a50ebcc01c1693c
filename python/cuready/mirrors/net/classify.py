"""From an exception or an HTTP status to a cause: by type and code, not by a message's text."""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Iterator

import httpx

from cuready._util import one_line
from cuready.mirrors.net.causes import Cause
from cuready.mirrors.net.trust import proxy_for

__all__ = ["cause_of_exception", "cause_of_status", "cause_of_tls"]

# X509_V_ERR_* in openssl/x509_vfy.h.in
_VERIFY_CODES = {
    9: Cause.TLS_NOT_YET_VALID,
    10: Cause.TLS_EXPIRED,
    62: Cause.TLS_HOSTNAME,
    64: Cause.TLS_HOSTNAME,  # IP address mismatch
}
# What OpenSSL says when the other side does not speak TLS; ssl.SSLError.reason is its symbol.
_NOT_TLS_REASONS = {
    "WRONG_VERSION_NUMBER",
    "HTTP_REQUEST",
    "HTTPS_PROXY_REQUEST",
    "UNKNOWN_PROTOCOL",
    "RECORD_LAYER_FAILURE",
    "PACKET_LENGTH_TOO_LONG",
}
_UNREACHABLE = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EADDRNOTAVAIL}
_RESET = {errno.ECONNRESET, errno.EPIPE, errno.ECONNABORTED}


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__


def cause_of_tls(error: ssl.SSLError) -> Cause:
    """The cause behind a failed handshake."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return _VERIFY_CODES.get(error.verify_code, Cause.TLS_UNTRUSTED)
    reason = getattr(error, "reason", None)  # OpenSSL's symbol; unset when Python itself raised
    return Cause.TLS_NOT_TLS if reason in _NOT_TLS_REASONS else Cause.TLS_FAILED


def _from_os_error(link: BaseException) -> Cause | None:
    if isinstance(link, ssl.SSLError) and not isinstance(link, ssl.SSLEOFError):
        return cause_of_tls(link)
    if isinstance(link, socket.gaierror):
        return Cause.DNS
    if isinstance(link, ConnectionRefusedError):
        return Cause.CONNECT_REFUSED
    if isinstance(link, OSError) and link.errno in _UNREACHABLE:
        return Cause.NETWORK_UNREACHABLE
    if isinstance(link, OSError) and link.errno in _RESET:
        return Cause.CONNECTION_RESET
    return None


def _from_httpx(error: httpx.HTTPError, in_body: bool) -> Cause:
    if isinstance(error, httpx.ConnectTimeout):
        return Cause.CONNECT_TIMEOUT
    if isinstance(error, httpx.TimeoutException):
        return Cause.STALLED if in_body else Cause.NO_RESPONSE
    if isinstance(error, httpx.RemoteProtocolError):
        # h11 says this when the connection closes inside a body (short of Content-Length) or
        # before any byte of an answer.
        return Cause.TRUNCATED if in_body else Cause.PROTOCOL_ERROR
    if isinstance(error, httpx.ConnectError):
        return Cause.TLS_FAILED if _tls_cut(error) else Cause.CONNECT_REFUSED
    return Cause.CONNECTION_RESET


def _tls_cut(error: BaseException) -> bool:
    return any(
        isinstance(link, (ssl.SSLEOFError, ssl.SSLZeroReturnError)) for link in _chain(error)
    )


def cause_of_exception(error: Exception, url: str, *, in_body: bool = False) -> tuple[Cause, str]:
    """(cause, what the library said) for an exception out of an httpx request for ``url``.

    ``in_body`` says that the headers had come already. Exceptions that are not the network's are
    raised again: a bug must not look like a bad mirror.
    """
    detail = one_line(error) or type(error).__name__
    if isinstance(error, (httpx.UnsupportedProtocol, httpx.InvalidURL)):
        return Cause.BAD_REDIRECT, detail
    if not isinstance(error, httpx.HTTPError):
        raise error
    proxy = proxy_for(url)
    if isinstance(error, httpx.ProxyError):
        code = detail.partition(" ")[0]
        return (Cause.PROXY_AUTH if code == "407" else Cause.PROXY_REFUSED), f"{proxy}: {detail}"
    cause = next(filter(None, map(_from_os_error, _chain(error))), None)
    cause = cause or _from_httpx(error, in_body)
    if proxy and isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout)):
        return _blame_proxy(cause, proxy, detail)
    return cause, detail


def _blame_proxy(cause: Cause, proxy: str, detail: str) -> tuple[Cause, str]:
    """With a proxy, TCP and DNS faults before any answer are the proxy's."""
    if cause in (Cause.TLS_NOT_TLS, Cause.TLS_FAILED) and proxy.startswith("https://"):
        return Cause.PROXY_SCHEME, f"{proxy}: {detail}"
    tcp = (Cause.CONNECT_REFUSED, Cause.CONNECT_TIMEOUT, Cause.DNS, Cause.NETWORK_UNREACHABLE)
    if cause in tcp:
        return Cause.PROXY_UNREACHABLE, f"{proxy}: {detail}"
    return cause, detail


def cause_of_status(status: int) -> Cause | None:
    """The cause of an HTTP status; None for those that carry the file."""
    exact = {
        401: Cause.HTTP_UNAUTHORIZED,
        403: Cause.HTTP_FORBIDDEN,
        404: Cause.HTTP_NOT_FOUND,
        407: Cause.PROXY_AUTH,
        408: Cause.NO_RESPONSE,
        410: Cause.HTTP_NOT_FOUND,
        429: Cause.HTTP_TOO_MANY,
    }
    if status in (200, 206):
        return None
    if status in exact:
        return exact[status]
    return Cause.HTTP_SERVER_ERROR if 500 <= status < 600 else Cause.HTTP_STATUS
