"""Why a download failed: the closed list of causes, what each means, and what to do about it.

conda prints `HTTP 000 CONNECTION FAILED` for at least four of these and pip prints
`(from versions: none)` for six, so each cause also knows what those two would have said
(seen on loopback with conda 26.9, pip 26.3).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

__all__ = ["CAUSES", "OTHER_HOST", "OTHER_MIRROR", "Cause", "CauseInfo"]


class Cause(str, Enum):
    """A stable id that stands in text and JSON output."""

    INVALID_URL = "invalid-url"
    DNS = "dns-failure"
    PROXY_UNREACHABLE = "proxy-unreachable"
    PROXY_SCHEME = "proxy-scheme"
    PROXY_AUTH = "proxy-authentication"
    PROXY_REFUSED = "proxy-refused"
    CONNECT_REFUSED = "connect-refused"
    CONNECT_TIMEOUT = "connect-timeout"
    NETWORK_UNREACHABLE = "network-unreachable"
    TLS_NOT_TLS = "tls-not-tls"
    TLS_UNTRUSTED = "tls-untrusted"
    TLS_EXPIRED = "tls-expired"
    TLS_NOT_YET_VALID = "tls-not-yet-valid"
    TLS_HOSTNAME = "tls-hostname-mismatch"
    TLS_FAILED = "tls-failed"
    CLOCK_SKEW = "clock-skew"
    NO_RESPONSE = "no-response"
    CONNECTION_RESET = "connection-reset"
    TRUNCATED = "truncated"
    STALLED = "stalled"
    SLOW = "slow"
    HTTP_UNAUTHORIZED = "http-401"
    HTTP_FORBIDDEN = "http-403"
    HTTP_FORBIDDEN_USER_AGENT = "http-403-user-agent"
    HTTP_NOT_FOUND = "http-404"
    MISSING_FILE = "http-404-file"
    HTTP_TOO_MANY = "http-429"
    HTTP_SERVER_ERROR = "http-5xx"
    HTTP_STATUS = "http-status"
    REDIRECT_LOOP = "redirect-loop"
    BAD_REDIRECT = "bad-redirect"
    PROTOCOL_ERROR = "protocol-error"
    CAPTIVE_PORTAL = "captive-portal"
    WRONG_CONTENT = "wrong-content"
    EMPTY_INDEX = "empty-index"
    SIZE_MISMATCH = "size-mismatch"
    HASH_MISMATCH = "sha256-mismatch"
    CIRCUIT_OPEN = "circuit-open"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class CauseInfo:
    """What one cause means.

    Attributes:
        title: one line without a full stop.
        hint: what the reader can do.
        transient: the same mirror may answer rightly a moment later.
        mirror_at_fault: counts against the mirror as a whole, not only for this one file.
        transport: no HTTP answer was had, so the probe ladder can say more.
        conda_says, pip_says: what conda and pip print for it; empty when they do not fail.
    """

    title: str
    hint: str
    transient: bool = False
    mirror_at_fault: bool = True
    transport: bool = False
    conda_says: str = ""
    pip_says: str = "(from versions: none)"


_HTTP_000 = "CondaHTTPError: HTTP 000 CONNECTION FAILED"
_SSL = "CondaSSLError: Encountered an SSL error"
OTHER_HOST = "name another host with the same paths: --mirror URL"
OTHER_MIRROR = "use another mirror: `cuready mirror test` ranks those that answer"
_CA = (
    "if your organisation inspects TLS, point SSL_CERT_FILE at its CA file; "
    "never switch verification off"
)


def _transport(title: str, hint: str, *, transient: bool = False, conda: str = "") -> CauseInfo:
    return CauseInfo(
        title, hint, transient=transient, transport=True, conda_says=conda or _HTTP_000
    )


CAUSES: dict[Cause, CauseInfo] = {
    Cause.INVALID_URL: CauseInfo(
        "the URL cannot be used", "write it as https://host/path", mirror_at_fault=False
    ),
    Cause.DNS: _transport(
        "the host name does not resolve", "check the spelling, the VPN and /etc/resolv.conf"
    ),
    Cause.PROXY_UNREACHABLE: _transport(
        "the proxy in the environment does not answer",
        "start the proxy, or unset HTTP_PROXY/HTTPS_PROXY/ALL_PROXY, or add the host to NO_PROXY",
        conda="ProxyError: Conda cannot proceed due to an error in your proxy configuration.",
    ),
    Cause.PROXY_SCHEME: _transport(
        "the proxy is written https:// but speaks plain HTTP",
        "write the proxy as http://host:port, also for HTTPS_PROXY",
        conda="ValueError: check_hostname requires server_hostname",
    ),
    Cause.PROXY_AUTH: _transport(
        "the proxy wants a user and a password",
        "write the proxy as http://user:password@host:port",
        conda="ProxyError: Conda cannot proceed due to an error in your proxy configuration.",
    ),
    Cause.PROXY_REFUSED: _transport(
        "the proxy refused to connect to the host",
        "ask whoever runs the proxy, or add the host to NO_PROXY",
        conda="ProxyError: Conda cannot proceed due to an error in your proxy configuration.",
    ),
    Cause.CONNECT_REFUSED: _transport("nothing listens on that port", OTHER_MIRROR),
    Cause.CONNECT_TIMEOUT: _transport(
        "the host does not answer (packets are dropped)",
        "a firewall may block it: " + OTHER_MIRROR,
        transient=True,
    ),
    Cause.NETWORK_UNREACHABLE: _transport(
        "no route to the host", "check the network connection, the VPN and IPv6"
    ),
    Cause.TLS_NOT_TLS: _transport(
        "the port does not speak TLS",
        "https:// points at a plain HTTP port, or a proxy answers in its place",
        conda=_SSL,
    ),
    Cause.TLS_UNTRUSTED: _transport("the certificate's issuer is not trusted", _CA, conda=_SSL),
    Cause.TLS_EXPIRED: _transport(
        "the certificate has expired",
        "check this machine's clock, else " + OTHER_MIRROR,
        conda=_SSL,
    ),
    Cause.TLS_NOT_YET_VALID: _transport(
        "the certificate is not valid yet", "check this machine's clock", conda=_SSL
    ),
    Cause.TLS_HOSTNAME: _transport(
        "the certificate belongs to another host",
        "a captive portal or a proxy answers, or the mirror's certificate is wrong: "
        + OTHER_MIRROR,
        conda=_SSL,
    ),
    Cause.TLS_FAILED: _transport("the TLS handshake failed", OTHER_MIRROR, conda=_SSL),
    Cause.CLOCK_SKEW: _transport(
        "this machine's clock is wrong, so certificates look invalid",
        "set the clock (`timedatectl set-ntp true`)",
        conda=_SSL,
    ),
    Cause.NO_RESPONSE: _transport("connected, but no answer came", OTHER_MIRROR, transient=True),
    Cause.CONNECTION_RESET: CauseInfo(
        "the connection was cut",
        "the link is bad or the mirror limits connections: try again, or fewer --jobs",
        transient=True,
        conda_says="('Connection broken: …')",
        pip_says="incomplete-download",
    ),
    Cause.TRUNCATED: CauseInfo(
        "the file ended before its size was reached",
        "the rest is fetched from where it stopped",
        transient=True,
        conda_says="IncompleteRead",
        pip_says="incomplete-download … not enough bytes",
    ),
    Cause.STALLED: CauseInfo(
        "no byte arrived for too long", OTHER_MIRROR, transient=True, conda_says=_HTTP_000
    ),
    Cause.SLOW: CauseInfo(
        "the mirror is slower than the limit while others are left", OTHER_MIRROR, pip_says=""
    ),
    Cause.HTTP_UNAUTHORIZED: CauseInfo(
        "the server wants credentials",
        "gated model: accept its licence and set HF_TOKEN; private channel: check the token",
        conda_says="CondaHTTPError: HTTP 401 UNAUTHORIZED",
    ),
    Cause.HTTP_FORBIDDEN: CauseInfo(
        "the mirror refuses this client (a firewall rule, not credentials)",
        "use a mirror of another operator and try later",
        conda_says="CondaHTTPError: HTTP 403 Forbidden … You do not have permission",
    ),
    Cause.HTTP_FORBIDDEN_USER_AGENT: CauseInfo(
        "the mirror refuses by User-Agent: a short one is let in",
        "pip and conda will fail here until the mirror changes its rule: " + OTHER_MIRROR,
        conda_says="CondaHTTPError: HTTP 403 Forbidden … You do not have permission",
    ),
    Cause.HTTP_NOT_FOUND: CauseInfo(
        "there is nothing at this path: it is wrong, or this is not mirrored here",
        "check the address (in configuration files: `cuready mirror lint`), or " + OTHER_MIRROR,
        mirror_at_fault=False,
        conda_says="UnavailableInvalidChannel: HTTP 404 Not Found",
    ),
    Cause.MISSING_FILE: CauseInfo(
        "the index is there but this file is not: the mirror is in the middle of a sync, "
        "or the file was pulled",
        "another mirror may have it; `conda clean -i` refreshes a stale index",
        mirror_at_fault=False,
        conda_says="CondaHTTPError: HTTP 404 Not Found for url",
        pip_says="ERROR: 404 Client Error",
    ),
    Cause.HTTP_TOO_MANY: CauseInfo(
        "the mirror says: too many requests",
        "wait, or use fewer --jobs",
        transient=True,
        conda_says="CondaHTTPError: HTTP 429",
    ),
    Cause.HTTP_SERVER_ERROR: CauseInfo(
        "the mirror has an error of its own",
        "try later, or " + OTHER_MIRROR,
        transient=True,
        conda_says="CondaHTTPError: HTTP 500 Internal Server Error … A remote server error",
    ),
    Cause.HTTP_STATUS: CauseInfo("an unexpected HTTP status", OTHER_MIRROR),
    Cause.REDIRECT_LOOP: CauseInfo(
        "the server redirects without end",
        "the mirror or a proxy is misconfigured: " + OTHER_MIRROR,
        conda_says="TooManyRedirects",
    ),
    Cause.BAD_REDIRECT: CauseInfo(
        "the server redirects to something that is not allowed", OTHER_MIRROR
    ),
    Cause.PROTOCOL_ERROR: CauseInfo(
        "the answer breaks the rules of HTTP", OTHER_MIRROR, transient=True
    ),
    Cause.CAPTIVE_PORTAL: CauseInfo(
        "an HTML page came in place of the file: a login page of the network, or a proxy's",
        "open a browser and log in to the network, then run again",
        conda_says="Could not decompress … as zstd … Unknown frame descriptor",
    ),
    Cause.WRONG_CONTENT: CauseInfo(
        "the file does not begin as its kind must",
        OTHER_MIRROR,
        conda_says="InvalidArchiveError",
    ),
    Cause.EMPTY_INDEX: CauseInfo(
        "the index answers but lists nothing",
        "wrong path (an index root is needed), or the package is not mirrored here",
        conda_says="PackagesNotFoundInChannelsError",
    ),
    Cause.SIZE_MISMATCH: CauseInfo(
        "the file has another size than it must have",
        "the mirror holds another or a damaged file: " + OTHER_MIRROR,
        mirror_at_fault=False,
        conda_says="ChecksumMismatchError",
        pip_says="THESE PACKAGES DO NOT MATCH THE HASHES",
    ),
    Cause.HASH_MISMATCH: CauseInfo(
        "the content is not what was promised (sha256 differs)",
        "the mirror or a proxy changed it: " + OTHER_MIRROR + "; never switch the check off",
        conda_says="ChecksumMismatchError: Conda detected a mismatch",
        pip_says="THESE PACKAGES DO NOT MATCH THE HASHES",
    ),
    Cause.CIRCUIT_OPEN: CauseInfo(
        "skipped: this mirror has just failed several times", "it is tried again later"
    ),
}
