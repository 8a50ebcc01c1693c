"""What the download tests share: bytes, digests, requests, and limits that keep them short."""

from __future__ import annotations

import hashlib
import random
from typing import Any

from tests.integration.mirrors_net.servers import Good, Mirror

from cuready.mirrors.net import DownloadRequest, FileKind, NetOptions
from cuready.mirrors.net.request import Source

QUICK = NetOptions(
    connect_timeout=2.0,
    stall_timeout=0.4,
    min_rate=40_000,
    rate_window=0.3,
    retries=1,
    backoff=0.0,
    diagnose_seconds=2.0,
)


def conda_bytes(size: int, seed: int = 1) -> bytes:
    """Bytes that begin as a `.conda` file does and compress as badly."""
    return b"PK\x03\x04" + random.Random(seed).randbytes(size - 4)


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def request_for(
    mirrors: list[Mirror], data: bytes, name: str = "pkg-1.0-0.conda", **fields: Any
) -> DownloadRequest:
    """A request for a conda package with known digest, from these mirrors in this order."""
    fields.setdefault("sha256", digest(data))
    fields.setdefault("size", len(data))
    fields.setdefault("kind", FileKind.CONDA)
    sources = tuple(Source(mirror.url(name)) for mirror in mirrors)
    return DownloadRequest(sources, **fields)


def good(data: bytes, name: str = "pkg-1.0-0.conda") -> Good:
    return Good({name: data, "repodata.json": b'{"packages": {}}'})
