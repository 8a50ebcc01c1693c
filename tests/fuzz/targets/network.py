"""What servers answer: headers, index pages, the first part of an index, statuses, certificates."""

from __future__ import annotations

import hashlib
from contextlib import suppress

import httpx
from tests.fuzz.targets._support import Target, part, scratch

from cuready.env.pip import indexes
from cuready.errors import EnvError
from cuready.mirrors import urls
from cuready.mirrors.net import (
    certificate,
    content,
    dates,
    freshness,
    ladder,
    partial,
    prober,
    transfer,
)
from cuready.mirrors.net.client import Reply
from cuready.mirrors.net.request import FileKind

__all__ = ["TARGETS"]

_NAMES = (
    b"content-range", b"content-length", b"retry-after", b"last-modified", b"date", b"etag",
    b"content-encoding", b"content-type", b"location",
)  # fmt: skip


def headers(data: bytes) -> None:
    """One value for each header that a transfer looks at, a line each."""
    lines = data.split(b"\n")[: len(_NAMES)]
    request = httpx.Request("GET", "https://mirror.example/x.conda")
    answer = httpx.Response(206, headers=list(zip(_NAMES, lines, strict=False)), request=request)
    first, total = transfer.parse_content_range(answer.headers.get("content-range", ""))
    assert first is None or first >= 0
    assert total is None or total >= 0
    seconds = transfer._retry_after(answer)
    assert seconds is None or seconds >= 0
    assert isinstance(transfer._validator(answer), str)
    transfer._encoded(answer)
    reply = Reply(answer, answer, 0)
    assert reply.content_length is None or reply.content_length >= 0
    ladder._skew(reply)
    dates.from_http_date(answer.headers.get("last-modified", ""))


def index_page(data: bytes) -> None:
    """The body of an answer where a package index, or an index of a channel, should be."""
    which, body = part(data, 4)
    content_type = ("text/html", "application/json", "application/octet-stream", "")[which]
    ladder.links_in(body.decode("utf-8", "replace"))
    for check in (ladder._is_index, ladder._is_repodata, ladder._is_file):
        with suppress(ladder.Stop):
            check(body, content_type, "https://mirror.example/simple/pip/")
    for size, name in prober._records(body):
        assert size >= 0
        assert name
    for kind in FileKind:
        content.check_head(kind, body[: content.HEAD_BYTES], content_type)


def mirror_status(data: bytes) -> None:
    """A site's own table of how fresh its copies are."""
    which, document = part(data, 2)
    for kind in ladder.ProbeKind:
        freshness.read_status(document, ("mirrorz", "tunasync")[which], kind)


def certificates(data: bytes) -> None:
    """A certificate that was not trusted."""
    found = certificate.read_certificate(data)
    assert found is None or found.to_dict()


def half_a_download(data: bytes) -> None:
    """The journal of an interrupted download: bytes whose origin is not known are not kept."""
    folder = scratch("partial")
    body = b"0123456789abcdef"
    (folder / "key.part").write_bytes(body)
    (folder / "key.suspect").write_bytes(body[:7])
    (folder / "key.json").write_bytes(data)
    try:
        found = partial.Partial(folder, "key")
        assert found.size in (0, len(body))
        if found.size:
            assert found.sha256() == hashlib.sha256(body).hexdigest()
            assert found.mirrors
        assert isinstance(found.validator, str)
        for mirror, place in found.liars(folder / "key.suspect"):
            raise AssertionError(f"{mirror} lied at {place}, and nothing is wrong")
    finally:
        for path in folder.iterdir():
            path.unlink()


def address(data: bytes) -> None:
    """An address that an index gave: shown without its secrets, and made canonical."""
    text = data.decode("utf-8", "replace")
    urls.redact(text)
    urls.redact_text(text)
    urls.same(text, "https://conda.anaconda.org/conda-forge")
    urls.cloud_channel(text)
    urls.pkgs_part(text)
    with suppress(EnvError):
        indexes.canonical(text, indexes.Way("fuzz", "https://mirror.example/simple"))


TARGETS: dict[str, Target] = {
    "headers": headers,
    "index_page": index_page,
    "mirror_status": mirror_status,
    "certificate": certificates,
    "partial": half_a_download,
    "address": address,
}
