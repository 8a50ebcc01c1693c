"""The probe ladder: URL → proxy → DNS → TCP → TLS → HTTP → content, and which rung breaks.

conda prints `HTTP 000 CONNECTION FAILED` for a dead port, a name that does not resolve and a
timeout alike (https://github.com/conda/conda/issues/11367); pip prints `(from versions: none)` for
six causes. ``diagnose`` climbs until a rung breaks and says which, with what was seen.
"""

from __future__ import annotations

import contextlib
import re
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from enum import Enum
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlsplit

from cuready._util import parse_json
from cuready.errors import CureadyError
from cuready.mirrors.net.causes import CAUSES, Cause
from cuready.mirrors.net.classify import cause_of_exception, cause_of_status
from cuready.mirrors.net.client import Failure, HttpClient, Reply
from cuready.mirrors.net.content import HEAD_BYTES, check_head
from cuready.mirrors.net.dates import from_http_date
from cuready.mirrors.net.options import PIP_USER_AGENT, NetOptions
from cuready.mirrors.net.request import FileKind
from cuready.mirrors.net.rungs import Climb, Rung, Stop, climb_to_tls
from cuready.mirrors.urls import split_url

__all__ = ["LadderReport", "ProbeKind", "diagnose", "links_in", "probe_url"]

_SAMPLE = 256 * 1024
_SKEW_WORTH_A_WORD = 300.0


class ProbeKind(str, Enum):
    """What the URL should be."""

    CONDA_CHANNEL = "conda-channel"  # …/cloud/conda-forge
    PYPI_INDEX = "pypi-index"  # …/simple
    TORCH_WHEELS = "torch-wheels"  # …/whl/cu130, an index or a flat folder
    FILE = "file"


@dataclass(frozen=True)
class LadderReport:
    """What a climb found. ``cause`` is None when every rung holds."""

    url: str
    kind: ProbeKind
    cause: Cause | None
    detail: str
    rungs: tuple[Rung, ...]
    seconds: float

    @property
    def ok(self) -> bool:
        """Every rung holds."""
        return self.cause is None

    @property
    def hint(self) -> str:
        """What to do; empty when nothing is wrong."""
        return "" if self.cause is None else CAUSES[self.cause].hint

    def to_dict(self) -> dict[str, Any]:
        """For JSON output."""
        info = None if self.cause is None else CAUSES[self.cause]
        return {
            "url": self.url,
            "kind": self.kind.value,
            "ok": self.ok,
            "cause": None if self.cause is None else self.cause.value,
            "title": "" if info is None else info.title,
            "detail": self.detail,
            "hint": self.hint,
            "conda_says": "" if info is None else info.conda_says,
            "pip_says": "" if info is None else info.pip_says,
            "rungs": [rung.to_dict() for rung in self.rungs],
            "seconds": round(self.seconds, 3),
        }

    def lines(self) -> list[str]:
        """For text output: one line per rung, then the verdict."""
        marks = {True: "ok", False: "FAILED", None: "-"}
        text = [f"{marks[rung.ok]:>6}  {rung.name}: {rung.detail}" for rung in self.rungs]
        if self.cause is not None:
            text.append(f"{self.cause.value}: {CAUSES[self.cause].title}")
        return text


def diagnose(
    url: str,
    kind: ProbeKind = ProbeKind.FILE,
    *,
    project: str = "pip",
    seconds: float = 15.0,
    step_seconds: float = 5.0,
    pip_user_agent: bool | None = None,
    context: ssl.SSLContext | None = None,
) -> LadderReport:
    """Climb to ``url`` and say which rung breaks. Takes at most about ``seconds``; never raises for
    anything the network does.

    ``project`` is the page asked of a package index. ``pip_user_agent`` asks as pip does, first; by
    default for package indexes. ``context`` replaces the environment's CA settings.
    """
    began = time.monotonic()
    rungs: list[Rung] = []

    def report(cause: Cause | None, detail: str) -> LadderReport:
        return LadderReport(url, kind, cause, detail, tuple(rungs), time.monotonic() - began)

    problem = _bad_url(url)
    rungs.append(Rung("url", not problem, problem or "well formed"))
    if problem:
        return report(Cause.INVALID_URL, problem)
    try:
        climb = Climb(url, seconds, step_seconds, context)
        climb.rungs = rungs
        climb_to_tls(climb)
        as_pip = kind in (ProbeKind.PYPI_INDEX, ProbeKind.TORCH_WHEELS)
        agents = _agents(as_pip if pip_user_agent is None else pip_user_agent)
        _climb_http(climb, kind, project, agents)
    except Stop as stop:
        return report(stop.cause, stop.detail)
    except CureadyError as error:  # a CA file or proxy setting that cannot be used
        rungs.append(Rung("settings", False, error.message, {"hint": error.hint}))
        return report(Cause.TLS_FAILED, error.message)
    return report(None, "every rung holds")


def probe_url(url: str, kind: ProbeKind, project: str = "pip") -> str:
    """The small file that shows whether ``url`` is what ``kind`` says."""
    base = url.rstrip("/")
    if kind is ProbeKind.CONDA_CHANNEL:
        return base if base.endswith((".json", ".zst")) else f"{base}/noarch/repodata.json"
    if kind is ProbeKind.PYPI_INDEX:
        return f"{base}/{project}/"
    return f"{base}/torch/" if kind is ProbeKind.TORCH_WHEELS else url


def _bad_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        return f"not a URL: {error}"
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return "not an http or https URL"
    return "the URL holds a blank" if re.search(r"\s", url) else ""


def _agents(as_pip: bool) -> tuple[str, ...]:
    options = NetOptions()
    return (PIP_USER_AGENT if as_pip else options.user_agent, options.short_user_agent)


def _climb_http(climb: Climb, kind: ProbeKind, project: str, agents: tuple[str, ...]) -> None:
    options = NetOptions(connect_timeout=climb.left(), stall_timeout=climb.left())
    targets = [probe_url(climb.url, kind, project)]
    if (
        kind is ProbeKind.TORCH_WHEELS
    ):  # some mirrors hold a flat folder for `-f` instead of an index
        targets.append(climb.url.rstrip("/") + "/")
    with HttpClient(options, verify=climb.context) as client:
        for number, target in enumerate(targets):
            last = number == len(targets) - 1
            rungs_before = len(climb.rungs)
            try:
                _http_and_content(climb, client, target, kind, agents)
                return
            except Stop as stop:
                if last or stop.cause not in (Cause.HTTP_NOT_FOUND, Cause.EMPTY_INDEX):
                    raise
                del climb.rungs[rungs_before:]


def _http_and_content(
    climb: Climb, client: HttpClient, url: str, kind: ProbeKind, agents: tuple[str, ...]
) -> None:
    answer: dict[str, Any] = {}
    climb.step("http", lambda: _http(climb, client, url, agents, answer))
    climb.step("content", lambda: _content(kind, answer))


def _http(
    climb: Climb, client: HttpClient, url: str, agents: tuple[str, ...], answer: dict[str, Any]
) -> Rung:
    first_refusal = ""
    for agent in agents:
        try:
            headers = {"User-Agent": agent, "Range": f"bytes=0-{_SAMPLE - 1}"}
            with client.open(url, headers=headers, timeout=climb.left()) as reply:
                cause = cause_of_status(reply.status)
                if cause is None:
                    answer.update(body=_read(reply, _SAMPLE), reply=reply)
                    break
        except Failure as failure:
            raise Stop(failure.cause, failure.detail, url=url) from None
        said = f"HTTP {reply.status} for {url}"
        if cause is not Cause.HTTP_FORBIDDEN or agent == agents[-1]:
            raise Stop(
                cause,
                said + (", also with a short User-Agent" if first_refusal else ""),
                status=reply.status,
                url=url,
                server=reply.response.headers.get("server", ""),
            )
        first_refusal = agent
    if first_refusal:
        said = (
            f"HTTP 403 with User-Agent {first_refusal[:40]!r}, HTTP {reply.status} with a short one"
        )
        raise Stop(Cause.HTTP_FORBIDDEN_USER_AGENT, said, url=url)
    evidence = {
        "status": reply.status,
        "content_type": reply.response.headers.get("content-type", ""),
        "server": reply.response.headers.get("server", ""),
        "final_url": str(reply.response.url),
    }
    skew = _skew(reply)
    said = f"HTTP {reply.status}"
    if reply.hops:
        said += f" after {reply.hops} redirects, from {urlsplit(evidence['final_url']).netloc}"
    if skew is not None and abs(skew) > _SKEW_WORTH_A_WORD:
        evidence["clock_skew_seconds"] = round(skew)
        said += f"; this clock differs from the server's by {abs(skew) / 60:.0f} min"
    return Rung("http", True, said, evidence)


def _read(reply: Reply, limit: int) -> bytes:
    """At most ``limit`` bytes of the body, decoded."""
    body = bytearray()
    try:
        for chunk in reply.response.iter_bytes():
            body += chunk
            if len(body) >= limit:
                break
    except Exception as error:
        cause, detail = cause_of_exception(error, str(reply.response.url), in_body=True)
        raise Stop(cause, detail, bytes=len(body)) from None
    return bytes(body[:limit])


def _skew(reply: Reply) -> float | None:
    """Seconds by which this machine's clock is ahead of the server's."""
    date = from_http_date(reply.response.headers.get("date", ""))
    return None if date is None else (datetime.now(timezone.utc) - date).total_seconds()


# --- content --------------------------------------------------------------------------------------


class _Links(HTMLParser):
    """The targets of a page's links."""

    def __init__(self) -> None:
        super().__init__()
        self.targets: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.targets += [value for name, value in attrs if name == "href" and value]


def links_in(page: str) -> list[str]:
    """The ``href`` of every link of an HTML page, in order; also of the first part of one."""
    parser = _Links()
    with contextlib.suppress(AssertionError):  # CPython 3.11's html.parser refuses `<![[` so
        parser.feed(page)
    return parser.targets


def _content(kind: ProbeKind, answer: dict[str, Any]) -> Rung:
    body, reply = answer["body"], answer["reply"]
    content_type = reply.response.headers.get("content-type", "")
    checks: dict[ProbeKind, Callable[[bytes, str, str], Rung]] = {
        ProbeKind.CONDA_CHANNEL: _is_repodata,
        ProbeKind.PYPI_INDEX: _is_index,
        ProbeKind.TORCH_WHEELS: _is_index,
        ProbeKind.FILE: _is_file,
    }
    return checks[kind](body, content_type, str(reply.response.url))


def _is_file(body: bytes, content_type: str, url: str) -> Rung:
    kind = FileKind.of(url)
    verdict = check_head(kind, body[:HEAD_BYTES], content_type)
    if verdict is not None:
        raise Stop(*verdict)
    return Rung("content", True, f"begins as a {kind.value} file may")


def _is_repodata(body: bytes, content_type: str, _url: str) -> Rung:
    verdict = check_head(FileKind.METADATA, body[:HEAD_BYTES], content_type)
    if verdict is not None:
        raise Stop(*verdict)
    if not body.lstrip().startswith(b"{"):
        return Rung("content", True, "compressed repodata")
    if len(body) < _SAMPLE:
        try:
            document = parse_json(body)
            count = len(document.get("packages", {})) + len(document.get("packages.conda", {}))
        except (ValueError, AttributeError, TypeError):
            raise Stop(Cause.WRONG_CONTENT, "repodata.json is not valid JSON: cut off?") from None
        if not count:
            raise Stop(Cause.EMPTY_INDEX, "repodata.json lists no package")
        return Rung("content", True, f"repodata of {count} packages", {"packages": count})
    if b'"packages' not in body:
        raise Stop(Cause.WRONG_CONTENT, "JSON, but no repodata")
    return Rung("content", True, "repodata")


def _is_index(body: bytes, content_type: str, url: str) -> Rung:
    """A PEP 503 project page or a flat folder: a login page is told by having no package."""
    if "json" in content_type and body.lstrip().startswith(b"{"):
        count = body.count(b'"filename"')
    else:
        names = [split_url(link).path for link in links_in(body.decode("utf-8", "replace"))]
        count = sum(name.endswith((".whl", ".tar.gz", ".zip")) for name in names)
        if not count and re.search(rb"<form|type=.?password|<script", body, re.IGNORECASE):
            raise Stop(Cause.CAPTIVE_PORTAL, "an HTML page with a form or a script, and no package")
    if not count:
        raise Stop(Cause.EMPTY_INDEX, f"{url} lists no file")
    return Rung("content", True, f"{count} files listed", {"files": count})
