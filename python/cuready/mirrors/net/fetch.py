"""One file, from whichever mirror gives it: resume, retry, fail over, verify, publish.

How a file comes to count as right (``Verified``):

* the caller knows the sha256 → it must match. Only then may parts from different mirrors be joined.
* the caller knows leading digits (``resnet18-5c106cde.pth``) → they must match; parts may be
  joined.
* nobody knows it, but this URL was fetched before → it must be what it was then.
* nobody knows anything → all bytes come from one mirror and as many as it announced; an interrupted
  download goes on only under ``If-Range`` with a strong validator. The digest is then recorded.

A second opinion from another mirror would double the cost on the slow links that this is for, and
two mirrors that copy one upstream agree on its faults; so a first use is reported as such instead.
"""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from cuready.errors import MirrorError
from cuready.mirrors.net.breaker import CircuitBreaker
from cuready.mirrors.net.cache import Cache
from cuready.mirrors.net.cancel import CancelToken
from cuready.mirrors.net.causes import CAUSES, OTHER_HOST, OTHER_MIRROR, Cause
from cuready.mirrors.net.client import Failure, HttpClient
from cuready.mirrors.net.faults import kill_point
from cuready.mirrors.net.partial import Partial
from cuready.mirrors.net.progress import OnProgress, ProgressEvent, ProgressKind, Throttle
from cuready.mirrors.net.request import (
    EMPTY_SHA256,
    Attempt,
    Download,
    DownloadRequest,
    FileKind,
    Source,
    Verified,
)
from cuready.mirrors.net.transfer import Transfer

__all__ = ["Fetcher", "failure_of"]

_METADATA = (FileKind.METADATA, FileKind.HTML_INDEX)


class Fetcher:
    """What downloads share: connections, cache, circuit breakers. Threads may share it."""

    def __init__(
        self,
        client: HttpClient,
        cache: Cache,
        *,
        breaker: CircuitBreaker | None = None,
        on_progress: OnProgress | None = None,
        clock: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
    ) -> None:
        self.client = client
        self.cache = cache
        self.options = client.options
        self.breaker = breaker or CircuitBreaker(
            self.options.breaker_failures, self.options.breaker_cooldown
        )
        self.on_progress = on_progress or (lambda _: None)
        self.clock = clock
        self.rng = rng or random.Random()  # noqa: S311 - jitter, not a secret

    def fetch(
        self, request: DownloadRequest, cancel: CancelToken | None = None, *, refresh: bool = False
    ) -> Download:
        """Bring ``request`` into the cache and return it verified.

        ``refresh`` forgets what the URL was when it was first seen. Raises MirrorError when every
        mirror failed (``details["attempts"]`` lists each try), CacheError, Cancelled.
        """
        token = cancel or CancelToken()
        if refresh:
            self.cache.forget(request.canonical_url)
        hit = self._hit(request)
        if hit is not None:
            return hit
        self.cache.prepare()
        with self.cache.lock(request.key, token, lambda: self._tell(ProgressKind.WAITING, request)):
            hit = self._hit(request)  # another process may have fetched it meanwhile
            if hit is not None:
                self._tell(ProgressKind.DONE, request, hit.size)
                return hit
            return _FileFetch(self, request, token).run()

    def _hit(self, request: DownloadRequest) -> Download | None:
        if request.kind in _METADATA and not request.sha256:
            return None
        digest, ground = known_digest(self.cache, request)
        path = self.cache.find(digest) if digest else None
        if path is None or not digest.startswith(request.sha256_prefix):
            return None
        return Download(request.name, path, digest, path.stat().st_size, ground)

    def _tell(self, kind: ProgressKind, request: DownloadRequest, size: int | None = None) -> None:
        event = ProgressEvent(kind, request.name, request.key, have=size or 0, total=size)
        self.on_progress(event)


def known_digest(cache: Cache, request: DownloadRequest) -> tuple[str, Verified]:
    """The sha256 that the content must have, and on what ground; empty when nobody knows."""
    if request.sha256:
        return request.sha256, Verified.SHA256
    record = None if request.kind in _METADATA else cache.recall(request.canonical_url)
    if record is not None and record["sha256"] == EMPTY_SHA256 and not request.may_be_empty:
        record = None  # an older cuready believed an empty answer
    if record is not None:
        prefix = request.sha256_prefix
        return record["sha256"], Verified.SHA256_PREFIX if prefix else Verified.SEEN_BEFORE
    if request.sha256_prefix:
        return "", Verified.SHA256_PREFIX
    return "", Verified.UNVERIFIED if request.kind in _METADATA else Verified.FIRST_USE


class _FileFetch:
    """The state of one download: which mirrors were tried, and how each went."""

    def __init__(self, fetcher: Fetcher, request: DownloadRequest, cancel: CancelToken) -> None:
        self._fetcher = fetcher
        self._options = fetcher.options
        self._request = request
        self._cancel = cancel
        self._digest, self._ground = known_digest(fetcher.cache, request)
        self._mixing = bool(self._digest or request.sha256_prefix)
        self._attempts: list[Attempt] = []
        self._partial = Partial(fetcher.cache.partial_dir, request.key)
        self._resumed_from = self._partial.size
        self._mirror = ""
        self._user_agents: dict[str, str] = {}
        throttle = Throttle(self._on_bytes, fetcher.clock)
        self._transfer = Transfer(
            fetcher.client, fetcher.cache, request, self._partial, cancel, throttle, fetcher.clock
        )

    # --- the plan: every mirror once, then those that were only slow or only skipped --------------

    def run(self) -> Download:
        """Every mirror in turn until the file is there."""
        self._tell(ProgressKind.STARTED)
        plan = deque((source, False) for source in self._request.sources)
        second: list[Source] = []
        separated = False
        try:
            while plan:
                source, last_chance = plan.popleft()
                verdict = self._try_mirror(source, last_chance, others=bool(plan or second))
                if verdict is None:
                    return self._publish()
                if verdict in (Cause.SLOW, Cause.CIRCUIT_OPEN) and not last_chance:
                    second.append(source)
                if verdict is Cause.HASH_MISMATCH and self._partial.suspects and not separated:
                    separated = True
                    self._mixing = False
                    plan = deque([*self._contributors(), *plan])
                if not plan and second:
                    plan, second = deque((s, True) for s in self._fastest_first(second)), []
        finally:
            self._partial.end()
        self._tell(ProgressKind.FAILED)
        raise failure_of(self._request, self._attempts)

    def _contributors(self) -> list[tuple[Source, bool]]:
        """The mirrors whose joined parts gave the wrong whole: any of them may be honest."""
        names = {segment.mirror for segment in self._partial.suspects}
        return [(source, False) for source in self._request.sources if source.mirror in names]

    def _fastest_first(self, sources: list[Source]) -> list[Source]:
        best: dict[str, float] = {}
        for attempt in self._attempts:
            best[attempt.mirror] = max(best.get(attempt.mirror, 0.0), attempt.rate)
        return sorted(sources, key=lambda source: -best.get(source.mirror, 0.0))

    # --- one mirror ------------------------------------------------------------------------------

    def _try_mirror(self, source: Source, last_chance: bool, others: bool) -> Cause | None:
        """Try ``source`` until it gives the file or another try makes no sense: None is success."""
        if not last_chance and not self._fetcher.breaker.allows(source.mirror):
            self._record(
                source, Failure(Cause.CIRCUIT_OPEN, "it failed several times just now"), 0, 0
            )
            return Cause.CIRCUIT_OPEN
        floor = self._options.min_rate if others and not last_chance else 0.0
        failures = 0
        verdict: Failure | None = None
        for number in range(self._options.max_tries_per_mirror):
            verdict = self._try_once(source, floor)
            if verdict is None:
                self._fetcher.breaker.success(source.mirror)
                return None
            if verdict.cause in (Cause.HTTP_FORBIDDEN, Cause.SIZE_MISMATCH) and number == 0:
                if self._second_chance(source, verdict):
                    continue
                break
            if not CAUSES[verdict.cause].transient:
                break
            failures = 0 if self._moved(self._attempts[-1]) else failures + 1
            if failures > self._options.retries:
                break
            self._wait(failures, verdict.retry_after)
        assert verdict is not None  # noqa: S101 - the loop ran at least once
        if CAUSES[verdict.cause].mirror_at_fault:
            self._fetcher.breaker.failure(source.mirror)
        else:
            self._fetcher.breaker.release(source.mirror)
        return verdict.cause

    def _second_chance(self, source: Source, verdict: Failure) -> bool:
        """A 403 may be about the User-Agent; another size may be the mirror's before."""
        if verdict.cause is Cause.HTTP_FORBIDDEN:
            self._user_agents[source.mirror] = self._options.short_user_agent
            return True
        return self._request.size is None and self._partial.size == 0 and self._resumed_or_tried()

    def _resumed_or_tried(self) -> bool:
        return self._resumed_from > 0 or len(self._attempts) > 1

    def _moved(self, attempt: Attempt) -> bool:
        """Did this try get far enough for the next to be worth it?"""
        total = self._partial.total or 0
        gained = self._partial.size - attempt.offset
        return gained >= max(1, min(self._options.progress_bytes, total // 100 or 1))

    def _wait(self, failures: int, retry_after: float | None) -> None:
        ceiling = min(self._options.backoff * 2.0**failures, self._options.backoff_cap)
        delay = self._fetcher.rng.uniform(0, ceiling)
        if retry_after is not None:
            delay = min(retry_after, self._options.backoff_cap)
        self._cancel.sleep(delay)

    def _try_once(self, source: Source, floor: float) -> Failure | None:
        """One request. None when the whole file is there and right."""
        self._make_resumable_from(source)
        self._mirror = source.mirror
        offset, began = self._partial.size, self._fetcher.clock()
        agent = self._user_agents.get(source.mirror, self._options.user_agent)
        failure: Failure | None = None
        try:
            if not self._complete():
                self._transfer.received = 0
                known = bool(self._digest or self._request.sha256_prefix)
                self._transfer.run(source, digest_known=known, floor=floor, user_agent=agent)
        except Failure as error:
            failure = self._explain(source, error, agent)
        if failure is None:
            failure = self._verify(source)
        self._record(source, failure, offset, self._fetcher.clock() - began)
        return failure

    def _complete(self) -> bool:
        """All is on disk: a run before this one ended between last byte and check."""
        size = self._request.size if self._request.size is not None else self._partial.total
        return size is not None and 0 < size == self._partial.size

    def _make_resumable_from(self, source: Source) -> None:
        """Drop what is on disk when bytes of ``source`` must not follow it."""
        strangers = [name for name in self._partial.mirrors if name != source.mirror]
        unknown = not (self._digest or self._request.sha256_prefix)
        if (strangers and not self._mixing) or (unknown and not self._partial.validator):
            self._partial.discard()

    def _explain(self, source: Source, failure: Failure, agent: str) -> Failure:
        """Look once more where a status alone says too little: a 404, a second 403."""
        if failure.cause is Cause.HTTP_NOT_FOUND and failure.status == 404:
            index = source.index_url or _index_beside(self._request.kind, source.url)
            if index and self._answers(index, agent, source):
                return Failure(Cause.MISSING_FILE, f"HTTP 404, but {index} is there", status=404)
            if index:
                return Failure(
                    failure.cause, f"HTTP 404, and no index at {index} either", status=404
                )
        if failure.cause is Cause.HTTP_FORBIDDEN and agent == self._options.short_user_agent:
            return Failure(
                failure.cause, failure.detail + ", also with a short User-Agent", status=403
            )
        return failure

    def _answers(self, url: str, agent: str, source: Source) -> bool:
        headers = {**source.headers, "User-Agent": agent}
        try:
            with self._fetcher.client.open(
                url,
                method="HEAD",
                headers=headers,
                cancel=self._cancel,
                timeout=self._options.connect_timeout,
            ) as reply:
                return reply.status == 200
        except Failure:
            return False

    # --- the end of a file
    # -------------------------------------------------------------------------

    def _verify(self, source: Source) -> Failure | None:
        """The digest decides; when it is wrong, say whose bytes they were if that is known."""
        kill_point("before-verify")
        digest = self._partial.sha256()
        wanted = self._digest or self._request.sha256_prefix
        if digest.startswith(wanted) and digest.startswith(self._request.sha256_prefix):
            kill_point("verified")
            return None
        kill_point("mismatch-found")
        senders = self._partial.mirrors
        said = f"sha256 {digest[:16]}…, expected {wanted[:16]}{'…' if len(wanted) > 16 else ''}"
        if len(senders) > 1:
            self._partial.set_aside()
            said += f"; joined from {', '.join(senders)}: each is asked again for the whole"
        else:
            if senders and senders[0] != source.mirror:
                said += f"; all of it came from {senders[0]}"
            self._partial.discard()
        return Failure(Cause.HASH_MISMATCH, said)

    def _publish(self) -> Download:
        digest, size = self._partial.sha256(), self._partial.size
        self._partial.end()
        path = self._fetcher.cache.publish(self._partial.path, digest)
        self._name_the_liars(path)
        self._partial.clean()
        if not self._request.sha256 and self._request.kind not in _METADATA:
            self._fetcher.cache.remember(self._request.canonical_url, digest, size)
        self._tell(ProgressKind.DONE)
        return Download(
            self._request.name,
            path,
            digest,
            size,
            self._ground,
            self._mirror,
            tuple(self._attempts),
            self._resumed_from,
        )

    def _name_the_liars(self, good: Path) -> None:
        """With the right file at hand, the parts of the wrong one can be told apart."""
        for mirror, position in self._partial.liars(good):
            urls = [source.url for source in self._request.sources if source.mirror == mirror]
            said = f"its part of the joined file was wrong from byte {position} on"
            self._attempts.append(
                Attempt(mirror, urls[0] if urls else "", Cause.HASH_MISMATCH, said, offset=position)
            )

    # --- telling
    # -----------------------------------------------------------------------------------

    def _record(self, source: Source, failure: Failure | None, offset: int, seconds: float) -> None:
        received = 0 if failure and failure.cause is Cause.CIRCUIT_OPEN else self._transfer.received
        status = self._transfer.status if failure is None else failure.status
        cause, detail = (None, "") if failure is None else (failure.cause, failure.detail)
        if failure is None and self._user_agents.get(source.mirror):
            self._relabel_user_agent(source.mirror)
        attempt = Attempt(
            source.mirror, source.url, cause, detail, received, offset, seconds, status
        )
        self._attempts.append(attempt)
        if failure is not None:
            self._tell(ProgressKind.ATTEMPT_FAILED, attempt=attempt)

    def _relabel_user_agent(self, mirror: str) -> None:
        """The short User-Agent was let in: so the 403 before it was about the User-Agent."""
        for index, old in enumerate(self._attempts):
            if old.mirror == mirror and old.cause is Cause.HTTP_FORBIDDEN:
                said = f"HTTP 403 for User-Agent {self._options.user_agent!r}"
                self._attempts[index] = Attempt(
                    old.mirror,
                    old.url,
                    Cause.HTTP_FORBIDDEN_USER_AGENT,
                    said,
                    old.received,
                    old.offset,
                    old.seconds,
                    old.status,
                )

    def _on_bytes(self, _have: int, _total: int | None, rate: float) -> None:
        self._tell(ProgressKind.BYTES, rate=rate)

    def _tell(
        self, kind: ProgressKind, *, rate: float = 0.0, attempt: Attempt | None = None
    ) -> None:
        event = ProgressEvent(
            kind,
            self._request.name,
            self._request.key,
            have=self._partial.size,
            total=self._request.size if self._request.size is not None else self._partial.total,
            rate=rate,
            mirror=self._mirror,
            attempt=attempt,
        )
        self._fetcher.on_progress(event)


def _index_beside(kind: FileKind, url: str) -> str:
    """The small file that says whether a mirror has the collection: conda's repodata.json."""
    if kind not in (FileKind.CONDA, FileKind.TAR_BZ2):
        return ""
    parts = urlsplit(url)
    return parts._replace(path=parts.path.rpartition("/")[0] + "/repodata.json", query="").geturl()


def failure_of(request: DownloadRequest, attempts: list[Attempt]) -> MirrorError:
    """The error that lists every try, the last of each kind in its text."""
    lines = list(dict.fromkeys(attempt.line() for attempt in attempts if attempt.cause is not None))
    causes = [
        attempt.cause for attempt in attempts if attempt.cause not in (None, Cause.CIRCUIT_OPEN)
    ]
    mirrors = len({attempt.mirror for attempt in attempts})
    hints = list(dict.fromkeys(CAUSES[cause].hint for cause in causes if cause is not None))
    return MirrorError(
        f"{request.name}: none of {mirrors} mirrors gave it"
        if mirrors > 1
        else f"{request.name}: could not be downloaded from {request.sources[0].mirror}",
        operation=f"download {request.canonical_url}",
        messages=lines,
        hint=_hint(request.kind, hints),
        details={
            "url": request.canonical_url,
            "sha256": request.sha256,
            "attempts": [attempt.to_dict() for attempt in attempts],
        },
    )


def _hint(kind: FileKind, hints: list[str]) -> str:
    """What to do about it. The catalogue has mirrors of packages, and none of weights."""
    weights = kind is FileKind.WEIGHTS
    if len(hints) == 1:
        return hints[0].replace(OTHER_MIRROR, OTHER_HOST) if weights else hints[0]
    ranked = "`cuready mirror test` ranks the mirrors that answer"
    return f"each line above names its cause; {OTHER_HOST if weights else ranked}"
