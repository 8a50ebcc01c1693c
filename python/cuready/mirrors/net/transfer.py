"""One try at one mirror: ask from where we stand, check what comes, append it, or say why not."""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable, Iterator
from datetime import datetime, timezone

import httpx

from cuready.mirrors.net.cache import Cache
from cuready.mirrors.net.cancel import CancelToken
from cuready.mirrors.net.causes import Cause
from cuready.mirrors.net.classify import cause_of_exception, cause_of_status
from cuready.mirrors.net.client import Failure, HttpClient, Reply
from cuready.mirrors.net.content import HEAD_BYTES, check_head
from cuready.mirrors.net.dates import from_http_date
from cuready.mirrors.net.faults import kill_point
from cuready.mirrors.net.partial import Partial
from cuready.mirrors.net.request import DownloadRequest, FileKind, Source

__all__ = ["RateWatch", "Transfer", "parse_content_range"]

_CONTENT_RANGE = re.compile(r"bytes (?:(\d{1,19})-(\d{1,19})|\*)/(\d{1,19}|\*)\s*\Z")


def parse_content_range(value: str) -> tuple[int | None, int | None]:
    """(first byte, total) of a ``Content-Range`` (RFC 9110, 14.4); None for what is not said."""
    match = _CONTENT_RANGE.match(value.strip())
    if match is None:
        return None, None
    first, _, total = match.groups()
    return (None if first is None else int(first)), (None if total == "*" else int(total))


class RateWatch:
    """Raises Failure(SLOW) below ``floor`` bytes a second over the last ``window`` seconds."""

    def __init__(self, floor: float, window: float, clock: Callable[[], float]) -> None:
        self._floor = floor
        self._window = window
        self._clock = clock
        self._start = clock()
        self._seen: deque[tuple[float, int]] = deque()
        self._sum = 0

    def add(self, count: int) -> None:
        """``count`` more bytes came just now."""
        if self._floor <= 0:
            return
        now = self._clock()
        self._seen.append((now, count))
        self._sum += count
        while self._seen and self._seen[0][0] < now - self._window:
            self._sum -= self._seen.popleft()[1]
        rate = self._sum / self._window
        if now - self._start >= self._window and rate < self._floor:
            raise Failure(
                Cause.SLOW,
                f"{rate / 1024:.1f} KiB/s over {self._window:g} s, other mirrors are left",
            )


class Transfer:
    """Fetches into a Partial. One per file; holds no state of its own between tries."""

    def __init__(
        self,
        client: HttpClient,
        cache: Cache,
        request: DownloadRequest,
        partial: Partial,
        cancel: CancelToken,
        on_bytes: Callable[[int, int | None], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._cache = cache
        self._request = request
        self._partial = partial
        self._cancel = cancel
        self._on_bytes = on_bytes
        self._clock = clock
        self.received = 0
        self.status: int | None = None

    def run(self, source: Source, *, digest_known: bool, floor: float, user_agent: str) -> None:
        """Bring the file to its end from ``source``. Raises Failure, Cancelled, CacheError."""
        self.received, self.status = 0, None
        headers = {**source.headers, "User-Agent": user_agent}
        offset = self._partial.size
        conditional = False
        if offset:
            headers["Range"] = f"bytes={offset}-"
            # A known digest decides at the end, and ETags differ between the machines behind one
            # name. Without one, only a strong validator makes two parts of one file (RFC 9110,
            # 13.1.5).
            if not digest_known:
                conditional = True
                headers["If-Range"] = self._partial.validator
        kill_point("request-sent")
        with self._client.open(source.url, headers=headers, cancel=self._cancel) as reply:
            self.status = reply.status
            kill_point("response-headers")
            if reply.status == 416 and offset:
                self._already_whole(reply, offset)
                return
            self._refuse(reply)
            self._receive(source, reply, offset, conditional, floor)

    def _refuse(self, reply: Reply) -> None:
        cause = cause_of_status(reply.status)
        if cause is not None:
            phrase = reply.response.reason_phrase
            raise Failure(
                cause,
                f"HTTP {reply.status} {phrase}".rstrip(),
                status=reply.status,
                retry_after=_retry_after(reply.response),
            )

    def _already_whole(self, reply: Reply, offset: int) -> None:
        """416: nothing after ``offset``. Fine when the file ends exactly there."""
        _, total = parse_content_range(reply.response.headers.get("content-range", ""))
        expected = self._request.size
        if expected is not None and offset < expected:
            raise Failure(Cause.TRUNCATED, f"the file has only {total} of {expected} bytes here")
        if total == offset:
            return
        self._partial.discard()
        has = "an unknown number of" if total is None else str(total)
        raise Failure(
            Cause.SIZE_MISMATCH, f"the file has {has} bytes here, {offset} were there already"
        )

    def _receive(
        self, source: Source, reply: Reply, offset: int, conditional: bool, floor: float
    ) -> None:
        response = reply.response
        start, total = self._range_of(reply, offset)
        self._check_total(total)
        chunks = self._chunks(response, floor)
        head, chunks = _peek(chunks, HEAD_BYTES)
        if start == 0:
            verdict = check_head(self._request.kind, head, response.headers.get("content-type", ""))
            if verdict is not None:
                raise Failure(*verdict, status=reply.status)
            if not head and not self._request.may_be_empty:
                raise Failure(Cause.WRONG_CONTENT, "the file is empty", status=reply.status)
        skip = 0
        if offset and start == 0:
            if conditional:  # the file changed since
                self._partial.discard()
            else:  # the mirror ignores ranges: pass over what we have
                skip = offset
        if total is not None:
            self._cache.prepare(total - self._partial.size)
        whole = self._request.size if self._request.size is not None else total
        self._partial.begin(source.mirror, whole, _validator(response))
        kill_point("before-first-write")
        try:
            self._append(chunks, skip)
        finally:
            self._partial.end()
            kill_point("attempt-ended")
        if total is not None and self._partial.size < total:
            raise Failure(Cause.TRUNCATED, f"ended at {self._partial.size} of {total} bytes")

    def _range_of(self, reply: Reply, offset: int) -> tuple[int, int | None]:
        """(where the body starts in the file, size of the whole file if said)."""
        length = None if _encoded(reply.response) else reply.content_length
        if reply.status == 200:
            return 0, length
        first, total = parse_content_range(reply.response.headers.get("content-range", ""))
        if first != offset:
            got = reply.response.headers.get("content-range", "nothing")
            raise Failure(Cause.PROTOCOL_ERROR, f"asked for bytes from {offset}, got {got!r}")
        if total is None and length is not None:
            total = offset + length
        return offset, total

    def _check_total(self, total: int | None) -> None:
        """Is it the same file? A shorter one can still be completed elsewhere."""
        expected, before = self._request.size, self._partial.total
        if total is None:
            return
        if expected is not None:
            if total > expected:
                raise Failure(Cause.SIZE_MISMATCH, f"{total} bytes here, {expected} expected")
        elif before is not None and self._partial.size and total != before:
            self._partial.discard()
            raise Failure(Cause.SIZE_MISMATCH, f"{total} bytes here, {before} at the mirror before")

    def _append(self, chunks: Iterator[bytes], skip: int) -> None:
        limit = self._request.size if self._request.size is not None else self._partial.total
        for chunk in chunks:
            if skip:
                kept = chunk[skip:]
                skip -= len(chunk) - len(kept)
                chunk = kept  # noqa: PLW2901 - the rest of the same chunk
                if not chunk:
                    continue
            if limit is not None and self._partial.size + len(chunk) > limit:
                self._partial.discard()
                raise Failure(Cause.SIZE_MISMATCH, f"more than the {limit} bytes that it must have")
            self._partial.append(chunk)
            kill_point("chunk-written")
            self._on_bytes(self._partial.size, limit)
        if self._request.size is not None and self._partial.size < self._request.size:
            size = self._request.size
            raise Failure(Cause.TRUNCATED, f"ended at {self._partial.size} of {size} bytes")

    def _chunks(self, response: httpx.Response, floor: float) -> Iterator[bytes]:
        """The body as it comes, with every fault turned into a Failure."""
        watch = RateWatch(floor, self._client.options.rate_window, self._clock)
        # Metadata may come compressed in transit; anything else must be the bytes that were hashed.
        decode = self._request.kind in (FileKind.METADATA, FileKind.HTML_INDEX)
        body = response.iter_bytes() if decode else response.iter_raw()
        while True:
            try:
                chunk = next(body, None)
            except Exception as error:
                self._cancel.check()
                url = str(response.request.url)
                raise Failure(*cause_of_exception(error, url, in_body=True)) from error
            self._cancel.check()
            if chunk is None:
                return
            self.received += len(chunk)
            yield chunk
            watch.add(len(chunk))


def _peek(chunks: Iterator[bytes], count: int) -> tuple[bytes, Iterator[bytes]]:
    """(the first ``count`` bytes, an iterator that still gives all of them)."""
    held: list[bytes] = []
    size = 0
    for chunk in chunks:
        held.append(chunk)
        size += len(chunk)
        if size >= count:
            break

    def again() -> Iterator[bytes]:
        yield from held
        yield from chunks

    return b"".join(held)[:count], again()


def _encoded(response: httpx.Response) -> bool:
    return response.headers.get("content-encoding", "identity").lower() not in ("", "identity")


def _validator(response: httpx.Response) -> str:
    """A strong ETag, else Last-Modified when it is old enough to be strong (RFC 9110, 8.8.2.2)."""
    etag = str(response.headers.get("etag", ""))
    if etag.startswith('"'):
        return etag
    modified = str(response.headers.get("last-modified", ""))
    date = from_http_date(str(response.headers.get("date", "")))
    changed = from_http_date(modified)
    if date is None or changed is None:
        return ""
    return modified if (date - changed).total_seconds() >= 60 else ""


def _retry_after(response: httpx.Response) -> float | None:
    """Seconds that ``Retry-After`` asks for, as a number or a date (RFC 9110, 10.2.3)."""
    value = str(response.headers.get("retry-after", "")).strip()
    if value.isascii() and value.isdigit():
        return float(value)
    until = from_http_date(value)
    if until is None:
        return None
    return max(0.0, (until - datetime.now(timezone.utc)).total_seconds())
