"""Downloads that survive bad mirrors: one layer for conda packages, wheels, weights and metadata.

    with HttpClient() as client:
        fetcher = Fetcher(client, Cache())
        files = fetch_all(fetcher, [DownloadRequest.from_urls([mirror, upstream], sha256=digest)])

Everything that comes back is verified and lies in a content-addressed cache; see ``fetch`` for what
"verified" means when no digest is known. ``diagnose`` says why a URL does not work. The names are
imported when they are first used, so that importing this package loads no HTTP client.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cuready.mirrors.net.batch import fetch_all, fetch_one
    from cuready.mirrors.net.breaker import CircuitBreaker
    from cuready.mirrors.net.cache import Cache, CacheError, default_cache_dir
    from cuready.mirrors.net.cancel import Cancelled, CancelToken
    from cuready.mirrors.net.causes import CAUSES, Cause
    from cuready.mirrors.net.client import HttpClient
    from cuready.mirrors.net.fetch import Fetcher
    from cuready.mirrors.net.ladder import LadderReport, ProbeKind, diagnose
    from cuready.mirrors.net.options import NetOptions
    from cuready.mirrors.net.progress import ProgressEvent, ProgressKind, TerminalProgress
    from cuready.mirrors.net.request import (
        Attempt,
        Download,
        DownloadRequest,
        FileKind,
        Source,
        Verified,
    )

_WHERE = {
    "CAUSES": "causes",
    "Attempt": "request",
    "Cache": "cache",
    "CacheError": "cache",
    "CancelToken": "cancel",
    "Cancelled": "cancel",
    "Cause": "causes",
    "CircuitBreaker": "breaker",
    "Download": "request",
    "DownloadRequest": "request",
    "Fetcher": "fetch",
    "FileKind": "request",
    "HttpClient": "client",
    "LadderReport": "ladder",
    "NetOptions": "options",
    "ProbeKind": "ladder",
    "ProgressEvent": "progress",
    "ProgressKind": "progress",
    "Source": "request",
    "TerminalProgress": "progress",
    "Verified": "request",
    "default_cache_dir": "cache",
    "diagnose": "ladder",
    "fetch_all": "batch",
    "fetch_one": "batch",
}

__all__ = [
    "CAUSES",
    "Attempt",
    "Cache",
    "CacheError",
    "CancelToken",
    "Cancelled",
    "Cause",
    "CircuitBreaker",
    "Download",
    "DownloadRequest",
    "Fetcher",
    "FileKind",
    "HttpClient",
    "LadderReport",
    "NetOptions",
    "ProbeKind",
    "ProgressEvent",
    "ProgressKind",
    "Source",
    "TerminalProgress",
    "Verified",
    "default_cache_dir",
    "diagnose",
    "fetch_all",
    "fetch_one",
]


def __getattr__(name: str) -> Any:
    module = _WHERE.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{module}"), name)
