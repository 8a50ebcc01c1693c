"""The rungs below HTTP: name, proxy, TCP, TLS; each answers with what it saw, or with the cause."""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from cuready._util import one_line
from cuready.mirrors.net.causes import Cause
from cuready.mirrors.net.certificate import read_certificate
from cuready.mirrors.net.classify import cause_of_tls
from cuready.mirrors.net.dates import from_http_date
from cuready.mirrors.net.trust import proxy_for, ssl_context

__all__ = ["Climb", "Rung", "Stop", "climb_to_tls"]

_CLOCK_TOLERANCE = 3600.0  # seconds; certificates of a day's life still work with less


@dataclass(frozen=True)
class Rung:
    """One step. ``ok`` is None when the step does not apply here."""

    name: str
    ok: bool | None
    detail: str
    evidence: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """For JSON output."""
        return {**vars(self), "seconds": round(self.seconds, 3)}


class Stop(Exception):  # noqa: N818 - a signal inside: this rung does not hold
    """A rung failed for ``cause``."""

    def __init__(self, cause: Cause, detail: str, **evidence: Any) -> None:
        super().__init__(detail)
        self.cause = cause
        self.detail = detail
        self.evidence = evidence


class Climb:
    """The state of one climb: where to, how much time is left, and the rungs so far."""

    def __init__(
        self, url: str, seconds: float, step_seconds: float, context: ssl.SSLContext | None = None
    ) -> None:
        self.url = url
        self.parts: SplitResult = urlsplit(url)
        self.host = self.parts.hostname or ""
        self.port = self.parts.port or (443 if self.parts.scheme == "https" else 80)
        self.proxy = proxy_for(url)
        self.rungs: list[Rung] = []
        self.context = context or ssl_context()
        self._deadline = time.monotonic() + seconds
        self._step = step_seconds

    def left(self) -> float:
        """Seconds for the next step; at least a tenth, so that a step can fail by itself."""
        return max(0.1, min(self._step, self._deadline - time.monotonic()))

    def step(self, name: str, action: Callable[[], Rung]) -> None:
        """Do one rung and keep what it says; Stop passes through with the failed rung kept."""
        began = time.monotonic()
        try:
            rung = action()
        except Stop as stop:
            passed = time.monotonic() - began
            self.rungs.append(Rung(name, False, stop.detail, stop.evidence, passed))
            raise
        self.rungs.append(Rung(name, rung.ok, rung.detail, rung.evidence, time.monotonic() - began))


def climb_to_tls(climb: Climb) -> None:
    """DNS, proxy, TCP, TLS in this order; raises Stop at the first that does not hold."""
    proxy = urlsplit(climb.proxy) if climb.proxy else None
    if proxy is None:
        climb.step("proxy", lambda: Rung("proxy", None, "no proxy is set for this URL"))
        climb.step("dns", lambda: _dns(climb, climb.host, climb.port, Cause.DNS))
        climb.step("tcp", lambda: _tcp(climb, climb.host, climb.port))
    else:
        climb.step("proxy", lambda: _proxy(climb, proxy))
        through = Rung("dns", None, "the proxy resolves the name and connects")
        climb.step("dns", lambda: through)
        climb.step("tcp", lambda: through)
    if climb.parts.scheme != "https":
        climb.step("tls", lambda: Rung("tls", None, "not an https URL"))
    elif proxy is not None and proxy.scheme.startswith("socks"):
        climb.step("tls", lambda: Rung("tls", None, "through SOCKS: tested with the HTTP rung"))
    else:
        climb.step("tls", lambda: _tls(climb))


# --- DNS ------------------------------------------------------------------------------------------


def _dns(climb: Climb, host: str, port: int, cause: Cause) -> Rung:
    addresses = _resolve(climb, host, port, cause)
    shown = sorted({str(info[4][0]) for info in addresses})
    return Rung("dns", True, f"{host} is {', '.join(shown)}", {"addresses": shown})


def _resolve(climb: Climb, host: str, port: int, cause: Cause) -> list[Any]:
    """getaddrinfo in a thread, because it knows no time limit."""
    import threading

    answer: list[Any] = []

    def ask() -> None:
        try:
            answer.append(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            answer.append(error)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    limit = climb.left()
    thread.join(limit)
    if not answer:
        raise Stop(cause, f"{host} did not resolve within {limit:.1f} s", host=host)
    if isinstance(answer[0], Exception):
        raise Stop(cause, f"{host} does not resolve: {one_line(answer[0])}", host=host)
    return list(answer[0])


# --- TCP ------------------------------------------------------------------------------------------


def _tcp(climb: Climb, host: str, port: int) -> Rung:
    sock = _connect(climb, host, port)
    peer = sock.getpeername()
    sock.close()
    return Rung(
        "tcp", True, f"connected to {peer[0]} port {peer[1]}", {"peer": f"{peer[0]}:{peer[1]}"}
    )


def _connect(climb: Climb, host: str, port: int) -> socket.socket:
    """A connected socket; Stop with refused, timeout or unreachable."""
    limit = climb.left()
    try:
        return socket.create_connection((host, port), timeout=limit)
    except TimeoutError:
        raise Stop(
            Cause.CONNECT_TIMEOUT, f"{host} port {port} did not answer within {limit:.1f} s"
        ) from None
    except ConnectionRefusedError:
        raise Stop(Cause.CONNECT_REFUSED, f"{host} port {port} refused the connection") from None
    except socket.gaierror as error:
        raise Stop(Cause.DNS, f"{host} does not resolve: {one_line(error)}") from None
    except (OSError, UnicodeError) as error:
        said = f"{host} port {port} cannot be reached: {one_line(error)}"
        raise Stop(Cause.NETWORK_UNREACHABLE, said) from None


# --- proxy ----------------------------------------------------------------------------------------


def _shown(proxy: SplitResult) -> str:
    """The proxy without its password."""
    return f"{proxy.scheme}://{proxy.hostname}:{_proxy_port(proxy)}"


def _proxy_port(proxy: SplitResult) -> int:
    defaults = {"https": 443, "socks5": 1080, "socks5h": 1080, "socks4": 1080}
    return proxy.port or defaults.get(proxy.scheme, 80)


def _proxy(climb: Climb, proxy: SplitResult) -> Rung:
    evidence: dict[str, Any] = {"proxy": _shown(proxy)}
    sock = _open_proxy(climb, proxy)
    sock.close()
    return Rung("proxy", True, f"{_shown(proxy)} accepts connections", evidence)


def _open_proxy(climb: Climb, proxy: SplitResult) -> socket.socket:
    """A socket to the proxy itself, in TLS when its scheme says so."""
    host, port, shown = proxy.hostname or "", _proxy_port(proxy), _shown(proxy)
    try:
        sock = _connect(climb, host, port)
    except Stop as stop:
        raise Stop(
            Cause.PROXY_UNREACHABLE,
            f"{shown}: {stop.detail}",
            proxy=shown,
            beneath=stop.cause.value,
        ) from None
    if proxy.scheme != "https":
        return sock
    try:
        return climb.context.wrap_socket(sock, server_hostname=host)
    except ssl.SSLError as error:
        sock.close()
        cause = Cause.PROXY_SCHEME if cause_of_tls(error) is Cause.TLS_NOT_TLS else Cause.TLS_FAILED
        raise Stop(cause, f"{shown}: {one_line(error)}", proxy=shown) from None
    except OSError as error:
        sock.close()
        raise Stop(
            Cause.PROXY_SCHEME, f"{shown}: no TLS there: {one_line(error)}", proxy=shown
        ) from None


def _tunnel(climb: Climb, proxy: SplitResult) -> socket.socket:
    """A socket to the target through the proxy's CONNECT (RFC 9110, 9.3.6)."""
    import base64

    sock = _open_proxy(climb, proxy)
    target = f"{climb.host}:{climb.port}"
    lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
    if proxy.username:
        pair = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
        lines.append("Proxy-Authorization: Basic " + base64.b64encode(pair.encode()).decode())
    try:
        sock.sendall(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace"))
        answer = http.client.HTTPResponse(sock, method="CONNECT")
        answer.begin()
    except (OSError, http.client.HTTPException) as error:
        sock.close()
        raise Stop(
            Cause.PROXY_REFUSED, f"{_shown(proxy)} gave no answer: {one_line(error)}"
        ) from None
    if answer.status != 200:
        sock.close()
        cause = Cause.PROXY_AUTH if answer.status == 407 else Cause.PROXY_REFUSED
        raise Stop(
            cause,
            f"{_shown(proxy)} said HTTP {answer.status} to CONNECT {target}",
            status=answer.status,
        )
    return sock


# --- TLS ------------------------------------------------------------------------------------------


def _path_to_host(climb: Climb) -> socket.socket:
    if climb.proxy:
        return _tunnel(climb, urlsplit(climb.proxy))
    return _connect(climb, climb.host, climb.port)


def _tls(climb: Climb) -> Rung:
    with contextlib.closing(_path_to_host(climb)) as sock:
        sock.settimeout(climb.left())
        try:
            with climb.context.wrap_socket(sock, server_hostname=climb.host) as tls:
                return Rung(
                    "tls", True, f"{tls.version()}, certificate trusted", {"version": tls.version()}
                )
        except ssl.SSLCertVerificationError as error:
            refused = error
        except ssl.SSLError as error:
            cause = cause_of_tls(error)
            raise Stop(cause, f"{climb.host} port {climb.port}: {one_line(error)}") from None
        except TimeoutError:
            raise Stop(Cause.NO_RESPONSE, "no answer to the TLS greeting") from None
        except OSError as error:
            raise Stop(Cause.TLS_FAILED, f"cut during the handshake: {one_line(error)}") from None
    raise _certificate_refused(climb, refused)


def _certificate_refused(climb: Climb, error: ssl.SSLCertVerificationError) -> Stop:
    """Look at the certificate without trusting it: whose is it, and is the clock at fault?"""
    cause = cause_of_tls(error)
    der, date = _look_without_trust(climb)
    facts = read_certificate(der) if der else None
    evidence: dict[str, Any] = {
        "verify_code": error.verify_code,
        "verify_message": error.verify_message,
    }
    said = error.verify_message
    if facts is not None:
        evidence["certificate"] = facts.to_dict()
        said += (
            f" (issuer {facts.issuer or '?'}, for {facts.subject or '?'}, "
            f"valid {facts.not_before:%Y-%m-%d} to {facts.not_after:%Y-%m-%d})"
        )
    if cause in (Cause.TLS_EXPIRED, Cause.TLS_NOT_YET_VALID) and date is not None:
        skew = (datetime.now(timezone.utc) - date).total_seconds()
        evidence["clock_skew_seconds"] = round(skew)
        inside = facts is None or facts.not_before <= date <= facts.not_after
        if abs(skew) > _CLOCK_TOLERANCE and inside:
            way = "ahead of" if skew > 0 else "behind"
            said += f"; this clock is {abs(skew) / 3600:.1f} h {way} the server's"
            cause = Cause.CLOCK_SKEW
    return Stop(cause, said, **evidence)


def _look_without_trust(climb: Climb) -> tuple[bytes | None, datetime | None]:
    """(the certificate, the server's clock). Nothing else of this connection is used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    der: bytes | None = None
    try:
        with contextlib.closing(_path_to_host(climb)) as sock:
            sock.settimeout(climb.left())
            with context.wrap_socket(sock, server_hostname=climb.host) as tls:
                der = tls.getpeercert(binary_form=True)
                tls.sendall(
                    f"HEAD / HTTP/1.1\r\nHost: {climb.host}\r\nConnection: close\r\n\r\n".encode()
                )
                answer = http.client.HTTPResponse(tls, method="HEAD")
                answer.begin()
                return der, from_http_date(answer.getheader("Date") or "")
    except (Stop, OSError, http.client.HTTPException, TypeError, ValueError, UnicodeError):
        return der, None
