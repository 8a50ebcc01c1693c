"""The prober of `cuready mirror test` over HTTP: real metadata, a real package, a clock."""

from __future__ import annotations

import contextlib
import re
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from urllib.parse import urljoin

import httpx

from cuready.mirrors.net.cancel import Cancelled, CancelToken
from cuready.mirrors.net.causes import Cause
from cuready.mirrors.net.classify import cause_of_exception, cause_of_status
from cuready.mirrors.net.client import Failure, HttpClient, Reply
from cuready.mirrors.net.content import HEAD_BYTES, check_head
from cuready.mirrors.net.dates import from_http_date
from cuready.mirrors.net.freshness import read_status
from cuready.mirrors.net.ladder import ProbeKind, links_in, probe_url
from cuready.mirrors.net.options import PIP_USER_AGENT, NetOptions
from cuready.mirrors.net.ranking import Candidate, Sample, Sighting, TestLimits
from cuready.mirrors.net.request import FileKind
from cuready.mirrors.urls import split_url

__all__ = ["HttpProber"]

_METADATA_BYTES = 256 * 1024
_STATUS_BYTES = 4 * 1024 * 1024
# NAME-VERSION-BUILD; the key "packages.conda" of an empty index has no dash.
_RECORD = re.compile(
    rb'"([A-Za-z0-9_.+!]+-[A-Za-z0-9_.+!-]+\.(?:conda|tar\.bz2))"\s*:\s*\{([^{}]*)\}'
)
_SIZE = re.compile(rb'"size"\s*:\s*(\d{1,12})')


@dataclass
class _Look:
    """What one thread has found so far; read by others when its time is over."""

    sighting: Sighting = field(
        default_factory=lambda: Sighting(Cause.NO_RESPONSE, "no answer in the time given")
    )
    done: bool = False


class HttpProber:
    """Asks with a User-Agent like pip's for package indexes, since it is pip that must be let in.

    Use as a context manager, or call ``close``.
    """

    def __init__(self, *, context: ssl.SSLContext | None = None, project: str = "pip") -> None:
        self._context = context
        self._project = project
        self._finals: HttpClient | None = None

    def look_at_all(
        self,
        candidates: Sequence[Candidate],
        limits: TestLimits,
        seen: Callable[[Candidate, Sighting], None],
    ) -> dict[str, Sighting]:
        """See ``ranking.Prober``. An answer after the time is over is no answer."""
        looks = {candidate.name: _Look() for candidate in candidates}
        cancel = CancelToken()
        deadline = time.monotonic() + limits.probe_seconds
        with self._client(limits.probe_seconds) as client:
            threads = [
                threading.Thread(
                    target=self._look,
                    args=(client, candidate, limits, deadline, looks[candidate.name], seen, cancel),
                    daemon=True,
                )
                for candidate in candidates
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(max(0.0, deadline + 0.1 - time.monotonic()))
            cancel.cancel()
        return {name: look.sighting for name, look in looks.items()}

    def connect(self, candidates: Sequence[Candidate], limits: TestLimits) -> None:
        """See ``ranking.Prober``: one small request each leaves an open connection in the pool."""
        client = self._final_client(limits)
        until = time.monotonic() + limits.connect_seconds

        def touch(candidate: Candidate) -> None:
            url = probe_url(candidate.url, candidate.kind, self._project)
            with contextlib.suppress(Failure), client.open(url, method="HEAD") as reply:
                reply.response.read()

        threads = [threading.Thread(target=touch, args=(c,), daemon=True) for c in candidates]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))

    def measure(
        self, candidate: Candidate, sighting: Sighting, limits: TestLimits, seconds: float
    ) -> Sample | None:
        """See ``ranking.Prober``."""
        try:
            return _sample(
                self._final_client(limits),
                sighting.package_url,
                candidate.kind,
                limits.final_bytes,
                seconds,
                time.monotonic() + seconds,
                CancelToken(),
            )
        except Failure:
            return None

    def close(self) -> None:
        """Close the connections of the second round."""
        if self._finals is not None:
            self._finals.close()
            self._finals = None

    def __enter__(self) -> HttpProber:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _final_client(self, limits: TestLimits) -> HttpClient:
        if self._finals is None:
            self._finals = self._client(limits.final_seconds / limits.least_finalists)
        return self._finals

    def _client(self, seconds: float) -> HttpClient:
        options = NetOptions(connect_timeout=seconds, stall_timeout=seconds)
        return HttpClient(options, verify=self._context)

    def _look(
        self,
        client: HttpClient,
        candidate: Candidate,
        limits: TestLimits,
        deadline: float,
        look: _Look,
        seen: Callable[[Candidate, Sighting], None],
        cancel: CancelToken,
    ) -> None:
        status = _StatusThread(client, candidate, deadline, cancel)
        try:
            sighting = self._metadata_and_sample(client, candidate, limits, deadline, cancel)
        except Failure as failure:
            sighting = Sighting(failure.cause, failure.detail, failure.status)
        except Cancelled:
            return
        except Exception as error:
            sighting = Sighting(Cause.PROTOCOL_ERROR, f"{type(error).__name__}: {error}")
        fresh = status.wait(deadline)
        if fresh is not None:
            sighting = replace(sighting, fresh_as_of=fresh, fresh_source=candidate.status_format)
        if not cancel.cancelled:
            look.sighting, look.done = sighting, True
            seen(candidate, sighting)

    def _metadata_and_sample(
        self,
        client: HttpClient,
        candidate: Candidate,
        limits: TestLimits,
        deadline: float,
        cancel: CancelToken,
    ) -> Sighting:
        url = probe_url(candidate.url, candidate.kind, self._project)
        began = time.monotonic()
        try:
            page = _read_page(client, url, candidate.kind, deadline, cancel)
        except Failure as failure:
            if candidate.kind is not ProbeKind.TORCH_WHEELS or failure.status != 404:
                raise
            page = _read_page(
                client, candidate.url.rstrip("/") + "/", candidate.kind, deadline, cancel
            )
        sighting = Sighting(None, "", page.status, page.first_byte - began)
        modified = from_http_date(page.last_modified)
        if modified is not None:
            sighting = replace(sighting, fresh_as_of=modified, fresh_source="last-modified")
        missing: Failure | None = None
        for package in _packages_in(page, candidate.kind)[:3]:
            try:
                sample = _sample(
                    client,
                    package,
                    candidate.kind,
                    limits.sample_bytes,
                    limits.probe_seconds / 2,
                    deadline,
                    cancel,
                )
            except Failure as failure:
                if failure.status != 404:
                    raise
                missing = Failure(Cause.MISSING_FILE, f"HTTP 404 for {package}", status=404)
                continue
            return replace(sighting, package_url=package, sample=sample)
        raise missing or Failure(Cause.EMPTY_INDEX, f"{url} names no package", status=page.status)


class _StatusThread:
    """Reads the site's own status while the probe runs."""

    def __init__(
        self, client: HttpClient, candidate: Candidate, deadline: float, cancel: CancelToken
    ) -> None:
        self._answer: datetime | None = None
        self._thread: threading.Thread | None = None
        if candidate.status_url:
            arguments = (client, candidate, deadline, cancel)
            self._thread = threading.Thread(target=self._run, args=arguments, daemon=True)
            self._thread.start()

    def _run(
        self, client: HttpClient, candidate: Candidate, deadline: float, cancel: CancelToken
    ) -> None:
        try:
            with client.open(candidate.status_url, cancel=cancel) as reply:
                if reply.status == 200:
                    timeline = _read(reply, _STATUS_BYTES, deadline, cancel)
                    body = b"".join(chunk for _, chunk in timeline)
                    self._answer = read_status(body, candidate.status_format, candidate.kind)
        except (Failure, Cancelled):
            self._answer = None

    def wait(self, deadline: float) -> datetime | None:
        """The answer, if it came in time."""
        if self._thread is not None:
            self._thread.join(max(0.0, deadline - time.monotonic()))
        return self._answer


@dataclass(frozen=True)
class _Page:
    url: str
    status: int
    body: bytes
    first_byte: float
    last_modified: str


def _agent(kind: ProbeKind) -> dict[str, str]:
    pip = kind in (ProbeKind.PYPI_INDEX, ProbeKind.TORCH_WHEELS)
    return {"User-Agent": PIP_USER_AGENT} if pip else {}


def _read(
    reply: Reply, limit: int, deadline: float, cancel: CancelToken
) -> Iterator[tuple[float, bytes]]:
    """(when, chunk) until ``limit`` bytes or ``deadline``."""
    size = 0
    url = str(reply.response.url)
    body = reply.response.iter_raw()
    while size < limit and time.monotonic() < deadline:
        try:
            chunk = next(body, None)
        except httpx.HTTPError as error:
            cancel.check()
            raise Failure(*cause_of_exception(error, url, in_body=True)) from error
        cancel.check()
        if chunk is None:
            return
        size += len(chunk)
        yield time.monotonic(), chunk


def _refuse(reply: Reply, url: str) -> None:
    cause = cause_of_status(reply.status)
    if cause is not None:
        raise Failure(cause, f"HTTP {reply.status} for {url}", status=reply.status)


def _read_page(
    client: HttpClient, url: str, kind: ProbeKind, deadline: float, cancel: CancelToken
) -> _Page:
    headers = {**_agent(kind), "Range": f"bytes=0-{_METADATA_BYTES - 1}"}
    with client.open(url, headers=headers, cancel=cancel) as reply:
        first_byte = time.monotonic()
        _refuse(reply, url)
        chunks = [chunk for _, chunk in _read(reply, _METADATA_BYTES, deadline, cancel)]
        body, answer = b"".join(chunks), reply.response.headers
        file_kind = FileKind.METADATA if kind is ProbeKind.CONDA_CHANNEL else FileKind.HTML_INDEX
        verdict = check_head(file_kind, body[:HEAD_BYTES], answer.get("content-type", ""))
        if verdict is not None:
            raise Failure(*verdict, status=reply.status)
        final = str(reply.response.url)
        return _Page(final, reply.status, body, first_byte, answer.get("last-modified", ""))


def _packages_in(page: _Page, kind: ProbeKind) -> list[str]:
    """URLs of packages that the metadata names, those worth timing first."""
    if kind is ProbeKind.CONDA_CHANNEL:
        return [urljoin(page.url, name) for name in _largest(_records(page.body))]
    links = links_in(page.body.decode("utf-8", "replace"))
    wheels = [link for link in links if split_url(link).path.endswith(".whl")]
    if kind is ProbeKind.TORCH_WHEELS:
        named = [link for link in wheels if "/torch-" in f"/{link.rpartition('/')[2]}"]
        wheels = named or wheels
    return [urljoin(page.url, link).partition("#")[0] for link in reversed(wheels)]


def _records(body: bytes) -> Iterable[tuple[int, str]]:
    """(size, file name) of the whole records in the first part of a repodata.json."""
    for match in _RECORD.finditer(body):
        size = _SIZE.search(match[2])
        yield (int(size[1]) if size else 0), match[1].decode()


def _largest(records: Iterable[tuple[int, str]]) -> list[str]:
    return [name for _, name in sorted(records, reverse=True)]


def _sample(
    client: HttpClient,
    url: str,
    kind: ProbeKind,
    limit: int,
    seconds: float,
    deadline: float,
    cancel: CancelToken,
) -> Sample:
    """Time the first ``limit`` bytes of a package. Raises Failure, also for the wrong content."""
    began = time.monotonic()
    headers = {**_agent(kind), "Range": f"bytes=0-{limit - 1}"}
    with client.open(url, headers=headers, cancel=cancel) as reply:
        _refuse(reply, url)
        until = min(deadline, time.monotonic() + seconds)
        timeline: list[tuple[float, int]] = []
        head, size = b"", 0
        for moment, chunk in _read(reply, limit, until, cancel):
            if len(head) < HEAD_BYTES:
                head += chunk[:HEAD_BYTES]
            size += len(chunk)
            timeline.append((moment - began, size))
        content_type = reply.response.headers.get("content-type", "")
        verdict = check_head(FileKind.of(url), head[:HEAD_BYTES], content_type)
        if verdict is not None:
            raise Failure(*verdict, status=reply.status)
    return Sample.of(timeline)
