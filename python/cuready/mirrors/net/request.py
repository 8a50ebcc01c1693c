"""What is asked of the download layer and what it answers: plain, frozen, JSON-able values."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote

from cuready.errors import InputError
from cuready.mirrors.net.causes import CAUSES, Cause
from cuready.mirrors.urls import split_url

__all__ = [
    "EMPTY_SHA256",
    "Attempt",
    "Download",
    "DownloadRequest",
    "FileKind",
    "Source",
    "Verified",
]

EMPTY_SHA256 = hashlib.sha256().hexdigest()
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_SHA256_PREFIX = re.compile(r"[0-9a-f]{4,64}\Z")


class FileKind(str, Enum):
    """What a file is: decides which first bytes are right and whether HTML may be."""

    CONDA = "conda"
    TAR_BZ2 = "tar.bz2"
    WHEEL = "wheel"
    SDIST = "sdist"
    WEIGHTS = "weights"
    METADATA = "metadata"
    HTML_INDEX = "html-index"
    OTHER = "other"

    @classmethod
    def of(cls, url: str) -> FileKind:
        """The kind that a file name says it is; ``OTHER`` when it says nothing."""
        name = PurePosixPath(split_url(url).path).name.lower()
        endings = {
            ".conda": cls.CONDA,
            ".tar.bz2": cls.TAR_BZ2,
            ".whl": cls.WHEEL,
            ".tar.gz": cls.SDIST,
            ".json": cls.METADATA,
            ".json.zst": cls.METADATA,
            ".json.bz2": cls.METADATA,
        }
        return next((kind for end, kind in endings.items() if name.endswith(end)), cls.OTHER)


class Verified(str, Enum):
    """On what ground a file counts as whole and right."""

    SHA256 = "sha256"  # the digest that the caller gave
    SHA256_PREFIX = "sha256-prefix"  # the leading digits that the caller gave
    SEEN_BEFORE = "seen-before"  # the digest that this URL had when it was first fetched
    FIRST_USE = "first-use"  # nothing was known: whole by its length, from one mirror; now recorded
    UNVERIFIED = "unverified"  # metadata, which changes


@dataclass(frozen=True)
class Source:
    """One place that should have the file.

    Attributes:
        url: http or https URL of the file there.
        mirror: the name under which successes and failures are counted; default is the host.
        index_url: a small file that is there when the mirror carries the collection at all; a 404
            on the file alone is told from a wrong path by it. Conda packages need none: the
            ``repodata.json`` beside them is used.
        headers: extra request headers, sent to this origin only (credentials).
    """

    url: str
    mirror: str = ""
    index_url: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        try:
            parts = split_url(self.url)
            host = parts.hostname
            _ = parts.port
        except ValueError as error:
            raise InputError(f"not a URL: {self.url!r} ({error})") from None
        if parts.scheme not in ("http", "https") or not host:
            raise InputError(
                f"not an http or https URL: {self.url!r}", hint="write it as https://host/path"
            )
        if not self.mirror:
            object.__setattr__(self, "mirror", parts.netloc.rpartition("@")[2])


@dataclass(frozen=True)
class DownloadRequest:
    """One file, wherever it is.

    Attributes:
        sources: the mirrors in order of preference; at least one.
        sha256: 64 hexadecimal digits, or empty when nobody knows. See ``fetch`` for what is done
            then.
        sha256_prefix: leading digits of the sha256, as in ``resnet18-5c106cde.pth``.
        size: bytes, or None.
        kind: what the file is.
        canonical_url: the name of the file whatever mirror it comes from; default is the first URL.
        name: what to call it in progress and messages; default is the URL's last part.
    """

    sources: tuple[Source, ...]
    sha256: str = ""
    sha256_prefix: str = ""
    size: int | None = None
    kind: FileKind = FileKind.OTHER
    canonical_url: str = ""
    name: str = ""

    def __post_init__(self) -> None:
        if not self.sources:
            raise InputError("a download needs at least one URL")
        for attribute, pattern in (("sha256", _SHA256), ("sha256_prefix", _SHA256_PREFIX)):
            value = getattr(self, attribute).strip().lower()
            if value and not pattern.match(value):
                raise InputError(f"not a {attribute}: {value!r}", hint="64 hexadecimal digits")
            object.__setattr__(self, attribute, value)
        if self.size is not None and self.size < 0:
            raise InputError(f"not a size in bytes: {self.size}")
        first = self.sources[0].url
        if not self.canonical_url:
            object.__setattr__(self, "canonical_url", first)
        if not self.name:
            path = split_url(self.canonical_url).path
            object.__setattr__(self, "name", unquote(PurePosixPath(path).name) or "download")

    @classmethod
    def from_urls(cls, urls: Sequence[str], **fields: Any) -> DownloadRequest:
        """A request over plain URLs; the kind is read from the first name unless given."""
        fields.setdefault("kind", FileKind.of(urls[0]) if urls else FileKind.OTHER)
        return cls(tuple(Source(url) for url in urls), **fields)

    @property
    def may_be_empty(self) -> bool:
        """Whether 0 bytes can be the file. Weights are never empty, unless a checksum or the size
        says so: an empty answer is a broken server's, and would be recorded for what the URL is."""
        if self.kind is not FileKind.WEIGHTS or self.size == 0:
            return True
        wanted = self.sha256 or self.sha256_prefix
        return bool(wanted) and EMPTY_SHA256.startswith(wanted)

    @property
    def key(self) -> str:
        """The name of the partial file: the same for every process that wants the same content."""
        if self.sha256:
            return self.sha256
        return "url-" + hashlib.sha256(self.canonical_url.encode()).hexdigest()[:40]


@dataclass(frozen=True)
class Attempt:
    """One try at one mirror. ``cause`` is None when it went well.

    ``received`` counts the bytes that came over the wire in this try, ``offset`` where in the file
    it began, ``seconds`` how long it took.
    """

    mirror: str
    url: str
    cause: Cause | None
    detail: str = ""
    received: int = 0
    offset: int = 0
    seconds: float = 0.0
    status: int | None = None

    @property
    def rate(self) -> float:
        """Bytes per second of this try; 0 when it took no time."""
        return self.received / self.seconds if self.seconds > 0 else 0.0

    def to_dict(self) -> dict[str, Any]:
        """For JSON output."""
        return {
            "mirror": self.mirror,
            "url": self.url,
            "cause": None if self.cause is None else self.cause.value,
            "title": "" if self.cause is None else CAUSES[self.cause].title,
            "detail": self.detail,
            "bytes": self.received,
            "offset": self.offset,
            "seconds": round(self.seconds, 3),
            "status": self.status,
        }

    def line(self) -> str:
        """For text output: ``mirror: cause: detail``."""
        if self.cause is None:
            return f"{self.mirror}: ok{': ' + self.detail if self.detail else ''}"
        return f"{self.mirror}: {self.cause.value}: {self.detail or CAUSES[self.cause].title}"


@dataclass(frozen=True)
class Download:
    """A verified file in the cache.

    Attributes:
        path: the file in the content-addressed cache; read it or link it, never write to it.
        mirror: who sent its last byte; empty when it was in the cache already.
        attempts: every try, failures included, in order.
        resumed_from: bytes that were on disk before this call.
    """

    name: str
    path: Path
    sha256: str
    size: int
    verified: Verified
    mirror: str = ""
    attempts: tuple[Attempt, ...] = ()
    resumed_from: int = 0

    @property
    def cached(self) -> bool:
        """True when nothing was fetched."""
        return not self.attempts

    def to_dict(self) -> dict[str, Any]:
        """For JSON output."""
        return {
            "name": self.name,
            "path": str(self.path),
            "sha256": self.sha256,
            "size": self.size,
            "verified": self.verified.value,
            "mirror": self.mirror,
            "cached": self.cached,
            "resumed_from": self.resumed_from,
            "attempts": [attempt.to_dict() for attempt in self.attempts],
        }
